"""What is to be sent to the PACS: written down before the first attempt, kept until the PACS has it.

A folder an entry: the objects as files, and `entry.json`. An entry appears whole or not at all, and goes only once
everything of it was sent; whatever stops the server in between, it is tried again. Of one that was sent an empty
folder stays for a while, so that "it is not here" is never taken for "the PACS has it".
"""

import fcntl
import io
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from dermlens.errors import DataError, DermlensError
from dermlens.files.documents import read_object, write_object, write_whole
from dermlens.interchange.dicom.pacs import PacsError, named

MOST = 1000
"""Entries that an outbox holds."""
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)
"""Between two attempts: doubled after each, up to the longest."""
_LEFT_OVER = 3600.0
"""Seconds after which a folder that is no entry is taken for left over."""
_MARKED = 30 * 24 * 3600.0
"""Seconds for which an outbox knows what it has sent."""
_ENTRY = "entry.json"
_SENT = ".sent"
UNREADABLE = (
    "What is to be sent cannot be read any more, so it was not sent. Whoever runs this server finds it in the outbox, "
    "in the folder {folder}: restore it there, or delete it and send the image again."
)


class Fate(Enum):
    """What has become of an entry."""

    WAITING = "waiting"
    SENT = "sent"
    """the PACS has confirmed all of it"""
    GONE = "gone"
    """discarded or taken away, and not sent"""


@dataclass(frozen=True)
class Waiting:
    """One entry: what was asked to be sent. It names no patient."""

    id: str
    at: datetime
    owner: str
    """who asked for it, as told to `put`"""
    image: str
    """key of the image"""
    objects: tuple[str, ...]
    """what they are, in words"""
    attempts: int
    error: str
    """of the last attempt, one sentence; empty before the first"""
    next_at: datetime
    """of the next attempt"""
    disclosure: int | None = None
    """number of its row in the record, where one is kept"""
    readable: bool = True
    """False where only its id and error are known: nobody knows whose it is, and it is not tried"""


class Outbox:
    """The outbox in a folder; any number of threads and servers may use it at once."""

    def __init__(self, folder: Path) -> None:
        """Open it, made if need be, for its owner alone; DataError if that cannot be done."""
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as e:
            raise DataError(f"The outbox cannot be opened: {e.strerror}. Check DERMLENS_OUTBOX.") from e
        self._sweep()

    def put(
        self,
        objects: Sequence[Dataset],
        owner: str,
        image: str,
        now: datetime | None = None,
        disclosure: int | None = None,
    ) -> str:
        """Write down what is to be sent, and return the id of the entry.

        Args:
            objects: to send. owner, image, disclosure: as in `Waiting`.

        Raises:
            DataError: the outbox is full, or cannot be written.
        """
        now = now or datetime.now(UTC)
        self._sweep()
        if len(self._ids()) >= MOST:
            raise DataError(f"The outbox holds {MOST} entries already: see why they are not sent.")
        entry = secrets.token_hex(16)
        partial = self.folder / f".{entry}"
        try:
            partial.mkdir(mode=0o700)
            for number, each in enumerate(objects):
                file = io.BytesIO()
                each.save_as(file, enforce_file_format=True)
                write_whole(partial / f"{number:02}.dcm", file.getvalue())
            about: dict[str, Any] = {"at": now.isoformat(), "owner": owner, "image": image}
            about |= {"objects": named(objects), "disclosure": disclosure}
            write_object(partial / _ENTRY, {**about, "attempts": 0, "error": "", "next_at": now.isoformat()})
            partial.rename(self.folder / entry)
        except OSError as e:
            shutil.rmtree(partial, ignore_errors=True)
            raise DataError(f"The outbox cannot be written: {e.strerror}. Nothing was sent.") from e
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return entry

    def waiting(self, owner: str | None = None) -> list[Waiting]:
        """Return what is not sent yet, oldest first; of one owner, or of all.

        Entries that cannot be read are among it for every owner, with the reason as their error.

        Raises:
            DataError: the outbox itself cannot be read.
        """
        found = [entry for id_ in self._ids() if (entry := self._read(id_)) is not None]
        of = (e for e in found if owner is None or e.owner == owner or not e.readable)
        return sorted(of, key=lambda e: (e.at, e.id))

    def fate(self, entry: str) -> Fate:
        """Return what has become of an entry; DataError if that cannot be read."""
        if self._there(entry):
            return Fate.WAITING
        return Fate.SENT if self._there(_mark(entry)) else Fate.GONE

    def attempt(
        self,
        entry: str,
        send: Callable[[Sequence[Dataset]], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        done: Callable[[Waiting], None] = lambda entry: None,
    ) -> bool:
        """Send an entry, unless somebody else is doing so.

        Args:
            entry: its id. send: sends the objects. now: the time. done: is called once it is sent; fails that, the
                entry stays and is tried again.

        Returns:
            Whether it is gone from the outbox.
        """
        with self._locked(entry) as mine:
            before = self._read(entry) if mine else None
            if before is None or not before.readable:
                return not self._there(entry)
            try:
                send(self._objects(before))
                done(before)
                self._drop(entry, _mark(entry))
            except DermlensError as e:
                self._failed(before, str(e), now())
                return False
            except Exception:
                self._failed(before, "Sending broke off; the server's log says why.", now())
                raise
            return True

    def due(self, now: datetime) -> list[str]:
        """Return the ids of the entries whose next attempt has come."""
        return [entry.id for entry in self.waiting() if entry.readable and entry.next_at <= now]

    def hurry(self, owner: str, now: datetime) -> None:
        """Let all that one owner has waiting be tried now."""
        for entry in self.waiting(owner):
            with self._locked(entry.id) as mine:
                if mine and entry.readable:  # else it is being tried
                    self._change(entry.id, next_at=now.isoformat())

    def discard(self, entry: str, owner: str) -> None:
        """Delete an entry of an owner that is not to be sent any more."""
        if any(each.id == entry and each.readable for each in self.waiting(owner)):
            with self._locked(entry) as mine:
                if not mine and self._there(entry):
                    raise PacsError("It is being sent at this moment.")
                if mine:
                    self._drop(entry, f".{entry}.discarded")

    def _sweep(self) -> None:
        """Delete what a kill left of entries that were never whole, are discarded or sent, and marks that are old."""
        for path in self.folder.glob(".*"):
            with suppress(OSError):
                age = time.time() - path.stat().st_mtime
                if path.suffix == _SENT and age > _LEFT_OVER:
                    _empty(path)
                    if age > _MARKED:
                        path.rmdir()
                elif path.is_dir() and age > _LEFT_OVER:
                    shutil.rmtree(path, ignore_errors=True)

    def _ids(self) -> list[str]:
        try:
            return [path.name for path in self.folder.iterdir() if not path.name.startswith(".")]
        except OSError as e:
            raise DataError(f"The outbox cannot be read: {e.strerror}.") from e

    def _there(self, name: str) -> bool:
        try:
            (self.folder / name).lstat()
        except FileNotFoundError:
            return False
        except OSError as e:
            raise DataError(f"The outbox cannot be read: {e.strerror}.") from e
        return True

    def _objects(self, entry: Waiting) -> list[Dataset]:
        """Return all objects of an entry; DataError if one is missing."""
        files = sorted((self.folder / entry.id).glob("*.dcm"))
        if len(files) != len(entry.objects):
            raise DataError(f"Of {len(entry.objects)} objects of this entry {len(files)} are found. Nothing was sent.")
        return [dcmread(file) for file in files]

    def _read(self, entry: str) -> Waiting | None:
        """Return an entry, None if it is gone."""
        try:
            told = read_object(self.folder / entry / _ENTRY)
            return Waiting(
                id=entry,
                at=datetime.fromisoformat(told["at"]),
                owner=str(told["owner"]),
                image=str(told["image"]),
                objects=tuple(map(str, told["objects"])),
                attempts=int(told["attempts"]),
                error=str(told["error"]),
                next_at=datetime.fromisoformat(told["next_at"]),
                disclosure=told.get("disclosure"),
            )
        except (DataError, KeyError, ValueError, TypeError):
            return self._unreadable(entry)

    def _unreadable(self, entry: str) -> Waiting | None:
        """Return what can be said of an entry that cannot be read, None if it is gone."""
        try:
            at = datetime.fromtimestamp((self.folder / entry).lstat().st_mtime, UTC)
        except FileNotFoundError:
            return None
        except OSError:
            at = datetime.fromtimestamp(0, UTC)
        return Waiting(entry, at, "", "", (), 0, UNREADABLE.format(folder=entry), at, readable=False)

    def _failed(self, entry: Waiting, error: str, now: datetime) -> None:
        wait = min(FIRST_WAIT * 2 ** min(entry.attempts, 16), LONGEST_WAIT)
        self._change(entry.id, attempts=entry.attempts + 1, error=error, next_at=(now + wait).isoformat())

    def _change(self, entry: str, **values: Any) -> None:
        file = self.folder / entry / _ENTRY
        try:
            write_object(file, {**read_object(file), **values})
        except (OSError, DataError):  # sent or discarded meanwhile, or no room: it is tried again all the same
            return

    def _drop(self, entry: str, name: str) -> None:
        """Take an entry out in one step, and delete its files; of one that was sent the folder stays."""
        gone = self.folder / name
        try:
            (self.folder / entry).rename(gone)
        except OSError as e:
            raise DataError(f"The outbox cannot be written: {e.strerror}.") from e
        if gone.suffix == _SENT:
            with suppress(OSError):  # what stays is deleted later
                _empty(gone)
        else:
            shutil.rmtree(gone, ignore_errors=True)

    @contextmanager
    def _locked(self, entry: str) -> Iterator[bool]:
        """Hold an entry; whether that was possible."""
        try:
            descriptor = os.open(self.folder / entry, os.O_RDONLY)
        except OSError:
            yield False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)


def _mark(entry: str) -> str:
    """Return the name of the empty folder that says that an entry was sent."""
    return f".{entry}{_SENT}"


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink(missing_ok=True)
