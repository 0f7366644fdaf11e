"""What people say of a case: readings of an image, and what the lesion turned out to be. Superseded, never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from dermlens.case.image import shown_name
from dermlens.errors import RecordError
from dermlens.labels import CLASSES
from dermlens.record import people
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.store import audit
from dermlens.record.store.tables import Audit, Image, Lesion, Outcome, Patient, Person, Prediction, Reading
from dermlens.record.vocabulary import BASES, MANAGEMENTS, OTHER, STAGES

NO_CASE = "There is no such case in your groups."
WITHDRAW = "withdraw"
"""What the audit chain calls the withdrawal of consent; of a case without a patient it alone tells of it."""
WITHDRAWN = "The consent of case {case} is withdrawn: nothing can be added to it."
LONGEST_NOTE = 2000


@dataclass(frozen=True)
class Judgement:
    """One reading of an image by a person."""

    stage: str
    """key of STAGES"""
    diagnosis: str
    """a code of labels.CLASSES, or OTHER"""
    confidence: int
    """0..100 %"""
    management: str
    """key of MANAGEMENTS"""
    words: str = ""
    """the diagnosis, where it is OTHER"""
    note: str = ""
    seconds: float | None = None

    def checked(self) -> "Judgement":
        """Return it with texts as they are kept; RecordError if a value is none that the record knows."""
        _one_of("stage", self.stage, tuple(STAGES))
        words = _diagnosis(self.diagnosis, self.words)
        _one_of("management", self.management, tuple(MANAGEMENTS))
        if not isinstance(self.confidence, int) or not 0 <= self.confidence <= 100:
            raise RecordError(f"The confidence must be a whole number from 0 to 100; got {self.confidence!r}.")
        note = self.note.strip()
        if len(note) > LONGEST_NOTE:
            raise RecordError(f"A note has at most {LONGEST_NOTE:,} characters; this one has {len(note):,}.")
        note = "\n".join(shown_name(line, LONGEST_NOTE) for line in note.splitlines())
        seconds = None if self.seconds is None else round(min(max(float(self.seconds), 0.0), 86_400.0), 1)
        return Judgement(self.stage, self.diagnosis, self.confidence, self.management, words, note, seconds)


@dataclass(frozen=True)
class Found:
    """What a lesion turned out to be."""

    diagnosis: str
    basis: str
    """key of BASES"""
    words: str = ""
    source: str = ""
    """where that is written, such as the number of a report"""

    def checked(self) -> "Found":
        """Return it with texts as they are kept; RecordError if a value is none that the record knows."""
        words = _diagnosis(self.diagnosis, self.words)
        _one_of("basis", self.basis, tuple(BASES))
        return Found(self.diagnosis, self.basis, words, shown_name(self.source.strip(), 120))


def open_case(session: Session, who: Who, lesion_id: int | None) -> Lesion:
    """Return the case that something is added to.

    Raises:
        RecordError: it is none of the person's groups, or its consent is withdrawn.
    """
    lesion = session.get(Lesion, lesion_id) if lesion_id is not None else None
    if lesion is None or lesion.group_name not in who.groups:
        raise RecordError(NO_CASE)
    if is_withdrawn(session, lesion):
        raise RecordError(WITHDRAWN.format(case=lesion.id))
    return lesion


def is_withdrawn(session: Session, lesion: Lesion) -> bool:
    """Return whether the consent of a case is withdrawn, so that nothing can be added to it."""
    patient = session.get(Patient, lesion.patient_id) if lesion.patient_id else None
    lines = select(Audit.sequence).where(Audit.object == f"lesion:{lesion.id}", Audit.action == WITHDRAW).limit(1)
    return bool(patient and patient.withdrawn_at) or session.scalar(lines) is not None


def has_met(session: Session, who: Who, pixels_sha256: str) -> bool:
    """Return whether a person has read or saved an image of the same pixels, and so has met its answer."""
    person = select(Person.id).where(Person.subject == who.subject)
    read_by = exists().where(Reading.image_id == Image.id, Reading.person_id.in_(person))
    saved_by = exists().where(Prediction.image_id == Image.id, Prediction.person_id.in_(person))
    found = select(Image.id).where(Image.pixels_sha256 == pixels_sha256, or_(read_by, saved_by)).limit(1)
    return session.scalar(found) is not None


def read(record: Record, who: Who, image_id: int, judgement: Judgement, now: datetime | None = None) -> int:
    """Add a reading to a saved image; one by the same person at the same stage is superseded. Returns its id.

    Raises:
        RecordError: it cannot be saved, and why.
    """
    who.need("read")
    with record.database.writing() as session:
        image = session.get(Image, image_id)
        if image is None:
            raise RecordError(NO_CASE)
        lesion = open_case(session, who, image.lesion_id)
        now = now or datetime.now(UTC)
        person = people.row_of(session, who.within(lesion.group_name), now)
        return add_reading(session, person, image, judgement, now).id


def add_reading(session: Session, person: Person, image: Image, judgement: Judgement, now: datetime) -> Reading:
    """Add a reading in a writing session; one by the same person at the same stage is superseded."""
    given = judgement.checked()
    own = select(Reading.id).where(
        Reading.image_id == image.id, Reading.person_id == person.id, Reading.stage == given.stage
    )
    row = Reading(
        image_id=image.id,
        at=now,
        person_id=person.id,
        stage=given.stage,
        diagnosis=given.diagnosis,
        diagnosis_words=given.words or None,
        confidence=given.confidence,
        management=given.management,
        seconds=given.seconds,
        note=given.note or None,
        supersedes_id=session.scalars(own.order_by(Reading.id.desc()).limit(1)).first(),
    )
    audit.note(session, people.actor(person), "read", row, at=now)
    return row


def add_missing(session: Session, who: Who, image: Image, judgements: Sequence[Judgement], now: datetime) -> None:
    """Add those readings of a saved image that are not there, in a writing session: of an attempt that is made again.

    Raises:
        RecordError: some are missing, and this person may not add to the case.
    """
    columns = (Reading.stage, Reading.diagnosis, Reading.confidence, Reading.management, Reading.diagnosis_words)
    own = select(*columns, Reading.seconds).join(Person, Person.id == Reading.person_id)
    own = own.where(Reading.image_id == image.id, Person.subject == who.subject)
    there = {tuple(row) for row in session.execute(own)}
    given = [judgement.checked() for judgement in judgements]
    missing = [
        g for g in given if (g.stage, g.diagnosis, g.confidence, g.management, g.words or None, g.seconds) not in there
    ]
    if missing:
        lesion = open_case(session, who, image.lesion_id)
        person = people.row_of(session, who.within(lesion.group_name), now)
        for judgement in missing:
            add_reading(session, person, image, judgement, now)


def enter_outcome(record: Record, who: Who, lesion_id: int, found: Found, now: datetime | None = None) -> int:
    """Enter what a lesion turned out to be; an outcome that was there is superseded. Returns its id.

    Raises:
        RecordError: it cannot be saved, and why.
    """
    with record.database.writing() as session:
        return add_outcome(session, who, lesion_id, found, now or datetime.now(UTC)).id


def add_outcome(session: Session, who: Who, lesion_id: int, found: Found, now: datetime) -> Outcome:
    """Enter an outcome in a writing session; raises as `enter_outcome`."""
    who.need("enter outcomes")
    given = found.checked()
    lesion = open_case(session, who, lesion_id)
    person = people.row_of(session, who.within(lesion.group_name), now)
    last = select(Outcome.id).where(Outcome.lesion_id == lesion_id).order_by(Outcome.id.desc()).limit(1)
    row = Outcome(
        lesion_id=lesion_id,
        at=now,
        person_id=person.id,
        diagnosis=given.diagnosis,
        diagnosis_words=given.words or None,
        basis=given.basis,
        source=given.source or None,
        supersedes_id=session.scalars(last).first(),
    )
    audit.note(session, people.actor(person), "outcome", row, at=now)
    return row


def _diagnosis(code: str, words: str) -> str:
    _one_of("diagnosis", code, (*CLASSES, OTHER))
    words = shown_name(words.strip(), 120)
    if code == OTHER and not words:
        raise RecordError("Write the other diagnosis in words.")
    return words if code == OTHER else ""


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise RecordError(f"The {what} must be one of {', '.join(known)}; got {value!r}.")
