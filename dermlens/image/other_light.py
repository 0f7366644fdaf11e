"""One photograph as another dermatoscope might have taken it: other light, closer, out of focus, compressed again."""

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from dermlens.errors import DataError


@dataclass(frozen=True)
class Change:
    """A fixed change of an image; what is left at its default does nothing."""

    name: str
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """factors of red, green and blue"""
    gamma: float = 1.0
    """power that values, as shares of the full range, are raised to"""
    zoom: float = 1.0
    """share of each side that is seen, about the middle; 0..1"""
    blur: float = 0.0
    """sigma of a Gaussian, as a share of the shorter side"""
    jpeg: int = 0
    """quality of another compression, 1..100; 0 is none"""

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the changed image.

        Args:
            pixels: (h, w, 3) uint8 RGB.

        Returns:
            (h, w, 3) uint8 RGB, smaller where only a part is seen.
        """
        height, width = pixels.shape[:2]
        h, w = (max(1, round(side * self.zoom)) for side in (height, width))
        top, left = (height - h) // 2, (width - w) // 2
        seen = np.ascontiguousarray(pixels[top : top + h, left : left + w])
        values = np.clip(np.arange(256)[:, None] * np.array(self.gains) / 255, 0, 1) ** self.gamma
        seen = cv2.LUT(seen, np.rint(255 * values).astype(np.uint8)[None])
        if self.blur:
            seen = cv2.GaussianBlur(seen, (0, 0), self.blur * min(h, w))
        if self.jpeg:
            _, data = cv2.imencode(".jpg", seen[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.jpeg])
            seen = np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])
        return seen

    def values(self) -> str:
        """Return what it changes in a few words: "red × 1.08, blue × 0.92"."""
        factors = zip(("red", "green", "blue"), self.gains, strict=True)
        if len(set(self.gains)) == 1:
            said = [f"all channels × {self.gains[0]:g}"] if self.gains[0] != 1 else []
        else:
            said = [f"{name} × {gain:g}" for name, gain in factors if gain != 1]
        said += [f"gamma {self.gamma:g}"] if self.gamma != 1 else []
        said += [f"the middle {100 * self.zoom:g} % of each side"] if self.zoom != 1 else []
        said += [f"sigma {100 * self.blur:g} % of the shorter side"] if self.blur else []
        said += [f"quality {self.jpeg}"] if self.jpeg else []
        return ", ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """Return it as it is written into other_lights.json."""
        return {**asdict(self), "gains": list(self.gains)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Change":
        """Return what `to_dict` wrote; raises DataError if it is not that."""
        try:
            red, green, blue = (float(gain) for gain in stored["gains"])
            others = {name: float(stored[name]) for name in ("gamma", "zoom", "blur")}
            found = cls(str(stored["name"]), (red, green, blue), **others, jpeg=int(stored["jpeg"]))
        except (KeyError, TypeError, ValueError) as e:
            raise DataError(f"A change of light expected, received {stored!r}.") from e
        numbers = (*found.gains, found.gamma, found.zoom)
        if not (
            all(0 < n <= 10 for n in numbers) and found.zoom <= 1 and 0 <= found.blur <= 1 and 0 <= found.jpeg <= 100
        ):
            raise DataError(f"A change of light with a value out of range: {stored!r}.")
        return found
