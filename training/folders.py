"""Folders that appear whole or not at all: those of published models, and what is built into them."""

import errno
import fcntl
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dermlens.errors import ConfigError, ModelError
from dermlens.files import locks


def model_folder(models: Path, model_id: str, replace: bool) -> Path:
    """Return where to publish a model, models/ID.

    Raises:
        ConfigError: the id is not valid. ModelError: the model exists already, and may not be replaced.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", model_id):
        raise ConfigError(f"A model's id is made of a-z, 0-9, - and _, got {model_id!r}.")
    folder = models / model_id
    if folder.exists() and not replace:
        raise ModelError(f"{folder} exists. Choose another id, or pass --replace to put this model in its place.")
    return folder


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Give an empty folder of that name to fill, which is put in the place of `target` in the end.

    An error before that leaves what was there as it was, and nothing beside it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}-"
    for left in target.parent.glob(f"{prefix}*"):
        _remove_if_left(left)
    with _folder_in_use(target.parent, prefix) as aside:
        folder = aside / target.name
        folder.mkdir()
        yield folder
        for number in itertools.count():  # another process may put its own there at the same time; the last one stays
            with suppress(FileNotFoundError):
                target.rename(aside / f"replaced-{number}")
            try:
                folder.rename(target)
            except OSError as e:
                if e.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                continue
            return


@contextmanager
def _folder_in_use(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder that is locked for as long as this process works in it, and remove it in the end."""
    while True:
        aside = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = os.open(aside, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if aside.exists():  # else another one took it for what a killed process has left, before it was locked
            break
        os.close(lock)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(lock)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that no second process trains in it; where a file system has no locks, nothing is held.

    Raises:
        ConfigError: another process holds it.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not locks.take(lock):
            raise ConfigError(
                f"Run {folder.name} is being trained by another process. Wait for its end, or choose another --run."
            )
        yield
    finally:
        os.close(lock)


def _remove_if_left(folder: Path) -> None:
    """Remove a folder that a killed process has left: nobody holds its lock."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # it is gone, or no folder
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)
