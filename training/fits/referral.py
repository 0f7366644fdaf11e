"""Rules for referral (`dermlens.trust.referral`): how strict they are is chosen on validation under a cap."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.evaluation import intervals
from dermlens.evaluation.predictions import Predictions, read_predictions
from dermlens.files.documents import encode_object
from dermlens.labels import CLASSES, SUSPECT
from dermlens.models.card import read_card
from dermlens.trust import conformal
from dermlens.trust.calibration import unseen
from dermlens.trust.fitted import read_fitted
from dermlens.trust.ood import SCORES_FILE, refused
from dermlens.trust.referral import Measured, Referral, RuleMeasured, any_of
from dermlens.trust.referral_rules import RULES
from dermlens.trust.thresholds import SENSITIVITIES, Thresholds
from dermlens.trust.thresholds import read as read_thresholds
from training.fits.calibrated import calibrated, fitted_on
from training.fits.subject import Subject

CAP = 0.4
"""Largest share of validation images that may be referred: with one in five malignant or pre-malignant, at most about
one needless referral for each that is needed."""

Fired = Callable[[Referral], dict[str, np.ndarray]]


def make(subject: Subject) -> dict[str, bytes]:
    """Return referral.json."""
    thresholds = read_thresholds(subject.folder / "thresholds.json")
    splits = {split: _rules(subject, split) for split in subject.predictions.splits}
    referral = choose(thresholds, splits["validation"][1])
    measured = {split: measure(p, fired(referral)) for split, (p, fired) in splits.items()}
    content = {"fitted_on": fitted_on(subject), **replace(referral, measured=measured).to_dict()}
    return {"referral.json": encode_object(content)}


def choose(thresholds: Thresholds, fired: Fired, cap: float = CAP) -> Referral:
    """Return the rules with the highest wanted sensitivity that keep the cap on validation; the lowest if none does.

    Args:
        thresholds: of the model. fired: which rules fire on the validation images. cap: 0..1.
    """
    for wanted in sorted(SENSITIVITIES, reverse=True):
        chosen = {rule.key: thresholds.point(rule.target, wanted).threshold for rule in RULES if rule.target}
        referral = Referral(wanted, chosen, cap, {})
        if any_of(fired(referral)).mean() <= cap:
            break
    return referral


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


def _rules(subject: Subject, split: str) -> tuple[Predictions, Fired]:
    """Return the predictions of a split and a function that says which rules fire on them."""
    p, probabilities = calibrated(subject, split)
    sets = conformal.read(subject.folder / "conformal.json").sets(probabilities, conformal.CASE_LEVEL)
    calls = _calls_of_members(subject, p)
    unfamiliar = _unfamiliar(subject, p)
    return p, lambda referral: referral.fired(probabilities, sets, calls, unfamiliar)


def _calls_of_members(subject: Subject, p: Predictions) -> np.ndarray | None:
    """Return (n, m) the classes that the members of an ensemble call, None for a model that is none.

    A member calls what its own calibration makes most probable, cross-fitted on validation; what its scores do if it
    has none.
    """
    calls = []
    for member in subject.card.get("members", {}):
        folder = subject.folder.parent / member
        own = read_predictions(folder / "predictions.csv").of_split(p.split[0])
        calibration = read_fitted(folder, read_card(folder)).calibration
        probabilities = own.probabilities if calibration is None else unseen(own, calibration)
        found = pd.Series(probabilities.argmax(1), own.image_id).reindex(p.image_id)
        if found.isna().any():
            raise DataError(f"{member}/predictions.csv lacks images that {subject.folder.name} has predictions of.")
        calls.append(found.to_numpy(np.int64))
    return np.stack(calls, 1) if calls else None


def _unfamiliar(subject: Subject, p: Predictions) -> np.ndarray | None:
    """Return (n,) bool, which images the model, or any member of an ensemble, refuses; None if that is not fitted."""
    if not (subject.folder / SCORES_FILE).exists():
        return None
    return refused(subject.folder, p.image_id)
