"""Which profile the colour tags of a file stand for, format by format. Runs inside the decoding process."""

import re
import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image

from dermlens.ingest.decoders import colour

_NCLX = b"colrnclx"
_HEAD = 1 << 16
_V4 = 108
"""Bytes of the shortest BMP header that tells of colours."""
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
    if kind == "PNG":
        return _of_png(held, data, mode, notices)
    if kind == "BMP":
        return _of_bmp(data, notices)
    if not held and kind in ("HEIC", "AVIF"):
        return _of_heif(image, data, mode, notices)
    if not held and kind == "TIFF" and mode in ("RGB", "L"):
        return _of_tiff(image, mode, notices)
    return held or None


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of the chunks of a PNG that stand before its pixels."""
    at = 8
    while at + 12 <= len(data) and data[at + 4 : at + 8] != b"IDAT":
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def _of_png(held: bytes | None, data: bytes, mode: str, notices: list[str]) -> bytes | None:
    """Heed the chunks in the order of PNG, third edition, 4.3: cICP, iCCP, sRGB, then gAMA and cHRM."""
    chunks = dict(png_chunks(data))
    if len(chunks.get(b"cICP", b"")) == 4:
        return colour.coded(chunks[b"cICP"][0], chunks[b"cICP"][1], mode, notices)
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


def _of_heif(image: Image.Image, data: bytes, mode: str, notices: list[str]) -> bytes | None:
    told: Any = image.info.get("nclx_profile")
    at = data.find(_NCLX, 0, _HEAD)
    named: tuple[int, int] | None = None
    if isinstance(told, dict):
        named = int(told.get("color_primaries", 2)), int(told.get("transfer_characteristics", 2))
    elif at >= 0:
        named = struct.unpack_from(">HH", data, at + len(_NCLX))
    else:
        named = image.info["coded_colours"]
    return colour.coded(named[0], named[1], mode, notices) if named else None


def _of_tiff(image: Image.Image, mode: str, notices: list[str]) -> bytes | None:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    white, rgb = tags.get(318), tags.get(319)
    if 301 in tags:  # a transfer function
        notices.append(colour.OTHER_TAGS)
        return None
    if not (white and rgb) or len(white) != 2 or len(rgb) != 6:
        return None
    xy = [float(value) for value in (*white, *rgb)]
    return colour.gamma(0, ((xy[0], xy[1]), (xy[2], xy[3]), (xy[4], xy[5]), (xy[6], xy[7])), mode)


def xmp_turns(image: Image.Image) -> bool:
    """Return whether an image's XMP gives an orientation other than upright."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    found = _XMP_ORIENTATION.search(xmp if isinstance(xmp, bytes) else str(xmp).encode())
    return bool(found and found[1] != b"1")
