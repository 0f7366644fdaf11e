"""Damage that decoders pass over without a word. Runs inside the decoding process, on hostile bytes."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

TAIL = 16
"""Bytes at the end of coded data without which they cannot be whole; encoders fill up by fewer."""

_PIECE = 1 << 16
"""bytes inflated in one go"""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""of every kind of PNG"""
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""Where the passes of an interlaced PNG begin, down and across, and how far apart their pixels are."""


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
    """Raise DamagedError if the check sum of a chunk of pixels is wrong, or the chunks end before the picture does.

    Pillow looks at neither, and leaves black what is missing.
    """
    at, missing, inflate = 8, _png_bytes(data), zlib.decompressobj()
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        name, check = data[at + 4 : at + 8], int.from_bytes(data[end : end + 4], "big")
        if name == b"IEND":
            break
        if name == b"IDAT":
            if zlib.crc32(data[at + 4 : end]) != check:
                raise DamagedError("the check sum is wrong")
            try:
                missing -= _inflated(inflate, data[at + 8 : end], missing)
            except zlib.error:  # which Pillow minds, if it comes before the picture is complete
                return
        at = end + 4
    if missing - len(inflate.flush()) > 0:
        raise DamagedError("rows are missing")


def _png_bytes(data: bytes) -> int:
    """Return how many bytes the pixels of a PNG have, each row with its filter (PNG, third edition, 7.2 and 8)."""
    width, height, depth, kind, interlaced = struct.unpack_from(">IIBBxxB", data, 16)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sides = ((-(-(height - top) // down), -(-(width - left) // across)) for top, left, down, across in passes)
    return sum(rows * (1 + -(-columns * _CHANNELS[kind] * depth // 8)) for rows, columns in sides if columns)


def _inflated(inflate: Any, coded: bytes, most: int) -> int:
    """Return how many bytes come out of coded data, none after `most`."""
    count = 0
    while coded and count < most and not inflate.eof:
        count += len(inflate.decompress(coded, min(_PIECE, most - count)))
        coded = inflate.unconsumed_tail
    return count
