"""What leaves: every file that is handed out, and everything that is sent, is a row and a line of the chain first."""

import hashlib
from datetime import UTC, datetime

from dermlens.errors import RecordError
from dermlens.record import people
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.readings import NO_CASE
from dermlens.record.store import audit
from dermlens.record.store.tables import Disclosure, Lesion
from dermlens.record.vocabulary import DISCLOSED

DOWNLOAD, FOLDER = "download", "folder"
"""Recipients that are no host: a person's browser, and a folder of the machine."""


def note(
    record: Record,
    who: Who,
    what: str,
    recipient: str = DOWNLOAD,
    lesion_id: int | None = None,
    pixels_sha256: str | None = None,
    data: bytes | None = None,
    now: datetime | None = None,
) -> int:
    """Write down that something is about to leave; returns the number of the row.

    Args:
        what: key of DISCLOSED. recipient: DOWNLOAD, FOLDER, or the host it is sent to.
        lesion_id: the case, if it is one. pixels_sha256: of the image, if it is one. data: the file, if it is one.

    Raises:
        RecordError: it cannot be written down, so it must not leave; or the case is none of the person's groups.
    """
    if what not in DISCLOSED:
        raise RecordError(f"What leaves must be one of {', '.join(DISCLOSED)}; got {what!r}.")
    now = now or datetime.now(UTC)
    with record.database.writing() as session:
        if lesion_id is not None:
            lesion = session.get(Lesion, lesion_id)
            if lesion is None or lesion.group_name not in who.groups:
                raise RecordError(NO_CASE)
            who = who.within(lesion.group_name)
        person = people.row_of(session, who, now)
        row = Disclosure(
            at=now,
            person_id=person.id,
            what=what,
            recipient=recipient[:255],
            lesion_id=lesion_id,
            pixels_sha256=pixels_sha256,
            sha256=None if data is None else hashlib.sha256(data).hexdigest(),
        )
        audit.note(session, people.actor(person), "disclose", row, at=now)
        return row.id


def arrived(record: Record, number: int, now: datetime | None = None) -> None:
    """Write down that what was sent was confirmed; nothing if the record knows no such row, or knows it already."""
    now = now or datetime.now(UTC)
    with record.database.writing() as session:
        row = session.get(Disclosure, number)
        if row is not None and row.arrived_at is None:
            row.arrived_at = now
            audit.note(session, "command", "arrived", row, at=now)
