"""Where a heat map lies, in numbers: inside the lesion or not, and whether what it marks is what the answer rests on.

All of it is measured on the part of the image that the network sees, in pixels of the network's square.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from dermlens.image.preprocess import Geometry, placement, visible_box

STEPS = 10
"""Equal parts in which pixels are taken away or put back."""
BLUR = 1 / 8
"""Sigma of the blur that insertion starts from, as a share of the seen part's longer side: only the colour of the skin
and the rough place of a lesion are left."""
RING = 0.1
"""Width of the border ring, as a share of each side."""
CORNER = 0.25
"""Sides of a corner, as a share of each side."""
BORDER_SHARE = 0.4
"""Least share of a map's energy on the ring that `where_it_sits` speaks of; an even map has 0.36 there, and one whose
heat is all in the outermost of 5 x 5 cells little more than 0.5. How often that happens is measured on test."""
CORNER_SHARE = 0.25
"""The same for one corner, where an even map has 0.06."""

Ask = Callable[[np.ndarray], np.ndarray]
"""(N, S, S, 3) float32 squares in, (N, 7) probabilities out."""


def mask_seen(mask: np.ndarray, height: int, width: int, geometry: Geometry) -> np.ndarray:
    """Bring a lesion mask to where preprocess.fit brings the image.

    Args:
        mask: (h, w) bool over the whole image, at any resolution and aspect.
        height, width: size of the image at its true aspect, in pixels.
        geometry: how the image is fitted.

    Returns:
        (h', w') bool over the seen part of the network's square: a pixel is of the lesion if more than half of it is.
    """
    box, place = visible_box(height, width, geometry), placement(height, width, geometry)
    full = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    part = full[box.top : box.top + box.height, box.left : box.left + box.width]
    return cv2.resize(part, (place.width, place.height), interpolation=cv2.INTER_AREA) > 0.5


def map_seen(heat: np.ndarray, height: int, width: int, geometry: Geometry) -> np.ndarray:
    """Return the part of a map that lies over the image, enlarged as it is shown.

    Args:
        heat: (h, w) float over the network's square, >= 0.
        height, width, geometry: as in `mask_seen`.

    Returns:
        (h', w') float32 over the seen part, of the same size as `mask_seen` gives.
    """
    place = placement(height, width, geometry)
    size = (geometry.size, geometry.size)
    square = cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return square[place.top : place.top + place.height, place.left : place.left + place.width]


def energy_share(heat: np.ndarray, lesion: np.ndarray) -> float:
    """Share of a map's energy that lies inside the lesion, 0..1 (Wang et al., CVPR Workshops 2020: the energy-based
    pointing game); NaN for a map without any.

    Args:
        heat: (h, w) float, >= 0. lesion: (h, w) bool.
    """
    total = float(heat.sum(dtype=np.float64))
    return float(heat[lesion].sum(dtype=np.float64)) / total if total > 0 else np.nan


def centred(heat: np.ndarray) -> np.ndarray:
    """Return a blob in the middle: the values of a (h, w) map, hottest in the centre, over ellipses of its shape.

    It is as concentrated as the map, but made without looking at the image.
    """
    height, width = heat.shape
    rows, columns = (np.arange(height) + 0.5) / height - 0.5, (np.arange(width) + 0.5) / width - 0.5
    nearest = np.argsort((rows[:, None] ** 2 + columns**2).ravel(), kind="stable")
    blob = np.empty(heat.size, heat.dtype)
    blob[nearest] = np.sort(heat, axis=None)[::-1]
    return blob.reshape(heat.shape)


def peak(heat: np.ndarray) -> tuple[int, int]:
    """Return (row, column) of the highest value of a (h, w) map; of equal ones, the one nearest to their middle."""
    found = np.argwhere(heat >= heat.max() * (1 - 1e-6))
    row, column = found[((found - found.mean(0)) ** 2).sum(1).argmin()]
    return int(row), int(column)


def points_inside(heat: np.ndarray, lesion: np.ndarray) -> bool | None:
    """Whether the highest point of a map is in the lesion (the pointing game of Zhang et al., IJCV 126:1084, 2018,
    without tolerance); None for a map without any heat.

    Args: as `energy_share`.
    """
    return bool(lesion[peak(heat)]) if heat.max() > 0 else None


def removal_order(heat: np.ndarray) -> np.ndarray:
    """Return (h * w,) int64, the pixels of a (h, w) map, hottest first; equal ones in a fixed random order."""
    shuffled = np.random.default_rng(0).permutation(heat.size)
    return shuffled[np.argsort(-heat.ravel()[shuffled], kind="stable")]


def removal_curves(
    ask: Ask, square: np.ndarray, seen: tuple[slice, slice], orders: Sequence[np.ndarray], index: int, batch: int = 8
) -> np.ndarray:
    """Watch a probability while pixels are taken away, and while they are put back (Petsiuk et al., RISE, BMVC 2018).

    As in the paper, deletion leaves a constant and insertion starts from a blur: a blur would keep the colour and the
    place of the lesion, so deletion would not end without evidence; and pixels put onto a constant would come with
    sharp edges, which are evidence of their own. The constant is the mean colour of the image, for a network has never
    seen grey skin.

    Args:
        ask: the network.
        square: (S, S, 3) uint8 RGB, as made by preprocess.fit.
        seen: rows and columns of the square that the image fills; what lies outside stays as it is.
        orders: each (h * w,), the pixels of the seen part, as `removal_order` gives them.
        index: class whose probability is watched.
        batch: squares asked at once.

    Returns:
        (len(orders), 2, STEPS + 1) float64: for each order the probability at deletion and at insertion, after 0, 1,
        ... of STEPS equal parts.
    """
    image = square[seen].astype(np.float32)
    sigma = BLUR * max(image.shape[:2])
    blurred = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    constant = np.broadcast_to(image.mean((0, 1)), image.shape)
    states = [image, constant, blurred]
    for order in orders:
        for start, end in ((image, constant), (blurred, image)):
            for step in range(1, STEPS):
                changed = np.zeros(order.size, bool)
                changed[order[: round(step * order.size / STEPS)]] = True
                states.append(np.where(changed.reshape(image.shape[:2])[..., None], end, start))
    found = np.concatenate([ask(_filled(square, seen, states[i : i + batch])) for i in range(0, len(states), batch)])
    (whole, none, blur), steps = found[:3, index], found[3:, index].reshape(len(orders), 2, STEPS - 1)
    curves = np.empty((len(orders), 2, STEPS + 1))
    curves[..., 1:-1] = steps
    curves[:, 0, 0], curves[:, 0, -1], curves[:, 1, 0], curves[:, 1, -1] = whole, none, blur, whole
    return curves


def area_under(curves: np.ndarray) -> np.ndarray:
    """Return (...,), the area under (..., k) probabilities at equal steps from 0 to 1, by the trapezoidal rule."""
    return ((curves[..., 1:] + curves[..., :-1]) / 2).mean(-1)


def _filled(square: np.ndarray, seen: tuple[slice, slice], parts: Sequence[np.ndarray]) -> np.ndarray:
    whole = np.repeat(square[None].astype(np.float32), len(parts), 0)
    whole[:, *seen] = parts
    return whole


@dataclass(frozen=True)
class Finding:
    """A map that lies where a lesion seldom is."""

    kind: Literal["border", "corner"]
    place: str
    """which border or corner, "top left" say; "all sides" for a ring"""
    share: float
    """of the map's energy, 0..1"""


def where_it_sits(heat: np.ndarray) -> Finding | None:
    """Say whether the energy of a map lies in one corner or on the border of what the network saw.

    Args:
        heat: (h, w) float, >= 0, over the seen part, as `map_seen` gives it.

    Returns:
        The finding, None for a map that lies elsewhere, has no energy, or is too narrow to have corners.
    """
    total = float(heat.sum(dtype=np.float64))
    if total <= 0 or min(heat.shape) < 1 / RING:
        return None
    share = heat / total
    height, width = heat.shape
    rows, columns = round(CORNER * height), round(CORNER * width)
    corners = {
        "top left": share[:rows, :columns],
        "top right": share[:rows, -columns:],
        "bottom left": share[-rows:, :columns],
        "bottom right": share[-rows:, -columns:],
    }
    sums = {name: float(part.sum()) for name, part in corners.items()}
    hottest = max(sums, key=sums.__getitem__)
    if sums[hottest] >= CORNER_SHARE:
        return Finding("corner", hottest, sums[hottest])
    rows, columns = round(RING * height), round(RING * width)
    ring = 1 - float(share[rows:-rows, columns:-columns].sum())
    if ring < BORDER_SHARE:
        return None
    sides = {
        "top": float(share[:rows].sum()),
        "bottom": float(share[-rows:].sum()),
        "left": float(share[:, :columns].sum()),
        "right": float(share[:, -columns:].sum()),
    }
    side = max(sides, key=sides.__getitem__)
    return Finding("border", side if sides[side] >= ring / 2 else "all sides", ring)
