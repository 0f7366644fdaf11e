"""What TIFF needs before Pillow: the page that shows the picture, kinds that are not read.

Runs inside the decoding process, on hostile bytes.
"""

import io
import struct
from typing import Any, Literal

import numpy as np
from PIL import Image, ImagePalette, TiffImagePlugin

from dermlens.errors import ImageError
from dermlens.ingest.decoders import colour
from dermlens.ingest.decoders.damage import DamagedError
from dermlens.ingest.decoders.tiff_parts import strips

_SUBFILE, _OLD_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 258, 259, 262
_SAMPLES, _PLANES, _COLOUR_MAP, _EXTRA, _FORMAT = 277, 284, 320, 338, 339
_SUBSAMPLING, _DNG = 530, 50706
_RARE_YCBCR = {529, 532}
"""Coefficients, and the values of black and white, of which Pillow's own reader does not know."""
_TAGS = (_SUBFILE, _OLD_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA, _FORMAT, _DNG)
_REDUCED, _MASK = 1, 4
"""The bits of a page's kind that tell of a reduced copy and of a mask (TIFF 6.0, section 8)."""
_OLD_REDUCED = 2
_WIDTHS = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8}
"""Bytes of a whole number of each type."""
_MASK_VALUES, _YCBCR, _COLOUR_FILTER, _LINEAR_RAW = 4, 6, 32803, 34892
_READ = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000}
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
Page = dict[int, tuple[int, ...]]
"""The tags of a page that are looked at, and their values; and under _AT and _COLOURS_AT, which are no tags, where it

stands in the file, and where the number that names its colours stands, and how many bytes it has.
"""
_AT, _COLOURS_AT = 0, -1
_NAMED = {2: "RGB", 6: "YCbCr"}
_UNTOLD = "untold_colours"
"""In the `info` of a picture: whether it is of JPEG data that do not say whether they are RGB, as the page does."""
_LOOKED_AT = 256
"""pixels on a side"""

UNKNOWN_BRIGHTNESS = (
    "The image holds {kind}, for which no brightness is defined. Save it with 8 or 16 bits a channel, none below zero."
)
_FORMATS = {2: "signed values", 3: "floating-point values", 5: "complex values", 6: "complex values"}
_NO_PHOTOMETRIC = (
    "The TIFF image lacks the tag PhotometricInterpretation (262), which says what its values mean: black may be taken "
    "for white. Export it again, or save it as PNG."
)
_EIGHT_IN_SIXTEEN = "The palette's colours are of 8 bits, though TIFF's are of 16; they were read as 8."
_RARE_COLOURS = (
    "The TIFF image stores YCbCr of a rare kind and does not say how many of its pixels share a colour. Save it as RGB."
)
_NONE_FULL = (
    "The TIFF file holds only reduced copies or masks, as a camera raw file does, and no picture in full size. "
    "Save it as JPEG or PNG."
)
_RAW = "The file is a camera raw file; its first picture is only a thumbnail. Save it as JPEG or PNG."


def pages(data: bytes, most: int) -> list[Page]:
    """Return the pages of a TIFF, up to `most` + 1, without reading any.

    A link that leads nowhere ends them, and so does a page whose tags are cut off.
    """
    order = _order(data)
    big = 43 in data[2:4]
    size, entry, width = (8, 20, 8) if big else (2, 12, 4)  # bytes of a directory's length, an entry, a link
    seen: set[int] = set()
    found: list[Page] = []
    at = int.from_bytes(data[8:16] if big else data[4:8], order)
    while at and at not in seen and at + size <= len(data) and len(found) <= most:
        seen.add(at)
        link = at + size + entry * int.from_bytes(data[at : at + size], order)
        if link > len(data):
            break
        page: Page = {_AT: (at,)}
        for begin in range(at + size, link, entry):
            tag = int.from_bytes(data[begin : begin + 2], order)
            if tag in _TAGS:
                page[tag] = _values(data, begin, order, width)
            if tag == _PHOTOMETRIC:
                kind = int.from_bytes(data[begin + 2 : begin + 4], order)
                page[_COLOURS_AT] = begin + 4 + width, _WIDTHS.get(kind, 0)
        found.append(page)
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
    """Return which page shows the whole picture: the first that is no reduced copy and no mask.

    Raises:
        ImageError: there is none, or it is of a kind that is not read.
        DamagedError: there are no pages.
    """
    if not found:
        raise DamagedError("no page is whole")
    if any(_DNG in each for each in found):
        raise ImageError(_RAW)
    full = next((i for i, page in enumerate(found) if _is_full(page)), None)
    if full is None:
        raise ImageError(_NONE_FULL)
    page = found[full]
    if not page.get(_PHOTOMETRIC):
        raise ImageError(_NO_PHOTOMETRIC)
    if page[_PHOTOMETRIC][0] in (_COLOUR_FILTER, _LINEAR_RAW):
        raise ImageError(_RAW)
    compression = _first(page, _COMPRESSION, strips.PLAIN)
    if compression not in _READ:
        name = _NAMES.get(compression, f"method {compression}")
        raise ImageError(f"The TIFF image is compressed as {name}, which is not read here. Save it with LZW or none.")
    bits = _first(page, _BITS, 1)
    kind = next((_FORMATS[value] for value in page.get(_FORMAT, ()) if value in _FORMATS), "")
    if kind or bits > 16:
        raise ImageError(UNKNOWN_BRIGHTNESS.format(kind=kind or f"values of {bits} bits"))
    return full


def _is_full(page: Page) -> bool:
    kind, photometric = _first(page, _SUBFILE, 0), _first(page, _PHOTOMETRIC, 0)
    reduced = kind & _REDUCED or _first(page, _OLD_SUBFILE, 0) == _OLD_REDUCED
    return not (reduced or kind & _MASK or photometric == _MASK_VALUES)


def _first(page: Page, tag: int, default: int) -> int:
    values = page.get(tag, ())
    return values[0] if values else default


def open_page(data: bytes, number: int, page: Page, notices: list[str]) -> Image.Image:
    """Open a page of a TIFF.

    Args:
        data: the whole file.
        number: of the page, from 0.
        page: its tags.
        notices: to which a sentence may be added.

    Raises:
        ImageError: its planes, or its colours, are of a kind that Pillow mixes up.
        Exception: anything, for a damaged file.
    """
    planes = _first(page, _PLANES, 1) == 2 and _first(page, _SAMPLES, 1) > 1
    plain_ycbcr = _first(page, _PHOTOMETRIC, 0) == _YCBCR and _first(page, _COMPRESSION, strips.PLAIN) == strips.PLAIN
    # Pillow's own reader takes planes of 16 bits for planes of 8, and knows of no YCbCr with fewer colours than pixels.
    TiffImagePlugin.READ_LIBTIFF = planes or plain_ycbcr
    if number:  # Pillow opens the first page, of whatever kind it is, before it can go to another
        big, order = 43 in data[2:4], "<" if data[:1] == b"I" else ">"
        link = struct.pack(order + ("Q" if big else "I"), page[_AT][0])
        data = data[:8] + link + data[16:] if big else data[:4] + link + data[8:]
    if data.startswith(b"MM\0+"):
        TiffImagePlugin.ImageFileDirectory_v2 = _big_directory(data)  # type: ignore[misc, assignment]
    try:
        image: Any = Image.open(io.BytesIO(data), formats=["TIFF"])
        if plain_ycbcr and not planes and _has_all_colours(image.tag_v2):
            if image.tag_v2.keys() & _RARE_YCBCR:
                raise ImageError(_RARE_COLOURS)
            TiffImagePlugin.READ_LIBTIFF = False
            image = Image.open(io.BytesIO(data), formats=["TIFF"])
    except Image.UnidentifiedImageError as e:
        if _whole(page):
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
    colours = image.tag_v2.get(_COLOUR_MAP, ())
    if image.palette is not None and 0 < max(colours, default=0) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))
        notices.append(_EIGHT_IN_SIXTEEN)
    return image


def checked(data: bytes, number: int, page: Page, image: Any, notices: list[str]) -> Image.Image:
    """Return an opened page, with the colours that its JPEG data say they hold.

    Args:
        data: the whole file.
        number: of the page, from 0.
        page: its tags.
        image: as `open_page` opened it.
        notices: to which a sentence may be added.

    Raises:
        DamagedError: strips or tiles are missing, or one is damaged though libtiff does not mind.
    """
    told = strips.check(data, page[_AT][0], image.tag_v2, notices)
    said = _NAMED.get(image.tag_v2[_PHOTOMETRIC])
    if told and said and told != said:
        notices.append(colour.OTHER_COLOURS.format(said, told))
        at, size = page[_COLOURS_AT]
        value = {name: value for value, name in _NAMED.items()}[told].to_bytes(size, _order(data))
        return open_page(data[:at] + value + data[at + size :], number, page, notices)
    image.info[_UNTOLD] = image.tag_v2.get(_COMPRESSION) == strips.JPEG and said == "RGB" and not told
    return image


def tell_of_colours(image: Image.Image, notices: list[str]) -> None:
    """Add a notice if a decoded page looks as if its JPEG data, which do not say so, were YCbCr and not RGB."""
    if image.info.pop(_UNTOLD, False) and image.mode == "RGB":
        small = image.resize([min(side, _LOOKED_AT) for side in image.size], Image.Resampling.NEAREST)
        notices.extend([colour.LOOKS_WRONG] if colour.like_ycbcr(np.asarray(small)) else [])


def _order(data: bytes) -> Literal["little", "big"]:
    return "little" if data[:1] == b"I" else "big"


def _has_all_colours(tags: Any) -> bool:
    """Return whether uncompressed YCbCr does not say how many pixels share a colour, and the strips have one for each.

    Without the tag four pixels share one (TIFF 6.0, section 21), which writers forget.
    """
    return _SUBSAMPLING not in tags and sum(tags.get(279, ())) >= 3 * tags[256] * tags[257]


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
