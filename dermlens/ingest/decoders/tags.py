"""Which profile the colour tags of a file stand for, format by format. Runs inside the decoding process."""

import re
import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image

from dermlens.ingest.decoders import colour
from dermlens.ingest.decoders.heif import boxes

ORIENTATION = 0x0112
_NCLX = b"colrnclx"
_HEAD = 1 << 16
_V4 = 108
"""Bytes of the shortest BMP header that tells of colours."""
_EXIF, _INTEROPERABILITY, _COLOUR_SPACE, _INDEX = 0x8769, 0xA005, 0xA001, 1
_UNCALIBRATED, _ADOBE = 0xFFFF, 2
_PNG_COLOURS = {b"iCCP", b"sRGB", b"gAMA", b"cHRM"}
_TRANSFER, _WHITE, _RGB = 301, 318, 319
_UNSPECIFIED = (2, 2)
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation\W{1,3}([1-8])\b")


def profile(image: Image.Image, data: bytes, kind: str, mode: str, notices: list[str]) -> bytes | None:
    """Return the ICC profile of a picture: the one it holds, or one made from its tags; None if it is sRGB.

    Args:
        image: opened, for the profile that Pillow has found.
        data: the whole file.
        kind: its format.
        mode: "RGB", "L", "CMYK" or "LAB".
        notices: to which a sentence may be added.
    """
    held = image.info.get("icc_profile")
    if kind == "BMP":
        return _of_bmp(data, notices)
    if kind == "PNG":
        chunks = dict(png_chunks(data))
        if len(chunks.get(b"cICP", b"")) == 4:
            return colour.coded(chunks[b"cICP"][0], chunks[b"cICP"][1], mode, notices)
        if chunks.keys() & _PNG_COLOURS:
            return _of_png(held, chunks, mode, notices)
    if held:
        return held
    if kind in ("HEIC", "AVIF") and (named := _named(image, data)) not in (None, _UNSPECIFIED):
        return colour.coded(*named, mode, notices)
    stored: Any = getattr(image, "tag_v2", {})
    if stored.keys() & {_TRANSFER, _WHITE, _RGB}:
        return _of_tiff(stored, mode, notices) if mode in ("RGB", "L") else None
    return _of_exif(image, mode, notices)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of the chunks of a PNG that stand before its pixels."""
    at = 8
    while at + 12 <= len(data) and data[at + 4 : at + 8] != b"IDAT":
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def _of_png(held: bytes | None, chunks: dict[bytes, bytes], mode: str, notices: list[str]) -> bytes | None:
    """Heed the chunks in the order of PNG, third edition, 4.3, after cICP: iCCP, sRGB, then gAMA and cHRM."""
    if b"iCCP" in chunks and not held:
        notices.append(colour.DAMAGED_PROFILE)
    if held or b"sRGB" in chunks:
        return held
    power = int.from_bytes(chunks.get(b"gAMA", b"")[:4], "big") / 100_000
    primaries = None
    if len(chunks.get(b"cHRM", b"")) == 32:
        xy = [value / 100_000 for value in struct.unpack(">8I", chunks[b"cHRM"])]
        primaries = (xy[0], xy[1]), (xy[2], xy[3]), (xy[4], xy[5]), (xy[6], xy[7])
    return colour.gamma(1 / power if power else 0, primaries, mode) if power or primaries else None


def _of_bmp(data: bytes, notices: list[str]) -> bytes | None:
    size = int.from_bytes(data[14:18], "little")
    space = data[70:74]
    if size < _V4:
        return None
    if space == b"DEBM" and size > _V4:  # "MBED", as every number little-endian: the file holds a profile
        at, length = struct.unpack_from("<II", data, 126)
        return data[14 + at : 14 + at + length]
    if space == b"KNIL" or (space == bytes(4) and any(data[74:122])):  # "LINK"
        notices.append(colour.OTHER_TAGS)
    return None


def _named(image: Image.Image, data: bytes) -> tuple[int, int] | None:
    """Return the two numbers of ITU-T H.273 that a HEIF picture names its colours by."""
    told: Any = image.info.get("nclx_profile")
    if isinstance(told, dict):
        return int(told.get("color_primaries", 2)), int(told.get("transfer_characteristics", 2))
    try:
        file = boxes.read(data)
    except boxes.ODD:
        at = data.find(_NCLX, 0, _HEAD)
        return struct.unpack_from(">HH", data, at + len(_NCLX)) if at >= 0 else image.info["coded_colours"]
    own = (box for item in (file.primary, *file.tiles) for box in file.properties[item])
    named = next((box for box in own if box.startswith(_NCLX)), b"")
    return struct.unpack_from(">HH", named, len(_NCLX)) if named else image.info["coded_colours"]


def _of_tiff(tags: Any, mode: str, notices: list[str]) -> bytes | None:
    white, rgb = tags.get(_WHITE), tags.get(_RGB)
    if _TRANSFER in tags:
        notices.append(colour.OTHER_TAGS)
        return None
    if not (white and rgb) or len(white) != 2 or len(rgb) != 6:
        return None
    xy = [float(value) for value in (*white, *rgb)]
    return colour.gamma(0, ((xy[0], xy[1]), (xy[2], xy[3]), (xy[4], xy[5]), (xy[6], xy[7])), mode)


def _of_exif(image: Image.Image, mode: str, notices: list[str]) -> bytes | None:
    """Return the profile of Adobe RGB if the EXIF data say so, as those of a camera do (DCF 2.0, option file)."""
    try:
        held = exif(image)
        space = held.get_ifd(_EXIF).get(_COLOUR_SPACE)
        index = str(held.get_ifd(_INTEROPERABILITY).get(_INDEX, "")) if space == _UNCALIBRATED else ""
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - damaged EXIF raises almost anything and must not cost the picture
        return None
    found = colour.adobe_rgb(mode) if space == _ADOBE or index.startswith("R03") else None
    if found:
        notices.append(colour.ADOBE_RGB)
    return found


def exif(image: Image.Image) -> Image.Exif:
    """Return the EXIF data without what Pillow adds to them from XMP."""
    if hasattr(image, "tag_v2"):
        return image.getexif()
    held = image.info.get("exif")
    if held is None and (text := image.info.get("Raw profile type exif")):  # a PNG by ImageMagick
        held = bytes.fromhex("".join(text.split("\n")[3:]))
    found = Image.Exif()
    if held:
        found.load(held)
    return found


def turned(image: Image.Image) -> bool:
    """Return whether an image's EXIF data give an orientation other than upright; damaged ones give none."""
    try:
        return int(exif(image).get(ORIENTATION, 1)) in range(2, 9)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - damaged EXIF raises almost anything and must not cost the picture
        return False


def xmp_turns(image: Image.Image) -> bool:
    """Return whether an image's XMP gives an orientation other than upright."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    found = _XMP_ORIENTATION.search(xmp if isinstance(xmp, bytes) else str(xmp).encode())
    return bool(found and found[1] != b"1")
