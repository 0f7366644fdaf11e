"""Whose images these are: what a person types, or what the DICOM file says that the image came from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from dermlens.errors import DataError

SEXES = {"M": "male", "F": "female", "O": "other"}
_LONGEST = {"PatientID": 64, "IssuerOfPatientID": 64, "AccessionNumber": 16, "StudyID": 16}
_NAME_GROUP = 64
"""Characters of each of the up to three groups of a name: in letters, in ideographs, by its sound."""
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_TIME = re.compile(r"(\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?)?")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")


@dataclass(frozen=True)
class Identity:
    """Fields of patient and study; empty where nothing is known. They go into the objects and nowhere else."""

    patient_id: str = ""
    patient_name: str = ""
    """FAMILY^GIVEN"""
    birth_date: str = ""
    """YYYYMMDD"""
    sex: str = ""
    """M, F or O"""
    issuer: str = ""
    """who gave out `patient_id`"""
    accession_number: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    referring_physician: str = ""

    def __repr__(self) -> str:
        return "Identity(...)"  # it never stands in a log


@dataclass(frozen=True)
class Source:
    """The DICOM object that the image came from."""

    study: str
    series: str
    sop_class: str
    sop_instance: str
    identity: Identity


def check(identity: Identity, today: date | None = None) -> None:
    """Raise DataError, which names the field and not its value, unless every field can stand in a DICOM object."""
    for name, value in (
        ("PatientID", identity.patient_id),
        ("IssuerOfPatientID", identity.issuer),
        ("AccessionNumber", identity.accession_number),
        ("StudyID", identity.study_id),
    ):
        if len(value) > _LONGEST[name] or _FORBIDDEN.search(value):
            raise DataError(
                f"{name} must be one value of at most {_LONGEST[name]} characters, without a backslash or line break."
            )
    for name, value in (
        ("PatientName", identity.patient_name),
        ("ReferringPhysicianName", identity.referring_physician),
    ):
        groups = value.split("=")
        if len(groups) > 3 or any(len(g) > _NAME_GROUP or g.count("^") > 4 for g in groups) or _FORBIDDEN.search(value):
            raise DataError(
                f"{name} must be one name, FAMILY^GIVEN^MIDDLE^PREFIX^SUFFIX, in up to three groups of at most "
                f"{_NAME_GROUP} characters with = between them."
            )
    if identity.sex not in ("", *SEXES):
        raise DataError(f"PatientSex must be one of {', '.join(SEXES)}, or empty.")
    _check_day("PatientBirthDate", identity.birth_date, today or date.today())
    _check_day("StudyDate", identity.study_date, date.max)
    if not _TIME.fullmatch(identity.study_time):
        raise DataError("StudyTime must be a time as HHMMSS.")


def _check_day(name: str, value: str, latest: date) -> None:
    if not value:
        return
    try:
        day = datetime.strptime(value, "%Y%m%d").date()
    except ValueError:
        raise DataError(f"{name} must be a day as YYYYMMDD.") from None
    if len(value) != 8 or day > latest:
        raise DataError(f"{name} must be a day as YYYYMMDD, and not in the future.")


def source_of(tags: Mapping[str, str]) -> Source | None:
    """Return the object that `ingest.read.dicom_identity` read the tags of; None if its UIDs are missing or wrong."""
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
    study, series, sop_class, instance = uids = [tags.get(name, "") for name in names]
    if not all(len(uid) <= 64 and _UID.fullmatch(uid) for uid in uids):
        return None
    identity = Identity(
        patient_id=tags.get("PatientID", ""),
        patient_name=tags.get("PatientName", ""),
        birth_date=tags.get("PatientBirthDate", ""),
        sex=tags.get("PatientSex", ""),
        issuer=tags.get("IssuerOfPatientID", ""),
        accession_number=tags.get("AccessionNumber", ""),
        study_date=tags.get("StudyDate", ""),
        study_time=tags.get("StudyTime", ""),
        study_id=tags.get("StudyID", ""),
        referring_physician=tags.get("ReferringPhysicianName", ""),
    )
    return Source(study, series, sop_class, instance, identity)
