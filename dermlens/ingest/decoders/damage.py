"""Damage that decoders pass over without a word. Runs inside the decoding process, on hostile bytes."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TAIL = 16
"""Bytes at the end of coded data without which they cannot be whole; encoders fill up by fewer."""


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
