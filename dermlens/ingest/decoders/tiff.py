"""What TIFF needs before Pillow: the page that shows the picture, kinds that are not read, damage inside a strip.

Runs inside the decoding process, on hostile bytes.
"""

import io
import zlib
from typing import Any, Literal

from PIL import Image, TiffImagePlugin

from dermlens.errors import ImageError
from dermlens.ingest.decoders import jpeg
from dermlens.ingest.decoders.damage import DamagedError

_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA, _FORMAT = 254, 258, 259, 262, 277, 284, 338, 339
_DNG = 50706
_TAGS = (_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA, _FORMAT, _DNG)
_WIDTHS = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8}
"""Bytes of a whole number of each type."""
_COLOUR_FILTER, _LINEAR_RAW = 32803, 34892
_JPEG = 7
_DEFLATE = (8, 32946)
_READ = {1, 2, 3, 4, 5, 6, _JPEG, *_DEFLATE, 32773, 34925, 50000}
_NAMES = {
    9: "JBIG",
    10: "JBIG",
    34661: "JBIG",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of raw files",
    34934: "JPEG XR",
    22610: "JPEG XR",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_MOST = 16
"""values of a tag that are looked at"""
_CHUNK = 1 << 20
Page = dict[int, tuple[int, ...]]
"""The tags of a page that are looked at, and their values."""

FLOATING = (
    "The image holds floating-point or 32-bit values, for which no brightness is defined. "
    "Save it with 8 or 16 bits a channel."
)
_RAW = "The file is a camera raw file; its first picture is only a thumbnail. Save it as JPEG or PNG."


def pages(data: bytes, most: int) -> list[Page]:
    """Return the pages of a TIFF, up to `most` + 1, without reading any; a link that leads nowhere ends it."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
    big = 43 in data[2:4]
    size, entry, width = (8, 20, 8) if big else (2, 12, 4)  # bytes of a directory's length, an entry, a link
    seen: set[int] = set()
    found: list[Page] = []
    at = int.from_bytes(data[8:16] if big else data[4:8], order)
    while at and at not in seen and at + size <= len(data) and len(found) <= most:
        seen.add(at)
        count = int.from_bytes(data[at : at + size], order)
        page: Page = {}
        for begin in range(at + size, min(at + size + entry * count, len(data)), entry):
            tag = int.from_bytes(data[begin : begin + 2], order)
            if tag in _TAGS:
                page[tag] = _values(data, begin, order, width)
        found.append(page)
        link = at + size + entry * count
        at = int.from_bytes(data[link : link + width], order)
    return found


def _values(data: bytes, entry: int, order: Literal["little", "big"], width: int) -> tuple[int, ...]:
    kind = int.from_bytes(data[entry + 2 : entry + 4], order)
    count = int.from_bytes(data[entry + 4 : entry + 4 + width], order)
    each, at = _WIDTHS.get(kind, 0), entry + 4 + width
    if each * count > width:
        at = int.from_bytes(data[at : at + width], order)
    ends = range(at + each, min(at + each * min(count, _MOST), len(data)) + 1, each) if each else ()
    return tuple(int.from_bytes(data[end - each : end], order) for end in ends)


def shown_page(found: list[Page]) -> int:
    """Return which page shows the whole picture: the first that is no reduced copy.

    Raises:
        ImageError: there is none, or it is of a kind that is not read.
    """
    full = next((i for i, page in enumerate(found) if not _first(page, _SUBFILE, 0) & 1), None)
    if found and full is None:
        raise ImageError(_RAW)
    page = found[full or 0] if found else {}
    if any(_DNG in each for each in found) or _first(page, _PHOTOMETRIC, 1) in (_COLOUR_FILTER, _LINEAR_RAW):
        raise ImageError(_RAW)
    compression = _first(page, _COMPRESSION, 1)
    if compression not in _READ:
        name = _NAMES.get(compression, f"method {compression}")
        raise ImageError(f"The TIFF image is compressed as {name}, which is not read here. Save it with LZW or none.")
    bits = _first(page, _BITS, 1)
    if _first(page, _FORMAT, 1) in (3, 5, 6) or bits > 16:
        raise ImageError(FLOATING)
    return full or 0


def _first(page: Page, tag: int, default: int) -> int:
    values = page.get(tag, ())
    return values[0] if values else default


def open_page(data: bytes, number: int, page: Page) -> Image.Image:
    """Open a page of a TIFF.

    Raises:
        ImageError: its planes are of a kind that Pillow mixes up.
        DamagedError: a strip or tile is damaged.
        Exception: anything, for a damaged file.
    """
    planes = _first(page, _PLANES, 1) == 2 and _first(page, _SAMPLES, 1) > 1
    TiffImagePlugin.READ_LIBTIFF = planes  # Pillow's own reader takes planes of 16 bits for planes of 8
    if data.startswith(b"MM\0+"):
        TiffImagePlugin.ImageFileDirectory_v2 = _big_directory(data)  # type: ignore[misc, assignment]
    try:
        image: Any = Image.open(io.BytesIO(data), formats=["TIFF"])
        if number:
            image.seek(number)
    except Image.UnidentifiedImageError as e:
        if page and _whole(page):
            raise ImageError(
                "The TIFF image holds a kind of pixels (bits, channels, colours) that is not read here. "
                "Save it as RGB with 8 bits a channel."
            ) from e
        raise
    if planes and image.tile[0].args[0].split(";")[0] not in ("RGB", "RGBA", "RGBX", "CMYK"):
        raise ImageError(
            "The TIFF image stores its channels in separate planes of a kind that is not read here. "
            "Save it with its channels interleaved, or as PNG."
        )
    _check_strips(data, image.tag_v2)
    return image


def _whole(page: Page) -> bool:
    return bool(page.get(_PHOTOMETRIC)) and bool(page.get(_BITS))


def _big_directory(data: bytes) -> type:
    """Return a reader of the directories of a big-endian BigTIFF, for which Pillow looks at the wrong byte."""

    class Directory(TiffImagePlugin.ImageFileDirectory_v2):
        def __init__(self, head: bytes = data[:8], *given: Any, **named: Any) -> None:
            super().__init__(head[:8].ljust(8, b"\0"), *given, **named)
            self._bigtiff = True
            self.next = int.from_bytes(data[8:16], "big")

    return Directory


def _check_strips(data: bytes, tags: Any) -> None:
    """Raise DamagedError if a strip or tile is damaged in a way that libtiff does not mind."""
    compression = tags.get(_COMPRESSION, 1)
    starts, counts = tags.get(273) or tags.get(324) or (), tags.get(279) or tags.get(325) or ()
    tables = bytes(tags.get(347, b""))
    for start, count in zip(starts, counts, strict=False):
        strip = data[start : start + count]
        if compression == _JPEG:
            jpeg.whole(tables[:-2] + strip[2:] if tables else strip, [])
        elif compression in _DEFLATE:
            _check_deflated(strip)


def _check_deflated(strip: bytes) -> None:
    inflate = zlib.decompressobj()
    try:
        while inflate.decompress(strip, _CHUNK):
            strip = inflate.unconsumed_tail
    except zlib.error as e:
        raise DamagedError("the check sum is wrong") from e
    if not inflate.eof:
        raise DamagedError("the data have no end")
