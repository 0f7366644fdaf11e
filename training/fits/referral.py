"""Rules for referral (`dermlens.trust.referral`): how strict they are is chosen on validation under a cap.

An ensemble's rules look at its members as well, and are fitted and measured as one. What they miss on validation is
counted on lesions that neither their thresholds nor their strictness were chosen on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd

from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.evaluation import intervals
from dermlens.evaluation.predictions import Predictions
from dermlens.files.documents import encode_object
from dermlens.labels import CLASSES, SUSPECT
from dermlens.models import registry
from dermlens.trust import conformal
from dermlens.trust.calibration import folds
from dermlens.trust.ood import SCORES_FILE, refused
from dermlens.trust.referral import Measured, Referral, RuleMeasured, any_of
from dermlens.trust.referral_rules import RULES, Inputs
from dermlens.trust.thresholds import SENSITIVITIES, TARGETS, threshold_for
from training.fits.calibrated import calibrated, fitted_on
from training.fits.conformal import one_image_a_lesion
from training.fits.conformal import thresholds as set_thresholds
from training.fits.subject import Subject
from training.fits.thresholds import down

CAP = 0.4
"""Largest share of validation images that may be referred: with one in five malignant or pre-malignant, at most about
one needless referral for each that is needed."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What the rules look at on one split; validation is calibrated on other lesions than an image's own."""

    predictions: Predictions
    """of the model that the rules belong to"""
    inputs: Inputs
    """of the same images in the same order, the model's own probabilities first"""

    def rows(self, chosen: np.ndarray, sets: np.ndarray | None = None) -> Inputs:
        """Return the inputs of some images, (n,) bool, with their prediction sets, (k, 7) bool, if others are given."""
        i = self.inputs
        own = None if i.sets is None else i.sets[chosen]
        unfamiliar = None if i.unfamiliar is None else i.unfamiliar[chosen]
        return Inputs({m: p[chosen] for m, p in i.probabilities.items()}, own if sets is None else sets, unfamiliar)


def make(subject: Subject) -> dict[str, bytes]:
    """Return referral.json."""
    sets = conformal.read(subject.folder / "conformal.json")
    splits = {split: _answers(subject, split, sets) for split in subject.predictions.splits}
    validation = splits["validation"]
    referral = choose(validation.predictions.y_true, validation.inputs)
    fired = {split: referral.fired(answers.inputs) for split, answers in splits.items()}
    fired["validation"] = cross_fitted(validation, sets)
    measured = {split: measure(splits[split].predictions, found) for split, found in fired.items()}
    members = [subject.folder.parent / member for member in subject.card.get("members", {})]
    others = {folder.name: registry.sha256(folder / "calibration.json") for folder in members}
    scores = subject.folder / SCORES_FILE
    sources = {
        **fitted_on(subject),
        "conformal_sha256": registry.sha256(subject.folder / "conformal.json"),
        "familiarity_sha256": registry.sha256(scores) if scores.exists() else None,
        **({"member_calibrations": others} if others else {}),
    }
    content = {"fitted_on": sources, **replace(referral, measured=measured).to_dict()}
    return {"referral.json": encode_object(content)}


def choose(y_true: np.ndarray, inputs: Inputs, cap: float = CAP) -> Referral:
    """Return the rules that miss the fewest malignant and pre-malignant images under the cap; not measured yet.

    Two wanted sensitivities are chosen, one for the model and one, at most as high, for all of its members. Of choices
    that miss equally few the strictest for the model, then for the members, is taken; where none keeps the cap, the
    one that refers the least.

    Args:
        y_true: (n,) int, of validation images. inputs: of these images. cap: 0..1.
    """
    own, *members = inputs.probabilities
    each = {wanted: _thresholds(y_true, inputs.probabilities, wanted) for wanted in SENSITIVITIES}
    suspect = np.isin(y_true, SUSPECT)
    ranked = []
    for wanted, theirs in product(SENSITIVITIES, SENSITIVITIES if members else SENSITIVITIES[:1]):
        if theirs > wanted:
            continue
        sensitivity = {own: wanted, **dict.fromkeys(members, theirs)}
        referral = Referral(sensitivity, {m: each[s][m] for m, s in sensitivity.items()}, cap, {})
        fired = any_of(referral.fired(inputs))
        referral = replace(referral, referred=float(fired.mean()))
        over = max(0.0, float(fired.mean()) - cap)
        ranked.append((-over, -int((~fired & suspect).sum()), wanted, theirs, referral))
    return max(ranked, key=lambda found: found[:-1])[-1]


def _thresholds(
    y_true: np.ndarray, probabilities: Mapping[str, np.ndarray], wanted: float
) -> dict[str, dict[str, float]]:
    """Return model -> key of a rule with a target -> the threshold for a wanted sensitivity."""
    targets = {rule.key: TARGETS[rule.target] for rule in RULES if rule.target}
    return {
        model: {k: down(threshold_for(t.positive(y_true), t.score(p), wanted)) for k, t in targets.items()}
        for model, p in probabilities.items()
    }


def cross_fitted(answers: Answers, sets: conformal.PredictionSets) -> dict[str, np.ndarray]:
    """Return which rules fire on every validation image, by rules fitted on the other folds' lesions.

    Thresholds, strictness and prediction sets are fitted there. Which images look unfamiliar is as it is.

    Args:
        answers: of validation. sets: the model's, which say what classes have thresholds of their own.
    """
    p = answers.predictions
    fold, chosen = folds(p), np.isin(np.arange(len(p)), one_image_a_lesion(p))
    probabilities = next(iter(answers.inputs.probabilities.values()))
    found: dict[str, np.ndarray] = {}
    for i in np.unique(fold):
        here = fold == i
        limits = set_thresholds(probabilities[~here & chosen], p.y_true[~here & chosen], sets.own)
        kept = probabilities >= limits[sets.row(conformal.CASE_LEVEL)]
        referral = choose(p.y_true[~here], answers.rows(~here, kept[~here]))
        for key, fires in referral.fired(answers.rows(here, kept[here])).items():
            found.setdefault(key, np.zeros(len(p), bool))[here] = fires
    return found


def measure(p: Predictions, fired: dict[str, np.ndarray]) -> Measured:
    """Measure the rules on one split.

    Args:
        p: predictions of n images. fired: key of a rule -> (n,) bool.
    """
    referred, benign = any_of(fired), ~np.isin(p.y_true, SUSPECT)

    def share(hit: np.ndarray, among: np.ndarray | slice = slice(None)) -> Estimate:
        return intervals.share(hit[among], p.lesion[among])

    def alone(key: str) -> np.ndarray:
        return fired[key] & ~any_of({k: v for k, v in fired.items() if k != key} or {key: ~fired[key]})

    return Measured(
        referred=share(referred),
        benign_referred=share(referred, benign),
        missed={CLASSES[i]: share(~referred, p.y_true == i) for i in SUSPECT},
        rules={key: RuleMeasured(share(fired[key]), share(alone(key))) for key in fired},
    )


def _answers(subject: Subject, split: str, sets: conformal.PredictionSets) -> Answers:
    p, own = calibrated(subject, split)
    probabilities = {subject.folder.name: own}
    for member in subject.card.get("members", {}):
        theirs, found = calibrated(Subject(subject.folder.parent / member, subject.table), split)
        rows = pd.Series(np.arange(len(theirs)), theirs.image_id).reindex(p.image_id)
        if rows.isna().any():
            raise DataError(f"{member}/predictions.csv lacks images that {subject.folder.name} has predictions of.")
        probabilities[member] = found[rows.to_numpy(np.int64)]
    unfamiliar = refused(subject.folder, p.image_id) if (subject.folder / SCORES_FILE).exists() else None
    return Answers(p, Inputs(probabilities, sets.sets(own, conformal.CASE_LEVEL), unfamiliar))
