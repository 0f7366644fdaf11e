"""Kept pictures: encrypted files under random names, in a folder or in S3, apart from the database."""

import re
import secrets
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from dermlens.errors import ConfigError, RecordError
from dermlens.record.store.keys import Keys

SUFFIX = ".sealed"
ORPHANED = timedelta(hours=1)
"""A picture that no image names and that is older belongs to a saving that did not come to its end."""
_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}\.sealed")
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
        self._keys, self._where = keys, _shown(where)
        try:
            if "://" in where:
                self._files, self._root = FileSystem.from_uri(where)
            else:
                Path(where).mkdir(mode=0o700, parents=True, exist_ok=True)
                self._files, self._root = LocalFileSystem(), str(Path(where).resolve())
        except OSError as e:
            raise RecordError(_FAILED.format(where=_shown(where), what="cannot be made", why=e.strerror or e)) from None
        except ValueError:
            raise ConfigError(
                f"DERMLENS_RECORD_PICTURES must be a folder or s3://bucket/prefix, got {_shown(where)!r}."
            ) from None

    def keep(self, pixels: np.ndarray) -> str:
        """Store (h, w, 3) uint8 RGB pixels, encrypted, as PNG; returns the name. RecordError if it cannot be."""
        name = secrets.token_hex(16)
        name = f"{name[:2]}/{name}{SUFFIX}"
        done, png = cv2.imencode(".png", pixels[..., ::-1])
        if not done:
            raise RecordError("The picture cannot be encoded.")
        try:
            self._files.create_dir(f"{self._root}/{name[:2]}", recursive=True)
            partial = f"{self._root}/{name}.part"
            with self._files.open_output_stream(partial) as out:
                out.write(self._keys.seal(png.tobytes(), name))
            self._files.move(partial, f"{self._root}/{name}")
        except OSError as e:
            raise RecordError(
                _FAILED.format(where=self._where, what="cannot be written", why=e.strerror or e)
            ) from None
        return name

    def read(self, name: str) -> np.ndarray:
        """Return the (h, w, 3) uint8 RGB pixels of a kept picture; RecordError if it is gone or was changed."""
        _check(name)
        try:
            with self._files.open_input_stream(f"{self._root}/{name}") as file:
                sealed = file.read()
        except FileNotFoundError:
            raise RecordError("The picture is not in its store any more.") from None
        except OSError as e:
            raise RecordError(_FAILED.format(where=self._where, what="cannot be read", why=e.strerror or e)) from None
        found = cv2.imdecode(np.frombuffer(self._keys.open(sealed, name), np.uint8), cv2.IMREAD_COLOR)
        if found is None:
            raise RecordError("The picture cannot be decoded.")
        return np.ascontiguousarray(found[..., ::-1])

    def delete(self, name: str) -> None:
        """Delete a picture; nothing if it is gone already. RecordError if it cannot be."""
        _check(name)
        try:
            self._files.delete_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return
        except OSError as e:
            raise RecordError(_FAILED.format(where=self._where, what="cannot delete", why=e.strerror or e)) from None

    def sweep(self, named: Collection[str], now: datetime | None = None) -> int:
        """Delete what no image names, left by savings and deletions that were cut off; returns how many."""
        before = (now or datetime.now(UTC)) - ORPHANED
        try:
            found = self._files.get_file_info(FileSelector(self._root, recursive=True, allow_not_found=True))
        except OSError as e:
            raise RecordError(_FAILED.format(where=self._where, what="cannot be read", why=e.strerror or e)) from None
        gone = 0
        for file in found:
            name = file.path.removeprefix(self._root).lstrip("/")
            ours = file.type == FileType.File and _NAME.fullmatch(name.removesuffix(".part"))
            if ours and name not in named and file.mtime is not None and file.mtime.astimezone(UTC) < before:
                self._files.delete_file(file.path)
                gone += 1
        return gone


def _shown(where: str) -> str:
    """Return an address without its options and credentials."""
    return re.sub(r"://[^/]*@", "://", where.partition("?")[0] if "://" in where else where)


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise RecordError("The record names no picture here.")
