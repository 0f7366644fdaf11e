"""What an AVIF file says of its picture and Pillow does not heed: colours in its coded data, and its visible part.

Runs inside the decoding process, on hostile bytes.
"""

import struct
from fractions import Fraction
from math import floor

from PIL import Image

from dermlens.errors import ImageError
from dermlens.ingest.decoders.heif import av1, boxes

_UNREAD = "How the AVIF picture is to be cropped and coloured could not be found out; look whether it is right."
_ORDER = [b"clap", b"irot", b"imir"]
"""Cropped, then turned, then mirrored (ISO/IEC 23000-22, 7.3.6.7); Pillow knows of no other order."""
_OTHER_ORDER = (
    "The AVIF image is to be cropped, turned and mirrored in an order that is not read here. Save it as JPEG or PNG."
)
_BEYOND = (
    "The AVIF image is to be cropped to an area that does not lie inside it. Save or export it again, as JPEG or PNG."
)


def colours(data: bytes, notices: list[str]) -> tuple[int, int] | None:
    """Return the primaries and the curve, two numbers of ITU-T H.273, that the coded data name, None for none."""
    try:
        file = boxes.read(data)
    except boxes.ODD:
        notices.append(_UNREAD)
        return None
    for item in [file.primary, *file.tiles]:
        configured = next((box[8:] for box in file.properties[item] if box[:4] == b"av1C"), b"")
        if named := av1.colours(configured) or av1.colours(boxes.data_of(file, item, data)):
            return named
    return None


def cropped(image: Image.Image, data: bytes) -> Image.Image:
    """Return the visible part (clean aperture, ISO/IEC 14496-12, 12.1.4) of a picture that is not turned yet.

    Raises:
        ImageError: there is none, or it is to be turned before.
    """
    try:
        file = boxes.read(data)
    except boxes.ODD:
        return image
    changes = [box for box in file.properties[file.primary] if box[:4] in _ORDER]
    names = [box[:4] for box in changes]
    if names != [name for name in _ORDER if name in names]:
        raise ImageError(_OTHER_ORDER)
    if b"clap" not in names:
        return image
    if len(changes[0]) < 36:
        raise ImageError(_BEYOND)
    numbers = struct.unpack_from(">IIIIiIiI", changes[0], 4)
    if 0 in numbers[1::2]:
        raise ImageError(_BEYOND)
    wide, high, right, down = (Fraction(numbers[i], numbers[i + 1]) for i in (0, 2, 4, 6))
    (left, beyond), (top, below) = (_span(*each) for each in ((image.width, wide, right), (image.height, high, down)))
    if not (0 <= left < beyond <= image.width and 0 <= top < below <= image.height):
        raise ImageError(_BEYOND)
    return image.crop((left, top, beyond, below))


def _span(whole: int, size: Fraction, offset: Fraction) -> tuple[int, int]:
    """Return the first pixel of a side that is visible, and the first behind it that is not; as libheif rounds."""
    middle = offset + Fraction(whole - 1, 2)
    return floor(middle - (size - 1) / 2), floor(middle + (size - 1) / 2) + 1
