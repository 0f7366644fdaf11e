"""Do probabilities mean what they say? Calibration errors, proper scores, and the bins of a calibration diagram.

An expected calibration error (ECE) is a mean over bins of |mean confidence - share that is right|, weighted by the
images in a bin (Naeini, Cooper & Hauskrecht, AAAI 2015). It is not 0 for a perfect model: chance alone leaves a gap in
every bin. `by_chance` says how large it is for these images, and a measured value is to be read beside it.
"""

from dataclasses import dataclass

import numpy as np

from dermlens.estimate import Estimate
from dermlens.evaluation.bins import BINS, Binning, equal_mass, equal_width, error_in_bins
from dermlens.evaluation.intervals import SEED, mean, percentile_interval, resampled_mean, share
from dermlens.evaluation.metrics import CALIBRATION
from dermlens.labels import N_CLASSES

DRAWS = 400


def brier(probabilities: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Squared distance from the truth of each image, (n,) 0..2 (Brier, Monthly Weather Review 78:1, 1950).

    Args:
        probabilities: (n, 7). y_true: (n,) int.
    """
    return ((probabilities - np.eye(N_CLASSES)[y_true]) ** 2).sum(1)


def log_loss(probabilities: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """-log p(true class) of each image, (n,) in nats, of probabilities (n, 7)."""
    true = np.take_along_axis(probabilities, y_true[:, None], 1)[:, 0]
    return -np.log(np.maximum(true, np.finfo(np.float64).tiny))


def measure(probabilities: np.ndarray, y_true: np.ndarray, lesion: np.ndarray) -> dict[str, Estimate]:
    """Measure how well probabilities are calibrated, with 95 % intervals over lesions.

    The interval of a calibration error is that of the error which sets of this size show: the percentiles of the
    bootstrap, moved back by what resampling itself adds to the gaps.

    Args:
        probabilities: (n, 7). y_true: (n,) int. lesion: (n,) int.

    Returns:
        key of CALIBRATION -> estimate. "ece" and "adaptive_ece" are of the call, the most probable class;
        "classwise_ece" is the mean over all seven classes (Kull et al., NeurIPS 2019).
    """
    if len(y_true) == 0:
        return dict.fromkeys(CALIBRATION, Estimate(np.nan, np.nan, np.nan, 0, 0))
    top = probabilities.argmax(1)
    rows = np.arange(len(y_true))
    confidence, hit = probabilities[rows, top], top == y_true
    gaps = [
        _gaps(confidence, hit, equal_width),
        _gaps(confidence, hit, equal_mass),
        *(_gaps(p, y_true == i, equal_width) for i, p in enumerate(probabilities.T)),
    ]
    scores = {"brier": brier(probabilities, y_true), "nll": log_loss(probabilities, y_true)}
    draws = resampled_mean(np.hstack([*gaps, np.stack(list(scores.values()), 1)]), lesion)
    errors = np.abs(draws[:, : -len(scores)]).reshape(len(draws), -1, BINS).sum(2)
    values = np.array([np.abs(g.mean(0)).sum() for g in gaps])
    which = {"ece": [0], "adaptive_ece": [1], "classwise_ece": range(2, len(gaps))}
    n = len(lesion), len(np.unique(lesion))
    return {
        **{name: _error(values[of].mean(), errors[:, of].mean(1), *n) for name, of in which.items()},
        **{name: mean(v, lesion, draws[:, i - len(scores)]) for i, (name, v) in enumerate(scores.items())},
    }


def by_chance(probabilities: np.ndarray, lesion: np.ndarray) -> dict[str, Estimate]:
    """The calibration errors that a perfect model with these probabilities would show on so few images.

    Args: as `measure`.

    Returns:
        For every error of `measure` the mean, and where 95 % lie, over DRAWS sets of true classes drawn from the
        probabilities, by one random number a lesion: images of a lesion with equal probabilities get one class.
    """
    errors = [name for name in CALIBRATION if name.endswith("ece")]
    if len(lesion) == 0:
        return dict.fromkeys(errors, Estimate(np.nan, np.nan, np.nan, 0, 0))
    rng = np.random.default_rng(SEED)
    _, group = np.unique(lesion, return_inverse=True)
    cumulative = probabilities.cumsum(1)
    top, rows = probabilities.argmax(1), np.arange(len(lesion))
    confidence = probabilities[rows, top]
    width, mass, of_class = equal_width(confidence), equal_mass(confidence), [equal_width(p) for p in probabilities.T]
    drawn: dict[str, list[float]] = {name: [] for name in errors}
    for _ in range(DRAWS):
        uniform = rng.random(group.max() + 1)[group]
        y = (cumulative < uniform[:, None]).sum(1).clip(max=N_CLASSES - 1)
        drawn["ece"].append(error_in_bins(width, confidence, top == y))
        drawn["adaptive_ece"].append(error_in_bins(mass, confidence, top == y))
        each = [error_in_bins(of_class[i], p, y == i) for i, p in enumerate(probabilities.T)]
        drawn["classwise_ece"].append(float(np.mean(each)))
    n, lesions = len(lesion), len(np.unique(lesion))
    found = {}
    for name, values in drawn.items():
        low, high = percentile_interval(np.array(values))
        found[name] = Estimate(float(np.mean(values)), float(low), float(high), n, lesions)
    return found


@dataclass(frozen=True)
class Bin:
    """Images of about one confidence: the mean of it, and the share that was right with its interval."""

    low: float
    high: float
    """edges; of bins of equal mass the lowest and highest confidence in it"""
    confidence: float
    right: Estimate


def diagram(
    confidence: np.ndarray, hit: np.ndarray, lesion: np.ndarray, binning: Binning = equal_width
) -> tuple[Bin, ...]:
    """Return the bins of a calibration (or reliability) diagram that hold an image, from low to high confidence.

    Args: as `calibration_error`; lesion: (n,) int.
    """
    bins = binning(confidence)
    found = []
    for i in np.unique(bins):
        here = bins == i
        inside = confidence[here]
        low, high = (i / BINS, (i + 1) / BINS) if binning is equal_width else (inside.min(), inside.max())
        found.append(Bin(float(low), float(high), float(inside.mean()), share(hit[here], lesion[here])))
    return tuple(found)


def _gaps(confidence: np.ndarray, hit: np.ndarray, binning: Binning) -> np.ndarray:
    """Return (n, BINS) confidence - hit in each image's bin, 0 elsewhere; the means over images are a bin's gap."""
    gaps = np.zeros((len(hit), BINS))
    gaps[np.arange(len(hit)), binning(confidence)] = confidence - hit
    return gaps


def _error(value: float, draws: np.ndarray, n_images: int, n_lesions: int) -> Estimate:
    """A calibration error with its interval from (r,) draws."""
    low, high = percentile_interval(draws - draws.mean() + value)
    return Estimate(float(value), max(0.0, float(low)), float(high), n_images, n_lesions)
