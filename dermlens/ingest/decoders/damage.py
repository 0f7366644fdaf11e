"""Damage that decoders pass over without a word. Runs inside the decoding process, on hostile bytes."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from PIL import Image

TAIL = 16
"""Bytes at the end of coded data without which they cannot be whole; encoders fill up by fewer."""

_INTERLACED = 28
"""where a PNG says whether it is interlaced"""
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
    """Raise DamagedError if the check sum of a chunk of pixels is wrong, which Pillow does not look at."""
    for at, end in _pixel_chunks(data):
        if zlib.crc32(data[at - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise DamagedError("the check sum is wrong")


def check_png_rows(data: bytes, image: Image.Image) -> None:
    """Raise DamagedError if the data of a decoded PNG end before its last row, or pass, does.

    Pillow leaves zeros there; where there are others the picture is complete, and nothing has to be counted.
    """
    width, height = image.size
    last = height - 1 - (height % 2 if data[_INTERLACED] else 0)  # of Adam7's last pass, which has every second row
    if np.asarray(image.crop((0, last, width, last + 1))).any():
        return
    missing, inflate = _png_bytes(data), zlib.decompressobj()
    try:
        for at, end in _pixel_chunks(data):
            missing -= _inflated(inflate, data[at:end], missing)
    except zlib.error:  # behind the picture: Pillow minds any other
        return
    if missing - len(inflate.flush()) > 0:
        raise DamagedError("rows are missing")


def _pixel_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the content of every chunk of pixels begins and ends."""
    at = 8
    while at + 12 <= len(data) and data[at + 4 : at + 8] != b"IEND":
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            yield at + 8, end
        at = end + 4


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
