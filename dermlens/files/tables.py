"""CSV files of ours: read strictly, so that what is wrong is said with file, line and column, and written alike."""

import csv
import io
import re
from typing import Any

import numpy as np
import pandas as pd

from dermlens.errors import DataError
from dermlens.files.documents import File, decode, read_bytes, shortened, shown

MAX_BYTES = 16 * 2**20
"""Most bytes of a table that are read, unless who reads it allows more."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet takes for a formula; a tab or a line break before one is passed over."""
_NUMBER = re.compile(r"\s*([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan)\s*", re.ASCII | re.IGNORECASE)


def encode_csv(table: pd.DataFrame) -> bytes:
    """Return a table as `read_csv` reads it, without its index."""
    return table.to_csv(index=False, lineterminator="\n").encode()


def read_csv(
    file: File, types: dict[str, type], empty: str = "the file has a header but no rows", most: int = MAX_BYTES
) -> pd.DataFrame:
    """Read some columns of a CSV file with a header; further columns and empty lines are passed over.

    Args:
        file: UTF-8, comma separated, quoted as RFC 4180 says.
        types: column -> str or float. A cell that is not a number becomes NaN, an empty text stays empty.
        empty: what to say of a file without rows.
        most: bytes the file may have.

    Returns:
        The columns in the order of `types`; the index is the line of the file on which each row begins, from 1.

    Raises:
        DataError: the file is missing, too large, empty or not UTF-8 CSV, lacks a column or has it twice, or a row has
            more or fewer cells than the header.
    """
    where = shown(file)
    text = decode(read_bytes(file, most), where)
    table = _plain(text, types)
    return _any(text, types, where, empty) if table is None else table


def header(file: File, most: int = MAX_BYTES) -> list[str]:
    """Return the names of the columns of a CSV file, [] of an empty one; arguments and what is raised as `read_csv`."""
    where = shown(file)
    try:
        return next(csv.reader(io.StringIO(decode(read_bytes(file, most), where), newline=""), strict=True), [])
    except csv.Error as e:
        raise DataError(f"{where}, line 1: this is not CSV ({e}).") from e


def _plain(text: str, types: dict[str, type]) -> pd.DataFrame | None:
    """Read a table without quotes or empty lines, all of whose numbers are finite; None if `text` is anything else.

    That is what programs write. It takes a quarter of the time that `_any` takes, which can say what is wrong.
    """
    text = text.replace("\r\n", "\n")
    header = text.partition("\n")[0].split(",")
    if any(sign in text for sign in '"\r\0') or len(header) < 2 or any(header.count(name) != 1 for name in types):
        return None
    data = (text if text.endswith("\n") else f"{text}\n").encode()
    signs = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero((signs == ord(",")) | (signs == ord("\n")))  # of cells
    pattern = np.frombuffer(b"," * (len(header) - 1) + b"\n", np.uint8)
    rows = len(ends) // len(header) - 1
    if rows < 1 or len(ends) % len(header) or (signs[ends].reshape(-1, len(header)) != pattern).any():
        return None
    if np.diff(ends, prepend=-1).max() > csv.field_size_limit():
        return None
    kinds = {header.index(name): kind for name, kind in types.items()}
    numbers = [place for place, kind in kinds.items() if kind is float]
    begin = signs[np.append(0, ends[:-1] + 1).reshape(-1, len(header))[1:, numbers]]
    if not np.isin(begin, list(b"+-.0123456789")).all():  # pandas would take True for 1
        return None
    options = {"skiprows": 1, "skip_blank_lines": False, "na_filter": False, "quoting": csv.QUOTE_NONE}
    try:
        found = pd.read_csv(io.BytesIO(data), header=None, usecols=list(kinds), dtype=kinds, **options)
    except ValueError:  # a number that is none
        return None
    table = found[list(kinds)].set_axis(list(types), axis=1).set_axis(pd.RangeIndex(2, rows + 2, name="line"))
    return table if np.isfinite(found[numbers].to_numpy(np.float64)).all() else None


def _any(text: str, types: dict[str, type], where: str, empty: str) -> pd.DataFrame:
    """Read any table, as `read_csv` says."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, lines, line = [], [], 1
    try:
        header = next(reader, [])
        wanted = _places(where, header, list(types))
        line = reader.line_num + 1
        for row in reader:
            if row:
                if len(row) != len(header):
                    raise DataError(f"{where}, line {line}: {len(row)} cells, but the header has {len(header)}.")
                rows.append([row[i] for i in wanted])
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as e:
        raise DataError(f"{where}, line {line}: this is not CSV ({e}).") from e
    if not rows:
        raise DataError(f"{where}: {empty}.")
    texts = pd.DataFrame(rows, index=pd.Index(lines, name="line"), columns=list(types), dtype=object)
    return texts.assign(
        **{n: numbers(texts[n]) if kind is float else texts[n].astype(str) for n, kind in types.items()}
    )


def numbers(cells: pd.Series) -> np.ndarray:
    """Return texts (n,) as float64; NaN where one is not a number."""
    return np.array([float(cell) if _NUMBER.fullmatch(cell) else np.nan for cell in cells], np.float64)


def plain_cell(text: str) -> str:
    """Return text from outside for a table that may be opened in a spreadsheet, which would run what begins with =."""
    return f"'{text}" if text[:1] in _FORMULA else text


def refuse(file: File, table: pd.DataFrame, column: str, bad: Any, why: str) -> None:
    """Raise a DataError that names the first bad cell and how many there are; nothing if there are none.

    Args:
        file, table: as read. column: where the bad cells are. bad: (n,) bool. why: as in "is empty".
    """
    rows = np.flatnonzero(np.asarray(bad))
    if len(rows) == 0:
        return
    first = rows[0]
    cell = table[column].iloc[first]
    cell = shortened(repr(cell) if isinstance(cell, str) else str(cell))
    more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
    raise DataError(f"{shown(file)}, line {table.index[first]}, column {column}: {cell} {why}{more}.")


def _places(where: str, header: list[str], wanted: list[str]) -> list[int]:
    if not header:
        raise DataError(f"{where}: the file is empty; it needs the columns {', '.join(wanted)}.")
    missing = [name for name in wanted if name not in header]
    if missing:
        has = shortened(", ".join(header), 600)
        raise DataError(f"{where}: column {', '.join(missing)} is missing; the file has {has}.")
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise DataError(f"{where}: column {', '.join(twice)} occurs more than once.")
    return [header.index(name) for name in wanted]
