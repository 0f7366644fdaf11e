"""Runs of a cohort whose processes are ended by SIGKILL at random, until it is finished all the same.

`python -m tests.cohort.kills [KILLS] [SEED]` prints what was killed and what became of it.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from dermlens.cohort.store import place
from tests.cohort import folders
from tests.faults.kit import until
from tests.processes import alive, command_of, descendants

ROOT = Path(__file__).parents[2]
FINISHED = (0, 3)
MOST_LIVES = 60
KINDS = ("driver", "worker", "decoder")


def victims(driver: int) -> dict[str, list[int]]:
    """Return the processes of a run on this machine by kind."""
    found: dict[str, list[int]] = {"driver": [driver], "worker": [], "decoder": []}
    for pid in descendants(driver):
        command = command_of(pid)
        kind = "decoder" if b"dermlens.ingest.worker" in command else "worker" if b"spawn_main" in command else ""
        if kind and alive(pid):
            found[kind].append(pid)
    return found


def until_finished(
    command: list[str],
    output: Path,
    kills: Iterable[str],
    rng: random.Random,
    others: Callable[[str], bool] = lambda kind: False,
    busy: Callable[[dict[str, list[int]]], bool] = lambda here: bool(here["worker"]),
) -> Counter[str]:
    """Run a command again and again until it is finished, while what is named in `kills` is killed, one by one.

    Between two kills there are none to three parts and up to 0.4 seconds, drawn at random, so that they are
    spread over the run however slow the machine is.

    Args:
        command: of the driver. output: where its parts appear.
        kills: kinds of processes, in the order they are to be killed.
        rng: of the moments. others: kills what is no process below the driver; returns whether it did.
        busy: whether there are workers, before which a driver is not killed.

    Returns:
        How many of each kind were killed, and "lives" of the driver.
    """
    done: Counter[str] = Counter()
    ahead, goal = list(kills), 0
    while done["lives"] < MOST_LIVES:
        done["lives"] += 1
        driver = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        while driver.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                driver.wait(rng.uniform(0.05, 0.4))
            parts = len(list(output.glob("part-*.parquet")))
            if not ahead or driver.poll() is not None or parts < goal:
                continue
            before = len(ahead)
            here = victims(driver.pid)
            below = [pid for pid in descendants(driver.pid) if alive(pid)]
            if others(ahead[0]):
                done[ahead.pop(0)] += 1
            elif len(here.get(ahead[0], ())) and (ahead[0] != "driver" or busy(here)):
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(here[ahead[0]]), signal.SIGKILL)
                    kind = ahead.pop(0)
                    done[kind] += 1
                    if kind == "driver":
                        driver.wait()
                        until(lambda below=below: not any(map(alive, below)))
            if len(ahead) < before:
                print(f"{sum(done.values()) - done['lives']} killed, {parts} parts", file=sys.stderr, flush=True)
                goal = parts + rng.choice((0, 1, 2, 3))
        said = driver.stderr.read() if driver.stderr else ""
        if driver.returncode in FINISHED and not ahead:
            return done
        if driver.returncode not in (*FINISHED, -signal.SIGKILL) and "attempts" not in said:
            raise AssertionError(f"the run ended with {driver.returncode}: {said[-2000:]}")
        if driver.returncode in FINISHED:
            raise AssertionError(f"finished before {ahead} were killed: give it more images")
    raise AssertionError(f"not finished after {MOST_LIVES} lives: {done}")


def killed_run(models: Path, folder: Path, images: int, kills: list[str], seed: int) -> tuple[Counter[str], float]:
    """Kill a run of the toy model on drawn images, and hold what it gives against the bare loop.

    Returns:
        What was killed, and the seconds that it took.
    """
    paths = folders.write(folder / "images", images)
    expected = folders.bare_loop(folders.load(models, "toy"), [folder / "images" / path for path in paths])
    command = [sys.executable, "-m", "tests.cohort.kills", "--run", str(models), str(folder)]
    start = time.perf_counter()
    done = until_finished(command, folder / "out", kills, random.Random(seed))
    seconds = time.perf_counter() - start
    folders.check_rows(place(folder / "out"), paths, expected)
    assert not list((folder / "out").glob(".*")), "what kills have left is cleared away"
    return done, seconds


def run(models: Path, folder: Path) -> int:
    """Be the driver: two workers, shards of ten images."""
    from dermlens.cohort.run import Settings
    from dermlens.cohort.run import run as go
    from dermlens.errors import DataError
    from dermlens.models import registry

    settings = Settings(str(folder / "images"), place(folder / "out"), "ham10000", workers=2, shard_rows=10)
    try:
        go(registry.find(models, "toy"), settings, "Answering")
    except DataError as e:
        print(e, file=sys.stderr)
        return 2
    return 0


def main(kills: int = 20, seed: int = 0) -> None:
    """Kill so many processes and print what became of it."""
    from tests.conftest import publish_toy, toy_network

    rng = random.Random(seed)
    chosen = [rng.choice(KINDS) for _ in range(kills)]
    with tempfile.TemporaryDirectory(prefix="dermlens-") as scratch:
        models = Path(scratch, "models")
        publish_toy(models / "toy", toy_network(), views=4)
        images = 100 + 40 * kills
        done, seconds = killed_run(models, Path(scratch, "run"), images, chosen, seed)
    print(f"{kills} kills ({dict(done)}) in {seconds:.0f} s: {images} rows, each once, equal to the bare loop's")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        sys.exit(run(Path(sys.argv[2]), Path(sys.argv[3])))
    main(*map(int, sys.argv[1:3]))
