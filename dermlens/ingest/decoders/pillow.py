"""Pictures that Pillow decodes, as RGB. Runs inside the decoding process, on hostile bytes."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from dermlens.errors import ImageError
from dermlens.ingest.decoders import bmp, colour, damage, jpeg, png, tags, tiff
from dermlens.ingest.decoders.pixels import BACKGROUND, Decoded, check_pictures, check_size
from dermlens.ingest.formats import Limits

_BITS = 258
_PHOTOMETRIC = 262
_ON_WHITE = "The image has transparent pixels; they are shown on white."
_MAIN, _FULL = "which the file calls its main one", "the first that is no reduced copy or mask"
"""Why a picture other than the first is used."""
_STRIP = 1 << 14
"""Pixels converted at a time: no second copy of a large image is needed, and the same memory is used again."""


def decode(data: bytes, kind: str, limits: Limits) -> Decoded:
    """Decode a file of a format that is not DICOM, whose plugin is loaded; as `decode.decode`."""
    # WebP's plugin makes its canvas when it opens a file: Pillow raises DecompressionBombError over twice this number.
    Image.MAX_IMAGE_PIXELS = limits.pixels // 2 if kind == "WebP" else None
    notices: list[str] = []
    if kind == "JPEG":
        jpeg.refuse_kinds(jpeg.read(data), is_file=True)
    elif kind == "HEIC":
        from dermlens.ingest.decoders.heif import heic

        heic.refuse_kinds(data)
    if kind == "TIFF":
        found = tiff.pages(data, limits.pictures)
        page, pictures = tiff.shown_page(found), len(found)
        image = tiff.open_page(data, page, found[page], notices)
    else:
        image, page, pictures = _open(data, kind), 0, 1
    check_size(*image.size, limits)
    pictures = pictures if kind == "TIFF" else int(getattr(image, "n_frames", 1))
    page = image.tell() if kind == "HEIC" else page
    notices += check_pictures(pictures, limits, page, _MAIN if kind == "HEIC" else _FULL)
    if image.mode in ("F", "I"):
        raise ImageError(tiff.UNKNOWN_BRIGHTNESS.format(kind="values of 32 bits"))
    if kind == "TIFF":
        image = tiff.checked(data, page, found[page], image, notices)
    else:
        info = image.info
        del image  # WebP's holds two canvases
        data, coded = _checked(data, kind, notices)
        image = _reopened(data, kind, info)
        image.info.setdefault("coded_colours", coded)
    if kind == "JPEG":
        image.decodermaxblock = len(data)  # type: ignore[attr-defined] # what is arithmetic-coded must come in one piece
    xmp = image.info.pop("xmp", None)  # by which Pillow turns a TIFF that no tag turns
    turned = kind == "TIFF" and image.tag_v2.get(tags.ORIENTATION) in range(2, 9)  # type: ignore[attr-defined]
    image.load()
    if xmp:
        image.info["xmp"] = xmp
    if kind == "TIFF":
        tiff.tell_of_colours(image, notices)
    elif kind == "PNG":
        damage.check_png_rows(data, image)
        png.with_clear_colour(image, data)
        image = png.in_full_range(image, data)
    elif kind == "AVIF":
        from dermlens.ingest.decoders.heif import avif

        image = avif.cropped(image, data)
        check_size(*image.size, limits)
    profile = tags.profile(image, data, kind, _colours(image), notices)
    image = _usable_alpha(image, kind)
    # Asking PNG's plugin for EXIF decodes the picture, so that comes last. TIFF's has turned the picture already.
    orientation = 1 if turned else _orientation(image, notices)
    return Decoded(_to_rgb(image, profile, orientation, notices), tuple(dict.fromkeys(notices)))


def _checked(data: bytes, kind: str, notices: list[str]) -> tuple[bytes, tuple[int, int] | None]:
    """Return the data that are to be decoded, and the colours that are named in the midst of them, if there are any.

    Raises:
        DamagedError: they are damaged, and the decoder would not say so.
    """
    if kind == "JPEG":
        return jpeg.whole(data, notices), None
    if kind == "PNG":
        damage.check_png(data)
    elif kind == "BMP":
        return bmp.without_runs(data, notices), None
    elif kind == "WebP":
        from dermlens.ingest.decoders import opencv

        opencv.check_webp(data)
    elif kind == "HEIC":
        from dermlens.ingest.decoders.heif import heic

        return data, heic.check(data, notices)
    elif kind == "AVIF":
        from dermlens.ingest.decoders import opencv
        from dermlens.ingest.decoders.heif import avif

        opencv.check_avif(data, notices)
        return data, avif.colours(data, notices)
    return data, None


def _reopened(data: bytes, kind: str, info: dict[Any, Any]) -> Image.Image:
    """Open a picture again; one of those that take less memory in another way is decoded, and gets its `info`."""
    if kind == "WebP":
        from dermlens.ingest.decoders import opencv

        if opencv.is_still_webp(data):
            return opencv.load_webp(data, info)
    return _open(data, kind)


def _open(data: bytes, kind: str) -> Image.Image:
    if kind == "BMP":
        return bmp.opened(data)
    if kind in ("HEIC", "AVIF"):
        data = data[:8] + kind.lower().encode() + data[12:]  # plugins look at the first brand only
    return Image.open(io.BytesIO(data), formats=["HEIF" if kind == "HEIC" else kind.upper()])


def _usable_alpha(image: Image.Image, kind: str) -> Image.Image:
    """Return the image without a transparency that means nothing, and as a mode that Pillow converts.

    Raises:
        ImageError: nothing of the image can be seen.
    """
    if image.mode == "La":  # premultiplied grey, which Pillow converts to nothing but this
        image = image.convert("LA")
    if _unseen(image):
        if kind != "BMP":
            raise ImageError(
                "Every pixel of the image is transparent, so nothing is seen. Save it without transparency."
            )
        return image.convert("RGB")  # writers leave BMP's fourth byte empty
    return image


def _unseen(image: Image.Image) -> bool:
    """Return whether every pixel is transparent."""
    if (clear := image.info.get(png.CLEAR_GREY)) is not None:
        return image.getextrema() == (clear, clear)
    clear = image.info.get("transparency")
    if image.mode == "P" and clear is not None:
        alpha = bytes(clear).ljust(256, b"\xff") if isinstance(clear, bytes) else bytes(i != clear for i in range(256))
        return not any(count and alpha[colour] for colour, count in enumerate(image.histogram()))
    return "A" in image.getbands() and image.getchannel("A").getextrema()[1] == 0


def _orientation(image: Image.Image, notices: list[str]) -> int:
    """Return the EXIF orientation, 1 where there is none."""
    try:
        value = int(tags.exif(image).get(tags.ORIENTATION, 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - damaged EXIF raises almost anything and must not cost the picture
        notices.append("The EXIF data are damaged and were ignored; the picture may be turned.")
        return 1
    if value in range(2, 9):
        return value
    if tags.xmp_turns(image):
        notices.append("Only the XMP data say that the picture is to be turned; it is shown as it is stored.")
    return 1


def _colours(image: Image.Image) -> str:
    """Return the mode of an image's colours alone: "RGB", "L", "CMYK" or "LAB"."""
    if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16"):
        return "L"
    return image.mode if image.mode in ("CMYK", "LAB") else "RGB"


def _to_rgb(image: Image.Image, profile: bytes | None, orientation: int, notices: list[str]) -> np.ndarray:
    """Return (height, width, 3) uint8 sRGB, upright, converted strip by strip."""
    convert = _converter(image, profile, notices)
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


def _converter(image: Image.Image, profile: bytes | None, notices: list[str]) -> Callable[[Image.Image], np.ndarray]:
    """Return what makes RGB of a strip of this image."""
    if image.mode.startswith("I;16"):  # convert("RGB") would clip it to white
        notices.append("The 16-bit grey values were scaled to 8 bits.")
        return _grey_scaler(image, colour.grey_curve(profile, notices), notices)
    mode = _colours(image)
    to_srgb = colour.transform(mode, profile, notices)
    if not image.has_transparency_data:
        return lambda strip: np.asarray(to_srgb(strip))
    _tell_of_transparency(image, notices)

    def blend(strip: Image.Image) -> np.ndarray:
        layers = strip.convert("RGBA")
        alpha = np.asarray(layers.getchannel("A"))[..., None].astype(np.uint16)
        shown = np.asarray(to_srgb(layers.convert("RGB").convert(mode))) * alpha
        return ((shown + np.array(BACKGROUND, np.uint16) * (255 - alpha) + np.uint16(127)) // 255).astype(np.uint8)

    return blend


def _tell_of_transparency(image: Image.Image, notices: list[str]) -> None:
    alpha = image.getchannel("A") if "A" in image.getbands() else image.convert("RGBA").getchannel("A")
    if alpha.getextrema() != (255, 255):
        notices.append(_ON_WHITE)


def _grey_scaler(
    image: Image.Image, curve: np.ndarray | None, notices: list[str]
) -> Callable[[Image.Image], np.ndarray]:
    """Return what makes RGB of 16-bit grey, by the sRGB grey of 256 greys if a profile gives it."""
    told = getattr(image, "tag_v2", {})
    shift = max(0, int(told.get(_BITS, (16,))[0]) - 8)
    flip = told.get(_PHOTOMETRIC, 1) == 0  # "white is zero", which Pillow minds for 8 bits only
    stored = np.arange(1 << 16)
    if image.info.get(png.NARROW):
        stored = ((stored - (16 << 8)) * 0xFFFF // (219 << 8)).clip(0, 0xFFFF)
    values = (stored >> shift).clip(0, 255).astype(np.uint8)
    if curve is not None:
        lightness = stored * 255 / ((256 << shift) - 1)
        values = np.rint(np.interp(lightness, np.arange(256), curve)).astype(np.uint8)
    if flip:
        top = min(1 << 16, 256 << shift)
        values[:top] = values[:top][::-1]

    clear = image.info.get(png.CLEAR_GREY)
    if clear is not None:
        values[clear] = BACKGROUND[0]

    def scale(strip: Image.Image) -> np.ndarray:
        held = np.asarray(strip)
        if clear is not None and (held == clear).any():
            notices.append(_ON_WHITE)
        return np.repeat(values[held][..., None], 3, -1)

    return scale
