import hashlib
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from dermlens.errors import RecordError
from dermlens.record import cases, consent, disclosures
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.people import Who
from dermlens.record.store import audit
from dermlens.record.store.tables import Audit, Disclosure, Person
from dermlens.record.vocabulary import DISCLOSED
from tests.record.filled import fill

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)
LATER = datetime(2026, 6, 1, 10, tzinfo=UTC)


def test_what_leaves_is_a_row_and_a_line_with_who_what_where_when_and_which_case(record: Record) -> None:
    fill(record, 3)
    number = disclosures.note(record, ME, "fhir", lesion_id=2, data=b"bundle", now=NOW)
    disclosures.note(record, ME, "answers", data=b"table", now=NOW)
    with record.database.reading() as session:
        row = session.get(Disclosure, number)
        assert row is not None
        assert (row.what, row.recipient, row.lesion_id, row.at) == ("fhir", "download", 2, NOW)
        assert row.sha256 == hashlib.sha256(b"bundle").hexdigest()
        person = session.get(Person, row.person_id)
        assert person is not None
        assert (person.subject, person.group_name) == ("local", "local")
        case = cases.one(session, ME, 2)
        assert [d.id for d in case.disclosures] == [number]
        line = case.history[-1]
        assert (line.action, line.object, line.actor) == ("disclose", f"disclosure:{number}", f"person:{person.id}")
        assert audit.verify(session).n_problems == 0
    consent.withdraw(record, ME, 2)
    with record.database.reading() as session:
        assert session.get(Disclosure, number) is not None, "what has left has left"
        assert audit.verify(session).n_problems == 0


def test_what_was_sent_arrives_once(record: Record) -> None:
    number = disclosures.note(record, ME, "dicom", "pacs.example.org", pixels_sha256="0" * 64, now=NOW)
    for _ in range(2):
        disclosures.arrived(record, number, LATER)
    disclosures.arrived(record, 99, LATER)
    with record.database.reading() as session:
        row = session.get(Disclosure, number)
        assert row is not None
        assert (row.recipient, row.at, row.arrived_at) == ("pacs.example.org", NOW, LATER)
        lines = session.scalars(select(Audit).where(Audit.object == f"disclosure:{number}").order_by(Audit.sequence))
        assert [(line.action, line.at) for line in lines] == [("disclose", NOW), ("arrived", LATER)]
        assert audit.verify(session).n_problems == 0


def test_nothing_is_written_down_about_a_case_of_another_group(record: Record) -> None:
    fill(record, 1)
    for who, number in ((Who("x", "admin", ("north",)), 1), (ME, 77)):
        with pytest.raises(RecordError, match="no such case in your groups"):
            disclosures.note(record, who, "fhir", lesion_id=number)
    with pytest.raises(RecordError, match="must be one of"):
        disclosures.note(record, ME, "gossip")
    with record.database.reading() as session:
        assert session.scalars(select(Disclosure)).first() is None
        assert audit.verify(session).n_problems == 0


def test_every_kind_of_what_may_leave_fits_its_column() -> None:
    assert max(map(len, DISCLOSED)) <= 40
