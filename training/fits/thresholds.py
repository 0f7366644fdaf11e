"""Operating points (`trust.thresholds`): thresholds chosen on validation, measured there cross-fitted and on test."""

import numpy as np

from dermlens.evaluation import intervals
from dermlens.evaluation.predictions import Predictions
from dermlens.files.documents import encode_object
from dermlens.trust.calibration import folds
from dermlens.trust.thresholds import SENSITIVITIES, TARGETS, Measured, Point, Thresholds, threshold_for
from training.fits.calibrated import calibrated, fitted_on
from training.fits.subject import Subject

DIGITS = 9


def make(subject: Subject) -> dict[str, bytes]:
    """Return thresholds.json."""
    answers = {split: calibrated(subject, split) for split in subject.predictions.splits}
    points = {target: tuple(point(target, wanted, answers) for wanted in SENSITIVITIES) for target in TARGETS}
    return {"thresholds.json": encode_object(Thresholds(points, fitted_on(subject)).to_dict())}


def point(target: str, wanted: float, answers: dict[str, tuple[Predictions, np.ndarray]]) -> Point:
    """Choose the threshold of one target for a wanted sensitivity on validation and measure it.

    Args:
        target: key of TARGETS. wanted: sensitivity.
        answers: split -> its predictions and calibrated probabilities (n, 7), those of validation cross-fitted.

    Raises:
        DataError: validation has no positive image, or only images of one lesion fold.
    """
    validation, probabilities = answers["validation"]
    positive, score = TARGETS[target].positive(validation.y_true), TARGETS[target].score(probabilities)
    threshold = down(threshold_for(positive, score, wanted))
    called = {"validation": cross_fitted(positive, score, folds(validation), wanted)}
    if "test" in answers:
        called["test"] = TARGETS[target].score(answers["test"][1]) >= threshold
    return Point(wanted, threshold, {split: measure(target, answers[split][0], c) for split, c in called.items()})


def cross_fitted(positive: np.ndarray, score: np.ndarray, fold: np.ndarray, wanted: float) -> np.ndarray:
    """Return which images reach a threshold chosen on the other folds; all arrays (n,)."""
    called = np.zeros(len(score), bool)
    for i in np.unique(fold):
        here = fold == i
        called[here] = score[here] >= down(threshold_for(positive[~here], score[~here], wanted))
    return called


def measure(target: str, p: Predictions, called: np.ndarray) -> Measured:
    """Return sensitivity and specificity with intervals over lesions; called: (n,) bool."""
    positive = TARGETS[target].positive(p.y_true)
    return Measured(
        intervals.share(called[positive], p.lesion[positive]),
        intervals.share(~called[~positive], p.lesion[~positive]),
    )


def down(threshold: float) -> float:
    """Round so that the image the threshold was taken from still reaches it."""
    return float(np.floor(threshold * 10**DIGITS) / 10**DIGITS)
