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
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dermlens.interchange.dicom.images import MAKER
from dermlens.interchange.findings import PRIVATE, Findings, ModelFinding, code_of
from dermlens.labels import CLASSES

_OWN = {
    "called": "Diagnosis called by the algorithm",
    "not-ruled-out": "Diagnosis not ruled out by the algorithm",
    "referral": "Referral by rules",
    "rule": "Rule for referral that applies",
    "refer": "Refer",
    "no-rule": "No rule for referral applies; that is not an all-clear",
    "acceptance": "Acceptance of the image by the algorithm",
    "refused": "Not an image of the kind that the algorithm knows",
    "accepted": "An image of the kind that the algorithm knows",
    "answer": "Answer of the algorithm",
    "withheld": "Withheld: the numbers mean nothing on this image",
    "case": "Findings in the image",
}
_MEANING = 64
"""Most characters of a code's meaning."""


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
        verdict = [(_own("referral"), _own("refer" if findings.refer else "no-rule"))]
        verdict += [
            (_own("rule"), CodedConcept(value=key[:16], scheme_designator=PRIVATE, meaning=reason[:_MEANING]))
            for key, reason in findings.rules
        ]
        groups.append(_group("referral", source, _own("case"), evaluations=verdict))
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
    evaluations += [(_own("not-ruled-out"), _diagnosis(code)) for code in model.prediction_set or ()]
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
) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(prefix=None), identifier=name),
        finding_type=finding,
        algorithm_id=algorithm,
        finding_sites=[FindingSite(codes.SCT.Skin)],
        measurements=measurements,
        qualitative_evaluations=[QualitativeEvaluation(name=n, value=v) for n, v in evaluations] or None,
        source_images=[SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)],
    )


def _own(key: str) -> CodedConcept:
    return CodedConcept(value=key, scheme_designator=PRIVATE, meaning=_OWN[key])


def _diagnosis(code: str) -> CodedConcept:
    scheme, value, meaning = code_of(code)
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)
