"""The one way from an RGB array of any size to the network's square, and back from the square to the image."""

import hashlib
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from dermlens.errors import ConfigError

STORED_ASPECTS: dict[str, float | None] = {"as-is": None, "4:3": 4 / 3}


@dataclass(frozen=True)
class Geometry:
    """How an image of any aspect is fitted to a `size` x `size` square, without distorting it.

    The centre of the image is kept. At most the share `max_crop` of the longer side is cut; what still does not fit
    a square is padded with the RGB colour `pad` (0..255). For a 4:3 image and `max_crop` 0.25 this is the centre
    square.
    """

    size: int
    max_crop: float = 0.25
    pad: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ConfigError(f"The network's input size must be at least 8 pixels, got {self.size}.")
        if not 0 <= self.max_crop < 1:
            raise ConfigError(f"max_crop must lie in [0, 1), got {self.max_crop}.")

    def to_dict(self) -> dict:
        """Return the parameters as they are written into card.json."""
        return {**asdict(self), "pad": list(self.pad)}

    @classmethod
    def from_dict(cls, values: dict) -> "Geometry":
        """Read the parameters back from card.json; raises ConfigError if one is missing or unknown."""
        try:
            return cls(**{**values, "pad": tuple(values["pad"])})
        except (TypeError, KeyError) as e:
            raise ConfigError(f"card.json: 'input' is not a geometry ({e}); received {values}.") from e


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the original image."""

    top: int
    left: int
    height: int
    width: int


def visible_box(height: int, width: int, geometry: Geometry) -> Box:
    """Return the part of a `height` x `width` image that the network sees."""
    short = min(height, width)
    keep_h = max(short, round(height * (1 - geometry.max_crop)))
    keep_w = max(short, round(width * (1 - geometry.max_crop)))
    return Box((height - keep_h) // 2, (width - keep_w) // 2, keep_h, keep_w)


def placement(height: int, width: int, geometry: Geometry) -> Box:
    """Return where the visible part lies inside the square (in pixels of the square)."""
    box = visible_box(height, width, geometry)
    scale = geometry.size / max(box.height, box.width)
    h, w = max(1, round(box.height * scale)), max(1, round(box.width * scale))
    return Box((geometry.size - h) // 2, (geometry.size - w) // 2, h, w)


def fit(image: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Fit an image to the network's square.

    Args:
        image: (height, width, 3) uint8 RGB, at its true aspect.
        geometry: the square and how to fill it.

    Returns:
        (size, size, 3) uint8 RGB, 0..255. Networks take these values as float32; scaling is inside the network.
    """
    box = visible_box(image.shape[0], image.shape[1], geometry)
    place = placement(image.shape[0], image.shape[1], geometry)
    seen = image[box.top : box.top + box.height, box.left : box.left + box.width]
    square = np.empty((geometry.size, geometry.size, 3), np.uint8)
    square[:] = geometry.pad
    square[place.top : place.top + place.height, place.left : place.left + place.width] = resize(
        seen, place.height, place.width
    )
    return square


def unfit(heat: np.ndarray, height: int, width: int, geometry: Geometry) -> np.ndarray:
    """Lay a map over the network's square back onto the image it came from.

    Args:
        heat: (h, w) float map that covers the square.
        height, width: size of the original image in pixels.
        geometry: as used by `fit`.

    Returns:
        (height, width) float32; zero where the network saw nothing.
    """
    box = visible_box(height, width, geometry)
    place = placement(height, width, geometry)
    square = cv2.resize(heat.astype(np.float32), (geometry.size, geometry.size), interpolation=cv2.INTER_LINEAR)
    seen = square[place.top : place.top + place.height, place.left : place.left + place.width]
    full = np.zeros((height, width), np.float32)
    full[box.top : box.top + box.height, box.left : box.left + box.width] = cv2.resize(
        seen, (box.width, box.height), interpolation=cv2.INTER_LINEAR
    )
    return full


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize to `height` x `width`: area averaging when shrinking, cubic when enlarging."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def true_aspect(image: np.ndarray, stored_aspect: str = "as-is") -> np.ndarray:
    """Undo a squeeze that the file itself does not tell of.

    Args:
        image: (height, width, 3) uint8.
        stored_aspect: "as-is", or the width:height the picture had before it was squeezed ("4:3").

    Returns:
        The image stretched along its width to the true aspect; the height stays.
    """
    if stored_aspect not in STORED_ASPECTS:
        raise ConfigError(f"stored aspect must be one of {', '.join(STORED_ASPECTS)}, got {stored_aspect!r}.")
    aspect = STORED_ASPECTS[stored_aspect]
    if aspect is None:
        return image
    height = image.shape[0]
    return cv2.resize(image, (round(height * aspect), height), interpolation=cv2.INTER_CUBIC)


def fingerprint(geometry: Geometry) -> str:
    """Return a SHA-256 of what `fit` makes of a fixed synthetic image; it changes when preprocessing does.

    Pixels are rounded to steps of 8 first, so that a last-bit difference between CPUs does not count.
    """
    y, x = np.mgrid[0:90, 0:120]
    image = np.stack([x * 2, y * 2, (x + y) % 256], -1).astype(np.uint8)
    digest = hashlib.sha256(repr(sorted(geometry.to_dict().items())).encode())
    digest.update(np.round(fit(image, geometry) / 8).astype(np.uint8).tobytes())
    return digest.hexdigest()
