"""Damage that decoders pass over without a word. Runs inside the decoding process, on hostile bytes."""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from PIL import Image

TAIL = 16
"""Bytes at the end of coded data without which they cannot be whole; encoders fill up by fewer."""
_LOSSLESS_TAIL = 10
"""The same of lossless WebP, whose data are filled up to eight bytes, and whose decoder minds no two."""


class DamagedError(Exception):
    """The data of a picture are damaged, or some are missing."""


@contextmanager
def complaints() -> Iterator[bytearray]:
    """Collect what a decoder that knows no other way of warning writes to the standard error output."""
    said = bytearray()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    kept = os.dup(2)
    os.dup2(writer, 2)
    try:
        yield said
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(writer)
        with suppress(BlockingIOError):
            said += os.read(reader, 1 << 12)
        os.close(reader)


def check_png(data: bytes) -> None:
    """Raise DamagedError if the check sum of a chunk of pixels is wrong, which Pillow does not look at."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        name, check = data[at + 4 : at + 8], int.from_bytes(data[end : end + 4], "big")
        if name == b"IEND":
            return
        if name == b"IDAT" and zlib.crc32(data[at + 4 : end]) != check:
            raise DamagedError("the check sum is wrong")
        at = end + 4


def check_webp(data: bytes) -> None:
    """Raise DamagedError if the coded data of a WebP go on after its picture.

    Its decoder follows damaged data as if they were sound and stops once it has all pixels. Data that are sound are
    used up to their end; so without their end they must not suffice.
    """
    coded = next(_webp_pictures(data), None)
    if coded is None:
        return
    for short in _shortened(*coded):
        if _decodes(short):
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


def _decodes(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data), formats=["WEBP"]).load()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - decoders raise almost anything on data cut off
        return False
    return True
