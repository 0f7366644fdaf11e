"""What was found, as a Comprehensive SR by template TID 1500 (DICOM PS3.16, Measurement Report)."""

from collections.abc import Sequence
from datetime import datetime

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dermlens.interchange.dicom.images import MAKER
from dermlens.interchange.findings import LEVEL, PRIVATE, Findings, ModelFinding, code_of
from dermlens.labels import CLASSES

_OWN = {
    "called": "Diagnosis called by the algorithm",
    "not-ruled-out": "Diagnosis not ruled out by the algorithm",
    "referral": "Referral by rules",
    "rule": "Rule for referral that applies",
    "refer": "Refer",
    "no-rule": "No rule for referral applies; that is not an all-clear",
    "look-again": "No rule applies, but look again",
    "none": "None: all are ruled out, which is not an all-clear",
    "acceptance": "Acceptance of the image by the algorithm",
    "refused": "Not an image of the kind that the algorithm knows",
    "accepted": "An image of the kind that the algorithm knows",
    "answer": "Answer of the algorithm",
    "withheld": "Withheld: the numbers mean nothing on this image",
    "case": "Findings in the image",
}
_RULES = {
    "unfamiliar": "Unlike the images that the models were trained on",
    "melanoma": "The probability of melanoma reaches a threshold",
    "malignant": "Malignant and pre-malignant diagnoses reach a threshold",
    "disagree": "The models' calls fall into different groups",
    "undecided": "The prediction set is empty, or rules out hardly any diagnosis",
}
"""Key of a rule for referral -> the meaning of its code, of which DICOM allows 64 characters."""


def structured_report(
    findings: Findings, source: Dataset, evidence: Sequence[Dataset], now: datetime, *, series: str, instance: str
) -> Dataset:
    """Return the report: a group of measurements a model and diagnosis, one a model, and one for the referral.

    Args:
        findings: of the image. source: the image. evidence: further objects that the report comes with.
        now: with zone. series, instance: UIDs.
    """
    groups = [group for model in findings.models for group in _of_model(findings, model, source)]
    if findings.refer is not None:
        code = "refer" if findings.refer else "look-again" if findings.beside else "no-rule"
        verdict = [(_own("referral"), _own(code))]
        verdict += [
            (_own("rule"), CodedConcept(value=key, scheme_designator=PRIVATE, meaning=_RULES[key]))
            for key in findings.rules
        ]
        groups.append(
            _group("referral", source, _own("case"), evaluations=verdict, said=(*findings.beside, *findings.in_doubt))
        )
    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[MAKER, findings.version]),
        name=MAKER,
        manufacturer_name=MAKER,
        model_name=MAKER,
        serial_number=findings.version,
    )
    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, observer_identifying_attributes=device)
        ),
        procedure_reported=codes.SCT.DermoscopicPhotography,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report: Dataset = ComprehensiveSR(
        evidence=[source, *evidence],
        content=content[0],
        series_instance_uid=series,
        series_number=3,
        sop_instance_uid=instance,
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        device_serial_number=findings.version,
        software_versions=findings.version,
        series_description="Findings of the models; decision support for research",
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[CodingSchemeIdentificationItem(designator=PRIVATE, name=MAKER, responsible_organization=MAKER)],
    )
    day, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    report.ContentDate = report.SeriesDate = day
    report.ContentTime = report.SeriesTime = time
    return report


def _of_model(findings: Findings, model: ModelFinding, source: Dataset) -> list[MeasurementsAndQualitativeEvaluations]:
    numbers = "calibrated probabilities" if model.calibrated else "uncalibrated scores"
    said = [f"SHA-256 {model.sha256}", f"{numbers[0].upper()}{numbers[1:]}"]
    said += [] if model.prediction_set is None else [f"Not ruled out: {LEVEL}"]
    said += [findings.class_mix] if findings.class_mix and model.calibrated else []
    algorithm = AlgorithmIdentification(
        name=model.name, version=f"{model.id} {model.sha256[:12]}", parameters=said, manufacturer=MAKER
    )
    evaluations = []
    if model.accepted is not None:
        evaluations.append((_own("acceptance"), _own("accepted" if model.accepted else "refused")))
    if model.withheld:
        evaluations.append((_own("answer"), _own("withheld")))
    if model.called is not None:
        evaluations.append((_own("called"), _diagnosis(model.called)))
    left: list[str] | tuple[str, ...] = () if model.prediction_set is None else model.prediction_set or ["none"]
    evaluations += [(_own("not-ruled-out"), _own(code) if code in _OWN else _diagnosis(code)) for code in left]
    groups = [_group(model.id, source, _own("case"), algorithm, evaluations=evaluations)]
    for code, probability in zip(CLASSES, model.probabilities, strict=False):
        measured = Measurement(
            name=CodedConcept.from_code(codes.DCM.Probability), value=probability, unit=codes.UCUM.NoUnits
        )
        groups.append(_group(f"{model.id} {code}", source, _diagnosis(code), algorithm, measurements=[measured]))
    return groups


def _group(
    name: str,
    source: Dataset,
    finding: CodedConcept,
    algorithm: AlgorithmIdentification | None = None,
    *,
    measurements: Sequence[Measurement] | None = None,
    evaluations: Sequence[tuple[CodedConcept, CodedConcept]] = (),
    said: Sequence[str] = (),
) -> MeasurementsAndQualitativeEvaluations:
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(prefix=None), identifier=name),
        finding_type=finding,
        algorithm_id=algorithm,
        finding_sites=[FindingSite(codes.SCT.Skin)],
        measurements=measurements,
        qualitative_evaluations=[QualitativeEvaluation(name=n, value=v) for n, v in evaluations] or None,
        source_images=[SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)],
    )
    for sentence in said:
        comment = TextContentItem(codes.DCM.Comment, sentence, relationship_type=RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(comment)
    return group


def _own(key: str) -> CodedConcept:
    return CodedConcept(value=key, scheme_designator=PRIVATE, meaning=_OWN[key])


def _diagnosis(code: str) -> CodedConcept:
    scheme, value, meaning = code_of(code)
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)
