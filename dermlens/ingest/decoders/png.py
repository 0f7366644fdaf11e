"""What PNG needs beside Pillow: the colour that is transparent, and values of video's range.

Runs inside the decoding process, on hostile bytes.
"""

import io
import struct

import numpy as np
from PIL import Image

from dermlens.ingest.decoders.tags import png_chunks

CLEAR_GREY, NARROW = "clear_grey", "narrow_range"
"""In the `info` of 16-bit grey: the value that is transparent, and whether its values are of video's range."""
_GREY, _RGB = 0, 2
_STRIP = 1 << 16
"""pixels looked at in one go"""


def with_clear_colour(image: Image.Image, data: bytes) -> None:
    """Give a decoded picture of grey or RGB the alpha that its tRNS chunk stands for (PNG, third edition, 11.3.1.1).

    Pixels are transparent that have all bits of the colour; Pillow compares 8 of 16, or unscaled with scaled ones.
    """
    depth, kind = data[24], data[25]
    chunk = dict(png_chunks(data)).get(b"tRNS")
    if chunk is None or kind not in (_GREY, _RGB):
        return
    image.info.pop("transparency", None)
    most = (1 << depth) - 1
    key = np.array(struct.unpack_from(">H" if kind == _GREY else ">3H", chunk)) & most
    if image.mode.startswith("I;16"):
        image.info[CLEAR_GREY] = int(key[0])
        return
    if depth < 16:
        clear = _equal(image, key * 255 // most if depth < 8 else key)
    else:
        clear = _equal(image, key >> 8)
        clear &= _equal(_low_bytes(data), key & 255)
    if clear.any():
        image.putalpha(Image.fromarray(np.where(clear, np.uint8(0), np.uint8(255))))


def _low_bytes(data: bytes) -> Image.Image:
    """Return the lower halves of the values of 16-bit RGB, of which Pillow gives the upper ones only."""
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    image.load()
    return image


def _equal(image: Image.Image, colour: np.ndarray) -> np.ndarray:
    """Return where a picture has a colour, (height, width) bool."""
    width, height = image.size
    found = np.ones((height, width), bool)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        part = image.crop((0, top, width, min(height, top + rows)))
        values = np.asarray(part.convert("L") if part.mode == "1" else part).reshape(*part.size[::-1], -1)
        for channel, value in enumerate(colour):
            found[top : top + rows] &= values[..., channel] == value
    return found


def in_full_range(image: Image.Image, data: bytes) -> Image.Image:
    """Return a picture whose values go from 0 to 255 though the file's, by its cICP chunk, go from 16 to 235.

    16-bit grey is left as it is, and marked.
    """
    chunk = dict(png_chunks(data)).get(b"cICP", b"")
    if len(chunk) != 4 or chunk[3] or image.mode == "1":
        return image
    if image.mode.startswith("I;16"):
        image.info[NARROW] = True
        return image
    if image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    table = np.rint((np.arange(256) - 16) * 255 / 219).clip(0, 255).astype(int).tolist()
    return image.point([v for band in image.getbands() for v in (range(256) if band == "A" else table)])
