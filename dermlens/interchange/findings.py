"""What was found in one image, as plain values from which DICOM reports and FHIR bundles are made."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dermlens.case.decision import decide
from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.case.software import app_version
from dermlens.labels import NAMES
from dermlens.trust.conformal import CASE_LEVEL
from dermlens.wording import short_percent

SNOMED: Mapping[str, tuple[str, str]] = {
    "bcc": ("254701007", "Basal cell carcinoma of skin"),
    "mel": ("93655004", "Malignant melanoma of skin"),
}
"""Class -> concept of SNOMED CT and its name. The other classes of HAM10000 put several concepts together, or are wider
than one: they keep codes of their own, as a code that says more than was found would be false."""
LEVEL = f"{short_percent(CASE_LEVEL)} prediction set"
NONE_LEFT = "None: every diagnosis is ruled out, which is not an all-clear"
POOR = "It may be too poor to be judged."
PRIVATE = "99DERMLENS"
"""Coding scheme of our own codes, in DICOM."""


@dataclass(frozen=True)
class ModelFinding:
    """What one model says."""

    id: str
    name: str
    sha256: str
    """of all that its answers depend on: its weights, and what was fitted to it"""
    accepted: bool | None
    """whether it takes the image for one of the kind that it knows, by its own limit or rule; None if it cannot tell"""
    withheld: bool
    """whether its answer is withheld, by its own refusal or the rule of an ensemble: its numbers mean nothing then"""
    called: str | None
    """a code of labels.CLASSES; None if withheld"""
    probabilities: tuple[float, ...]
    """7 in the order of labels.CLASSES, 0..1, at the class mix that is set; empty if withheld"""
    calibrated: bool
    prediction_set: tuple[str, ...] | None
    """codes that are not ruled out, none where all are; None without prediction sets, or if withheld"""


@dataclass(frozen=True)
class Findings:
    """What was found in an image."""

    image_sha256: str
    """of the file; empty where it is not known"""
    at: datetime
    models: tuple[ModelFinding, ...]
    """those that have answered, in the order they are shown"""
    withheld: bool
    """whether no model calls anything"""
    refer: bool | None
    """None without rules for referral"""
    reasons: tuple[str, ...]
    """why, a sentence each"""
    beside: tuple[str, ...]
    """sentences on models that the rules do not look at and that would refer"""
    in_doubt: tuple[str, ...]
    """sentences on what makes the picture too poor to be judged, and on what reading it left open"""
    rules: tuple[str, ...]
    """keys of the rules that apply; where one says that the numbers cannot be relied on, of those alone that do"""
    class_mix: str
    """one sentence, empty where no class mix is known"""
    synthetic: bool
    version: str
    """of Dermlens"""


def find(image: CaseImage, opinion: Opinion, at: datetime) -> Findings:
    """Return what was found.

    Args:
        image: answered. opinion: of the models, at the class mix that is shown. at: now, with zone.
    """
    decision = decide(opinion)
    models = []
    for model in opinion.asked:
        withheld = model.id in opinion.refused
        sets = None if withheld else model.fitted.prediction_sets
        models.append(
            ModelFinding(
                id=model.id,
                name=model.name,
                sha256=model.identity,
                accepted=opinion.accepted.get(model.id),
                withheld=withheld,
                called=None if withheld else opinion.call(model).code,
                probabilities=() if withheld else tuple(float(p) for p in opinion.shown[model.id].probabilities),
                calibrated=opinion.answers[model.id].calibrated,
                prediction_set=None if sets is None else tuple(sets.codes(opinion.answers[model.id].probabilities)),
            )
        )
    return Findings(
        image_sha256=image.sha256,
        at=at,
        models=tuple(models),
        withheld=opinion.withheld,
        refer=None if decision is None else decision.refer,
        reasons=() if decision is None else decision.reasons,
        beside=() if decision is None else decision.beside,
        in_doubt=(*(f"{f.text} {POOR}" for f in image.quality.findings if f.poor), *image.notices),
        rules=() if decision is None else tuple(rule.key for rule in decision.said),
        class_mix=opinion.class_mix,
        synthetic=image.synthetic,
        version=app_version(),
    )


def code_of(diagnosis: str) -> tuple[str, str, str]:
    """Return coding scheme ("SCT" or PRIVATE), code and name of a class."""
    if diagnosis in SNOMED:
        return ("SCT", *SNOMED[diagnosis])
    return PRIVATE, diagnosis, NAMES[diagnosis]
