"""Writing that meets a full disk, or the end of the process."""

import contextlib
import io
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dermlens import score
from dermlens.errors import DermlensError
from dermlens.evaluation.predictions import make_predictions, read_predictions, write_predictions
from dermlens.files.documents import write_whole
from dermlens.image.synthetic import draw_lesion
from dermlens.labels import N_CLASSES
from tests.conftest import encode
from tests.faults.kit import Count, child, mounted, no_room


def full_disk(full: bool, folder: Path, models: Path) -> Count:
    """Files that are written while the disk is full: the old ones stay, and there is room again afterwards."""
    count = Count("disk full while a report, predictions or scores are written")
    (folder / "images").mkdir()
    for i in range(3):
        (folder / "images" / f"{i}.png").write_bytes(encode(draw_lesion(np.random.default_rng(i), 90, 120)))
    disk = folder / "disk"
    disk.mkdir()
    done = mounted(disk, "256k", "disk", disk, models, folder / "images")
    if done is None:
        count.notes.append("No file system could be mounted; a limit on the size of files stood in for a full one.")
        done = child("disk", disk, models, folder / "images", "limit")
    return count.of_child(done)


def on_full_disk(disk: Path, models: Path, images: Path, limit: bool) -> Count:
    """Run in the child: write on a disk that is full, and again when it is not."""
    count = Count("")
    many = make_predictions(
        [f"I{i}" for i in range(400)],
        [f"L{i}" for i in range(400)],
        "test",
        np.zeros(400, int),
        np.zeros((400, N_CLASSES)),
    )
    few = many.select(np.arange(3))

    def scores(file: Path) -> None:
        arguments = ["--model", "toy", "--input", str(images), "--output", str(file), "--models-dir", str(models)]
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = score.main(arguments)
        if status:
            raise DermlensError(said.getvalue().splitlines()[-1])

    writers: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
        "report": (lambda file: write_whole(file, b"old"), lambda file: write_whole(file, b"n" * 200_000)),
        "predictions": (lambda file: write_predictions(file, few), lambda file: write_predictions(file, many)),
        "scores": (lambda file: file.write_text("old"), scores),
    }
    for name, (before, write) in writers.items():
        file = disk / f"{name}.csv"
        before(file)
        old = file.read_bytes()
        with count.attempt(name):
            with _no_growth() if limit else no_room(disk):
                left = sorted(p.name for p in disk.iterdir())
                try:
                    write(file)
                    raise AssertionError("it was written on a full disk")
                except DermlensError as e:
                    count.told(str(e), file.name, "unchanged")
                assert file.read_bytes() == old, "the old file is not as it was"
                assert sorted(p.name for p in disk.iterdir()) == left, "something half written stays"
            write(file)
            assert file.read_bytes() != old
            if name == "predictions":
                assert len(read_predictions(file)) == 400
            file.unlink()
    return count


@contextlib.contextmanager
def _no_growth() -> Iterator[None]:
    """Let no file of this process be longer than nothing, which stands for a full disk where none can be mounted."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)


def killed_while_writing(full: bool, folder: Path, models: Path) -> Count:
    """A process killed at every step of replacing a file: it holds the old content or the new, whole."""
    count = Count("SIGKILL while a file is replaced")
    file, old, new = folder / "x.json", b"o" * 5000, b"n" * 9000
    steps: dict[str, tuple[type | object, str]] = {
        "before it is opened": (Path, "open"),
        "before it is on the disk": (os, "fsync"),
        "before it takes the place": (Path, "replace"),
    }
    for name, (owner, step) in steps.items():
        for after in (False, True):
            with count.attempt(f"{name}, {'after' if after else 'before'} {step}"):
                write_whole(file, old)
                pid = os.fork()
                if not pid:
                    _write_and_die(file, new, owner, step, after)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
                assert file.read_bytes() == (new if (step, after) == ("replace", True) else old)
    return count


def _write_and_die(file: Path, data: bytes, owner: object, step: str, after: bool) -> None:
    original = getattr(owner, step)

    def deadly(*arguments: object, **options: object) -> None:
        if after:
            original(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, step, deadly)
    try:
        write_whole(file, data)
    finally:
        os._exit(1)
