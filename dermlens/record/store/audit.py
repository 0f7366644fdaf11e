"""The audit chain: every line holds the hash of the line before, so that none can be changed, taken out or put in.

A chain whose every line was made anew from some point on looks whole. Against that, and against a cut end, the head is
anchored: written to where who could change the record cannot (`anchor`), and compared later (`verify`).
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermlens.errors import DataError
from dermlens.files.documents import File, canonical, read_bytes, write_whole
from dermlens.files.tables import MAX_BYTES, read_csv, refuse
from dermlens.record.store.tables import ROWS, Audit, Row, new_salt

GENESIS = "0" * 64
"""What the first line holds in the place of the hash of a line before it."""
ANCHOR_COLUMNS = ("sequence", "sha256", "at")
MOST_TOLD = 20
_HASH = re.compile(r"[0-9a-f]{64}")
_BLOCK = 500
"""Rows that are read at once: larger blocks keep the garbage collector busy."""


@dataclass(frozen=True)
class Head:
    """A line of the chain that was anchored: none before it can have changed if it has not."""

    sequence: int
    sha256: str
    at: datetime


@dataclass(frozen=True)
class Verified:
    """What the check of the whole record found."""

    lines: int
    rows: int
    head: Head | None
    """the last line; None of an empty record"""
    problems: tuple[str, ...]
    """a sentence for each, at most MOST_TOLD"""
    n_problems: int
    notices: tuple[str, ...]
    """what is remarkable and no sign of a change"""


def note(session: Session, actor: str, action: str, *rows: Row, at: datetime | None = None) -> None:
    """Add a line to the chain for each of some rows, as they are now; in a writing session, which holds the chain.

    Args:
        session: as `Database.writing` gives it. actor: "person:ID" or "command". action: what was done, one word.
        rows: new or changed; each gets a new salt.
        at: when, by default now. If that is before the last line, it is added all the same, and `notices` says so.
    """
    at = at or datetime.now(UTC)
    session.add_all(rows)
    for row in rows:
        row.salt = new_salt()
    session.flush()
    last: Head | None = session.info.get("head") or head(session)
    if last is not None and at < last.at:
        session.info["behind"] = (at, last.at)
    for row in rows:
        name = f"{row.__tablename__}:{row.id}"
        line = Audit(
            sequence=1 if last is None else last.sequence + 1,
            at=at,
            actor=actor,
            action=action,
            object=name,
            payload_sha256=payload_hash(row.salt, content(row)),
            previous_sha256=GENESIS if last is None else last.sha256,
        )
        line.sha256 = line_hash({c.name: getattr(line, c.name) for c in Audit.__table__.columns if c.name != "sha256"})
        session.add(line)
        last = Head(line.sequence, line.sha256, at)
    session.info["head"] = last


def notices(session: Session) -> list[str]:
    """Return what is to be said of the lines that a session has added: that the clock of this machine is behind."""
    if "behind" not in session.info:
        return []
    now, last = session.info["behind"]
    return [
        f"The clock of this machine says {now:%d %B %Y, %H:%M} UTC, but the record's last line is of "
        f"{last:%d %B %Y, %H:%M} UTC. What was saved is in its place; set the clock right."
    ]


def content(row: Row) -> dict[str, Any]:
    """Return the columns of a row but its salt, as they are hashed."""
    return {c.name: getattr(row, c.name) for c in row.__table__.columns if c.name != "salt"}


def payload_hash(salt: str, values: Mapping[str, Any]) -> str:
    """Return the salted hash of the columns of a row. Without the salt, short values cannot be guessed from it."""
    return hashlib.sha256(salt.encode() + canonical(values)).hexdigest()


def line_hash(values: Mapping[str, Any]) -> str:
    """Return the hash of a line from its columns but the hash itself."""
    return hashlib.sha256(canonical(values)).hexdigest()


def head(session: Session) -> Head | None:
    """Return the last line of the chain, None if there is none."""
    last = session.scalars(select(Audit).order_by(Audit.sequence.desc()).limit(1)).first()
    return None if last is None else Head(last.sequence, last.sha256, last.at)


def origin(session: Session) -> str | None:
    """Return the hash of the first line, which no other record has; None if there is none."""
    return session.scalar(select(Audit.sha256).where(Audit.sequence == 1))


def holds(session: Session, line: str) -> bool:
    """Return whether the chain has the line that `anchor_line` wrote."""
    number, _, rest = line.partition(",")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        return False
    return session.scalar(select(Audit.sha256).where(Audit.sequence == int(number))) == rest.partition(",")[0]


def verify(session: Session, anchors: Sequence[Head] = ()) -> Verified:
    """Check the chain from its first line to its last, and every row against the last line about it.

    Args:
        session: reading. anchors: heads that were kept elsewhere.
    """
    told: list[str] = []
    late: list[int] = []
    latest: dict[str, str] = {}
    anchored: dict[int, list[Head]] = {}
    for kept in anchors:
        anchored.setdefault(kept.sequence, []).append(kept)
    previous, expected, at = GENESIS, 1, None
    for line, own in _lines(session):
        sequence = line["sequence"]
        if sequence != expected:
            told.append(_gap(expected, sequence - 1) if sequence > expected else f"Line {sequence} is out of order.")
        if line_hash(line) != own:
            told.append(f"Line {sequence} was changed: its hash is not that of its content.")
        if line["previous_sha256"] != previous:
            told.append(f"Line {sequence} does not follow the line before it: one was changed, put in or taken out.")
        other = (kept for kept in anchored.get(sequence, []) if kept.sha256 != own)
        told += [f"Line {sequence} is not the one that was anchored on {kept.at:%d %B %Y}." for kept in other]
        if at is not None and line["at"] < at:
            late.append(sequence)
        latest[line["object"]] = line["payload_sha256"]
        previous, expected, at = own, sequence + 1, line["at"]
    lines = expected - 1
    if (cut := max(anchored, default=0)) > lines:
        told.append(
            f"The end is cut off: line {cut} was anchored on {anchored[cut][0].at:%d %B %Y}, "
            + (f"and the last line is {lines}." if lines else "and there is no line.")
        )
    rows = 0
    for name, found in _hashes(session):
        rows += 1
        wanted = latest.pop(name, None)
        if wanted is None:
            told.append(f"{_named(name)} stands in no line: it was put in past the record.")
        elif wanted != found:
            told.append(f"{_named(name)} was changed past the record.")
    told += [f"{_named(name)} was deleted past the record." for name in latest]
    last = None if at is None else Head(lines, previous, at)
    notices = [f"Line {n} is dated before the line above it: the clock had been set back." for n in late[:MOST_TOLD]]
    return Verified(lines, rows, last, tuple(told[:MOST_TOLD]), len(told), tuple(notices))


def _lines(session: Session) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the columns of every line but its hash, and its hash."""
    columns = [c for c in Audit.__table__.columns if c.name != "sha256"]
    names = [c.name for c in columns]
    query = select(Audit.__table__.c.sha256, *columns).order_by(Audit.sequence)
    for own, *values in session.execute(query.execution_options(yield_per=_BLOCK)):
        yield dict(zip(names, values, strict=True)), own


def _hashes(session: Session) -> Iterator[tuple[str, str]]:
    """Yield the name of every row that the chain vouches for, and its hash as it is now."""
    for kind in ROWS:
        columns = [c for c in kind.__table__.columns if c.name != "salt"]
        names = [c.name for c in columns]
        query = select(kind.__table__.c.salt, *columns).order_by(kind.__table__.c.id)
        for salt, *values in session.execute(query.execution_options(yield_per=_BLOCK)):
            fields = dict(zip(names, values, strict=True))
            yield f"{kind.__tablename__}:{fields['id']}", payload_hash(salt, fields)


def _named(name: str) -> str:
    table, _, number = name.partition(":")
    return f"{table.capitalize()} {number}"


def _gap(first: int, last: int) -> str:
    return f"Line {first} is missing." if first == last else f"Lines {first} to {last} are missing."


def anchor_line(found: Head) -> str:
    """Return a head as a line of an anchor file, without its end."""
    return f"{found.sequence},{found.sha256},{found.at.isoformat()}"


def append_anchor(file: Path, found: Head) -> None:
    """Add a head to an anchor file, which is made if it is not there.

    Raises:
        DataError: as `write_whole`, or the file has another hash of that line: the record was changed since.
    """
    if file.exists() and any(h.sequence == found.sequence and h.sha256 != found.sha256 for h in read_anchors(file)):
        raise DataError(
            f"{file} has another hash of line {found.sequence}: it was changed since. Run verify --anchors."
        )
    before = read_bytes(file, MAX_BYTES).decode() if file.exists() else ",".join(ANCHOR_COLUMNS) + "\n"
    write_whole(file, f"{before}{anchor_line(found)}\n".encode())


def read_anchors(file: File) -> list[Head]:
    """Read the heads that `anchor` wrote.

    Raises:
        DataError: as `read_csv`, or a cell is not what `anchor` writes.
    """
    table = read_csv(file, {"sequence": float, "sha256": str, "at": str})
    numbers = table["sequence"]
    refuse(file, table, "sequence", ~((numbers >= 1) & (numbers % 1 == 0)), "is not the number of a line")
    bad = [_HASH.fullmatch(cell) is None for cell in table["sha256"]]
    refuse(file, table, "sha256", bad, "is not a SHA-256 in hexadecimal")
    times = [_time(cell) for cell in table["at"]]
    refuse(file, table, "at", [t is None for t in times], "is not a time with its zone")
    return [
        Head(int(n), h, t) for n, h, t in zip(table["sequence"], table["sha256"], times, strict=True) if t is not None
    ]


def _time(cell: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return found if found.tzinfo else None
