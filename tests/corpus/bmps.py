"""BMP files of rare kinds: short headers, channels in any bits. Drawn here, by code."""

import struct
from collections.abc import Iterator
from itertools import groupby

import numpy as np
from PIL import Image

from tests.corpus.case import DAMAGED, Case
from tests.corpus.encodings import ODD
from tests.image_files import picture


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    shown = picture(*ODD)
    yield from _masks(shown)
    yield from _runs()
    for size in (16, 24):
        head = struct.pack("<IiiHH", size, *shown.shape[1::-1], 1, 24).ljust(size, b"\0")
        body = b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in shown[::-1, :, ::-1])
        data = b"BM" + struct.pack("<IHHI", 14 + size + len(body), 0, 0, 14 + size) + head + body
        yield Case(f"bmp of OS/2 with a header of {size} bytes", data, pixels=shown)


def _masks(shown: np.ndarray) -> Iterator[Case]:
    """Channels in bits that the file names, and white where all of them are set."""
    height, width = shown.shape[:2]
    clear = np.full((height, width, 1), 255, np.uint8)
    clear[:9] = 0
    for name, bits, size, widths, places in (
        ("RGBX", 32, 40, (8, 8, 8), (0, 8, 16)),
        ("RGBX, header of version 4", 32, 108, (8, 8, 8), (0, 8, 16)),
        ("10-10-10", 32, 40, (10, 10, 10), (20, 10, 0)),
        ("444", 16, 40, (4, 4, 4), (8, 4, 0)),
        ("655", 16, 40, (6, 5, 5), (10, 5, 0)),
        ("2-10-10-10 with alpha", 32, 56, (10, 10, 10, 2), (20, 10, 0, 30)),
        ("4444 with alpha", 16, 108, (4, 4, 4, 4), (8, 4, 0, 12)),
    ):
        most = [(1 << w) - 1 for w in widths]
        channels = np.dstack([shown, clear])[..., : len(widths)]
        few = np.rint(channels / 255.0 * most).astype(np.uint32)
        shifted = np.bitwise_or.reduce(few << np.array(places, np.uint32), -1).astype(f"<u{bits // 8}")
        masks = struct.pack("<4I", *(m << p for m, p in zip(most, places, strict=True)), *[0] * (4 - len(widths)))
        head = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, 3, 0, 0, 0, 0, 0)
        head += masks[:12] if size == 40 else masks.ljust(size - 40, b"\0")
        body = b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in shifted[::-1])
        data = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body
        wanted = np.rint(few[..., :3] * 255.0 / most[:3]).astype(np.uint8)
        if len(widths) == 4:
            yield Case(f"bmp of {name}", data, "shown on white", np.where(clear > 0, wanted, np.uint8(255)))
        else:
            yield Case(f"bmp of {name}", data, pixels=wanted)
            cut = data[: len(data) - 4]
            yield Case(f"bmp of {name}, cut off", cut, DAMAGED)


def _runs() -> Iterator[Case]:
    """Pictures compressed by run lengths, which may leave out pixels: those have the first colour."""
    palette = Image.fromarray(picture()).quantize(16)
    colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)[:16]
    index = np.asarray(palette)
    full, short = [_bytewise(row) for row in index[::-1]], [_bytewise(row[:100]) for row in index[::-1]]
    without_last, blank, right, early = (index.copy() for _ in range(4))
    without_last[0, 100:] = blank[49] = right[:, 100:] = early[:30] = 0
    up = index.copy()
    up[50, 60:] = up[49, :60] = 0  # rows 39 and 40 from below
    step = [*full[:39], _bytewise(index[50, :60])[:-2] + b"\0\2\0\1" + _bytewise(index[49, 60:]), *full[41:]]
    left_out = "leaves out some of its pixels"
    for name, rows, wanted, says in (
        ("", full, index, ""),
        (" with a blank row", [*full[:40], b"\0\0", *full[41:]], blank, left_out),
        (" with short rows", short, right, left_out),
        (" with a short last row", [*full[:-1], short[-1][:-2]], without_last, left_out),
        (" that ends early", full[:60], early, left_out),
        (" with a step up", step, up, left_out),
        (" by runs", [_runwise(row) for row in index[::-1]], index, ""),
    ):
        data = _compressed(b"".join(rows) + b"\0\1", colours, 8)
        yield Case(f"bmp in rle8{name}", data, says, pixels=colours[wanted])
    yield Case("bmp in rle8 without an end", _compressed(b"".join(full), colours, 8), pixels=colours[index])
    yield Case("bmp in rle8 cut off", _compressed(b"".join(full[:60]), colours, 8), DAMAGED)
    endless = b"".join(row[:-2] for row in full) + b"\0\1"
    yield Case("bmp in rle8 without ends of rows", _compressed(endless, colours, 8), DAMAGED)
    pairs = b"".join(
        b"".join(bytes((2, left << 4 | right)) for left, right in row.reshape(-1, 2).tolist()) + b"\0\0"
        for row in index[::-1]
    )
    yield Case("bmp in rle4", _compressed(pairs + b"\0\1", colours, 4), pixels=colours[index])
    sevens = b"".join(
        b"".join(
            b"\0"
            + bytes((len(part), *(a << 4 | b for a, b in zip(part[::2], [*part[1::2], 0], strict=False))))
            + bytes(-((len(part) + 1) // 2) % 2)
            for part in (row[at : at + 7] for at in range(0, 119, 7))
        )
        + bytes((1, row[119] << 4))
        + b"\0\0"
        for row in index[::-1].tolist()
    )
    yield Case("bmp in rle4 of seven pixels each", _compressed(sevens + b"\0\1", colours, 4), pixels=colours[index])


def _bytewise(row: np.ndarray) -> bytes:
    """Return a row of at least three pixels as they are, and its end."""
    return bytes((0, len(row))) + row.tobytes() + bytes(len(row) % 2) + b"\0\0"


def _runwise(row: np.ndarray) -> bytes:
    """Return a row of equal pixels together, and its end."""
    return b"".join(bytes((len(list(same)), int(value))) for value, same in groupby(row)) + b"\0\0"


def _compressed(coded: bytes, colours: np.ndarray, bits: int) -> bytes:
    """Return a BMP of 90 x 120 pixels and 16 colours around data of RLE8 or RLE4."""
    table = np.hstack([colours[:, ::-1], np.zeros((16, 1), np.uint8)]).tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, 120, 90, 1, bits, {8: 1, 4: 2}[bits], len(coded), 0, 0, 16, 0)
    begin = 14 + len(head) + len(table)
    return b"BM" + struct.pack("<IHHI", begin + len(coded), 0, 0, begin) + head + table + coded
