"""Write the rows of a finished cohort as one file: Parquet, CSV, or a submission in the ISIC format."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import Any, NamedTuple, TextIO

import pyarrow.parquet as pq

from dermlens.cohort import manifest, results
from dermlens.cohort.results import Status, refuse_equal_stems, stem
from dermlens.cohort.store import Place
from dermlens.errors import DataError
from dermlens.evaluation.prediction_formats import PROBABILITIES
from dermlens.files.documents import unwritable
from dermlens.files.tables import plain_cell
from dermlens.interchange.isic import HEADER, cells


class Left(NamedTuple):
    """Images that are not in a submission as they should be; paths as the manifest has them."""

    unreadable: list[tuple[str, str]]
    """path and reason: they have no row"""
    unlike: list[str]
    """they have a row, but are refused"""
    referrals: list[tuple[str, int, str]]
    """id, 1 or 0, and the rules that fire, of every image, where there are rules for referral"""


def write_parquet(output: Place, status: Status, file: Path) -> None:
    """Write all columns of all rows as one Parquet file, in the order of the rows."""
    with _replacing_binary(file) as partial:
        writer: pq.ParquetWriter | None = None
        for table in results.batches(output, status.parts):
            plain = table.replace_schema_metadata(None)
            writer = writer or pq.ParquetWriter(partial, plain.schema, compression="zstd")
            writer.write_table(plain)
        if writer:
            writer.close()


def write_csv(output: Place, status: Status, file: Path) -> None:
    """Write all columns of all rows as CSV; lists are written with spaces between their entries."""
    with replacing(file) as opened:
        writer = csv.writer(opened, lineterminator="\n")
        for i, table in enumerate(results.batches(output, status.parts)):
            if i == 0:
                writer.writerow(table.column_names)
            writer.writerows(map(_cells, zip(*table.to_pydict().values(), strict=True)))


class Submission:
    """A submission in the ISIC format that is being written: a row for every image that could be read."""

    def __init__(self, opened: TextIO) -> None:
        self._writer = csv.writer(opened, lineterminator="\n")
        self._writer.writerow(HEADER)
        self.left = Left([], [], [])

    def add(
        self,
        path: str,
        why: str | None,
        shares: Sequence[float],
        refused: bool,
        refer: bool | None,
        rules: Iterable[str],
    ) -> None:
        """Add an image.

        Args:
            path: of the file. why: it cannot be read; None if it was. shares: (7,) probabilities.
            refused: whether it does not look dermoscopic. refer: None without rules for referral. rules: that fire.
        """
        if why is not None:
            self.left.unreadable.append((path, why))
            return
        self._writer.writerow(cells(plain_cell(stem(path)), shares))
        if refused:
            self.left.unlike.append(path)
        if refer is not None:
            self.left.referrals.append((stem(path), int(refer), ";".join(rules)))


def write_isic(output: Place, status: Status, opened: TextIO) -> Left:
    """Write the submission of a finished run.

    Args:
        output, status: of the run. opened: the file.

    Raises:
        DataError: two images have one id.
    """
    listed = manifest.read(output)
    paths = [os.fsdecode(path) for path in listed.table["path"].to_pylist()]
    refuse_equal_stems(paths)
    submission = Submission(opened)
    wanted = ["row", *PROBABILITIES, "refused", "refer", "reasons", "error_sentence"]
    for table in results.batches(output, status.parts, wanted):
        for row, *shares, refused, refer, rules, why in zip(*(table[name].to_pylist() for name in wanted), strict=True):
            submission.add(paths[row], why, shares, refused, refer, rules or ())
    return submission.left


@contextmanager
def replacing(path: Path, room: int = 0, beside: Path | None = None) -> Iterator[TextIO]:
    """Give a file that takes the place of `path` once it is written; if anything fails, what was there stays.

    Args:
        path: the file to replace.
        room: bytes that are taken on the disk at once, so that a full one is met before hours of work, not after them.
        beside: the folder to write in meanwhile, on the same disk; that of the file by default.

    Raises:
        DataError: it cannot be written.
    """
    with (
        _replacing(path, beside) as (handle, _),
        # File names that are not valid text are written back as the bytes they are.
        os.fdopen(handle, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        if room and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, room)
        yield file
        file.truncate()


@contextmanager
def _replacing_binary(path: Path) -> Iterator[str]:
    with _replacing(path, None) as (handle, name):
        os.close(handle)
        yield name


@contextmanager
def _replacing(path: Path, beside: Path | None) -> Iterator[tuple[int, str]]:
    try:
        handle, name = mkstemp(dir=beside or path.parent, prefix=f".{path.name}.")
        try:
            yield handle, name
            os.chmod(name, 0o644)
            os.replace(name, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)
    except OSError as e:
        raise DataError(unwritable(path, e)) from e


def _cells(row: tuple[Any, ...]) -> list[str]:
    return [_cell(value) for value in row]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.8g}" if isinstance(value, float) else plain_cell(str(value))


def _isic_file(output: Place, status: Status, file: Path) -> None:
    with replacing(file) as opened:
        left = write_isic(output, status, opened)
    for what, header, rows in (
        ("errors", ("file", "reason"), left.unreadable),
        ("unlike", ("file",), [(path,) for path in left.unlike]),
        ("referral", ("image", "refer", "rules"), left.referrals),
    ):
        write_list(beside(file, what), header, rows)


def beside(output: Path, what: str) -> Path:
    """Return where a list that belongs to a submission file is: such as out.errors.csv for out.csv."""
    return output.with_name(f"{output.stem}.{what}.csv")


def write_left(folder: Path, output: Path, left: Left) -> None:
    """Replace the lists beside a submission: what could not be read, what is no dermoscopy, what to refer."""
    write_list(beside(output, "errors"), ("file", "reason"), [(str(folder / f), why) for f, why in left.unreadable])
    write_list(beside(output, "unlike"), ("file",), [(str(folder / f),) for f in left.unlike])
    write_list(beside(output, "referral"), ("image", "refer", "rules"), left.referrals)


def write_list(file: Path, header: tuple[str, ...], rows: list[Any]) -> None:
    """Replace a list by these rows; without any, there is no file."""
    if not rows:
        file.unlink(missing_ok=True)
        return
    with replacing(file) as opened:
        csv.writer(opened, lineterminator="\n").writerows([header, *map(_cells, rows)])


FORMATS: dict[str, Callable[[Place, Status, Path], None]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "isic": _isic_file,
}
"""Name of a format -> what writes it."""
