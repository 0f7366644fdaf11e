"""BMP files that Pillow does not read: short OS/2 headers, and channels in other bits than the usual ones.

Runs inside the decoding process, on hostile bytes.
"""

import io
import struct

import numpy as np
from PIL import Image

from dermlens.errors import ImageError
from dermlens.ingest.decoders.damage import DamagedError

_FILE, _SHORTEST_OS2, _INFO, _OS2, _WITH_ALPHA = 14, 16, 40, 64, 56
"""Bytes of the file's header, and of kinds of the bitmap's header, which follows it."""
_MASKS, _MASKS_AND_ALPHA = 3, 6
_OTHER_METHODS = {4: "JPEG", 5: "PNG", 11: "CMYK", 12: "CMYK in runs", 13: "CMYK in runs"}
_OS2_METHODS = {3: "Huffman codes", 4: "runs of 24 bits"}
_OTHER_BITS = (2, 64)
_MOST = 16
"""bits of a channel that are looked at"""


def opened(data: bytes) -> Image.Image:
    """Open a BMP.

    Raises:
        ImageError: it is of a kind that is not read.
        DamagedError: its pixels are not where and what its header says.
        Exception: anything, for a damaged file.
    """
    size = int.from_bytes(data[14:18], "little")
    if _SHORTEST_OS2 <= size < _INFO:  # what is left out of OS/2's header is zero
        data, size = _with_whole_header(data, size), _INFO
    try:
        return Image.open(io.BytesIO(data), formats=["BMP"])
    except OSError:
        if size < _INFO:
            raise
        bits, method = struct.unpack_from("<HI", data, 28)
        named = (_OS2_METHODS if size == _OS2 else _OTHER_METHODS).get(method)
        if named:
            raise ImageError(f"The BMP image is stored as {named}, which is not read here. Save it as PNG.") from None
        if bits in _OTHER_BITS:
            raise ImageError(
                f"The BMP image has {bits} bits a pixel, which is not read here. Save it as PNG."
            ) from None
        if method in (_MASKS, _MASKS_AND_ALPHA) and bits in (16, 32):
            return _by_masks(data, bits, method == _MASKS_AND_ALPHA or size >= _WITH_ALPHA)
        raise


def _with_whole_header(data: bytes, size: int) -> bytes:
    begin = int.from_bytes(data[10:14], "little")
    header = data[_FILE + 4 : _FILE + size].ljust(_INFO - 4, b"\0")
    moved = struct.pack("<II", begin + _INFO - size if begin else 0, _INFO)
    return data[:10] + moved + header + data[_FILE + size :]


def _by_masks(data: bytes, bits: int, alpha: bool) -> Image.Image:
    """Return a picture each of whose channels stands in the bits that a mask names, and is as wide as it is."""
    begin = int.from_bytes(data[10:14], "little") or _FILE + _INFO + (16 if alpha else 12)
    width, height = struct.unpack_from("<ii", data, 18)
    masks = [mask for i, mask in enumerate(struct.unpack_from(f"<{3 + alpha}I", data, _FILE + _INFO)) if i < 3 or mask]
    apart = sum(masks) == np.bitwise_or.reduce(masks)
    if not all(_in_a_row(mask) for mask in masks) or not apart or max(masks) >> bits:
        raise DamagedError("the channels lie in each other's bits")
    stride, rows = (width * bits + 31) // 32 * 4, abs(height)
    if width <= 0 or not rows or begin + stride * rows > len(data):
        raise DamagedError("the pixels are cut off")
    each = np.dtype(f"<u{bits // 8}")
    stored = np.frombuffer(data, each, stride * rows // each.itemsize, begin).reshape(rows, -1)[:, :width]
    pixels = np.empty((rows, width, len(masks)), np.uint8)
    for channel, mask in enumerate(masks):
        low = (mask & -mask).bit_length() - 1
        low += max(0, mask.bit_length() - low - _MOST)
        most = mask >> low
        table = np.rint(np.arange(most + 1) * 255 / most).astype(np.uint8)
        pixels[..., channel] = table[(stored >> low) & most]
    return Image.fromarray(pixels if height < 0 else pixels[::-1])


def _in_a_row(mask: int) -> bool:
    """Return whether a mask has bits, and no gap between them."""
    lowest = mask & -mask
    return bool(mask) and not (mask + lowest) & mask
