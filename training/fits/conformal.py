"""Prediction sets (`trust.conformal`): thresholds fitted on validation by class-conditional conformal prediction.

The p-values are those of crepes (Boström, "Conformal prediction in Python with crepes", PMLR 230, 2024), not smoothed,
so that a case gets the same set every time. Images of one lesion are not exchangeable, lesions are: one image a lesion
counts, drawn by a hash of its id, so that neither a person nor the order of the files chose it. The promise is for one
image of a new lesion.
"""

import hashlib
from dataclasses import replace

import numpy as np
from crepes import ConformalClassifier

from dermlens.estimate import Estimate
from dermlens.evaluation.intervals import mean, proportion, resampled_mean
from dermlens.evaluation.predictions import Predictions
from dermlens.files.documents import encode_object
from dermlens.labels import CLASSES, N_CLASSES
from dermlens.trust.calibration import folds
from dermlens.trust.conformal import Measured, OfClass, PredictionSets
from training.fits.calibrated import calibrated, fitted_on
from training.fits.subject import Subject

LEVELS = (*(x / 100 for x in range(50, 100, 5)), 0.97, 0.98, 0.99)
RANK = 2
"""A class's own threshold at a level is the k-th lowest probability of its n lesions, k = (n + 1) (1 - level) rounded
down. With k = 0 nothing could ever be ruled out, with 1 the one strangest lesion would decide: it takes k >= RANK."""
DIGITS = 9


def make(subject: Subject) -> dict[str, bytes]:
    """Return conformal.json."""
    validation, probabilities = calibrated(subject, "validation")
    sets = fit(validation, probabilities, fitted_on(subject))
    kept = {"validation": (validation, cross_fitted(validation, probabilities, sets.own))}
    if "test" in subject.predictions.splits:
        test, answers = calibrated(subject, "test")
        kept["test"] = test, np.stack([sets.sets(answers, level) for level in LEVELS])
    measured = {split: measure(p, found) for split, (p, found) in kept.items()}
    return {"conformal.json": encode_object(replace(sets, measured=measured).to_dict())}


def fit(p: Predictions, probabilities: np.ndarray, record: dict[str, object] | None = None) -> PredictionSets:
    """Fit the thresholds, not measured yet.

    Args:
        p: of the validation split. probabilities: (n, 7), calibrated on other lesions than the image's own.
        record: what they are fitted on.
    """
    rows = one_image_a_lesion(p)
    y = p.y_true[rows]
    lesions = np.bincount(y, minlength=N_CLASSES)
    own = np.array([(lesions + 1) * (1 - level) >= RANK - 1e-9 for level in LEVELS])
    found = thresholds(probabilities[rows], y, own)
    return PredictionSets(LEVELS, found, own, tuple(lesions.tolist()), {}, dict(record or {}))


def thresholds(probabilities: np.ndarray, y_true: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the lowest probability that keeps each class in the set.

    Args:
        probabilities: (n, 7), one image per lesion. y_true: (n,) int.
        own: (levels, 7) bool, which classes have thresholds of their own at each of LEVELS.

    Returns:
        (levels, 7) float64, never rising with the level: a class whose lesions suffice up to some level never has a
        higher threshold above it.
    """
    scores = -probabilities[np.arange(len(y_true)), y_true]  # only their order counts
    marginal = _by_level(scores, ConformalClassifier().fit(scores).predict_p(scores, smoothing=False))
    p_values = ConformalClassifier().fit(scores, bins=y_true).predict_p(scores, bins=y_true, smoothing=False)
    of_class = [_by_level(scores[y_true == i], p_values[y_true == i]) for i in range(N_CLASSES)]
    found = np.where(own, np.stack(of_class, 1), marginal[:, None])
    return np.minimum.accumulate(np.floor(found * 10**DIGITS) / 10**DIGITS)


def _by_level(scores: np.ndarray, p_values: np.ndarray) -> np.ndarray:
    """Return the lowest probability with a p-value above 1 - level, for every level; 0 if any probability has one."""
    found = []
    for level in LEVELS:
        error = 1 - level + 1e-9
        found.append(-scores[p_values > error].max() if 1 / (len(scores) + 1) <= error else 0.0)
    return np.array(found)


def cross_fitted(p: Predictions, probabilities: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the sets of every validation image by thresholds fitted on the other folds, (levels, n, 7) bool.

    Args:
        p, probabilities: as in `fit`. own: which classes have thresholds of their own in the end.
    """
    fold = folds(p)
    kept = np.empty((len(LEVELS), len(p), N_CLASSES), bool)
    chosen = np.isin(np.arange(len(p)), one_image_a_lesion(p))
    for i in np.unique(fold):
        here, rest = fold == i, (fold != i) & chosen
        found = thresholds(probabilities[rest], p.y_true[rest], own)
        kept[:, here] = probabilities[here] >= found[:, None]
    return kept


def measure(p: Predictions, kept: np.ndarray) -> tuple[Measured, ...]:
    """Measure sets, level by level: overall, and by true class.

    Args:
        p: of one split. kept: (levels, n, 7) bool.
    """
    size = kept.sum(2)
    shares = {"coverage": kept[:, np.arange(len(p)), p.y_true], "single": size == 1, "empty": size == 0}
    everything = np.ones(len(p), bool)
    overall = _estimates(p, everything, shares, size)
    rest = {"coverage": shares["coverage"]}
    classes = {code: _estimates(p, p.y_true == i, rest, size) for i, code in enumerate(CLASSES)}
    return tuple(
        Measured(**found, per_class={code: OfClass(**classes[code][level]) for code in CLASSES})
        for level, found in enumerate(overall)
    )


def _estimates(
    p: Predictions, rows: np.ndarray, shares: dict[str, np.ndarray], size: np.ndarray
) -> list[dict[str, Estimate]]:
    """Return the estimates of some images, level by level; arrays (levels, n). Lesions are drawn once for all."""
    lesion, columns = p.lesion[rows], {**{name: hit[:, rows] for name, hit in shares.items()}, "size": size[:, rows]}
    means = resampled_mean(np.concatenate(list(columns.values())).T, lesion)
    draws = dict(zip(columns, np.split(means, len(columns), axis=1), strict=True))
    found = []
    for level in range(len(size)):
        estimates = {n: proportion(columns[n][level], lesion, draws[n][:, level]) for n in shares}
        found.append({**estimates, "size": mean(columns["size"][level], lesion, draws["size"][:, level])})
    return found


def one_image_a_lesion(p: Predictions) -> np.ndarray:
    """Return the row of one image of every lesion, in the order of the lesions' ids, whatever the order of the rows."""
    order = [hashlib.sha256(name.encode()).digest() for name in p.image_id]
    rows = sorted(range(len(p)), key=lambda i: (p.lesion[i], order[i]))
    _, first = np.unique(p.lesion[rows], return_index=True)
    return np.array(rows)[first]
