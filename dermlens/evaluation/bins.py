"""Bins of images by how sure a model is of them, and the calibration error over them."""

from collections.abc import Callable

import numpy as np

BINS = 15
_EDGES = np.linspace(0, 1, BINS + 1)[1:-1]
Binning = Callable[[np.ndarray], np.ndarray]


def equal_width(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each confidence (n,), 0..14: fifteen bins of the same width, closed above."""
    return np.searchsorted(_EDGES, confidence, side="left")


def equal_mass(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each confidence (n,), 0..14: fifteen bins of about as many images, equal ones together."""
    if len(confidence) == 0:
        return np.zeros(0, np.int64)
    edges = np.quantile(confidence, np.arange(1, BINS) / BINS)
    return np.searchsorted(edges, confidence, side="left")


def calibration_error(confidence: np.ndarray, hit: np.ndarray, binning: Binning = equal_width) -> float:
    """Expected calibration error, 0..1; NaN without an image.

    Args:
        confidence: (n,) float, 0..1. hit: (n,) bool, whether what it was given for is true.
        binning: `equal_width` or `equal_mass`.
    """
    return error_in_bins(binning(confidence), confidence, hit) if len(confidence) else np.nan


def error_in_bins(bins: np.ndarray, confidence: np.ndarray, hit: np.ndarray) -> float:
    """`calibration_error` where the bin of each of n > 0 images is known, (n,) int."""
    return float(np.abs(np.bincount(bins, confidence - hit)).sum() / len(confidence))
