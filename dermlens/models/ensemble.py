"""Several networks answering as one, by the weighted mean of their logits and a bias; no network runs twice for it."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from dermlens.errors import ModelError
from dermlens.image.preprocess import Geometry


def check_views(geometries: Mapping[str, Geometry]) -> None:
    """Raise ModelError unless all members see the same part of an image, so that their maps can be added."""
    crops = {name: g.max_crop for name, g in geometries.items()}
    if len(set(crops.values())) > 1:
        raise ModelError(f"The members see different parts of an image (max_crop {crops}): their maps cannot be added.")


def mean_logits(logits: Sequence[np.ndarray], weights: Sequence[float], bias: Sequence[float]) -> np.ndarray:
    """Return the weighted mean of the members' logits, each (..., 7), with the bias (7,) added, in their dtype."""
    mean = sum(w * x for x, w in zip(logits, weights, strict=True))
    return mean + np.asarray(bias, logits[0].dtype)


def add_maps(maps: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Add the members' Grad-CAM up as their logits are, on the grid of the finest of them.

    A map of Grad-CAM spreads a logit over its cells, so a coarse map keeps its sum when it is brought to a finer grid.

    Args:
        maps: (7, h, w) float32 of each member, >= 0, over the network's square; h and w may differ.
        weights: as many numbers.

    Returns:
        (7, H, W) float32, >= 0.
    """
    height, width = max((m.shape[1:] for m in maps), key=lambda shape: shape[0] * shape[1])
    total = np.zeros((len(maps[0]), height, width), np.float32)
    for own, weight in zip(maps, weights, strict=True):
        cells = own.shape[1] * own.shape[2] / (height * width)
        for i, heat in enumerate(own):
            total[i] += weight * cells * cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR)
    return total
