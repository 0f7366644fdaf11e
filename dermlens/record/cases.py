"""Finding cases: the list with its filters, and all that is kept of one. A person sees those of their groups alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Select, String, and_, cast, exists, func, literal, or_, select
from sqlalchemy.orm import Session, aliased

from dermlens.errors import RecordError
from dermlens.labels import CLASSES
from dermlens.record.at_mix import shown_shares, suspect_share
from dermlens.record.people import Who
from dermlens.record.readings import NO_CASE, WITHDRAW
from dermlens.record.store.frames import frame
from dermlens.record.store.tables import (
    Audit,
    Disclosure,
    Image,
    Lesion,
    Outcome,
    Patient,
    Person,
    Prediction,
    Reading,
)

PAGE = 50
"""Cases that are listed at once."""
NO_CALL = "none"
"""In the place of a call: the image was refused, or no model answered."""
COLUMNS = (
    *("case", "saved_at", "images", "site", "side", "label", "image", "model", "called", "suspect", "refer", "refused"),
    *("person", "management", "outcome", "outcome_words", "basis"),
)
"""Of `listed`: the newest image of each case with the lead model's answer, and the newest reading of it. Call and
suspect probability are as they were shown; that is None where nothing is called."""


@dataclass(frozen=True)
class Wanted:
    """What the list is narrowed to; None and empty are anything."""

    since: date | None = None
    until: date | None = None
    """both days included, of saving, UTC"""
    site: str | None = None
    called: str | None = None
    """a code of labels.CLASSES, or NO_CALL"""
    outcome: str | None = None
    """"open", "known", or a diagnosis"""
    refer: bool | None = None
    disagree: bool = False
    """only cases in which the newest reading is not what the lead model calls"""
    pseudonym: str | None = None
    """of the patient"""
    closed: bool | None = None
    """whether the consent is withdrawn, so that nothing can be added"""


def listed(
    session: Session, who: Who, wanted: Wanted = Wanted(), first: int = 0, most: int | None = PAGE
) -> pd.DataFrame:
    """Return cases, the one with the newest image first, a row each with COLUMNS.

    Args:
        session: reading. who: whose groups. wanted: the filter. first: how many to leave out. most: None for all.
    """
    who.need("see")
    found = _matching(who, wanted)
    ids = found.order_by(found.selected_columns[0].desc()).offset(first).limit(most).subquery()
    answer, reading, outcome = aliased(Prediction), aliased(Reading), aliased(Outcome)
    images = select(func.count()).where(Image.lesion_id == Lesion.id).correlate(Lesion).scalar_subquery()
    query = (
        select(
            Lesion.id,
            Image.saved_at,
            images,
            Lesion.site,
            Lesion.side,
            Lesion.label,
            Image.id,
            answer.model_id,
            answer.called,
            answer.probabilities,
            answer.refer,
            and_(answer.id.is_not(None), answer.called.is_(None)),
            reading.diagnosis,
            reading.management,
            outcome.diagnosis,
            outcome.diagnosis_words,
            outcome.basis,
            answer.shown,
        )
        .select_from(ids)
        .join(Image, Image.id == ids.c[0])
        .join(Lesion, Lesion.id == Image.lesion_id)
        .outerjoin(answer, and_(answer.image_id == Image.id, answer.lead))
        .outerjoin(reading, reading.id == _newest(Reading.id, Reading.image_id == Image.id))
        .outerjoin(outcome, outcome.id == _newest(Outcome.id, Outcome.lesion_id == Lesion.id))
        .order_by(Image.id.desc())
    )
    found = frame(session, query, [*COLUMNS, "shown"])
    beside = zip(found["called"], found["shown"], found["suspect"], strict=True)
    shares = [suspect_share(shown_shares(called, shown, fitted)) for called, shown, fitted in beside]
    return found.assign(suspect=pd.Series(shares, found.index, dtype=object)).drop(columns="shown")


def count(session: Session, who: Who, wanted: Wanted = Wanted()) -> int:
    """Return how many cases a filter leaves."""
    who.need("see")
    return int(session.scalar(select(func.count()).select_from(_matching(who, wanted).subquery())) or 0)


def _newest(column: Any, condition: ColumnElement[bool]) -> Any:
    return select(func.max(column)).where(condition).scalar_subquery()


def _matching(who: Who, wanted: Wanted) -> Select[Any]:
    """Return the query for the newest image of each case that passes a filter; it joins what the filter asks about."""
    image, later, answer = aliased(Image), aliased(Image), aliased(Prediction)
    outcome, reading = aliased(Outcome), aliased(Reading)
    query = select(image.id).join(Lesion, Lesion.id == image.lesion_id)
    if wanted.called or wanted.disagree or wanted.refer is not None:
        query = query.outerjoin(answer, and_(answer.image_id == image.id, answer.lead))
    if wanted.disagree:
        query = query.outerjoin(reading, reading.id == _newest(Reading.id, Reading.image_id == image.id))
    if wanted.outcome:
        query = query.outerjoin(outcome, outcome.id == _newest(Outcome.id, Outcome.lesion_id == Lesion.id))
    return query.where(
        Lesion.group_name.in_(who.groups),
        ~exists().where(later.lesion_id == image.lesion_id, later.id > image.id),
        *_conditions(wanted, image, answer, reading, outcome),
    )


def _conditions(wanted: Wanted, image: Any, answer: Any, reading: Any, outcome: Any) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.since:
        found.append(image.saved_at >= _midnight(wanted.since))
    if wanted.until:
        found.append(image.saved_at < _midnight(wanted.until + timedelta(days=1)))
    if wanted.site:
        found.append(Lesion.site == wanted.site)
    if wanted.called:
        found.append(answer.called.is_(None) if wanted.called == NO_CALL else answer.called == wanted.called)
    if wanted.outcome == "open":
        found.append(outcome.id.is_(None))
    elif wanted.outcome == "known":
        found.append(outcome.id.is_not(None))
    elif wanted.outcome:
        found.append(outcome.diagnosis == wanted.outcome)
    if wanted.refer is not None:
        found.append(answer.refer.is_(wanted.refer))
    if wanted.disagree:
        found.append(and_(reading.id.is_not(None), or_(answer.called.is_(None), reading.diagnosis != answer.called)))
    if wanted.pseudonym:
        found.append(Lesion.patient_id.in_(select(Patient.id).where(Patient.pseudonym == wanted.pseudonym)))
    if wanted.closed is not None:
        found.append(is_closed() if wanted.closed else ~is_closed())
    return found


def is_closed() -> ColumnElement[bool]:
    """Return the condition, in a query over Lesion, that the consent of a case is withdrawn: nothing can be added."""
    return exists().where(Audit.object == literal("lesion:") + cast(Lesion.id, String), Audit.action == WITHDRAW)


def _midnight(day: date) -> datetime:
    return datetime.fromisoformat(f"{day.isoformat()}T00:00:00+00:00")


@dataclass(frozen=True, eq=False)
class Case:
    """All that is kept of one lesion."""

    lesion: Lesion
    patient: Patient | None
    images: tuple[Image, ...]
    """by the day they were taken, or else saved; oldest first"""
    predictions: dict[int, tuple[Prediction, ...]]
    """image id -> answers, the lead model's first"""
    readings: dict[int, tuple[Reading, ...]]
    """image id -> readings, oldest first, superseded ones too"""
    outcomes: tuple[Outcome, ...]
    """oldest first; the last one holds"""
    disclosures: tuple[Disclosure, ...]
    """what has left, oldest first"""
    people: dict[int, Person]
    """person id -> who"""
    history: tuple[Audit, ...]
    """lines of the chain about the lesion, its images and what has left, oldest first"""

    @property
    def outcome(self) -> Outcome | None:
        """What the lesion turned out to be, None while that is open."""
        return self.outcomes[-1] if self.outcomes else None


def superseded(rows: Sequence[Reading] | Sequence[Outcome]) -> set[int]:
    """Return the ids of those that a later one has taken the place of."""
    return {row.supersedes_id for row in rows if row.supersedes_id is not None}


def one(session: Session, who: Who, lesion_id: int) -> Case:
    """Return a case; RecordError if there is none of that number in the person's groups."""
    who.need("see")
    lesion = session.get(Lesion, lesion_id)
    if lesion is None or lesion.group_name not in who.groups:
        raise RecordError(NO_CASE)
    images = sorted(
        session.scalars(select(Image).where(Image.lesion_id == lesion_id)),
        key=lambda i: (i.taken_at or i.saved_at, i.id),
    )
    ids = [image.id for image in images]
    answers = session.scalars(
        select(Prediction).where(Prediction.image_id.in_(ids)).order_by(Prediction.lead.desc(), Prediction.id)
    ).all()
    readings = session.scalars(select(Reading).where(Reading.image_id.in_(ids)).order_by(Reading.id)).all()
    outcomes = session.scalars(select(Outcome).where(Outcome.lesion_id == lesion_id).order_by(Outcome.id)).all()
    left = session.scalars(select(Disclosure).where(Disclosure.lesion_id == lesion_id).order_by(Disclosure.id)).all()
    whose = {row.person_id for rows in (answers, readings, outcomes, left) for row in rows}
    names = [f"lesion:{lesion_id}", *(f"image:{i}" for i in ids), *(f"outcome:{o.id}" for o in outcomes)]
    names += [*(f"reading:{r.id}" for r in readings), *(f"disclosure:{d.id}" for d in left)]
    return Case(
        lesion=lesion,
        patient=session.get(Patient, lesion.patient_id) if lesion.patient_id else None,
        images=tuple(images),
        predictions={i: tuple(a for a in answers if a.image_id == i) for i in ids},
        readings={i: tuple(r for r in readings if r.image_id == i) for i in ids},
        outcomes=tuple(outcomes),
        disclosures=tuple(left),
        people={p.id: p for p in session.scalars(select(Person).where(Person.id.in_(whose)))},
        history=tuple(session.scalars(select(Audit).where(Audit.object.in_(names)).order_by(Audit.sequence))),
    )


def of_patient(session: Session, who: Who, pseudonym: str) -> tuple[Patient | None, list[Lesion]]:
    """Return a patient of the person's first group and the patient's cases, oldest first; None if not known."""
    who.need("see")
    query = select(Patient).where(Patient.group_name == who.groups[0], Patient.pseudonym == pseudonym)
    patient = session.scalars(query).first()
    if patient is None:
        return None, []
    return patient, list(session.scalars(select(Lesion).where(Lesion.patient_id == patient.id).order_by(Lesion.id)))


def totals(session: Session, who: Who) -> dict[str, int]:
    """Return how many cases, images and kept pictures the person's groups have."""
    who.need("see")
    own = Lesion.group_name.in_(who.groups)
    images = select(func.count()).select_from(Image).join(Lesion, Lesion.id == Image.lesion_id).where(own)
    found = {
        "case": session.scalar(select(func.count()).select_from(Lesion).where(own)),
        "image": session.scalar(images),
        "kept picture": session.scalar(images.where(Image.picture.is_not(None))),
    }
    return {name: int(number or 0) for name, number in found.items()}


def known_calls() -> tuple[str, ...]:
    """Return what a case can be called, for the filter."""
    return (*CLASSES, NO_CALL)
