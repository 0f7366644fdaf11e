"""BMP files that Pillow does not read: short OS/2 headers, channels in other bits than the usual ones, runs with gaps.

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
_RUNS = {(8, 1), (4, 2)}
"""Bits of a pixel, and the method, of BMP compressed by run lengths."""
_LEFT_OUT = "The BMP image leaves out some of its pixels; they are shown in the first of its colours."


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


def without_runs(data: bytes, notices: list[str]) -> bytes:
    """Return a BMP that is compressed by run lengths as one that is not; any other as it is.

    Pixels that it leaves out, as it may, have the first of its colours.

    Raises:
        DamagedError: it is cut off, or its rows are too long.
    """
    size, bits, method = int.from_bytes(data[14:18], "little"), *struct.unpack_from("<HI", data, 28)
    if size < _INFO or (bits, method) not in _RUNS:
        return data
    begin, width, height = *struct.unpack_from("<I", data, 10), *struct.unpack_from("<ii", data, 18)
    colours = int.from_bytes(data[46:50], "little") or 1 << bits
    coded = data[begin or _FILE + size + 4 * colours :]
    pixels, left_out = _unpacked(coded, width, abs(height), bits == 4)
    notices.extend([_LEFT_OUT] if left_out else [])
    head = data[:10] + struct.pack("<I", len(data)) + data[14:28] + struct.pack("<HII", 8, 0, 0)
    return head + data[38:46] + struct.pack("<I", colours) + data[50:] + pixels


def _unpacked(coded: bytes, width: int, height: int, fours: bool) -> tuple[bytes, bool]:
    """Return one byte for every pixel, rows filled up to four bytes, and whether any is left out."""
    stride = -(-width // 4) * 4
    pixels, there = bytearray(stride * height), 0
    at = x = y = 0
    while (y, x) < (height - 1, width):
        code = coded[at : at + 2]
        if code == b"\0\0":  # the end of a row
            x, y, at = 0, y + 1, at + 2
        elif code == b"\0\1":  # the end of the picture
            break
        elif code == b"\0\2":  # a step to the right and up
            x, y, at = x + coded[at + 2], y + coded[at + 3], at + 4
        else:
            run, at = _run(coded, at, fours)
            if x >= width:
                raise DamagedError("a row is too long")
            seen = run[: width - x]
            pixels[y * stride + x : y * stride + x + len(seen)] = seen
            x, there = x + len(run), there + len(seen)
    return bytes(pixels), there < width * height


def _run(coded: bytes, at: int, fours: bool) -> tuple[bytes, int]:
    """Return some pixels in a row, and where their code ends; each stands in four bits if `fours`."""
    count, value = coded[at], coded[at + 1]
    at += 2
    if count:
        pair = bytes((value >> 4, value & 15)) if fours else bytes((value, value))
        return (pair * count)[:count], at
    length = (value + 1) // 2 if fours else value
    part = coded[at : at + length]
    if len(part) < length:
        raise DamagedError("the pixels are cut off")
    run = bytes(pixel for byte in part for pixel in (byte >> 4, byte & 15))[:value] if fours else part
    return run, at + length + length % 2
