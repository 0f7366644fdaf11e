"""The one way from an RGB array of any size to the network's square, and back from the square to the image."""

from dataclasses import asdict, dataclass

import cv2
import numpy as np

from dermlens.errors import ConfigError

MAX_SIZE = 2048
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
        if type(self.size) is not int or not 8 <= self.size <= MAX_SIZE:
            raise ConfigError(f"The input size must be a whole number from 8 to {MAX_SIZE}, got {self.size!r}.")
        if not 0 <= self.max_crop < 1:
            raise ConfigError(f"max_crop must lie in [0, 1), got {self.max_crop}.")
        if len(self.pad) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in self.pad):
            raise ConfigError(f"pad must be three whole numbers in 0..255, got {self.pad}.")

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
    return resize(image, height, max(1, round(height * aspect)))


def fingerprint(geometry: Geometry) -> str:
    """Return what `fit` makes of two fixed synthetic images: 36 pixels of each, in hexadecimal.

    One image is larger than most squares and one smaller, one is wide and one tall, and both are rough, so that
    cropping, padding and both interpolations leave their mark. Compare with `matches`.
    """
    samples = []
    for height, width in ((600, 800), (180, 60)):
        y, x = np.mgrid[0:height, 0:width]
        image = np.stack([x * 7 + y * 3, x * 5 ^ y * 2, x * y // 5], -1).astype(np.uint8)
        at = np.linspace(0, geometry.size - 1, 6).astype(int)
        samples.append(fit(image, geometry)[np.ix_(at, at)])
    return np.concatenate(samples).tobytes().hex()


def matches(stored: str, geometry: Geometry) -> bool:
    """Return whether a fingerprint was made by the preprocessing of this version.

    A difference of 2 a pixel is let pass: OpenCV does not promise the last bit from one CPU to the next.
    """
    try:
        then = np.frombuffer(bytes.fromhex(stored), np.uint8).astype(int)
    except ValueError:
        return False
    now = np.frombuffer(bytes.fromhex(fingerprint(geometry)), np.uint8).astype(int)
    return then.shape == now.shape and bool(np.all(np.abs(then - now) <= 2))
