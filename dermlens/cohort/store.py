"""A folder on this machine or in an object store: what is in it, read and replaced whole.

A place is a path, or an address such as s3://bucket/folder or gs://bucket/folder, as Arrow's file systems know it;
options of Arrow may follow it: s3://bucket/folder?region=eu-central-1&endpoint_override=localhost:5000&scheme=http.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from pyarrow import ArrowException, fs

from dermlens.errors import DataError
from dermlens.files.addresses import shown_address
from dermlens.files.documents import Document, read_at_most, unwritable
from dermlens.ingest.read import file_bytes

_NO_ADDRESS = (
    "it is not an address that Arrow's file systems read, such as s3://bucket/folder?region=eu-central-1. A key in it "
    "must be percent-encoded; better leave it to the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."
)
PARTIAL = ".part"
"""Suffix of a file that is being written; what a kill leaves of it is hidden, and never read."""


class Item(NamedTuple):
    """A file of a place."""

    path: str
    """from the place, with slashes"""
    bytes: int
    modified: int
    """when it was last changed, in ns since 1970; an object store tells whole seconds"""


@dataclass(frozen=True)
class Place:
    """A folder somewhere; it can be handed to another process or machine."""

    address: str
    """absolute path, or address with its options"""

    @cached_property
    def local(self) -> Path | None:
        """The folder, if it is on this machine or mounted on it."""
        return None if "://" in self.address else Path(self.address)

    @cached_property
    def _remote(self) -> tuple[fs.FileSystem, str]:
        try:
            system, path = fs.FileSystem.from_uri(self.address)
        except OSError as e:
            raise DataError(f"{self.shown} is no place that can be reached: {e}.") from e
        except (ArrowException, ValueError):  # its message repeats the address, with keys
            raise DataError(f"{self.shown} is no place that can be reached: {_NO_ADDRESS}") from None
        return system, path.rstrip("/")

    @property
    def shown(self) -> str:
        """How it is named to a person: without options and credentials."""
        return shown_address(self.address)

    def items(self) -> list[Item]:
        """Return the files right in this folder, in order of their names; none if there is no such folder.

        Raises:
            DataError: it cannot be listed.
        """
        try:
            return sorted(self._files() if self.local else self._objects(recursive=False))
        except OSError as e:
            raise DataError(f"{self.shown} cannot be listed: {e.strerror or e}.") from e

    def below(self) -> Iterator[Item]:
        """Yield all files of a folder of an object store and of those below it.

        Raises:
            DataError: it cannot be listed.
        """
        try:
            yield from self._objects(recursive=True)
        except OSError as e:
            raise DataError(f"{self.shown} cannot be listed: {e}.") from e

    def head(self, path: str, most: int) -> bytes:
        """Return at most the first bytes of a file.

        Args:
            path: from the place; of a place on this machine an absolute one too. most: how many.

        Raises:
            OSError: it cannot be read. ImageError: it is no regular file.
        """
        if self.local:
            return file_bytes(self.local / path, most)
        system, root = self._remote
        with system.open_input_stream(f"{root}/{path}", buffer_size=0) as stream:
            return read_at_most(stream, most)

    def read(self, name: str) -> bytes:
        """Return a file of ours; raises DataError if it cannot be read."""
        try:
            if self.local:
                return (self.local / name).read_bytes()
            system, root = self._remote
            with system.open_input_file(f"{root}/{name}") as file:
                return file.read()
        except OSError as e:
            raise DataError(f"{self.shown}/{name} cannot be read: {e.strerror or e}.") from e

    def parquet(self, name: str) -> pq.ParquetFile:
        """Open a Parquet file, of which only what is asked for is read, and that against its checksums.

        Raises:
            DataError: it is none. To read a page of it that was changed raises OSError.
        """
        try:
            if self.local:
                return pq.ParquetFile(self.local / name, page_checksum_verification=True)
            system, root = self._remote
            return pq.ParquetFile(system.open_input_file(f"{root}/{name}"), page_checksum_verification=True)
        except (OSError, ArrowException) as e:
            raise DataError(f"{self.shown}/{name} cannot be read: {e}.") from e

    def document(self, name: str) -> Document:
        """Return a file of ours for the readers of `dermlens.files`; raises as `read`."""
        return Document(Path(self.shown, name), self.read(name))

    def has(self, name: str) -> bool:
        """Return whether there is a file of that name right in this folder."""
        if self.local:
            return (self.local / name).is_file()
        system, root = self._remote
        return system.get_file_info(f"{root}/{name}").type == fs.FileType.File

    def write(self, name: str, data: bytes) -> None:
        """Replace a file in one step: whoever reads, and a kill at any moment, finds the old content or the new.

        On this machine by a temporary file that is on the disk before it gets the name; in an object store by one put.

        Raises:
            DataError: it cannot be written.
        """
        if not self.local:
            system, root = self._remote
            try:
                with system.open_output_stream(f"{root}/{name}", buffer_size=0) as stream:
                    stream.write(data)
            except OSError as e:
                raise DataError(f"{self.shown}/{name} cannot be written: {e}.") from e
            return
        partial = self.local / f".{name}.{uuid.uuid4().hex}{PARTIAL}"  # another machine may write the same file
        try:
            self.local.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.local / name)
        except OSError as e:
            partial.unlink(missing_ok=True)
            raise DataError(unwritable(self.local / name, e)) from e

    def remove_partial(self) -> None:
        """Remove what kills have left of files that were being written; nobody may be writing."""
        for file in self.local.glob(f".*{PARTIAL}") if self.local else ():
            file.unlink(missing_ok=True)

    def _files(self) -> Iterator[Item]:
        for entry in os.scandir(self.local) if self.local and self.local.is_dir() else ():
            if not entry.name.endswith(PARTIAL) and entry.is_file():
                with suppress(FileNotFoundError):  # it went while we looked
                    known = entry.stat()
                    yield Item(entry.name, known.st_size, known.st_mtime_ns)

    def _objects(self, recursive: bool) -> Iterator[Item]:
        system, root = self._remote
        for info in system.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=recursive)):
            if info.type == fs.FileType.File:
                yield Item(info.path[len(root) + 1 :], info.size, info.mtime_ns or 0)


def place(text: str | Path) -> Place:
    """Return the place that a person names: a path or an address."""
    named = str(text)
    if named.startswith("file://"):
        try:
            named = fs.FileSystem.from_uri(named)[1]
        except (ArrowException, ValueError, OSError) as e:
            raise DataError(f"{named} is no address of a folder on this machine: {e}.") from e
    return Place(named if "://" in named else os.path.abspath(named))
