"""One run at a time writes into an output folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dermlens.cohort.store import Place
from dermlens.errors import DataError
from dermlens.files import locks
from dermlens.files.documents import unwritable

FILE = ".run.lock"
"""Locked by the run that writes; what a kill leaves of it is locked by nobody."""


@contextmanager
def only_run(output: Place) -> Iterator[None]:
    """Keep other runs out of an output folder until this one has ended, be it killed.

    Object stores have no locks, nor have some shared disks: there, parts of two runs are told apart by their footers.

    Raises:
        DataError: another run is writing there, or the folder cannot be written.
    """
    if not output.local:
        yield
        return
    lock = _locked(output, output.local / FILE)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(output.local / FILE)
        os.close(lock)


def _locked(output: Place, file: Path) -> int:
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as e:
            raise DataError(unwritable(file, e)) from e
        if not locks.take(lock):
            os.close(lock)
            raise DataError(
                f"Another run is writing into {output.shown}. Wait until it has ended, or choose another output."
            )
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(file)):
                return lock
        os.close(lock)  # the run that had it removed it meanwhile
