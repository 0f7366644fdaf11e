"""Pictures that Pillow decodes, as RGB. Runs inside the decoding process, on hostile bytes."""

import io
from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image

from dermlens.errors import ImageError
from dermlens.ingest.formats import Limits
from dermlens.ingest.pixels import BACKGROUND, Decoded, check_pictures, check_size, colour_transform

_ORIENTATION = 0x0112
_BITS = 258
_PHOTOMETRIC = 262
_SUBFILE = 254
_DNG = 50706
_STRIP = 1 << 14
"""Pixels converted at a time: no second copy of a large image is needed, and the same memory is used again."""


def decode(data: bytes, kind: str, limits: Limits) -> Decoded:
    """Decode a file of a format that is not DICOM, whose plugin is loaded; as `decode.decode`."""
    # WebP's plugin makes its canvas when it opens a file: Pillow raises DecompressionBombError over twice this number.
    Image.MAX_IMAGE_PIXELS = limits.pixels // 2 if kind == "WebP" else None
    image: Image.Image = Image.open(io.BytesIO(data), formats=["HEIF" if kind == "HEIC" else kind.upper()])
    if kind == "TIFF":
        _refuse_raw(image)
    check_size(*image.size, limits)
    pictures = _count_pages(data, limits.pictures) if kind == "TIFF" else int(getattr(image, "n_frames", 1))
    notices = list(check_pictures(pictures, limits))
    if image.mode in ("F", "I"):
        raise ImageError(
            "The image holds floating-point or 32-bit values, for which no brightness is defined. "
            "Save it with 8 or 16 bits a channel."
        )
    image.load()
    if image.mode == "La":  # premultiplied grey, which Pillow converts to nothing but this
        image = image.convert("LA")
    # Asking PNG's plugin for EXIF decodes the picture, so that comes last. TIFF's has turned the picture already.
    orientation = 1 if kind == "TIFF" else _orientation(image, notices)
    return Decoded(_to_rgb(image, orientation, notices), tuple(notices))


def _refuse_raw(image: Image.Image) -> None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    if _DNG in tags or int(tags.get(_SUBFILE, 0)) & 1:
        raise ImageError(
            "The file is a camera raw file; its first picture is only a thumbnail. Save it as JPEG or PNG."
        )


def _orientation(image: Image.Image, notices: list[str]) -> int:
    """Return the EXIF orientation, 1 where there is none."""
    try:
        value = int(image.getexif().get(_ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - damaged EXIF raises almost anything and must not cost the picture
        notices.append("The EXIF data are damaged and were ignored; the picture may be turned.")
        return 1
    return value if value in range(2, 9) else 1


def _count_pages(data: bytes, most: int) -> int:
    """Return how many pages a TIFF has, up to `most` + 1, without reading any; a link that leads nowhere ends it."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
    big = 43 in data[2:4]
    size, entry, width = (8, 20, 8) if big else (2, 12, 4)  # bytes of a directory's length, an entry, a link
    seen: set[int] = set()
    at = int.from_bytes(data[8:16] if big else data[4:8], order)
    while at and at not in seen and at + size <= len(data) and len(seen) <= most:
        seen.add(at)
        link = at + size + entry * int.from_bytes(data[at : at + size], order)
        at = int.from_bytes(data[link : link + width], order)
    return len(seen)


def _to_rgb(image: Image.Image, orientation: int, notices: list[str]) -> np.ndarray:
    """Return (height, width, 3) uint8 sRGB, upright, converted strip by strip."""
    convert = _converter(image, notices)
    width, height = image.size
    upright = np.empty((width, height, 3) if orientation >= 5 else (height, width, 3), np.uint8)
    stored = _as_stored(upright, orientation)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        stored[top : top + rows] = convert(image.crop((0, top, width, min(height, top + rows))))
    return upright


def _as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return a view of an upright picture in the order in which a camera stores it (EXIF 2.32, 4.6.4 A)."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)


def _converter(image: Image.Image, notices: list[str]) -> Callable[[Image.Image], np.ndarray]:
    """Return what makes RGB of a strip of this image."""
    if image.mode.startswith("I;16"):  # convert("RGB") would clip it to white
        notices.append("The 16-bit grey values were scaled to 8 bits.")
        return _grey_scaler(image)
    to_srgb = colour_transform(image, notices)
    if not image.has_transparency_data:
        return lambda strip: np.asarray(to_srgb(strip))
    _tell_of_transparency(image, notices)

    def blend(strip: Image.Image) -> np.ndarray:
        layers = strip.convert("RGBA")
        alpha = np.asarray(layers.getchannel("A"))[..., None].astype(np.uint16)
        colour = np.asarray(to_srgb(layers.convert("RGB"))) * alpha
        return ((colour + np.array(BACKGROUND, np.uint16) * (255 - alpha) + np.uint16(127)) // 255).astype(np.uint8)

    return blend


def _tell_of_transparency(image: Image.Image, notices: list[str]) -> None:
    alpha = image.getchannel("A") if "A" in image.getbands() else image.convert("RGBA").getchannel("A")
    if alpha.getextrema() != (255, 255):
        notices.append("The image has transparent pixels; they are shown on white.")


def _grey_scaler(image: Image.Image) -> Callable[[Image.Image], np.ndarray]:
    tags = getattr(image, "tag_v2", {})
    shift = max(0, int(tags.get(_BITS, (16,))[0]) - 8)
    flip = 255 if tags.get(_PHOTOMETRIC, 1) == 0 else 0  # "white is zero", which Pillow minds for 8 bits only

    def scale(strip: Image.Image) -> np.ndarray:
        grey = (np.asarray(strip) >> shift).clip(0, 255).astype(np.uint8) ^ np.uint8(flip)
        return np.repeat(grey[..., None], 3, -1)

    return scale
