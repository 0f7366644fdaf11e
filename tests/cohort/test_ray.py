"""A Ray cluster of several one-core nodes on this machine; `make cluster-test` installs Ray."""

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dermlens.cohort.__main__ import main
from dermlens.cohort.run import Settings, run
from dermlens.cohort.store import place
from dermlens.models import registry
from tests.cohort import folders, kills
from tests.cohort.conftest import Drawn
from tests.faults.kit import until
from tests.processes import alive, command_of, descendants

pytest.importorskip("ray", reason="Ray is not installed: make cluster-test installs it")

ROOT = Path(__file__).parents[2]
NODES = 3
SMALL = {"object_store_memory": 80 * 2**20}
DRIVER = """
import sys
from pathlib import Path
from dermlens.cohort.run import Settings, run
from dermlens.cohort.store import place
from dermlens.models import registry
models, folder, address = sys.argv[1:]
settings = Settings(folder + "/images", place(folder + "/out"), "ham10000", ray=address, shard_rows=10)
run(registry.find(Path(models), "toy"), settings, "Answering")
"""


def patiently(start: Callable[[], Any]) -> Any:
    """Start a part of a cluster; Ray gives it 30 seconds, which a busy machine may exceed."""
    for _ in range(4):
        with suppress(Exception):  # Ray raises no class of its own
            return start()
    return start()


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    found = patiently(lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL}))
    for _ in range(NODES):
        patiently(lambda: found.add_node(num_cpus=1, **SMALL))
    yield found
    found.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def actors() -> list[int]:
    """Return the workers' processes on all nodes."""
    return [pid for pid in descendants(os.getpid()) if b"ray::MapWorker" in command_of(pid) and alive(pid)]


def test_workers_on_every_core_of_a_cluster_finish_and_give_the_bare_loops_rows(
    cluster: Any, published: Path, drawn: Drawn, tmp_path: Path
) -> None:
    output = place(tmp_path / "out")
    settings = Settings(str(drawn.folder), output, "ham10000", ray=cluster.address, shard_rows=6)
    run(registry.find(published, "toy"), settings, "Answering")
    folders.check_rows(output, drawn.paths, drawn.expected)


def test_a_model_that_cannot_be_used_stops_the_run_with_a_sentence(
    cluster: Any, published: Path, drawn: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--model", "toy", "--models-dir", str(published), "--input", str(drawn.folder)]
    asked += ["--output", str(tmp_path / "out"), "--class-mix", "equal", "--ray", cluster.address]
    assert main(["run", *asked]) == 2
    assert "toy is not calibrated, so it cannot be re-weighted" in capsys.readouterr().err


@pytest.mark.slow
def test_twenty_killed_drivers_workers_decoders_and_nodes_cost_no_row(
    cluster: Any, published: Path, tmp_path: Path
) -> None:
    rng, before = random.Random(5), orphaned_decoders()
    wanted = [rng.choice(["driver", "actor", "decoder of an actor", "node"]) for _ in range(20)]
    paths = folders.write(tmp_path / "images", 900)
    expected = folders.bare_loop(folders.load(published, "toy"), [tmp_path / "images" / path for path in paths])

    def others(kind: str) -> bool:
        working = actors()
        if kind == "actor" and working:
            os.kill(rng.choice(working), signal.SIGKILL)
            return True
        below = [pid for worker in working for pid in descendants(worker)]
        if kind == "decoder of an actor" and below:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(below), signal.SIGKILL)
                return True
        if kind == "node" and working:
            node = rng.choice(list(cluster.worker_nodes))
            cluster.remove_node(node, allow_graceful=False)
            patiently(lambda: cluster.add_node(num_cpus=1, **SMALL))
            return True
        return False

    command = [sys.executable, "-c", DRIVER, str(published), str(tmp_path), cluster.address]
    done = kills.until_finished(command, tmp_path / "out", wanted, rng, others, lambda here: bool(actors()))
    folders.check_rows(place(tmp_path / "out"), paths, expected)
    assert {kind: wanted.count(kind) for kind in wanted} == {kind: done[kind] for kind in set(wanted)}
    cluster.shutdown()
    until(lambda: not orphaned_decoders() - before)


def orphaned_decoders() -> set[int]:
    """Return decoders whose worker is gone."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and b"dermlens.ingest.worker" in (entry / "cmdline").read_bytes():
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found |= {int(entry.name)} if parent == 1 else set()
    return found
