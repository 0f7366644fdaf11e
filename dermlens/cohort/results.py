"""What a cohort has come to: how far it is, what was counted, and its rows."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from dermlens.cohort import manifest, part
from dermlens.cohort.run import RECORD, footers, refuse_other
from dermlens.cohort.run import present as present
from dermlens.cohort.store import Place, place
from dermlens.errors import DataError
from dermlens.files.addresses import shown_address
from dermlens.files.documents import read_object, shortened
from dermlens.wording import counted

SILENCE = (600.0, 24 * 3600.0)
"""Least and most seconds without a new part after which a run counts as stopped."""


@dataclass(frozen=True)
class Status:
    """How far a run is."""

    record: dict[str, Any]
    """cohort.json"""
    rows: int
    done: int
    """rows in parts that count"""
    shards: int
    parts: tuple[int, ...]
    """numbers of the shards that are done"""
    counts: dict[str, int]
    """part.COUNTS and part.JUDGED over the parts that count"""
    rate: float
    """images a second, of all workers together; NaN before the first part"""
    seconds_left: float
    """NaN where it is not known"""
    state: str
    """finished, running or stopped"""

    @property
    def finished(self) -> bool:
        """Whether every row is there."""
        return self.state == "finished"


def status(output: Place, now: float) -> Status:
    """Look at an output folder.

    Args:
        output: the folder. now: in seconds since 1970.

    Raises:
        DataError: it is none, a file of it is damaged, or its list or a part is of another run than its record.
    """
    if not output.has(RECORD):
        raise DataError(f"{output.shown} holds no {RECORD}: it is not the output of a cohort.")
    record = read_object(output.document(RECORD))
    if isinstance(written := record.get("input"), str):
        record["input"] = shown_address(written)  # older versions left a key in it
    listed = manifest.read(output)
    wanted = {key: str(value) for key, value in record.items()}
    if listed.paths_sha256() != wanted.get("manifest_sha256"):
        raise DataError(f"{output.shown}/{manifest.FILE} is not the list of images that the cohort was made from.")
    found = [footer for footer in footers(output, (n for n in present(output) if n < listed.shards)) if footer]
    for footer in found:
        refuse_other(f"{output.shown}/{part.name_of(footer.number)} was made", footer.values, wanted)
    parts = [f for f in found if f.values[part.SHARD] == manifest.shard_sha256(listed.shard(f.number))]
    rows, done = len(listed.table), sum(footer.count("rows") for footer in parts)
    seconds = sum(footer.seconds for footer in parts)
    rate = done / seconds * _at_once(parts) if seconds > 0 else np.nan
    touched = max(item.modified / 1e9 for item in output.items())
    silence = np.clip(3 * max((footer.seconds for footer in parts), default=0.0), *SILENCE)
    state = "finished" if done == rows else "running" if abs(now - touched) < silence else "stopped"
    return Status(
        record,
        rows,
        done,
        listed.shards,
        tuple(footer.number for footer in parts),
        {name: sum(footer.count(name) for footer in parts) for name in (*part.COUNTS, *part.JUDGED.values())},
        float(rate),
        float((rows - done) / rate) if rate > 0 else np.nan,
        state,
    )


def cohorts_dir() -> Path:
    """Return the folder whose cohorts the dashboard shows: $DERMLENS_COHORTS, or cohorts/ beside the code."""
    return Path(os.environ.get("DERMLENS_COHORTS") or Path(__file__).parents[2] / "cohorts")


def find_cohorts(folder: Path) -> list[Place]:
    """Return the output folders of cohorts in a folder, the one that was begun last first; none if it is missing."""
    found = [file for file in folder.glob(f"*/{RECORD}") if file.is_file()] if folder.is_dir() else []
    return [place(file.parent) for file in sorted(found, key=lambda file: -file.stat().st_mtime)]


def _at_once(parts: Sequence[part.Footer]) -> int:
    """Return the most parts that were worked on at one time."""
    edges = [(float(p.values[part.STARTED]), 1) for p in parts] + [(p.finished, -1) for p in parts]
    return int(np.cumsum([step for _, step in sorted(edges)]).max(initial=0))


def batches(output: Place, numbers: Sequence[int], columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of parts, part by part; raises DataError if one cannot be read."""
    for number in numbers:
        yield part.read_part(output, number, columns)


def rows(output: Place, numbers: Sequence[int], columns: list[str] | None = None) -> pa.Table:
    """Return the rows of parts as one table; raises DataError if one cannot be read, or there is none."""
    found = list(batches(output, numbers, columns))
    if not found:
        raise DataError(f"{output.shown} holds no finished part yet.")
    return pa.concat_tables([table.replace_schema_metadata(None) for table in found])


def complete(output: Place, now: float) -> Status:
    """Return the status of a finished run; raises DataError if rows are missing."""
    found = status(output, now)
    if not found.finished:
        raise DataError(
            f"{output.shown} holds {found.done:,} of {found.rows:,} rows. Run the same command again to finish it."
        )
    return found


def stem(path: str) -> str:
    """Return the id of an image in a submission: the name of its file without suffix."""
    return PurePosixPath(path).stem


def refuse_equal_stems(paths: Sequence[str]) -> None:
    """Raise DataError if two paths have one id."""
    counts = Counter(map(stem, paths))
    if len(counts) == len(paths):
        return
    doubles = sorted((path for path in paths if counts[stem(path)] > 1), key=lambda path: (stem(path), path))
    shown = shortened(", ".join(doubles[:6]), 600)
    ids = sum(n > 1 for n in counts.values())
    said = f"{counted(ids, 'image id')} {'occurs' if ids == 1 else 'occur'} more than once ({shown})"
    raise DataError(f"{said}. Ids are file names without suffix: rename them.")
