"""BMP files of rare kinds: short headers, channels in any bits. Drawn here, by code."""

import struct
from collections.abc import Iterator

import numpy as np

from tests.corpus.case import DAMAGED, Case
from tests.corpus.encodings import ODD
from tests.image_files import picture


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    shown = picture(*ODD)
    yield from _masks(shown)
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
