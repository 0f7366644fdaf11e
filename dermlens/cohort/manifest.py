"""manifest.parquet: every image of a cohort once, in a fixed order, cut into shards.

A shard is one row group, so that whoever works on it reads no more of the list than that.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dermlens.cohort.store import Item, Place, place
from dermlens.errors import DataError
from dermlens.files.addresses import shown_address
from dermlens.files.documents import read_bytes, shortened
from dermlens.ingest.folder import HEAD, Found, find_images, is_image, kind_by_name
from dermlens.wording import counted

FILE = "manifest.parquet"
SCHEMA = pa.schema({"row": pa.int64(), "path": pa.binary(), "bytes": pa.int64(), "modified": pa.int64()})
"""path is from the input, in bytes, as names of files need not be text; bytes is -1 for a file that is missing, or
may not be opened."""
SHARD_ROWS = 1_000
MANY = 10_000_000
"""From more rows on, shards have MANY_ROWS."""
MANY_ROWS = 10_000
MAX_LIST = 2**34
"""Most bytes of a list of images."""
_CHUNK = 65_536
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SHARD_ROWS = b"dermlens.shard_rows"


@dataclass(frozen=True, eq=False)
class Manifest:
    """The images of a cohort."""

    table: pa.Table
    """as SCHEMA"""
    shard_rows: int

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-len(self.table) // self.shard_rows)

    def shard(self, number: int) -> pa.Table:
        """Return the rows of a shard, 0 .. shards - 1."""
        return self.table.slice(number * self.shard_rows, self.shard_rows)

    def paths_sha256(self) -> str:
        """Return the SHA-256 of which images there are and how they are cut into shards; not of what they hold."""
        digest = hashlib.sha256(str(self.shard_rows).encode())
        for number in range(self.shards):
            digest.update(_joined(self.shard(number)))
        return digest.hexdigest()


def shard_sha256(rows: pa.Table) -> str:
    """Return the SHA-256 of the rows of a shard: it changes when an image there is changed."""
    digest = hashlib.sha256(_joined(rows))
    for name in ("bytes", "modified"):
        digest.update(np.ascontiguousarray(rows[name].to_numpy(), "<i8").tobytes())
    return digest.hexdigest()


def list_images(source: str, shard_rows: int | None = None) -> tuple[Manifest, Place, Found]:
    """List the images of a folder, with those below it, or of a list of images.

    Args:
        source: a folder, an address in an object store, or a file: .txt with a path a line, or .parquet with a column
            path. The paths of a list are from the folder that it is in, or absolute.
        shard_rows: rows of a shard; by their number if it is not given.

    Returns:
        The manifest, the place that its paths are from, and what was passed over.

    Raises:
        DataError: there is no such folder or list, it holds no image, or a path is listed twice, empty or an address.
    """
    where = place(source)
    found = Found()
    if where.local and where.local.is_file():
        if where.local.suffix.lower() not in (".txt", ".parquet"):
            raise DataError(f"{source} is no list of images: a .txt or .parquet file is expected, or a folder.")
        found.images = _listed(where.local)
        where = Place(str(where.local.parent))
    elif where.local:
        found = find_images(where.local)
    root = where.local
    items: Iterable[Item] = (_stat(root, path) for path in found.images) if root else _among(where, found)
    table = _table(items)
    return Manifest(table, shard_rows or (MANY_ROWS if len(table) > MANY else SHARD_ROWS)), where, found


def encode(manifest: Manifest) -> bytes:
    """Return manifest.parquet."""
    buffer = io.BytesIO()
    schema = SCHEMA.with_metadata({_SHARD_ROWS: str(manifest.shard_rows)})
    with pq.ParquetWriter(buffer, schema, compression="zstd", write_page_checksum=True) as writer:
        for number in range(manifest.shards):
            writer.write_table(manifest.shard(number).cast(schema), row_group_size=manifest.shard_rows)
    return buffer.getvalue()


def read(folder: Place) -> Manifest:
    """Read the manifest of an output folder; raises DataError if there is none or it is damaged."""
    data = folder.read(FILE)
    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        return Manifest(table.cast(SCHEMA), int((table.schema.metadata or {})[_SHARD_ROWS]))
    except (pa.ArrowException, OSError, KeyError, ValueError) as e:
        raise DataError(f"{folder.shown}/{FILE} is damaged ({e}). Delete it, and run the same command again.") from e


def read_shard(folder: Place, number: int) -> pa.Table:
    """Read one shard of the manifest of an output folder; raises DataError if it cannot be read."""
    try:
        return folder.parquet(FILE).read_row_group(number).cast(SCHEMA)
    except pa.ArrowException as e:
        raise DataError(f"{folder.shown}/{FILE} is damaged ({e}). Delete it, and run the same command again.") from e


def _listed(file: Path) -> list[str]:
    """Return the paths of a list in their order."""
    if file.suffix.lower() == ".txt":
        lines = read_bytes(file, MAX_LIST).removeprefix(b"\xef\xbb\xbf").splitlines()
        paths = [os.fsdecode(line) for line in lines if line.strip()]
    else:
        try:
            column = pq.read_table(file, columns=["path"])["path"].to_pylist()
            paths = [os.fsdecode(path) for path in column if path]
        except (pa.ArrowException, OSError, KeyError, TypeError) as e:
            raise DataError(f"{file} cannot be read as Parquet with a column of paths, 'path' ({e}).") from e
        if empty := [row for row, path in enumerate(column, 1) if not path]:
            raise DataError(
                f"{file} has {counted(len(empty), 'row')} without a path, the first of them row {empty[0]}. Give each "
                "row of its column 'path' one, or leave the row out."
            )
    if not paths:
        raise DataError(f"{file} lists no image.")
    if address := next(filter(_ADDRESS.match, paths), None):
        raise DataError(
            f"{file} lists {shown_address(address)}, which is an address and no path. A list is of files on this "
            "machine: give --input the bucket or folder itself to answer all that is in it."
        )
    paths.sort()
    entries = _entries(file.parent, paths)
    twice = [one for one, following in pairwise(sorted(entries)) if one == following]
    if twice:
        named = dict.fromkeys(path for path, entry in zip(paths, entries, strict=True) if entry == twice[0])
        shown = " and ".join(map(shortened, list(named)[:2]))
        raise DataError(f"{file} lists {counted(len(twice), 'path')} twice, such as {shown}. List each once.")
    return paths


def _entries(root: Path, paths: Iterable[str]) -> list[str]:
    """Return the one path of the file that each path names: absolute, by way of no `.`, `..` or linked folder."""
    folders: dict[str, str] = {}
    found = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            there = "\0" not in folder
            folders[folder] = os.path.realpath(root / folder) if there else os.path.abspath(root / folder)
        found.append(f"{folders[folder]}/{name}")
    return found


def _among(where: Place, found: Found) -> list[Item]:
    """Return the images among the objects of a store, and count what was passed over."""
    items = []
    for item in where.below():
        kind = kind_by_name(item.path)
        if kind == "unknown" and item.bytes and is_image(item.path, where.head(item.path, HEAD)):
            kind = "image"
        if kind == "image":
            items.append(item)
        elif kind == "annotation":
            found.annotations += 1
        else:
            found.others += 1
    if not items:
        raise DataError(f"{where.shown} holds no image; passed over: {found.passed_over}.")
    return sorted(items)


def _stat(root: Path, path: str) -> Item:
    """Return what is known of a file; one that is not there, or may not be opened, is missing."""
    try:
        known = os.stat(root / path)
        may_be_opened = os.access(root / path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)
    except (OSError, ValueError):  # of a path with a NUL character
        return Item(path, -1, 0)
    if not may_be_opened:
        return Item(path, -1, 0)
    return Item(path, known.st_size, known.st_mtime_ns)


def _table(items: Iterable[Item]) -> pa.Table:
    """Return the table of a manifest, made piece by piece so that a million names are not there twice."""
    batches, start, chunk = [], 0, list[Item]()

    def finish() -> None:
        nonlocal start
        columns = [np.arange(start, start + len(chunk)), [os.fsencode(item.path) for item in chunk]]
        columns += [np.array([item[i] for item in chunk], np.int64) for i in (1, 2)]
        batches.append(pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA))
        start += len(chunk)
        chunk.clear()

    for item in items:
        chunk.append(item)
        if len(chunk) == _CHUNK:
            finish()
    if chunk:
        finish()
    return pa.Table.from_batches(batches, SCHEMA)


def _joined(rows: pa.Table) -> bytes:
    paths: Sequence[bytes] = rows["path"].to_pylist()
    return b"".join(path + b"\0" for path in paths)
