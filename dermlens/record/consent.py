"""Forgetting: pictures after their term or beyond the consent, and all that tells of a patient once it is withdrawn."""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermlens.errors import RecordError
from dermlens.record import people
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.readings import NO_CASE, WITHDRAW
from dermlens.record.store import audit
from dermlens.record.store.pictures import ORPHANED
from dermlens.record.store.tables import Image, Lesion, Outcome, Patient, Reading, RecordKey, Row
from dermlens.record.vocabulary import covers

OTHER_STORE = (
    "The store of pictures has no folder {folder}, in which kept pictures lie: it is another store, or is not mounted. "
    "Set DERMLENS_RECORD_PICTURES as it was, and try again. If somebody deleted them there, make an empty folder of "
    "that name."
)
KEPT_WITHOUT_STORE = (
    "There are kept pictures, but their store is not set up: set DERMLENS_RECORD_PICTURES and DERMLENS_RECORD_KEY as "
    "they were, and try again."
)

NEWER_COPY = (
    "Pictures that no case names were left in their store: another copy of this record, with cases that this one has "
    "not, has used it. Give each copy a store of its own; if the other one is given up, delete {folder}/head there."
)


def withdraw(record: Record, who: Who, lesion_id: int, now: datetime | None = None) -> int:
    """Erase what tells of a patient, in all the patient's cases: consent is withdrawn. Returns the number of cases.

    Pictures, pseudonym, birth year, sex, place, labels, notes, sources and devices go; answers, readings and outcomes
    stay, without a way back to the person. A case without a patient is treated alike.

    Raises:
        RecordError: this person may not, or it cannot be done; then all is as it was, unless it says what was erased.
    """
    who.need("withdraw consent")
    now = now or datetime.now(UTC)
    with record.database.writing() as session:
        lesion = session.get(Lesion, lesion_id)
        if lesion is None or lesion.group_name not in who.groups:
            raise RecordError(NO_CASE)
        person = people.row_of(session, who.within(lesion.group_name), now)
        patient = session.get(Patient, lesion.patient_id) if lesion.patient_id else None
        lesions = [lesion]
        if patient is not None:
            lesions = list(session.scalars(select(Lesion).where(Lesion.patient_id == patient.id)))
        ids = [found.id for found in lesions]
        images = list(session.scalars(select(Image).where(Image.lesion_id.in_(ids))))
        readings = session.scalars(select(Reading).where(Reading.image_id.in_([i.id for i in images]))).all()
        outcomes = session.scalars(select(Outcome).where(Outcome.lesion_id.in_(ids))).all()
        names = _names(record, images)
        changed: list[Row] = [*lesions, *images, *readings, *outcomes]
        for found in lesions:
            found.site = found.side = found.label = found.map_view = found.map_x = found.map_y = None
        for image in images:
            image.picture = image.delete_after = image.device = image.taken_at = None
        for reading in readings:
            reading.note = None
        for outcome in outcomes:
            outcome.source = None
        if patient is not None:
            patient.pseudonym = patient.birth_year = patient.sex = None
            patient.withdrawn_at = now
            changed.append(patient)
        audit.note(session, people.actor(person), WITHDRAW, *changed, at=now)
        _delete(record, names)
    record.database.forget()
    return len(lesions)


def covers_pictures(session: Session, lesion: Lesion) -> bool:
    """Return whether pictures of a case may be kept: it has no patient, or one who agreed to that."""
    patient = session.get(Patient, lesion.patient_id) if lesion.patient_id else None
    return patient is None or (patient.withdrawn_at is None and covers(patient.consent_scope, "pictures"))


def erase_uncovered(session: Session, record: Record, lesion: Lesion, actor: str, now: datetime) -> int:
    """Erase the pictures of a case, and of the others of its patient, if the consent does not include pictures.

    At the end of a writing session: what is deleted does not come back with a rollback. Returns how many.

    Raises:
        RecordError: they cannot be deleted, and why.
    """
    if covers_pictures(session, lesion):
        return 0
    own = select(Lesion.id).where(Lesion.patient_id == lesion.patient_id)
    images = list(session.scalars(select(Image).where(Image.lesion_id.in_(own), Image.picture.is_not(None))))
    names = _names(record, images)
    for image in images:
        image.picture = image.delete_after = None
    audit.note(session, actor, "erase", *images, at=now)
    _delete(record, names)
    return len(names)


def _names(record: Record, images: list[Image]) -> list[str]:
    """Return the names of kept pictures; raises as `need_store`."""
    names = [image.picture for image in images if image.picture]
    need_store(record, names)
    return names


def need_store(record: Record, names: Collection[str]) -> None:
    """Raise RecordError unless the store that is set up is the one where kept pictures lie, if there are some."""
    if names and record.pictures is None:
        raise RecordError(KEPT_WITHOUT_STORE)
    if record.pictures is not None and (folder := record.pictures.lacks(names)):
        raise RecordError(OTHER_STORE.format(folder=folder))


def _delete(record: Record, names: list[str]) -> None:
    """Delete pictures before the record forgets their names: nothing is told as erased that is not."""
    if record.pictures is not None:
        for name in names:
            record.pictures.delete(name)


def expire(record: Record, now: datetime | None = None) -> int:
    """Delete the pictures whose term is over, and what savings that were cut off have left; returns how many.

    Raises:
        RecordError: it cannot be done, and why.
    """
    try:
        return _expire(record, now or datetime.now(UTC))
    finally:  # of a withdrawal too, after which somebody was reading
        record.database.forget()


def _expire(record: Record, now: datetime) -> int:
    with record.database.reading() as session:
        due = session.scalar(select(Image.id).where(Image.delete_after < now).limit(1))
    if record.pictures is None:
        if due is not None:
            raise RecordError(KEPT_WITHOUT_STORE)
        return 0
    gone = 0
    if due is not None:
        with record.database.writing() as session:
            images = list(session.scalars(select(Image).where(Image.delete_after < now)))
            names = _names(record, images)
            for image in images:
                image.picture = image.delete_after = None
            audit.note(session, "command", "expire", *images, at=now)
            _delete(record, names)
            gone = len(names)
    return gone + _sweep(record, now)


def _sweep(record: Record, now: datetime) -> int:
    """Delete what this record wrote into its store and no image names; returns how many."""
    assert record.pictures is not None
    with record.database.reading() as session:
        begun = session.scalars(select(RecordKey.fingerprint)).first()
        origin, head = audit.origin(session), audit.head(session)
        named = {name for name in session.scalars(select(Image.picture)) if name}
    if begun is None or origin is None or head is None:
        return 0
    need_store(record, named)
    if mark := record.pictures.marked(origin):
        with record.database.reading() as session:
            if not audit.holds(session, mark):
                raise RecordError(NEWER_COPY.format(folder=origin[:16]))
    if named:
        record.pictures.mark(origin, audit.anchor_line(head))
    return record.pictures.sweep(origin, named, min(now - ORPHANED, head.at))
