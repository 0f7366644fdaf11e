"""Outcomes by CSV: read strictly, shown before they are entered, and then entered all together or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from dermlens.errors import DataError, RecordError
from dermlens.files.documents import File
from dermlens.files.tables import encode_csv, read_csv, refuse
from dermlens.labels import CLASSES
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.readings import Found, add_outcome
from dermlens.record.store.tables import Lesion, Outcome
from dermlens.record.vocabulary import BASES, OTHER

COLUMNS = ("case", "diagnosis", "basis", "words", "source")
LONGEST = 120
_NONE: Mapping[int, Found] = {}


@dataclass(frozen=True)
class Row:
    """One line: the case, and what it turned out to be."""

    lesion_id: int
    found: Found


def read_outcomes(file: File) -> list[Row]:
    """Read a table of outcomes with the columns COLUMNS; `words` and `source` may be empty.

    Raises:
        DataError: as `read_csv`; or a case is no whole number or stands there twice, a diagnosis is none of
            labels.CLASSES or "other", a basis none of vocabulary.BASES, or a text is too long. Line and
            column are named.
    """
    table = read_csv(file, {"case": float, **dict.fromkeys(COLUMNS[1:], str)})
    case = table["case"]
    refuse(file, table, "case", ~((case >= 1) & (case % 1 == 0) & (case < 2**53)), "is not the number of a case")
    refuse(file, table, "case", case.duplicated(), "appears a second time; every case has one row")
    refuse(file, table, "diagnosis", ~table["diagnosis"].isin((*CLASSES, OTHER)), f"must be one of {_listed()}")
    refuse(file, table, "basis", ~table["basis"].isin(BASES), f"must be one of {', '.join(BASES)}")
    empty = (table["diagnosis"] == OTHER) & (table["words"].str.strip() == "")
    refuse(file, table, "words", empty, "is empty; another diagnosis is given in words")
    needless = (table["diagnosis"] != OTHER) & (table["words"].str.strip() != "")
    refuse(file, table, "words", needless, f"stands beside one of the seven diagnoses; it is for {OTHER}")
    for name in ("words", "source"):
        refuse(file, table, name, table[name].str.len() > LONGEST, f"is longer than {LONGEST} characters")
    return [
        Row(int(number), Found(diagnosis, basis, words, source))
        for number, diagnosis, basis, words, source in table[list(COLUMNS)].itertuples(index=False)
    ]


def standing(session: Session, who: Who, rows: Sequence[Row]) -> dict[int, Found]:
    """Return the outcomes that the cases of some rows have, by case; an open case has none, nor has another group's."""
    every = aliased(Outcome)
    newest = select(func.max(every.id)).where(every.lesion_id == Lesion.id).scalar_subquery()
    query = select(Outcome).join(Lesion, Lesion.id == Outcome.lesion_id)
    query = query.where(Outcome.id == newest, Lesion.group_name.in_(who.groups))
    wanted = {row.lesion_id for row in rows}
    return {
        o.lesion_id: Found(o.diagnosis, o.basis, o.diagnosis_words or "", o.source or "")
        for o in session.scalars(query)
        if o.lesion_id in wanted
    }


def enter_all(
    record: Record, who: Who, rows: list[Row], now: datetime | None = None, replacing: Mapping[int, Found] = {}
) -> int:
    """Enter outcomes, all or none; those that stand there already are passed over. Returns how many were entered.

    Args:
        record: open. who: enters them. rows: as `read_outcomes` gives them.
        replacing: case -> the outcome that may be replaced, as `standing` gave it: not one that came since.

    Raises:
        RecordError: one of the cases is none of the person's groups, or has another outcome that must not be replaced,
            or it cannot be saved.
    """
    who.need("enter outcomes")
    now = now or datetime.now(UTC)
    with record.database.writing() as session:
        own = set(session.scalars(select(Lesion.id).where(Lesion.group_name.in_(who.groups))))
        strange = [row.lesion_id for row in rows if row.lesion_id not in own]
        if strange:
            raise RecordError(f"There is no case {_first(strange)} in your groups. Nothing was entered.")
        there = standing(session, who, rows)
        new = [row for row in rows if there.get(row.lesion_id) != row.found.checked()]
        other = [n for n in (row.lesion_id for row in new) if n in there and replacing.get(n) != there[n]]
        if other:
            raise RecordError(
                f"Another outcome stands there for case {_first(other)}. Nothing was entered: say that they are to be "
                "replaced, or take these rows out."
            )
        for row in new:
            add_outcome(session, who, row.lesion_id, row.found, now)
    return len(new)


def _first(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}" + (f" and {len(numbers) - 1:,} more" if len(numbers) > 1 else "")


def template(cases: pd.DataFrame) -> bytes:
    """Return a CSV to fill in for some cases, as `cases.listed` gives them."""
    if cases.empty:
        raise DataError("There is no case without an outcome here.")
    table = pd.DataFrame({"case": cases["case"], **dict.fromkeys(COLUMNS[1:], "")})
    return encode_csv(table)


def _listed() -> str:
    return ", ".join((*CLASSES, OTHER))
