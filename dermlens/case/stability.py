"""How steady an answer is: one image in small variations that leave the diagnosis as it is, asked again.

The variations are those between two pictures of one lesion: turned, nearer or farther, lighter or darker, a little out
of focus, with a hair across. A steady answer can still be wrong; one that changes with a hair rests on little.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from dermlens.case.predict import Prediction, probabilities
from dermlens.errors import ModelError
from dermlens.image.preprocess import Box, Geometry, fit, resize, visible_box
from dermlens.image.tta import expand
from dermlens.labels import CLASSES, DIAGNOSES, INDEX
from dermlens.models.model import Model
from dermlens.wording import percent

TURNS = (30, 60, 90, 120, 150)
"""Degrees; with the half turn and the flips that answers are averaged over, these go all the way round."""
FLIPS = {"mirrored left to right": (1, -1), "mirrored top to bottom": (-1, 1), "turned by 180 degrees": (-1, -1)}
ZOOMS = {"10 % farther away": 1 / 1.1, "10 % nearer": 1.1, "20 % nearer": 1.2}
LIGHTS = {"20 % darker": 0.8, "10 % darker": 0.9, "10 % lighter": 1.1, "20 % lighter": 1.2}
CONTRASTS = {"less contrast": 0.8, "more contrast": 1.25}
BLURS = {"slightly out of focus": 0.004, "out of focus": 0.008}
"""Sigma as a share of the seen part's shorter side."""
HAIRS = {"with a hair across": 1, "with three hairs across": 3}
HAIR_COLOUR = (44, 30, 26)
HAIR_WIDTH = 0.008
"""As a share of the seen part's shorter side."""

Alteration = Callable[[np.ndarray], np.ndarray]
"""(h, w, 3) uint8 RGB in, the same out."""
Reweighting = Callable[[np.ndarray], np.ndarray]
"""(7,) probabilities in, the same out."""


@dataclass(frozen=True, eq=False)
class Look:
    """The answer to one altered copy."""

    name: str
    """what was altered, as in "turned by 30 degrees" """
    called: str
    """code of the most probable class"""
    probabilities: np.ndarray
    """(7,), in the order of labels.CLASSES"""


@dataclass(frozen=True, eq=False)
class Stability:
    """What one model said to the altered copies of one image."""

    model_id: str
    called: str
    """code of the diagnosis of the image as it is"""
    probability: float
    """of that diagnosis, for the image as it is"""
    looks: tuple[Look, ...]
    milliseconds: float

    @property
    def n(self) -> int:
        """The number of altered copies."""
        return len(self.looks)

    @property
    def changed(self) -> tuple[Look, ...]:
        """The copies that got another diagnosis."""
        return tuple(look for look in self.looks if look.called != self.called)

    @property
    def diagnoses(self) -> dict[str, int]:
        """Class code -> copies called so, most frequent first."""
        return dict(Counter(look.called for look in self.looks).most_common())

    @property
    def low(self) -> float:
        """Lowest probability, over all copies, of the diagnosis of the image as it is."""
        return min(float(look.probabilities[INDEX[self.called]]) for look in self.looks)

    @property
    def high(self) -> float:
        """Highest probability, over all copies, of the diagnosis of the image as it is."""
        return max(float(look.probabilities[INDEX[self.called]]) for look in self.looks)


def probe(
    model: Model, pixels: np.ndarray, answer: Prediction, before_each: Callable[[], object] = lambda: None
) -> Stability:
    """Ask a model about altered copies of an image.

    The answer to an image is the mean over the model's views; each copy is shown in one of them, in turn, so flips are
    part of the alterations. All views of every copy would take views times as long, and give about as many changes: a
    little fewer, as a mean is steadier than what it is a mean of.

    Args:
        model: as loaded by registry.load; one with a network of its own, so not an ensemble.
        pixels: (height, width, 3) uint8 RGB; may be a smaller copy of what the answer is of.
        answer: of this model for the image as it is.
        before_each: called before each copy is looked at.

    Returns:
        The answers; the same every time.

    Raises:
        ModelError: the answer is another model's.
    """
    if answer.model_id != model.id:
        raise ModelError(f"The answer to be probed is one of {answer.model_id}, not of {model.id}.")
    start = time.perf_counter()
    small = _working_copy(pixels, model.geometry)
    looks = []
    for i, (name, alter) in enumerate(alterations(model.views, model.geometry).items()):
        before_each()
        views = expand(fit(alter(small), model.geometry), model.views)
        logits = model.engine.run(views[i % model.views][None]).logits[0]
        shares = probabilities(logits, model.fitted.calibration)
        looks.append(Look(name, CLASSES[int(shares.argmax())], shares))
    index = int(answer.probabilities.argmax())
    milliseconds = 1000 * (time.perf_counter() - start)
    return Stability(model.id, CLASSES[index], float(answer.probabilities[index]), tuple(looks), milliseconds)


def at_mix(found: Stability, own: np.ndarray, move: Reweighting) -> Stability:
    """Return the answers at another class mix, and the calls with them.

    Args:
        found: as `probe` gives it. own: (7,) probabilities of the image as it is at that mix. move: takes (7,)
            probabilities of this model there.
    """
    shares = [move(look.probabilities) for look in found.looks]
    looks = (Look(look.name, CLASSES[int(p.argmax())], p) for look, p in zip(found.looks, shares, strict=True))
    index = int(own.argmax())
    return replace(found, called=CLASSES[index], probability=float(own[index]), looks=tuple(looks))


def sentence(found: Stability, name: str) -> str:
    """Say in plain words how steady an answer is.

    Args:
        found: as `probe` gives it. name: of the model.
    """
    own = DIAGNOSES[INDEX[found.called]].name
    spread = f"between {percent(found.low)} and {percent(found.high)}"
    if not found.changed:
        return f"{name} calls all {found.n} altered copies {own} too; its probability lies {spread}."
    others = [f"{DIAGNOSES[INDEX[c]].name} ({k})" for c, k in found.diagnoses.items() if c != found.called]
    return (
        f"{name} calls {len(found.changed)} of {found.n} altered copies something other than {own}: "
        f"{', '.join(others)}. The probability of {own} lies {spread}."
    )


def alterations(views: int, geometry: Geometry) -> dict[str, Alteration]:
    """Return what is done to an image, by name, leaving out what answers are averaged over anyway.

    Args:
        views: of the model: flips are left out from 4 views on, and quarter turns from 8.
        geometry: of the model, which says what part of an image it sees.
    """
    found: dict[str, Alteration] = {}
    if views == 1:
        found |= {name: partial(_mirrored, rows=rows, columns=columns) for name, (rows, columns) in FLIPS.items()}
    turns = [angle for angle in TURNS if views < 8 or angle != 90]
    found |= {f"turned by {angle} degrees": partial(_turned, degrees=angle) for angle in turns}
    found |= {name: partial(_turned, zoom=zoom) for name, zoom in ZOOMS.items()}
    found |= {name: partial(_lit, factor=factor) for name, factor in LIGHTS.items()}
    found |= {name: partial(_contrasted, factor=factor) for name, factor in CONTRASTS.items()}
    found |= {name: partial(_blurred, share=share, geometry=geometry) for name, share in BLURS.items()}
    return found | {name: partial(with_hairs, count=count, geometry=geometry) for name, count in HAIRS.items()}


def with_hairs(image: np.ndarray, count: int, geometry: Geometry) -> np.ndarray:
    """Draw dark hairs from side to side across what the network sees.

    Args:
        image: (h, w, 3) uint8 RGB, left as it is.
        count: of hairs; the first is always the same one.
        geometry: of the network.
    """
    rng, seen = np.random.default_rng(0), _seen(image, geometry)
    cover = np.zeros(image.shape[:2], np.uint8)
    width = max(1, round(HAIR_WIDTH * min(seen.height, seen.width)))
    for _ in range(count):
        cv2.polylines(cover, [_hair(rng, seen)], False, 255, width, cv2.LINE_AA, shift=4)
    share = 0.85 * cover[..., None] / 255.0
    return np.round(image * (1 - share) + np.array(HAIR_COLOUR) * share).astype(np.uint8)


def _hair(rng: np.random.Generator, seen: Box) -> np.ndarray:
    """Return a bow from one side of a box to the opposite one, near its middle: (n, 1, 2) int32 in 1/16 pixels."""
    along, across = np.linspace(0, 1, 48), rng.uniform(0.25, 0.75, 3)
    bow = (1 - along) ** 2 * across[0] + 2 * along * (1 - along) * across[1] + along**2 * across[2]
    x, y = (along, bow) if rng.random() < 0.5 else (bow, along)
    points = np.stack([seen.left + x * seen.width, seen.top + y * seen.height], -1)
    return np.round(16 * points).astype(np.int32)[:, None]


def _mirrored(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return image[::rows, ::columns]


def _turned(image: np.ndarray, degrees: float = 0.0, zoom: float = 1.0) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, zoom)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _lit(image: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(np.round(image * factor), 0, 255).astype(np.uint8)


def _contrasted(image: np.ndarray, factor: float) -> np.ndarray:
    mean = image.mean((0, 1))
    return np.clip(np.round((image - mean) * factor + mean), 0, 255).astype(np.uint8)


def _blurred(image: np.ndarray, share: float, geometry: Geometry) -> np.ndarray:
    seen = _seen(image, geometry)
    return cv2.GaussianBlur(image, (0, 0), share * min(seen.height, seen.width))


def _seen(image: np.ndarray, geometry: Geometry) -> Box:
    return visible_box(image.shape[0], image.shape[1], geometry)


def _working_copy(pixels: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Twice as fine as the network sees: what is drawn or turned then is still averaged, and costs little."""
    seen = _seen(pixels, geometry)
    scale = 2 * geometry.size / max(seen.height, seen.width)
    if scale >= 1:
        return pixels
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    return resize(pixels, height, width)
