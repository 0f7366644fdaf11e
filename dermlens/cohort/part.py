"""part-000000.parquet: the rows of one shard, and in its footer what they were made from.

A part is written whole or not at all. It counts only as long as its footer is that of the run, so that whatever was
killed, and whenever, the parts together hold every row exactly once.
"""

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dermlens.cohort.store import Place
from dermlens.errors import DataError

_NAME = re.compile(r"part-(\d{6,})\.parquet")
_PREFIX = "dermlens."
SHARD, STARTED, FINISHED = "shard_sha256", "started", "finished"
COUNTS = ("rows", "unreadable", "refused", "referred", "poor")
"""What a footer counts, so that a folder of a million rows is summed up without reading them."""
JUDGED = {"refused": "gated", "referred": "ruled"}
"""One of COUNTS -> what counts the rows for which that was judged at all; parts of older versions lack it."""


@dataclass(frozen=True)
class Footer:
    """What a part says of itself."""

    number: int
    """of its shard"""
    values: Mapping[str, str]
    """what it was made from, and its counts"""

    def count(self, name: str) -> int:
        """Return one of COUNTS; of what JUDGED counts, where the part lacks it, the least that it can be."""
        sure = next((of for of, judged in JUDGED.items() if judged == name), name)
        return int(self.values.get(name, self.values[sure]))

    @property
    def seconds(self) -> float:
        """How long one worker took for it."""
        return float(self.values[FINISHED]) - float(self.values[STARTED])

    @property
    def finished(self) -> float:
        """When it was finished, in seconds since 1970."""
        return float(self.values[FINISHED])


def name_of(number: int) -> str:
    """Return the name of the part of a shard."""
    return f"part-{number:06}.parquet"


def number_of(name: str) -> int | None:
    """Return the shard that a file is the part of, None for any other file."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def encode(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, footer: Mapping[str, str]) -> bytes:
    """Return a part: rows by column (one that is not given has no value), with a footer and the counts."""
    rows = list(rows)
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    counts = {
        "rows": len(rows),
        "unreadable": sum(row.get("error") is not None for row in rows),
        "refused": sum(bool(row.get("refused")) for row in rows),
        "referred": sum(bool(row.get("refer")) for row in rows),
        "poor": sum(bool(row.get("poor")) for row in rows),
        "gated": sum(any(name.startswith("unlike_") and of is not None for name, of in row.items()) for row in rows),
        "ruled": sum(row.get("refer") is not None for row in rows),
    }
    values = {**footer, **{name: str(number) for name, number in counts.items()}}
    buffer = io.BytesIO()
    metadata = {f"{_PREFIX}{name}": value for name, value in values.items()}
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def read_footer(folder: Place, number: int) -> Footer | None:
    """Return the footer of a part; None if there is none, or if it is damaged and is to be made again."""
    try:
        found = folder.parquet(name_of(number)).schema_arrow.metadata or {}
    except DataError:
        return None
    values = {
        key.decode().removeprefix(_PREFIX): value.decode()
        for key, value in found.items()
        if key.startswith(_PREFIX.encode())
    }
    return Footer(number, values) if {*COUNTS, SHARD, STARTED, FINISHED} <= values.keys() else None


def read_part(folder: Place, number: int, columns: list[str] | None = None) -> pa.Table:
    """Read some columns of a part, all by default; raises DataError if it cannot be read."""
    file = folder.parquet(name_of(number))
    try:
        return file.read(columns=columns)
    except (pa.ArrowException, OSError) as e:
        raise DataError(f"{folder.shown}/{name_of(number)} is damaged ({e}). Delete it, and run again.") from e
