"""The tables of the record. Times are UTC; columns named after a hash hold SHA-256 in hexadecimal."""

import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Id = BigInteger().with_variant(Integer, "sqlite")
Json = JSON(none_as_null=True)
"""Stored as text, so that numbers come back as they were hashed."""


class Utc(TypeDecorator[datetime]):
    """A time with its zone, stored in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time in UTC; raises ValueError for one without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs its zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time with its zone, UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Utc, dict[str, Any]: Json, list[Any]: Json}  # noqa: RUF012 - SQLAlchemy's way


def new_salt() -> str:
    """Return a salt for the hash of a row, 32 hexadecimal digits."""
    return secrets.token_hex(16)


class Row(Base):
    """A row whose content the audit chain vouches for, by a hash salted with `salt`."""

    __abstract__ = True

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    salt: Mapped[str] = mapped_column(String(32), default=new_salt)


class Person(Row):
    """Somebody who uses the record, in one group; known by the subject of the sign-in, never by name."""

    __tablename__ = "person"
    __table_args__ = (UniqueConstraint("subject", "group_name"),)

    subject: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    group_name: Mapped[str] = mapped_column(String(255))


class Patient(Row):
    """A patient of a group. Withdrawal of consent empties pseudonym, birth year and sex."""

    __tablename__ = "patient"
    __table_args__ = (UniqueConstraint("group_name", "pseudonym"),)

    group_name: Mapped[str] = mapped_column(String(255))
    pseudonym: Mapped[str | None] = mapped_column(String(64))
    """keyed HMAC of what was typed"""
    birth_year: Mapped[int | None]
    sex: Mapped[str | None] = mapped_column(String(16))
    consent_scope: Mapped[str | None] = mapped_column(String(16))
    given_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]


class Lesion(Row):
    """A case: one lesion of a group, with all its images. Of a quick save nothing else is known."""

    __tablename__ = "lesion"
    __table_args__ = (Index(None, "group_name", "id"), Index(None, "patient_id"))

    group_name: Mapped[str] = mapped_column(String(255))
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patient.id"))
    site: Mapped[str | None] = mapped_column(String(32))
    side: Mapped[str | None] = mapped_column(String(16))
    label: Mapped[str | None] = mapped_column(String(60))
    map_view: Mapped[str | None] = mapped_column(String(16))
    map_x: Mapped[float | None]
    """0 (left edge of the body map) to 1"""
    map_y: Mapped[float | None]
    """0 (top) to 1"""


class Image(Row):
    """One image of a lesion, as it was asked about."""

    __tablename__ = "image"
    __table_args__ = (Index(None, "lesion_id", "id"), Index(None, "saved_at"), Index(None, "delete_after"))

    lesion_id: Mapped[int] = mapped_column(ForeignKey("lesion.id"))
    token: Mapped[str] = mapped_column(String(32), unique=True)
    """of one saving: an attempt that is made again saves nothing twice"""
    saved_at: Mapped[datetime]
    taken_at: Mapped[datetime | None]
    pixels_sha256: Mapped[str] = mapped_column(String(64))
    """of height, width and RGB values of the copy that is shown, at most 1600 pixels long"""
    file_sha256: Mapped[str] = mapped_column(String(64))
    """empty of an image that was answered in a cohort, which keeps the hash of the pixels alone"""
    width: Mapped[int]
    height: Mapped[int]
    device: Mapped[str | None] = mapped_column(String(60))
    synthetic: Mapped[bool]
    quality: Mapped[dict[str, Any]]
    picture: Mapped[str | None] = mapped_column(String(80))
    """name of the encrypted picture, None if none is kept"""
    delete_after: Mapped[datetime | None]
    """when the picture is deleted"""


class Prediction(Row):
    """What one model answered about one image."""

    __tablename__ = "prediction"
    __table_args__ = (Index(None, "image_id", "lead"),)

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    at: Mapped[datetime]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    lead: Mapped[bool]
    """whether it is the model that people are held against: whose diagnosis the card shows, or else the first asked"""
    model_id: Mapped[str] = mapped_column(String(100))
    model_sha256: Mapped[str] = mapped_column(String(64))
    """of its weights"""
    fitted: Mapped[dict[str, Any]]
    """file that was fitted to the model and was in use -> its hash"""
    app_version: Mapped[str] = mapped_column(String(40))
    settings: Mapped[dict[str, Any]]
    """`stored_aspect` of the file, `class_mix` set, in words, and `fitted_mix`, 7 counts or None"""
    logits: Mapped[list[Any] | None]
    """7 numbers in the order of labels.CLASSES, as those of the probabilities"""
    probabilities: Mapped[list[Any] | None]
    """7, 0..1, at the class mix that the model was fitted for"""
    shown: Mapped[list[Any] | None]
    """7, 0..1, at the class mix that the person had set; None if none was"""
    calibrated: Mapped[bool]
    called: Mapped[str | None] = mapped_column(String(8))
    """diagnosis called as it was shown, at the class mix of `shown`, or of `probabilities` where that is None; itself
    None where the image is refused or there is no answer"""
    suspect: Mapped[float | None]
    """probability of malignant and pre-malignant diagnoses together, 0..1, at the class mix of `probabilities`"""
    prediction_set: Mapped[list[Any] | None]
    refused_by: Mapped[list[Any]]
    """ids of the models that do not know such images"""
    ood_score: Mapped[float | None]
    """how unlike the training images it looks; of a network"""
    refer: Mapped[bool | None]
    """of the case; None without rules"""
    reasons: Mapped[list[Any]]
    heat_map_sha256: Mapped[str | None] = mapped_column(String(64))
    milliseconds: Mapped[float | None]
    error: Mapped[str | None] = mapped_column(Text)


class Reading(Row):
    """What a person thinks of an image, before or with the model's answer. Superseded, never changed."""

    __tablename__ = "reading"
    __table_args__ = (Index(None, "image_id"), Index(None, "supersedes_id"))

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    at: Mapped[datetime]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    stage: Mapped[str] = mapped_column(String(16))
    diagnosis: Mapped[str] = mapped_column(String(8))
    diagnosis_words: Mapped[str | None] = mapped_column(String(120))
    confidence: Mapped[int]
    """0..100 %"""
    management: Mapped[str] = mapped_column(String(16))
    seconds: Mapped[float | None]
    """from the first sight of the image, or of the answer, to the reading"""
    note: Mapped[str | None] = mapped_column(Text)
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("reading.id"))


class Outcome(Row):
    """What a lesion turned out to be. Superseded, never changed."""

    __tablename__ = "outcome"
    __table_args__ = (Index(None, "lesion_id"), Index(None, "supersedes_id"))

    lesion_id: Mapped[int] = mapped_column(ForeignKey("lesion.id"))
    at: Mapped[datetime]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    diagnosis: Mapped[str] = mapped_column(String(8))
    diagnosis_words: Mapped[str | None] = mapped_column(String(120))
    basis: Mapped[str] = mapped_column(String(16))
    source: Mapped[str | None] = mapped_column(String(120))
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("outcome.id"))


class Disclosure(Row):
    """Something that was handed out of the record, or of a page beside it. It names no patient."""

    __tablename__ = "disclosure"
    __table_args__ = (Index(None, "lesion_id"),)

    at: Mapped[datetime]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    what: Mapped[str] = mapped_column(String(40))
    """key of vocabulary.DISCLOSED"""
    recipient: Mapped[str] = mapped_column(String(255))
    """the host it was sent to, "download", or "folder" """
    lesion_id: Mapped[int | None] = mapped_column(ForeignKey("lesion.id"))
    """the case; None of a table, or of an image that is not saved"""
    pixels_sha256: Mapped[str | None] = mapped_column(String(64))
    """of the image, where it is one"""
    sha256: Mapped[str | None] = mapped_column(String(64))
    """of the file, where it is one"""
    arrived_at: Mapped[datetime | None]
    """when the one it was sent to confirmed it; None until then, and of what was not sent"""


class Audit(Base):
    """One line of the chain: who did what to which row, and the salted hash of the row afterwards."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "object"),)

    sequence: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(40))
    """"person:ID", or "command" """
    action: Mapped[str] = mapped_column(String(40))
    object: Mapped[str] = mapped_column(String(40))
    """table and id of a row, "prediction:17" """
    payload_sha256: Mapped[str] = mapped_column(String(64))
    previous_sha256: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))


class RecordKey(Base):
    """Which key the record was begun with, to notice another one; it tells nothing of the key itself."""

    __tablename__ = "record_key"

    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    since: Mapped[datetime]


ROWS: tuple[type[Row], ...] = (Person, Patient, Lesion, Image, Prediction, Reading, Outcome, Disclosure)
"""The tables whose rows the chain vouches for."""
