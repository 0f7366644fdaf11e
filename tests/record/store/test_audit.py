import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, text, update

from dermlens.errors import DataError
from dermlens.record.open import Record
from dermlens.record.store import audit
from dermlens.record.store.tables import Audit, Lesion, Person

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def fill(record: Record, lines: int = 6) -> None:
    for number in range(lines):
        with record.database.writing() as session:
            row = Lesion(group_name="a", label=f"no. {number}")
            audit.note(session, "person:1", "case", row, at=NOON + timedelta(minutes=number))


def verified(record: Record, *anchors: audit.Head) -> audit.Verified:
    with record.database.reading() as session:
        return audit.verify(session, anchors)


def test_the_chain_is_what_the_documentation_says_worked_out_by_hand(record: Record) -> None:
    fill(record, 2)
    with record.database.reading() as session:
        lines = session.query(Audit).order_by(Audit.sequence).all()
        lesions = session.query(Lesion).order_by(Lesion.id).all()
    previous = "0" * 64
    for number, (line, lesion) in enumerate(zip(lines, lesions, strict=True), start=1):
        columns = {"id": lesion.id, "group_name": "a", "label": f"no. {number - 1}"}
        columns |= dict.fromkeys(("patient_id", "site", "side", "map_view", "map_x", "map_y"))
        payload = lesion.salt + json.dumps(columns, sort_keys=True, separators=(",", ":"))
        values = {
            "sequence": number,
            "at": f"2026-05-01T12:0{number - 1}:00.000000+00:00",
            "actor": "person:1",
            "action": "case",
            "object": f"lesion:{lesion.id}",
            "payload_sha256": hashlib.sha256(payload.encode()).hexdigest(),
            "previous_sha256": previous,
        }
        previous = hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        assert line.sha256 == previous
        assert line.payload_sha256 == values["payload_sha256"]
    found = verified(record)
    assert (found.lines, found.rows, found.n_problems, found.notices) == (2, 2, 0, ())
    assert found.head == audit.Head(2, previous, NOON + timedelta(minutes=1))


TAMPERING: dict[str, tuple[Any, str]] = {
    "an edited line": (update(Audit).where(Audit.sequence == 3).values(actor="person:2"), "Line 3 was changed"),
    "a deleted line": (delete(Audit).where(Audit.sequence == 3), "Line 3 is missing"),
    "deleted lines": (delete(Audit).where(Audit.sequence.in_([2, 3])), "Lines 2 to 3 are missing"),
    "the first line deleted": (delete(Audit).where(Audit.sequence == 1), "Line 1 is missing"),
    "an edited row": (update(Lesion).where(Lesion.label == "no. 2").values(site="back"), "Lesion 3 was changed"),
    "a deleted row": (delete(Lesion).where(Lesion.label == "no. 2"), "Lesion 3 was deleted"),
    "a row past the record": (
        text("INSERT INTO person (id, salt, subject, role, group_name) VALUES (9, '', 'x', 'admin', 'a')"),
        "Person 9 stands in no line",
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_verify_finds(record: Record, what: str) -> None:
    fill(record)
    assert verified(record).n_problems == 0
    statement, said = TAMPERING[what]
    with record.database.writing() as session:
        session.execute(statement)
    assert any(said in sentence for sentence in verified(record).problems), verified(record).problems


def test_verify_finds_a_line_put_in_and_lines_in_another_order(record: Record) -> None:
    fill(record)
    with record.database.writing() as session:  # 3 and 4 change places, each with its own hashes
        for before, after in ((3, 100), (4, 3), (100, 4)):
            session.execute(update(Audit).where(Audit.sequence == before).values(sequence=after))
    found = verified(record)
    changed = [sentence[:6] for sentence in found.problems if "its hash is not that of its content" in sentence]
    assert changed == ["Line 3", "Line 4"]
    with record.database.writing() as session:
        line = session.get(Audit, 6)
        assert line is not None
        values = {c.name: getattr(line, c.name) for c in Audit.__table__.columns} | {"sequence": 7, "action": "forged"}
        values["sha256"] = audit.line_hash({k: v for k, v in values.items() if k != "sha256"})
        session.add(Audit(**values))  # well made, but it follows line 5, not 6
    assert any("Line 7 does not follow" in sentence for sentence in verified(record).problems)


def test_a_cut_end_and_a_chain_made_anew_are_found_against_an_anchor(record: Record, tmp_path: Path) -> None:
    fill(record, 4)
    file = tmp_path / "anchors.csv"
    with record.database.reading() as session:
        head = audit.head(session)
    assert head is not None
    audit.append_anchor(file, head)
    anchors = audit.read_anchors(file)
    assert anchors == [head]
    assert verified(record, *anchors).n_problems == 0

    with record.database.writing() as session:
        session.execute(delete(Audit).where(Audit.sequence == 4))
        session.execute(delete(Lesion).where(Lesion.label == "no. 3"))
    assert verified(record).n_problems == 0  # without the anchor nobody can tell
    assert verified(record, *anchors).problems == (
        "The end is cut off: line 4 was anchored on 01 May 2026, and the last line is 3.",
    )
    with record.database.writing() as session:  # and another one grown in its place
        audit.note(session, "person:1", "case", Lesion(group_name="a"), at=NOON + timedelta(hours=1))
    assert verified(record).n_problems == 0
    assert "is not the one that was anchored" in verified(record, *anchors).problems[0]


def test_a_line_that_was_exchanged_is_found_though_the_new_one_was_anchored_too(record: Record, tmp_path: Path) -> None:
    fill(record, 3)
    with record.database.reading() as session:
        head = audit.head(session)
    assert head is not None
    other = audit.Head(head.sequence, f"{7:064x}", head.at)
    for anchors in ((other, head), (head, other)):
        assert verified(record, *anchors).n_problems == 1
    file = tmp_path / "anchors.csv"
    audit.append_anchor(file, other)
    with pytest.raises(DataError, match=f"another hash of line {head.sequence}"):
        audit.append_anchor(file, head)
    assert audit.read_anchors(file) == [other]
    audit.append_anchor(file, other)


def test_an_anchor_file_grows_and_is_read_strictly(tmp_path: Path) -> None:
    file = tmp_path / "anchors.csv"
    for number in (1, 2):
        audit.append_anchor(file, audit.Head(number, f"{number:064x}", NOON))
    assert [head.sequence for head in audit.read_anchors(file)] == [1, 2]
    for bad, said in (("0,", "number of a line"), ("3,zz", "SHA-256"), (f"3,{'0' * 64},1 May", "time with its zone")):
        broken = tmp_path / "broken.csv"
        broken.write_text(file.read_text() + bad + "," * (2 - bad.count(",")) + "\n")
        with pytest.raises(DataError, match=said):
            audit.read_anchors(broken)


def test_a_clock_set_back_is_told_and_nothing_is_lost(record: Record) -> None:
    fill(record, 2)
    with record.database.writing() as session:
        audit.note(session, "person:1", "case", Lesion(group_name="a"), at=NOON - timedelta(days=1))
        (said,) = audit.notices(session)
    assert said.startswith("The clock of this machine says 30 April 2026, 12:00 UTC")
    found = verified(record)
    assert (found.lines, found.n_problems) == (3, 0)
    assert found.notices == ("Line 3 is dated before the line above it: the clock had been set back.",)


def test_nothing_is_kept_of_a_writing_that_fails_half_way(record: Record) -> None:
    fill(record, 1)

    def half() -> None:
        with record.database.writing() as session:
            audit.note(session, "person:1", "person", Person(subject="s", role="reader", group_name="a"), at=NOON)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert verified(record).lines == 1
    fill(record, 1)
    assert verified(record).n_problems == 0
