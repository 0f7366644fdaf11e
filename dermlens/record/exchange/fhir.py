"""A case of the record as FHIR: its answers and its outcome, and of the patient birth year and sex alone."""

from datetime import UTC

from dermlens.interchange.dicom.identity import SEXES
from dermlens.interchange.fhir import Subject, Truth, bundle
from dermlens.interchange.findings import Findings, ModelFinding
from dermlens.models.card import identity_of
from dermlens.record.answers import beside
from dermlens.record.cases import Case
from dermlens.record.people import Who
from dermlens.record.store.tables import Image, Prediction
from dermlens.record.vocabulary import BASES

_SEX_CODES = {word: code for code, word in SEXES.items()}


def case_as_fhir(case: Case, who: Who) -> bytes:
    """Return a case as a bundle of FHIR, as JSON.

    Raises:
        RecordError: this person may not export. DermlensError: as interchange.fhir.bundle.
    """
    who.need("export")
    found = [_findings(image, case.predictions[image.id]) for image in case.images]
    patient, outcome = case.patient, case.outcome
    subject = Subject()
    if patient is not None:
        born = str(patient.birth_year) if patient.birth_year else ""
        subject = Subject(birth_date=born, sex=_SEX_CODES.get(patient.sex or "", ""))
    truth = None
    if outcome is not None:
        truth = Truth(outcome.diagnosis, outcome.diagnosis_words or "", BASES[outcome.basis], outcome.at)
    return bundle(found, subject, truth=truth)


def _findings(image: Image, answers: tuple[Prediction, ...]) -> Findings:
    answered = [answer for answer in answers if answer.probabilities is not None]
    lead = next((answer for answer in answers if answer.lead), None)
    return Findings(
        image_sha256=image.file_sha256,
        at=answered[0].at if answered else image.saved_at.astimezone(UTC),
        models=tuple(_of_model(answer) for answer in answered),
        withheld=bool(answered) and all(answer.called is None for answer in answered),
        refer=lead.refer if lead else None,
        reasons=tuple(map(str, lead.reasons)) if lead else (),
        beside=beside(lead) if lead else (),
        in_doubt=("The picture may be too poor to be judged.",) if image.quality.get("poor") else (),
        rules=(),
        class_mix=str(lead.settings.get("class_mix") or "") if lead else "",
        synthetic=image.synthetic,
        version=answers[0].app_version if answers else "",
    )


def _of_model(answer: Prediction) -> ModelFinding:
    withheld, kept = answer.called is None, answer.prediction_set
    return ModelFinding(
        id=answer.model_id,
        name=answer.model_id,
        sha256=identity_of(answer.model_sha256, answer.fitted),
        accepted=_accepted(answer),
        withheld=withheld,
        called=answer.called,
        probabilities=() if withheld else tuple(map(float, answer.shown or answer.probabilities or ())),
        calibrated=answer.calibrated,
        prediction_set=None if withheld or kept is None else tuple(map(str, kept)),
    )


def _accepted(answer: Prediction) -> bool | None:
    """Return whether the model accepted the image; None where the row does not tell, as of an ensemble that called."""
    if answer.model_id in answer.refused_by:
        return False
    return None if answer.ood_score is None else True
