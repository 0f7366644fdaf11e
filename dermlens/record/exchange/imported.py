"""Answers that were given outside a page, as those of a cohort: each kept once, as a case of its own."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dermlens.record import people
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.store import audit
from dermlens.record.store.tables import Image, Lesion, Prediction

BLOCK = 500
"""Cases of one transaction: others can save in between."""


@dataclass(frozen=True)
class Answered:
    """One image and one model's answer."""

    token: str
    """32 hexadecimal digits that only this answer has: one that is there already is passed over"""
    name: str
    """of the image where it comes from; it is handed back, and kept nowhere"""
    at: datetime
    """when it was answered"""
    image: dict[str, Any]
    """columns of tables.Image that the image itself gives"""
    prediction: dict[str, Any]
    """columns of tables.Prediction that the answer gives"""


@dataclass(frozen=True)
class Kept:
    """Where an answer is."""

    name: str
    lesion_id: int
    new: bool
    """False if it was there already"""


def add(record: Record, who: Who, answers: Iterable[Answered], now: datetime | None = None) -> Iterator[Kept]:
    """Keep answers as cases of the first of the person's groups, BLOCK at a time; yields where each is, in order.

    Stopped half-way, it goes on where it was when the same answers are given again.

    Raises:
        RecordError: they cannot be saved, and why; blocks that were yielded are.
    """
    who.need("save")
    coming = iter(answers)
    while block := list(islice(coming, BLOCK)):
        with record.database.writing() as session:
            found = _insert(session, who, block, now or datetime.now(UTC))
        yield from found


def _insert(session: Session, who: Who, block: Sequence[Answered], now: datetime) -> list[Kept]:
    tokens = [answer.token for answer in block]
    there: dict[str, int] = dict(
        session.execute(select(Image.token, Image.lesion_id).where(Image.token.in_(tokens))).all()
    )
    new, added = [answer for answer in block if answer.token not in there], dict[str, int]()
    if new:
        person = people.row_of(session, who, now)
        lesions = [Lesion(group_name=who.groups[0]) for _ in new]
        audit.note(session, "command", "import", *lesions, at=now)
        images = [
            Image(**answer.image, token=answer.token, lesion_id=lesion.id, saved_at=now)
            for answer, lesion in zip(new, lesions, strict=True)
        ]
        audit.note(session, "command", "import", *images, at=now)
        answered = [
            Prediction(**answer.prediction, at=answer.at, image_id=image.id, person_id=person.id)
            for answer, image in zip(new, images, strict=True)
        ]
        audit.note(session, "command", "import", *answered, at=now)
        added = {image.token: image.lesion_id for image in images}
    where = {**there, **added}
    return [Kept(answer.name, where[answer.token], answer.token in added) for answer in block]
