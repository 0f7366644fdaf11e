"""What every decoder shares: the decoded picture, the limits on its size, and its colours brought to sRGB."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

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


def check_pictures(count: int, limits: Limits) -> tuple[str, ...]:
    """Return the notice that a file of several pictures deserves; raises ImageError if it holds too many."""
    if count > limits.pictures:
        raise ImageError(
            f"The file holds more than {limits.pictures} pictures. Save the one that matters as a file of its own."
        )
    return (f"The file holds {count} pictures; the first one is used.",) if count > 1 else ()


def _as_rgb(strip: Image.Image) -> Image.Image:
    return strip if strip.mode == "RGB" else strip.convert("RGB")


def colour_transform(image: Image.Image, notices: list[str]) -> Callable[[Image.Image], Image.Image]:
    """Return what converts a strip to sRGB by the profile embedded in the image; one that does not fit is ignored."""
    mode = "RGB" if image.has_transparency_data or image.mode in ("P", "YCbCr") else image.mode
    profile = ImageCms.createProfile("LAB") if mode == "LAB" else image.info.get("icc_profile")
    if not profile or mode not in ("RGB", "CMYK", "L", "LAB"):
        return _as_rgb
    try:
        if isinstance(profile, bytes):
            profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(profile).lower():
                return _as_rgb
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notices.append("The colour profile is damaged and was ignored; colours may be slightly off.")
        return _as_rgb

    def convert(strip: Image.Image) -> Image.Image:
        return ImageCms.applyTransform(strip if strip.mode == mode else strip.convert(mode), transform) or strip

    return convert
