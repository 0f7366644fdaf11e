"""Keeping a case: first all that is to be kept, as plain values, then one transaction that keeps all of it or nothing.

What was prepared can be saved again after a failure, from any thread; what is there already is not saved twice.
"""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from dermlens.case.image import CaseImage, shown_name
from dermlens.case.opinion import Opinion
from dermlens.errors import RecordError
from dermlens.record import consent, people
from dermlens.record.answers import image_values, prediction_values
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.readings import NO_CASE, Judgement, add_missing, add_reading, open_case
from dermlens.record.store import audit
from dermlens.record.store import keys as key_store
from dermlens.record.store.tables import Image, Lesion, Patient, Prediction
from dermlens.record.vocabulary import CONSENTS, SEXES, SIDES, SITES, VIEWS, covers
from dermlens.wording import counted

NO_PICTURE = (
    "Pictures cannot be kept here: that takes DERMLENS_RECORD_PICTURES, a folder or s3:// address, and "
    "DERMLENS_RECORD_KEY."
)
NOT_COVERED = "The picture of a patient is kept only if the consent includes pictures."
NO_PATIENT = "Patients cannot be kept here: that takes DERMLENS_RECORD_KEY, the key that the record was begun with."
ANOTHER_PATIENT = (
    "The record knows a patient by these words, whose {what} is {known}, not {told}. If this is another patient of "
    "that name, write the patient's number in the place of the name."
)


@dataclass(frozen=True)
class About:
    """What a person says of an image beside the picture; all of it may be left out."""

    patient: str = ""
    """whatever names the patient at this place; only its keyed hash is kept"""
    birth_year: int | None = None
    sex: str | None = None
    consent: str | None = None
    """key of CONSENTS"""
    lesion_id: int | None = None
    """the case that the image belongs to; None for a new one"""
    site: str | None = None
    side: str | None = None
    label: str | None = None
    """of the three, None leaves what is there, and "" takes it away"""
    place: tuple[str, float, float] | None = None
    """on the body map: view, from the left and from the top, 0..1"""
    taken_at: datetime | None = None
    device: str = ""
    keep_picture: bool = False


@dataclass(frozen=True, eq=False)
class Saving:
    """All that is to be kept of one image."""

    token: str
    image: dict[str, Any]
    predictions: list[dict[str, Any]]
    about: About
    picture: np.ndarray | None = field(repr=False, default=None)
    """(h, w, 3) uint8 RGB"""
    readings: tuple[Judgement, ...] = ()


@dataclass(frozen=True)
class Saved:
    """Where it went."""

    lesion_id: int
    image_id: int
    notices: tuple[str, ...] = ()


def prepare(
    image: CaseImage,
    opinion: Opinion,
    about: About = About(),
    stored_aspect: str = "as-is",
    readings: Sequence[Judgement] = (),
) -> Saving:
    """Work out what is to be kept of an answered image.

    Args:
        image: the picture and its answers. opinion: of the models, as it is shown.
        about: of patient and lesion. stored_aspect: that the file was read with.
        readings: what the person has put down so far.

    Raises:
        RecordError: a value of `about` is none that the record knows.
    """
    saving = Saving(
        token=secrets.token_hex(16),
        image=image_values(image),
        predictions=prediction_values(image, opinion, stored_aspect),
        about=about,
        readings=tuple(readings),
    )
    return amended(saving, about, image.pixels)


def amended(saving: Saving, about: About, pixels: np.ndarray) -> Saving:
    """Return what was prepared with something else said of patient and lesion.

    Args:
        saving: as `prepare` gives it. about: in the place of what was said. pixels: of the image.

    Raises:
        RecordError: as `prepare`.
    """
    check(about)
    told = replace(about, label=_label(about), device=shown_name(about.device.strip(), 60))
    return replace(saving, about=told, picture=pixels if about.keep_picture else None)


def check(about: About, now: datetime | None = None) -> None:
    """Raise RecordError unless every value is one that the record knows."""
    now = now or datetime.now(UTC)
    for what, value, known in (
        ("sex", about.sex, SEXES),
        ("consent", about.consent, tuple(CONSENTS)),
        ("site", about.site, SITES),
        ("side", about.side, SIDES),
    ):
        if value and value not in known:
            raise RecordError(f"The {what} must be one of {', '.join(known)}; got {value!r}.")
    if about.birth_year is not None and not 1900 <= about.birth_year <= now.year:
        raise RecordError(f"The birth year must be from 1900 to {now.year}; got {about.birth_year}.")
    if about.place is not None:
        view, x, y = about.place
        if view not in VIEWS or not (0 <= x <= 1 and 0 <= y <= 1):
            raise RecordError("A place on the body map is front or back, and two numbers from 0 to 1.")
    if about.taken_at is not None and about.taken_at > now + timedelta(days=1):
        raise RecordError("The image cannot have been taken in the future; correct its date.")
    if (about.birth_year or about.sex or about.consent) and not about.patient.strip():
        raise RecordError("Birth year, sex and consent belong to a patient: name the patient too.")
    if about.keep_picture and about.patient.strip() and not covers(about.consent, "pictures"):
        raise RecordError(NOT_COVERED)


def save(record: Record, who: Who, saving: Saving, now: datetime | None = None) -> Saved:
    """Keep what was prepared: all of it in one transaction, or nothing.

    Of an image that is there already, the readings are added that are not.

    Raises:
        RecordError: it cannot be saved, and why; or this person may not save that.
    """
    now = now or datetime.now(UTC)
    who.need("save")
    about, name = saving.about, None
    if about.patient.strip():
        who.need("name the patient")
        if record.keys is None:
            raise RecordError(NO_PATIENT)
    if saving.picture is not None:
        who.need("keep the picture")
        if record.pictures is None:
            raise RecordError(NO_PICTURE)
        with record.database.reading() as session:
            there = _there(session, saving)
            kept = session.scalars(select(Image.picture).where(Image.picture.is_not(None)).limit(1)).all()
        if there is None:  # one that no image names in the end is swept
            consent.need_store(record, [name for name in kept if name])
            name = record.pictures.keep(saving.picture, _origin(record, who, now))
    with record.database.writing() as session:
        if (there := _there(session, saving)) is not None:
            _discard(record, name)
            add_missing(session, who, there, saving.readings, now)
            return Saved(there.lesion_id, there.id, tuple(audit.notices(session)))
        try:
            return _insert(session, record, who, saving, name, now)
        except Exception:  # nothing of it is committed, so no image will name the picture
            _discard(record, name)
            raise


def _there(session: Session, saving: Saving) -> Image | None:
    return session.scalars(select(Image).where(Image.token == saving.token)).first()


def _origin(record: Record, who: Who, now: datetime) -> str:
    """Return what tells this record's pictures from another's, and begin the record if need be."""
    assert record.keys is not None
    with record.database.reading() as session:
        found = audit.origin(session)
    if found is None:
        with record.database.writing() as session:
            key_store.begin(session, record.keys)
            people.row_of(session, who, now)
            found = audit.origin(session)
    assert found is not None
    return found


def _discard(record: Record, name: str | None) -> None:
    """Delete a picture that no image names; if that fails, it is swept."""
    if name is not None and record.pictures is not None:
        with suppress(RecordError):
            record.pictures.delete(name)


@dataclass(frozen=True)
class Seen:
    """What a person saw of a case before changing it."""

    site: str | None
    side: str | None
    label: str | None

    def changed(self, about: About, lesion: Lesion) -> About:
        """Return `about` with what the person changed alone; RecordError where somebody else did meanwhile."""
        found: dict[str, str | None] = {}
        for name in ("site", "side", "label"):
            wanted, seen, kept = (getattr(of, name) or "" for of in (about, self, lesion))
            found[name] = None if wanted == seen else wanted
            if wanted not in (seen, kept) and kept != seen:
                raise RecordError(
                    f"Nothing was kept: somebody changed the {name} meanwhile, and it is {kept or 'empty'} now. Yours "
                    f"was {wanted or 'empty'}: enter it again if it is right."
                )
        return replace(about, **found)  # type: ignore[arg-type]


def edit(record: Record, who: Who, about: About, now: datetime | None = None, seen: Seen | None = None) -> int:
    """Add to what is known of a case, or correct it; what is left out stays as it is.

    Pictures that the patient has not agreed to are erased; returns how many.

    Args:
        record: open. who: may change it. about: with a lesion_id.
        seen: what the person saw before; what is in `about` as it was seen stays as it is now.

    Raises:
        RecordError: there is no such case, this person may not, somebody else has changed the same meanwhile, or it
            cannot be saved.
    """
    check(about, now)
    who.need("save")
    if about.patient.strip():
        who.need("name the patient")
        if record.keys is None:
            raise RecordError(NO_PATIENT)
    if about.lesion_id is None:
        raise RecordError(NO_CASE)
    now = now or datetime.now(UTC)
    about = replace(about, label=_label(about))
    with record.database.writing() as session:
        who = _for_case(session, who, about)
        if seen is not None:
            about = seen.changed(about, open_case(session, who, about.lesion_id))
        actor = people.actor(people.row_of(session, who, now))
        if record.keys is not None and about.patient.strip():
            key_store.begin(session, record.keys)
        lesion = _lesion(session, who, about, _patient(session, record, who, about, actor, now), actor, now)
        return consent.erase_uncovered(session, record, lesion, actor, now)


def _for_case(session: Session, who: Who, about: About) -> Who:
    """Return the person at work for the group of the case that something is added to."""
    return who if about.lesion_id is None else who.within(open_case(session, who, about.lesion_id).group_name)


def _insert(session: Session, record: Record, who: Who, saving: Saving, name: str | None, now: datetime) -> Saved:
    about = saving.about
    who = _for_case(session, who, about)
    person = people.row_of(session, who, now)
    actor = people.actor(person)
    if record.keys is not None and (about.patient.strip() or name):
        key_store.begin(session, record.keys)
    patient = _patient(session, record, who, about, actor, now)
    lesion = _lesion(session, who, about, patient, actor, now)
    if name and not consent.covers_pictures(session, lesion):
        raise RecordError(NOT_COVERED)
    image = Image(
        **saving.image,
        lesion_id=lesion.id,
        token=saving.token,
        saved_at=now,
        taken_at=about.taken_at,
        device=about.device or None,
        picture=name,
        delete_after=now + timedelta(days=record.settings.days) if name else None,
    )
    audit.note(session, actor, "save", image, at=now)
    predictions = [
        Prediction(**values, image_id=image.id, person_id=person.id, at=now) for values in saving.predictions
    ]
    audit.note(session, actor, "save", *predictions, at=now)
    for judgement in saving.readings:
        add_reading(session, person, image, judgement, now)
    notices = audit.notices(session)
    if erased := consent.erase_uncovered(session, record, lesion, actor, now):
        notices.append(said_erased(erased))
    return Saved(lesion.id, image.id, tuple(notices))


def _label(about: About) -> str | None:
    return None if about.label is None else shown_name(about.label.strip(), 60)


def said_erased(number: int) -> str:
    """Say that pictures were erased, as the consent does not include them."""
    was = "was" if number == 1 else "were"
    return f"{counted(number, 'kept picture')} of this patient {was} erased: the consent does not include pictures."


def _patient(session: Session, record: Record, who: Who, about: About, actor: str, now: datetime) -> Patient | None:
    if not about.patient.strip() or record.keys is None:
        return None
    pseudonym = record.keys.pseudonym(about.patient)
    query = select(Patient).where(Patient.group_name == who.groups[0], Patient.pseudonym == pseudonym)
    patient = session.scalars(query).first() or Patient(group_name=who.groups[0], pseudonym=pseudonym)
    for what, told, known in (
        ("birth year", about.birth_year, patient.birth_year),
        ("sex", about.sex, patient.sex),
    ):
        if told and known and told != known:
            raise RecordError(ANOTHER_PATIENT.format(what=what, known=known, told=told))
    before = (patient.id, patient.birth_year, patient.sex, patient.consent_scope)
    patient.birth_year = about.birth_year or patient.birth_year
    patient.sex = about.sex or patient.sex
    if about.consent is not None and about.consent != patient.consent_scope:
        patient.consent_scope, patient.given_at = about.consent, now
    if before != (patient.id, patient.birth_year, patient.sex, patient.consent_scope) or patient.id is None:
        audit.note(session, actor, "patient", patient, at=now)
    return patient


def _lesion(session: Session, who: Who, about: About, patient: Patient | None, actor: str, now: datetime) -> Lesion:
    lesion = Lesion(group_name=who.groups[0]) if about.lesion_id is None else open_case(session, who, about.lesion_id)
    if patient is not None and lesion.patient_id not in (None, patient.id):
        raise RecordError("The case belongs to another patient.")
    if patient is not None and patient.group_name != lesion.group_name:
        raise RecordError("The case belongs to another group than the patient.")
    place = about.place or (lesion.map_view, lesion.map_x, lesion.map_y)
    wanted = {
        "patient_id": patient.id if patient else lesion.patient_id,
        "site": lesion.site if about.site is None else about.site or None,
        "side": lesion.side if about.side is None else about.side or None,
        "label": lesion.label if about.label is None else about.label or None,
        **dict(zip(("map_view", "map_x", "map_y"), place, strict=True)),
    }
    if lesion.id is None or any(getattr(lesion, column) != value for column, value in wanted.items()):
        for column, value in wanted.items():
            setattr(lesion, column, value)
        audit.note(session, actor, "case", lesion, at=now)
    return lesion
