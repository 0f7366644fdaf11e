"""What a cohort costs beside its answers: against a bare loop over the same images, and with the answers left out.

`python -m tests.bench.cohort bare MODEL FOLDER FIRST STEP` is one bare loop, `stubbed ROWS` a run without decoding and
networks, which prints its rows a second and its peak memory.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest import mock

import numpy as np

from dermlens.cohort import answer, manifest, work
from dermlens.cohort.run import Settings, run
from dermlens.cohort.store import place
from dermlens.cohort.work import Work, Worker, made_from
from dermlens.image.synthetic import draw_lesion
from dermlens.models import registry
from dermlens.trust.fitted import NOTHING_FITTED
from tests.bench.case import Case
from tests.cohort.folders import bare_loop, load
from tests.image_files import saved

ROOT = Path(__file__).parents[2]
IMAGES = 64
ROWS_A_SECOND = 5_000
STUBBED = 20_000


def cases() -> Iterable[Case]:
    """Yield the cases; the networks are those whose serving files are built."""
    entries = [e for e in registry.discover(registry.models_dir()) if e.has_weights and not e.problem]
    with tempfile.TemporaryDirectory(prefix="dermlens-") as scratch:
        for entry in entries:
            yield from _of_network(entry, Path(scratch, entry.id))
    yield Case(
        f"cohort: {STUBBED:,} rows without answers, to {ROWS_A_SECOND:,} a second",
        lambda: stubbed(STUBBED),
        lambda: time.sleep(STUBBED / ROWS_A_SECOND),
        1.0,
        repeats=3,
    )


def _of_network(entry: registry.Entry, scratch: Path) -> Iterable[Case]:
    images = scratch / "images"
    images.mkdir(parents=True)
    for i in range(IMAGES):
        data = saved(draw_lesion(np.random.default_rng(i), 450, 600), "JPEG", quality=95)
        (images / f"{i:03}.jpg").write_bytes(data)
    model = load(registry.models_dir(), entry.id)
    worker = _worker(entry, images, scratch / "one")
    files = sorted(images.iterdir())
    yield Case(
        f"cohort: one worker, to the bare loop, {entry.id}",
        lambda: worker(0),
        lambda: bare_loop(model, files),
        1 / 0.95,
        repeats=5,
    )
    runs = iter(range(99))
    yield Case(
        f"cohort: two workers, to two bare loops, {entry.id}",
        lambda: run(entry, _two(images, scratch / f"two-{next(runs)}"), "Answering"),
        lambda: _two_bare_loops(entry.id, images),
        1 / 0.9,
        repeats=3,
    )


def _worker(entry: registry.Entry, images: Path, output: Path) -> Worker:
    listed, source, _ = manifest.list_images(str(images))
    where = place(output)
    where.write(manifest.FILE, manifest.encode(listed))
    binding = made_from(entry, "as-is", "ham10000", False, listed.paths_sha256())
    models = str(entry.folder.parent)
    return Worker(Work(models, entry.id, source, where, "as-is", "ham10000", False, tuple(binding.items())))


def _two(images: Path, output: Path) -> Settings:
    return Settings(str(images), place(output), "ham10000", workers=2, shard_rows=IMAGES // 4)


def _two_bare_loops(model_id: str, images: Path) -> None:
    command = [sys.executable, "-m", "tests.bench.cohort", "bare", model_id, str(images)]
    loops = [subprocess.Popen([*command, str(i), "2"], cwd=ROOT, stderr=subprocess.DEVNULL) for i in range(2)]
    assert [loop.wait() for loop in loops] == [0, 0]


def stubbed(rows: int) -> float:
    """Answer so many images that are not there, with the decoder and the networks left out.

    Returns:
        Rows a second, listing and checks included.
    """
    row = {f"p_{code}": 0.1 for code in answer.CLASSES} | {"suspect": 0.3, "call": "nv", "refused": False}
    row |= {"refer": False, "reasons": [], "not_ruled_out": ["nv"], "poor": False, "quality": ["hair"]}
    row |= {f"quality_{name}": 0.5 for name in answer.MEASURES} | {"height": 450, "width": 600}
    row |= {"pixels_sha256": "0" * 64}
    entry = registry.Entry("stub", Path("/nowhere/stub"), {"files": {}}, None, True, False)
    network = mock.Mock(id="stub", card=entry.card, fitted=NOTHING_FITTED)

    def giving(value: object) -> Callable[..., object]:  # a Mock would remember a million calls
        def give(*_: object, **__: object) -> object:
            return value

        return give

    with (
        tempfile.TemporaryDirectory(prefix="dermlens-") as scratch,
        mock.patch.object(answer, "read_pixels", giving(None)),
        mock.patch.object(answer, "answer", giving(row)),
        mock.patch.object(work, "networks_of", giving((network,))),
        mock.patch.object(work.registry, "find", giving(entry)),
        mock.patch.object(work.registry, "load", giving(network)),
    ):
        Path(scratch, "list.txt").write_text("".join(f"images/ISIC_{i:07}.jpg\n" for i in range(rows)))
        start = time.perf_counter()
        run(entry, Settings(f"{scratch}/list.txt", place(Path(scratch, "out")), "ham10000", workers=1), "Stubbed")
        return rows / (time.perf_counter() - start)


def main(arguments: list[str]) -> None:
    """Be one bare loop or one stubbed run."""
    if arguments[0] == "bare":
        _, model_id, folder, first, step = arguments
        files = sorted(Path(folder).iterdir())[int(first) :: int(step)]
        bare_loop(load(registry.models_dir(), model_id), files)
    else:
        rate = stubbed(int(arguments[1]))
        print(f"{rate:.0f} {1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")


if __name__ == "__main__":
    main(sys.argv[1:])
