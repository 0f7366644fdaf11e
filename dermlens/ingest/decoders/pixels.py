"""What every decoder shares: the decoded picture, and the limits on its size."""

from dataclasses import dataclass

import numpy as np

from dermlens.errors import ImageError
from dermlens.ingest.formats import Limits

BACKGROUND = (255, 255, 255)
"""What shows through transparent pixels: white."""


@dataclass(frozen=True)
class Decoded:
    """An upright picture, and one sentence for everything a person should know of how it was read."""

    pixels: np.ndarray
    """(height, width, 3) uint8 RGB"""
    notices: tuple[str, ...]


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raise ImageError if a picture of this size is not to be read."""
    if min(width, height) < limits.shortest_side:
        raise ImageError(
            f"The image has {width} x {height} pixels; "
            f"a lesion cannot be judged with fewer than {limits.shortest_side} on a side."
        )
    if width * height > limits.pixels:
        raise ImageError(
            f"The image has {width} x {height} pixels; at most {limits.pixels / 1e6:.0f} million are read. "
            "Save it smaller."
        )


def check_pictures(count: int, limits: Limits, used: int = 0, why: str = "") -> tuple[str, ...]:
    """Return the notice that a file of several pictures deserves; raises ImageError if it holds too many.

    Args:
        count: of pictures.
        limits: on it.
        used: number of the picture that is shown, from 0.
        why: what it is, if it is not the first.
    """
    if count > limits.pictures:
        raise ImageError(
            f"The file holds more than {limits.pictures} pictures. Save the one that matters as a file of its own."
        )
    which = f"number {used + 1}, {why}," if used else "the first one"
    return (f"The file holds {count} pictures; {which} is used.",) if count > 1 else ()
