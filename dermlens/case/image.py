"""One uploaded image of a case: read, asked of every model at once, and kept small in memory."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from unicodedata import category

import numpy as np

from dermlens.case.predict import Prediction, predict
from dermlens.errors import DermlensError
from dermlens.image.preprocess import Box, Geometry, resize, visible_box
from dermlens.image.quality import Quality, check
from dermlens.ingest.read import read_image
from dermlens.models.model import AnyModel, Ensemble

KEPT_SIDE = 1600
"""Longest side, in pixels, of the copy kept for display; the models are asked with every pixel of the original."""


@dataclass(frozen=True, eq=False)
class CaseImage:
    """An image and what every model said about it. It lives in the memory of one session and nowhere else."""

    key: str
    """first 12 digits of the SHA-256 of the file, then the stored aspect it was read with unless that is as-is; with a
    number after it where a case has it under several names"""
    sha256: str
    name: str
    """file name as made by `shown_name`: only ever shown, escaped, and never used as a path"""
    pixels: np.ndarray
    """(h, w, 3) uint8 RGB, at most KEPT_SIDE on its longest side"""
    height: int
    """of the original, in pixels"""
    width: int
    notices: tuple[str, ...]
    synthetic: bool
    quality: Quality
    answers: dict[str, Prediction] = field(default_factory=dict)
    """model id -> its answer, in the order of the models"""
    failures: dict[str, str] = field(default_factory=dict)
    """model id -> why there is no answer"""
    stored_aspect: str = "as-is"
    """that the file was read with, as in ingest.read_image"""
    stretched: bool = False
    """whether it was stretched to that aspect"""


def examine(
    data: bytes, name: str, models: Iterable[AnyModel], *, synthetic: bool = False, stored_aspect: str = "as-is"
) -> CaseImage:
    """Read an image and ask every model about it; one model's failure leaves the others' answers.

    Args:
        data: the file as uploaded.
        name: its file name.
        models: loaded models, in the order they are shown.
        synthetic: whether the project drew it.
        stored_aspect: as in ingest.read_image.

    Raises:
        ImageError: the bytes are not an image that can be read safely.
    """
    image = read_image(data, stored_aspect=stored_aspect)
    digest = hashlib.sha256(data).hexdigest()
    answers: dict[str, Prediction] = {}
    failures: dict[str, str] = {}
    models = list(models)
    # Networks first: an ensemble takes over what they have answered.
    for model in sorted(models, key=lambda m: isinstance(m, Ensemble)):
        try:
            answers[model.id] = predict(model, image.pixels, answers)
        except DermlensError as e:
            failures[model.id] = str(e)
    answers = {m.id: answers[m.id] for m in models if m.id in answers}
    height, width = image.pixels.shape[:2]
    return CaseImage(
        key=digest[:12] if stored_aspect == "as-is" else f"{digest[:12]}-{stored_aspect.replace(':', 'to')}",
        sha256=digest,
        name=shown_name(name),
        pixels=_kept(image.pixels),
        height=height,
        width=width,
        notices=image.notices,
        synthetic=synthetic,
        quality=check(image.pixels),
        answers=answers,
        failures=failures,
        stored_aspect=stored_aspect,
        stretched=image.stretched,
    )


def shown_name(name: str, longest: int = 255) -> str:
    """Return a name from outside as one line of at most `longest` printable characters, shortened in its middle.

    Spaces of other kinds and tabs become plain ones; control characters, marks that turn the direction of writing, and
    halves of surrogate pairs become "?".
    """
    if len(name) > longest:
        name = f"{name[: longest * 2 // 3]}…{name[-(longest - longest * 2 // 3 - 1) :]}"
    return "".join(c if c.isprintable() else " " if c == "\t" or category(c) == "Zs" else "?" for c in name)


def seen_part(image: CaseImage, geometry: Geometry) -> Box:
    """Return the part of the kept copy that a network with this geometry sees."""
    return visible_box(image.pixels.shape[0], image.pixels.shape[1], geometry)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of evidence that two heat maps place at the same spots, 0 (nowhere) to 1 (the same map).

    The intersection of the maps, each scaled to a sum of 1 (Swain & Ballard, Int J Comput Vis 7:11, 1991); NaN if one
    of them is empty.

    Args:
        first, second: (h, w) float, >= 0, over the same image.
    """
    if first.sum() <= 0 or second.sum() <= 0:
        return float("nan")
    return float(np.minimum(first / first.sum(), second / second.sum()).sum())


def thumbnail(pixels: np.ndarray, side: int = 96) -> np.ndarray:
    """Return (h, w, 3) uint8 pixels with at most `side` on the longest side; smaller ones as they are."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    return pixels if scale >= 1 else resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)))


def _kept(pixels: np.ndarray) -> np.ndarray:
    kept = thumbnail(pixels, KEPT_SIDE)
    kept.setflags(write=False)
    return kept
