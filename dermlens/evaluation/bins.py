"""Bins of images by how sure a model is of them, and the calibration error over them."""

from collections.abc import Callable

import numpy as np

BINS = 15
Binning = Callable[[np.ndarray], np.ndarray]


def equal_width(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each confidence (n,), 0..14: fifteen bins of the same width, closed above."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence, side="left")


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
    if len(confidence) == 0:
        return np.nan
    return float(np.abs(np.bincount(binning(confidence), confidence - hit)).sum() / len(confidence))
