"""What OpenCV is needed for: still WebP pictures in little memory, and damage inside WebP and AVIF.

Runs inside the decoding process, on hostile bytes; loaded for these formats alone. Pillow decodes every WebP as a film,
on two canvases of four bytes a pixel and a copy; OpenCV, with the same library, into the picture alone. For AVIF it has
libaom, which minds damage that dav1d, inside Pillow, follows as if it were sound.
"""

import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from PIL import Image

from dermlens.ingest.decoders.damage import TAIL, DamagedError, complaints

_LOSSLESS_TAIL = 10
"""TAIL for lossless WebP: its encoders fill up to eight bytes, and its decoder does not mind the lack of two."""
_ANIMATED = 2
"""the bit of VP8X that tells of a film"""
_AVIF_DAMAGE = (b"Corrupt frame", b"Truncated packet", b"Bitstream error", b"Failed to decode")
_AVIF_UNCHECKED = "Whether the AVIF data are whole could not be checked; look whether the picture is."

cv2.setNumThreads(1)


def is_still_webp(data: bytes) -> bool:
    """Return whether a file is no film, not even one of a single picture."""
    return data[12:16] != b"VP8X" or not data[20:21] or not data[20] & _ANIMATED


def load_webp(data: bytes, info: dict[Any, Any]) -> Image.Image:
    """Return a still picture; `info` is what Pillow has found in the file.

    Raises:
        DamagedError: it cannot be decoded.
        MemoryError: decoding it needs more memory than this process has.
    """
    with complaints() as said:
        pixels = _decoded(data)
    if pixels is None and b"memory" in said.lower():
        raise MemoryError
    if pixels is None:
        raise DamagedError("the decoder refused")
    order = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
    image = Image.fromarray(cv2.cvtColor(pixels, order, pixels))
    image.info = info
    return image


def _decoded(data: bytes) -> np.ndarray | None:
    """Return (height, width, 3 or 4) uint8 in the order of OpenCV, None if that cannot be done."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def check_webp(data: bytes) -> None:
    """Raise DamagedError if the coded data of a WebP go on after its picture.

    Its decoder follows damaged data as if they were sound and stops once it has all pixels. Data that are sound are
    used up to their end; so without their end they must not suffice.
    """
    coded = next(_webp_pictures(data), None)
    if coded is None:
        return
    for short in _shortened(*coded):
        if _decoded(short) is not None:
            raise DamagedError("the picture is complete before its data are")


def _webp_pictures(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of every chunk that holds a picture."""
    ahead = [(12, len(data))]
    while ahead:
        at, stop = ahead.pop()
        while at + 8 <= stop:
            kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
            if kind in (b"VP8 ", b"VP8L"):
                yield kind, data[at + 8 : min(at + 8 + size, stop)]
            elif kind == b"ANMF":
                ahead.append((at + 8 + size + size % 2, stop))
                at, stop = at + 24, min(at + 8 + size, stop)
                continue
            at += 8 + size + size % 2


def _shortened(kind: bytes, coded: bytes) -> Iterator[bytes]:
    """Yield files that hold this picture but for the end of one of its partitions (RFC 6386, 9.5)."""
    if kind == b"VP8L" or len(coded) < 10:
        yield _webp(kind, coded[:-_LOSSLESS_TAIL])
        return
    first = 10 + (int.from_bytes(coded[:3], "little") >> 5)
    parts = 1 << _partitions(coded[10:first])
    table = coded[first : first + 3 * (parts - 1)]
    starts = [first + len(table)]
    for i in range(parts - 1):
        starts.append(starts[-1] + int.from_bytes(table[3 * i : 3 * i + 3], "little"))
    for i, (start, end) in enumerate(zip(starts, [*starts[1:], len(coded)], strict=True)):
        if end - start <= 2 * TAIL:
            continue
        sizes = bytearray(table)
        if i < parts - 1:
            sizes[3 * i : 3 * i + 3] = (end - start - TAIL).to_bytes(3, "little")
        yield _webp(kind, coded[:first] + sizes + coded[starts[0] : end - TAIL] + coded[end:])


def _partitions(header: bytes) -> int:
    """Return the binary logarithm of how many partitions follow (RFC 6386, 9.2 to 9.5)."""
    bits = _Bits(header)
    bits.take(2)
    if bits.take(1):  # segments
        map_follows, values_follow = bits.take(1), bits.take(1)
        if values_follow:
            bits.take(1)
            for size in (8,) * 4 + (7,) * 4:
                bits.optional(size)
        for _ in range(3 * map_follows):
            bits.optional(8)
    bits.take(10)
    if bits.take(1) and bits.take(1):
        for _ in range(8):
            bits.optional(7)
    return bits.take(2)


class _Bits:
    """Reads bits that are as likely 0 as 1 from boolean-coded data (RFC 6386, 7.3)."""

    def __init__(self, data: bytes) -> None:
        self.value, self.length, self.span = int.from_bytes(data[:128], "big"), 8 * len(data[:128]), 255

    def take(self, count: int) -> int:
        """Return the next `count` bits as a number; zeros after the end."""
        number = 0
        for _ in range(count):
            split = 1 + ((self.span - 1) >> 1)
            at = split << max(0, self.length - 8)
            bit = self.value >= at
            self.value -= at if bit else 0
            self.span = self.span - split if bit else split
            shift = 8 - self.span.bit_length()
            self.span <<= shift
            self.length -= shift
            number = 2 * number + bit
        return number

    def optional(self, count: int) -> None:
        """Pass over a flag, and over a number of `count` bits if it is set."""
        if self.take(1):
            self.take(count)


def _webp(kind: bytes, coded: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(coded)) + coded + bytes(len(coded) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def check_avif(data: bytes, notices: list[str]) -> None:
    """Raise DamagedError if libaom finds an AVIF picture damaged.

    It checks that the data end where the picture does (AV1 specification, 8.2.4).
    """
    with complaints() as said:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None and any(sign in said for sign in _AVIF_DAMAGE):
        raise DamagedError("the decoder refused")
    if picture is None:
        notices.append(_AVIF_UNCHECKED)
