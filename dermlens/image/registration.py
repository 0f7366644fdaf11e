"""Lay one picture of a lesion over another, so that what changed can be seen; where features of both allow it.

SIFT features (Lowe, Int J Comput Vis 60:91, 2004) are matched with their ratio test, and the turn, shift and scale that
most of them agree on is found by RANSAC. A match that rests on few features, or asks for more than a camera held a
little differently, is none.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dermlens.image.preprocess import resize

SIDE = 600
"""Longest side, in pixels, of the copies in which features are looked for."""
RATIO = 0.75
"""A feature counts if its best match is so much nearer than the second best."""
TOLERANCE = 4.0
"""Pixels of the copies by which a feature may miss its place."""
MIN_INLIERS = 15
MIN_SHARE = 0.25
"""Of the matches, those that must agree."""
MAX_SCALE = 2.0


@dataclass(frozen=True, eq=False)
class Registration:
    """How a picture must be moved to lie on another one."""

    matrix: np.ndarray
    """(2, 3) float64: from pixels of the moving picture, x and y, to pixels of the fixed one"""
    inliers: int
    """features that agree on it"""
    scale: float
    degrees: float
    """turned counter-clockwise, as seen"""


def register(moving: np.ndarray, fixed: np.ndarray) -> Registration | None:
    """Find how to lay a picture over another; None where too few features agree.

    Args:
        moving, fixed: (h, w, 3) uint8 RGB, of any sizes.
    """
    small, by = zip(*(_small(image) for image in (moving, fixed)), strict=True)
    detector = cv2.SIFT.create(nfeatures=2000, contrastThreshold=0.02)
    (points_a, features_a), (points_b, features_b) = (detector.detectAndCompute(image, None) for image in small)
    if features_a is None or features_b is None or min(len(features_a), len(features_b)) < MIN_INLIERS:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(features_a, features_b, 2)
    good = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < RATIO * pair[1].distance]
    if len(good) < MIN_INLIERS:
        return None
    a = np.array([points_a[m.queryIdx].pt for m in good], np.float64) / by[0]
    b = np.array([points_b[m.trainIdx].pt for m in good], np.float64) / by[1]
    cv2.setRNGSeed(0)
    matrix, agree = cv2.estimateAffinePartial2D(a, b, method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE / by[1])
    if matrix is None:
        return None
    inliers = int(agree.sum())
    relative = float(np.hypot(matrix[0, 0], matrix[1, 0])) * _diagonal(moving) / _diagonal(fixed)
    if inliers < max(MIN_INLIERS, MIN_SHARE * len(good)) or not 1 / MAX_SCALE <= relative <= MAX_SCALE:
        return None
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    return Registration(matrix, inliers, scale, float(-np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))))


def laid_over(moving: np.ndarray, fixed: np.ndarray, found: Registration) -> np.ndarray:
    """Return the moving picture as it lies on the fixed one, (h, w, 3) uint8 of its size; black where there is none."""
    size = (fixed.shape[1], fixed.shape[0])
    return cv2.warpAffine(moving, found.matrix, size, flags=cv2.INTER_AREA if found.scale < 1 else cv2.INTER_LINEAR)


def _small(image: np.ndarray) -> tuple[np.ndarray, float]:
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    small = image if scale == 1 else resize(image, max(1, round(height * scale)), max(1, round(width * scale)))
    grey = cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2GRAY)
    return cv2.createCLAHE(2.0, (8, 8)).apply(grey), scale


def _diagonal(image: np.ndarray) -> float:
    return float(np.hypot(*image.shape[:2]))
