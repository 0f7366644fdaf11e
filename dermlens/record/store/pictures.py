"""Kept pictures: encrypted files under random names, in a folder or in S3, apart from the database.

Each record has a folder of its own in the store, and sweeps that alone. What older versions kept lies beside these
folders; it is read and deleted by its name, and never swept, as nothing there says which record wrote it.
"""

import os
import re
import secrets
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from dermlens.errors import ConfigError, RecordError
from dermlens.files.addresses import shown_address
from dermlens.record.store.keys import Keys

SUFFIX = ".sealed"
ORPHANED = timedelta(hours=1)
"""A picture that no image names and that is older belongs to a saving that did not come to its end."""
_NAME = re.compile(r"([0-9a-f]{16}/)?[0-9a-f]{2}/[0-9a-f]{32}\.sealed")
_MARK = "head"
_LONGEST_MARK = 200
_FAILED = "The store of pictures {where} {what}: {why}."


class Pictures:
    """A store of encrypted pictures."""

    def __init__(self, where: str, keys: Keys) -> None:
        """Open a store.

        Args:
            where: a folder, made if it is not there, or s3://bucket/prefix with the credentials that S3 clients read.
            keys: to encrypt with.

        Raises:
            ConfigError: the address cannot be used. RecordError: the folder cannot be made.
        """
        self._keys, self._where = keys, shown_address(where)
        try:
            if "://" in where:
                self._files, self._root = FileSystem.from_uri(where)
            else:
                Path(where).mkdir(mode=0o700, parents=True, exist_ok=True)
                self._files, self._root = LocalFileSystem(), str(Path(where).resolve())
        except OSError as e:
            raise RecordError(
                _FAILED.format(where=shown_address(where), what="cannot be made", why=e.strerror or e)
            ) from None
        except ValueError:
            raise ConfigError(
                f"DERMLENS_RECORD_PICTURES must be a folder or s3://bucket/prefix, got {shown_address(where)!r}."
            ) from None

    def keep(self, pixels: np.ndarray, origin: str) -> str:
        """Store (h, w, 3) uint8 RGB pixels, encrypted, as PNG; returns the name. RecordError if it cannot be.

        Args:
            pixels: to store. origin: of the record, as `audit.origin` gives it.
        """
        name = _new_name(origin)
        done, png = cv2.imencode(".png", pixels[..., ::-1])
        if not done:
            raise RecordError("The picture cannot be encoded.")
        self._write(origin, name, self._keys.seal(png.tobytes(), name))
        return name

    def _write(self, origin: str, name: str, data: bytes) -> None:
        """Write a file whole; what a write that was cut off leaves is swept."""
        partial = f"{self._root}/{_new_name(origin)}.part"
        try:
            for path in (partial, f"{self._root}/{name}"):
                self._files.create_dir(path.rpartition("/")[0], recursive=True)
            with self._files.open_output_stream(partial) as out:
                out.write(data)
            self._sync(partial)
            self._files.move(partial, f"{self._root}/{name}")
            self._sync(*map(str, Path(self._root, name).parents[: name.count("/") + 1]))
        except OSError as e:
            raise self._failed("cannot be written", e) from None

    def _sync(self, *paths: str) -> None:
        """Have files and folders on the disk itself, where they lie on one of this machine."""
        if not isinstance(self._files, LocalFileSystem):
            return
        for path in paths:
            opened = os.open(path, os.O_RDONLY)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)

    def read(self, name: str) -> np.ndarray:
        """Return the (h, w, 3) uint8 RGB pixels of a kept picture; RecordError if it is gone or was changed."""
        _check(name)
        try:
            with self._files.open_input_stream(f"{self._root}/{name}") as file:
                sealed = file.read()
        except FileNotFoundError:
            raise RecordError("The picture is not in its store any more.") from None
        except OSError as e:
            raise self._failed("cannot be read", e) from None
        found = cv2.imdecode(np.frombuffer(self._keys.open(sealed, name), np.uint8), cv2.IMREAD_COLOR)
        if found is None:
            raise RecordError("The picture cannot be decoded.")
        return np.ascontiguousarray(found[..., ::-1])

    def delete(self, name: str) -> None:
        """Delete a picture; nothing if it is gone already. RecordError if it cannot be."""
        _check(name)
        try:
            self._files.delete_file(f"{self._root}/{name}")
            self._sync(f"{self._root}/{name.rpartition('/')[0]}")
        except FileNotFoundError:
            return
        except OSError as e:
            raise self._failed("cannot delete", e) from None

    def lacks(self, names: Collection[str]) -> str:
        """Return a folder of the store in which pictures should lie and which is not there; empty if all are."""
        for folder in sorted({name.partition("/")[0] for name in names}):
            try:
                found = self._files.get_file_info(f"{self._root}/{folder}")
            except OSError as e:
                raise self._failed("cannot be read", e) from None
            if found.type != FileType.Directory:
                return folder
        return ""

    def marked(self, origin: str) -> str:
        """Return the line of the audit chain that a record marked its folder with; empty if there is none."""
        try:
            with self._files.open_input_stream(f"{self._root}/{_folder(origin)}/{_MARK}") as file:
                return file.read(_LONGEST_MARK).decode(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as e:
            raise self._failed("cannot be read", e) from None

    def mark(self, origin: str, line: str) -> None:
        """Mark the folder of a record with a line of its audit chain, which an older copy of the record has not."""
        self._write(origin, f"{_folder(origin)}/{_MARK}", line.encode())

    def sweep(self, origin: str, named: Collection[str], before: datetime) -> int:
        """Delete what a record wrote before a time and no image names, left by savings that were cut off.

        Returns:
            How many.

        Raises:
            RecordError: the store cannot be read, or does not delete.
        """
        own = f"{self._root}/{_folder(origin)}"
        try:
            found = self._files.get_file_info(FileSelector(own, recursive=True, allow_not_found=True))
        except OSError as e:
            raise self._failed("cannot be read", e) from None
        gone = 0
        for file in found:
            name = file.path.removeprefix(self._root).lstrip("/")
            ours = file.type == FileType.File and _NAME.fullmatch(name.removesuffix(".part"))
            if ours and name not in named and file.mtime is not None and _latest(file.mtime) < before:
                try:
                    self._files.delete_file(file.path)
                except FileNotFoundError:  # another server sweeps too
                    continue
                except OSError as e:
                    raise self._failed("cannot delete", e) from None
                gone += 1
        return gone

    def _failed(self, what: str, error: OSError) -> RecordError:
        return RecordError(_FAILED.format(where=self._where, what=what, why=error.strerror or error))


def _latest(told: datetime) -> datetime:
    """Return the latest time at which a file can have been written; object stores tell whole seconds, rounded down."""
    return told.astimezone(UTC) + timedelta(seconds=0 if told.microsecond else 1)


def _folder(origin: str) -> str:
    return origin[:16]


def _new_name(origin: str) -> str:
    name = secrets.token_hex(16)
    return f"{_folder(origin)}/{name[:2]}/{name}{SUFFIX}"


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise RecordError("The record names no picture here.")
