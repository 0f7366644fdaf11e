"""A case as a FHIR R4 bundle: a report an image, observations of the models, the algorithms as devices.

Made of the classes of fhir.resources, which check it. That library knows R4 as R4B, whose resources used here are the
same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

from dermlens.case.decision import verdict
from dermlens.errors import DermlensError
from dermlens.interchange.dicom.identity import SEXES
from dermlens.interchange.findings import LEVEL, NONE_LEFT, SNOMED, Findings, ModelFinding
from dermlens.labels import CLASSES, NAMES

MISSING = "FHIR takes a package that is not installed on this server: run `make exchange` there."
OWN = "urn:x-dermlens:"
"""Before the names of our own code systems and identifiers."""
_SNOMED = "http://snomed.info/sct"
_UCUM = "http://unitsofmeasure.org"
_REFUSED = "Withheld: the image is not of the kind that the algorithm knows."
_WITHHELD = "Withheld: the algorithms together do not take the image for one of the kind that they know."
_NOTE = "Decision support for research; not a diagnosis and not a medical device."


@dataclass(frozen=True)
class Subject:
    """Whose case it is, as far as it may be told; empty where nothing is known."""

    patient_id: str = ""
    name: str = ""
    """FAMILY^GIVEN"""
    birth_date: str = ""
    """YYYY, or YYYY-MM-DD"""
    sex: str = ""
    """M, F or O"""

    def __repr__(self) -> str:
        return "Subject(...)"  # it never stands in a log


@dataclass(frozen=True)
class Truth:
    """What the lesion turned out to be."""

    diagnosis: str
    """a code of labels.CLASSES, or any other text"""
    words: str
    basis: str
    """by what it is known, in words"""
    at: datetime


def available() -> bool:
    """Return whether bundles can be made here."""
    return find_spec("fhir") is not None


def bundle(
    found: Sequence[Findings], subject: Subject = Subject(), study: str = "", truth: Truth | None = None
) -> bytes:
    """Return a case as JSON of FHIR.

    Args:
        found: of each image of the case, at least one.
        subject: of the case. study: DICOM UID of the study that the images are of, empty if there is none.
        truth: what the lesion turned out to be, None while that is open.

    Raises:
        DermlensError: the package is missing, or the bundle would be none by FHIR.
    """
    if not available():
        raise DermlensError(MISSING)
    from fhir.resources.R4B.bundle import Bundle

    entries: list[dict[str, Any]] = []

    def add(resource: dict[str, Any]) -> dict[str, str]:
        url = f"urn:uuid:{uuid4()}"
        entries.append({"fullUrl": url, "resource": resource})
        return {"reference": url}

    whose = {"subject": add(patient)} if (patient := _patient(subject)) else {}
    devices: dict[tuple[str, str], dict[str, str]] = {}
    for each in found:
        results = []
        for model in each.models:
            key = (model.id, model.sha256)
            if key not in devices:
                devices[key] = add(_device(each, model))
            results.append(add({**_of_model(each, model), "device": devices[key], **whose}))
        if each.refer is not None:
            results.append(add({**_referral(each), **whose}))
        add({**_report(each, study), "result": results, **whose})
    if truth is not None:
        add({**_truth(truth), **whose})
    newest = max(each.at for each in found)
    try:
        made = Bundle.model_validate(
            {"resourceType": "Bundle", "type": "collection", "timestamp": _time(newest), "entry": entries}
        )
    except ValueError as e:  # pydantic's, which says where
        places = ", ".join(
            sorted({".".join(map(str, error["loc"][-2:])) for error in getattr(e, "errors", list)()})[:3]
        )
        raise DermlensError(f"The case cannot be written as FHIR: {places}.") from e
    return made.model_dump_json(indent=1).encode()


def _time(at: datetime) -> str:
    return at.astimezone().isoformat(timespec="seconds")


def _own(system: str, code: str, text: str) -> dict[str, Any]:
    return {"coding": [{"system": OWN + system, "code": code, "display": text}], "text": text}


def _diagnosis(code: str) -> dict[str, Any]:
    concept = _own("diagnosis", code, NAMES[code])
    if code in SNOMED:
        value, display = SNOMED[code]
        concept["coding"].insert(0, {"system": _SNOMED, "code": value, "display": display})
    return concept


def _patient(subject: Subject) -> dict[str, Any]:
    """Return the patient as far as known, {} where nothing is."""
    family, _, given = subject.name.partition("^")
    known = {
        "identifier": [{"value": subject.patient_id}] if subject.patient_id else None,
        "name": [{k: v for k, v in {"family": family, "given": [g for g in given.split("^") if g]}.items() if v}]
        if subject.name
        else None,
        "gender": SEXES.get(subject.sex),
        "birthDate": subject.birth_date or None,
    }
    told = {key: value for key, value in known.items() if value}
    return {"resourceType": "Patient", **told} if told else {}


def _device(found: Findings, model: ModelFinding) -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "identifier": [{"system": f"{OWN}model-sha256", "value": model.sha256}],
        "manufacturer": "Dermlens",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "modelNumber": model.id,
        "version": [{"value": f"Dermlens {found.version}"}],
        "type": {"text": "Neural network for dermoscopic images"},
        "note": [{"text": _NOTE}],
    }


def _of_model(found: Findings, model: ModelFinding) -> dict[str, Any]:
    told: dict[str, Any] = {
        "resourceType": "Observation",
        "status": "preliminary",
        "code": _own("observation", "called", "Diagnosis called by the algorithm"),
        "effectiveDateTime": _time(found.at),
        "note": [{"text": "Calibrated probabilities." if model.calibrated else "Uncalibrated scores."}],
    }
    if found.class_mix and model.calibrated:
        told["note"].append({"text": found.class_mix})
    if model.accepted is not None:
        told["component"] = [
            {
                "code": _own("observation", "accepted", "The image is one of the kind that the algorithm knows"),
                "valueBoolean": model.accepted,
            }
        ]
    if model.withheld or model.called is None:
        absent = {
            "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
            "code": "not-applicable",
            "display": "Not Applicable",
        }
        text = _REFUSED if model.accepted is False else _WITHHELD
        return {**told, "dataAbsentReason": {"coding": [absent], "text": text}}
    told["valueCodeableConcept"] = _diagnosis(model.called)
    told.setdefault("component", []).extend(
        {"code": _diagnosis(code), "valueQuantity": {"value": p, "unit": "probability", "system": _UCUM, "code": "1"}}
        for code, p in zip(CLASSES, model.probabilities, strict=True)
    )
    if model.prediction_set is not None:
        ruled_in = _own("observation", "not-ruled-out", f"Diagnosis not ruled out by the algorithm, {LEVEL}")
        left: list[dict[str, Any]] = [{"valueCodeableConcept": _diagnosis(code)} for code in model.prediction_set]
        told["component"] += [{"code": ruled_in, **value} for value in left or [{"valueString": NONE_LEFT}]]
    return told


def _referral(found: Findings) -> dict[str, Any]:
    reasons = (*(found.reasons or (_no_rule(found),)), *found.beside, *found.in_doubt)
    return {
        "resourceType": "Observation",
        "status": "preliminary",
        "code": _own("observation", "referral", "Referral by rules"),
        "effectiveDateTime": _time(found.at),
        "valueBoolean": found.refer,
        "note": [{"text": reason} for reason in reasons],
    }


def _no_rule(found: Findings) -> str:
    return f"{verdict(False, found.beside)}; that is not an all-clear."


def _truth(truth: Truth) -> dict[str, Any]:
    known = truth.diagnosis in CLASSES
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": _own("observation", "outcome", "What the lesion turned out to be"),
        "effectiveDateTime": _time(truth.at),
        "valueCodeableConcept": _diagnosis(truth.diagnosis) if known else {"text": truth.words or truth.diagnosis},
        "method": {"text": truth.basis},
    }


def _report(found: Findings, study: str) -> dict[str, Any]:
    if found.withheld:
        conclusion = "No diagnosis: the image does not look like the dermoscopic images that the models learned from."
    elif not found.models:
        conclusion = "No model has answered about the image."
    elif found.refer is None:
        conclusion = "No model here has rules for referral."
    else:
        conclusion = " ".join(["Refer." if found.refer else _no_rule(found), *found.beside, *found.in_doubt])
    drawn = " The image is a synthetic drawing; it shows no real lesion." if found.synthetic else ""
    told: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "code": _own("report", "dermoscopy", "Findings of algorithms in a dermoscopic image"),
        "effectiveDateTime": _time(found.at),
        "issued": _time(found.at),
        "conclusion": f"{conclusion}{drawn} {_NOTE}",
    }
    if found.image_sha256:
        told["identifier"] = [{"system": f"{OWN}image-sha256", "value": found.image_sha256}]
    if study:
        told["imagingStudy"] = [
            {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{study}"}}
        ]
    return told
