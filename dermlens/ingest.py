"""The one door: the only place where untrusted bytes become pixels."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from dermlens.errors import ImageError
from dermlens.preprocess import STORED_ASPECTS, true_aspect

MAX_BYTES = 50 * 2**20
MAX_PIXELS = 64_000_000
MIN_SIDE = 32
BACKGROUND = (255, 255, 255)
"""What shows through transparent pixels: white."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")

# How other files that people pick by mistake begin, and what to call them.
_KNOWN = (
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Ingested:
    """An image that was read safely."""

    pixels: np.ndarray
    """(height, width, 3) uint8 RGB, upright, at its true aspect"""
    format: str
    """as found in the bytes, e.g. "JPEG" """
    notices: tuple[str, ...]
    """what a person should know of how it was read, one sentence each"""


def read_image(
    data: bytes, *, stored_aspect: str = "as-is", max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> Ingested:
    """Read an image of any name from its bytes; the content decides what it is.

    Args:
        data: the whole file.
        stored_aspect: "as-is", or the width:height that the upright picture had before it was squeezed ("4:3").
        max_bytes: most bytes that are looked at.
        max_pixels: most pixels that are decoded; checked from the header, before decoding.

    Raises:
        ImageError: the bytes are no such image, damaged, or over a limit.
    """
    if not data:
        raise ImageError("The file is empty (0 bytes). Save or export the image again.")
    if len(data) > max_bytes:
        raise ImageError(
            f"The file is larger than {max_bytes / 2**20:.0f} MiB, the most that is read. "
            "Save it smaller, for example as a JPEG."
        )
    notices: list[str] = []
    with _opened(data) as image:
        turn = _orientation(image, notices)
        _check_size(image.size[::-1] if turn and turn >= 5 else image.size, stored_aspect, max_pixels)
        pictures = getattr(image, "n_frames", 1)
        if pictures > 1:
            notices.append(f"The file holds {pictures} pictures; the first one is used.")
        try:
            image.load()
            upright = image.transpose(_TURNS[turn]) if turn else image
            pixels = _to_rgb(upright, notices)
        except Exception as e:  # decoders raise almost anything on damaged bytes
            raise ImageError(f"The {image.format} image is damaged or cut off ({e}). Save or export it again.") from e
        return Ingested(true_aspect(pixels, stored_aspect), str(image.format), tuple(notices))


def read_file(path: Path, *, stored_aspect: str = "as-is") -> Ingested:
    """Read an image file as `read_image` does, without taking more than MAX_BYTES of it into memory.

    Raises:
        ImageError: as `read_image`, or the file cannot be read at all.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise ImageError(f"The file cannot be read: {e.strerror}.") from e
    return read_image(data, stored_aspect=stored_aspect)


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise ImageError(f"The image has too many pixels to be read safely ({e}). Save it smaller.") from e
    except Exception as e:  # as above: a parser of hostile headers has no closed list of errors
        head = data[:256].lstrip()
        found = next((name for start, name in _KNOWN if head.lower().startswith(start.lower())), None)
        found = "a HEIC or AVIF image" if head[4:8] == b"ftyp" else found
        found = "a DICOM file" if data[128:132] == b"DICM" else found
        what = f"it is {found}" if found else "it is no image that is known here, or its beginning is damaged"
        raise ImageError(f"The file cannot be read: {what}. Save it as JPEG or PNG.") from e


def _orientation(image: Image.Image, notices: list[str]) -> int | None:
    """Return the EXIF orientation where it asks for a turn."""
    try:
        value = image.getexif().get(0x0112)
    except Exception:  # noqa: BLE001 - damaged EXIF raises almost anything and must not cost the picture
        notices.append("The EXIF data are damaged and were ignored; the picture may be turned.")
        return None
    return value if value in _TURNS else None


def _check_size(size: tuple[int, int], stored_aspect: str, max_pixels: int) -> None:
    width, height = size
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"The image has {width} x {height} pixels; a lesion cannot be judged with fewer than {MIN_SIDE} on a side."
        )
    aspect = STORED_ASPECTS.get(stored_aspect)
    stretched = round(height * aspect) if aspect else width
    if height * max(width, stretched) > max_pixels:
        raise ImageError(
            f"The image has {width} x {height} pixels; at most {max_pixels / 1e6:.0f} million are read. "
            "Save it smaller."
        )


def _to_rgb(image: Image.Image, notices: list[str]) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit grey; convert("RGB") would clip it to white
        grey = np.asarray(image).astype(np.int64)
        notices.append("The 16-bit grey values were scaled to 8 bits.")
        return np.repeat(np.clip(grey >> 8, 0, 255).astype(np.uint8)[..., None], 3, -1)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        if layers.getchannel("A").getextrema() != (255, 255):
            notices.append("The image has transparent pixels; they are shown on white.")
        canvas = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return np.asarray(Image.alpha_composite(canvas, layers).convert("RGB"))
    return np.asarray(_to_srgb(image, notices).convert("RGB"))


def _to_srgb(image: Image.Image, notices: list[str]) -> Image.Image:
    """Convert an embedded colour profile to sRGB; a profile that does not fit the image is ignored."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notices.append("The colour profile is damaged and was ignored; colours may be slightly off.")
        return image
    return converted or image
