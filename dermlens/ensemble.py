"""Several networks answering as one, by the weighted mean of their logits and a bias; no network runs twice for it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dermlens.errors import ModelError
from dermlens.files import shortened
from dermlens.fitted import Fitted
from dermlens.labels import N_CLASSES
from dermlens.preprocess import Geometry

if TYPE_CHECKING:
    from dermlens.registry import Model


@dataclass(frozen=True, eq=False)
class Ensemble:
    """A published combination of loaded networks; asked like one of them by predict.predict.

    It has no network, no feature map and no embedding of its own: what needs one is asked of its members.
    """

    id: str
    name: str
    members: "tuple[Model, ...]"
    weights: tuple[float, ...]
    """of the members' logits, >= 0, adding up to 1"""
    bias: tuple[float, ...]
    """added to the mean logits, one a class"""
    card: dict
    folder: Path
    fitted: Fitted

    @property
    def geometry(self) -> Geometry:
        """That of the member with the largest square; all members see the same part of an image."""
        return max((m.geometry for m in self.members), key=lambda g: g.size)

    @property
    def identity(self) -> str:
        """SHA-256 of what its answers depend on: the members' weights and files, and the bias."""
        parts = [repr(self.bias)]
        parts += [f"{m.id} {w!r} {m.identity}" for m, w in zip(self.members, self.weights, strict=True)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def check_weights(weights: Mapping[str, object], hashes: Mapping[str, str], where: str) -> None:
    """Raise ModelError unless two or more members have weights of 0..1 that add up to 1, and a hash each.

    Args:
        weights: member -> weight. hashes: member -> SHA-256. where: how to name the file they are from.
    """
    numbers = [w for w in weights.values() if type(w) in (int, float) and 0 <= w <= 1]  # type: ignore[operator]
    if len(numbers) != len(weights) or len(weights) < 2 or abs(sum(numbers) - 1) > 1e-6:  # type: ignore[arg-type]
        raise ModelError(
            f"{where}: two or more members must have weights of 0..1 adding up to 1, got {shortened(repr(weights))}."
        )
    if hashes.keys() != weights.keys():
        raise ModelError(
            f"{where}: 'member_hashes' must name the members {shortened(', '.join(weights))}, "
            f"got {shortened(', '.join(hashes))}."
        )


def check_bias(bias: Sequence[object], where: str) -> None:
    """Raise ModelError unless the bias is a number of at most 100 either way a class; `where` as above."""
    numbers = [b for b in bias if type(b) in (int, float) and abs(b) <= 100]  # type: ignore[arg-type]
    if len(numbers) != len(bias) or len(bias) != N_CLASSES:
        raise ModelError(f"{where}: 'bias' must be {N_CLASSES} numbers of -100 to 100, got {shortened(repr(bias))}.")


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
