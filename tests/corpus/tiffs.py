"""TIFF files: directories, planes, byte orders. Drawn here, by code."""

import struct
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter

from tests.corpus.case import Case
from tests.image_files import (
    picture,
    saved,
    tiff,
    tiff_planes,
)


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    yield from _tiffs()
    yield from _planes()


def _tiffs() -> Iterator[Case]:
    grey = np.asarray(Image.fromarray(picture()).convert("L"))
    shown = np.repeat(grey[..., None], 3, -1)
    raw = grey.tobytes()
    yield Case("tiff", tiff(120, 90, {}, raw), pixels=shown)
    yield Case("tiff whose directory leads to itself", tiff(120, 90, {}, raw, following=8), pixels=shown)
    yield Case("tiff whose directory leads nowhere", tiff(120, 90, {}, raw, following=2**31), pixels=shown)
    yield Case("tiff with white as zero", tiff(120, 90, {262: (3, 1, 0)}, raw), pixels=255 - shown)
    deep = (grey.astype("<u2") << 8).tobytes()
    told = "16-bit grey values"
    wide = {258: (3, 1, 16), 279: (4, 1, len(deep))}
    yield Case("16-bit tiff with white as zero", tiff(120, 90, wide | {262: (3, 1, 0)}, deep), told, 255 - shown)
    both = np.dstack([grey, np.full_like(grey, 255)])
    both[:9] = 0
    clear = shown.copy()
    clear[:9] = 255
    layers = {258: (3, 2, 8 | 8 << 16), 277: (3, 1, 2), 338: (3, 1, 1), 279: (4, 1, 2 * len(raw))}
    seen_through = "transparent pixels"
    yield Case("tiff of grey, multiplied by alpha", tiff(120, 90, layers, both.tobytes()), seen_through, clear)
    floats = np.full((90, 120), np.nan, np.float32)
    refused = "floating-point or 32-bit values"
    yield Case("nan tiff", saved(floats, "TIFF"), refused)
    yield Case("32-bit tiff", saved(grey.astype(np.int32), "TIFF"), refused)
    yield Case("camera raw", tiff(120, 90, {50706: (1, 4, 1)}, raw), "a camera raw file")
    yield Case("thumbnail first", tiff(120, 90, {254: (4, 1, 1)}, raw), "a camera raw file")
    yield Case("tiff with a tag of 4 GB", tiff(120, 90, {700: (1, 2**32 - 1, 8)}, raw), pixels=shown)
    pages = b"".join(
        struct.pack("<H", 1) + struct.pack("<HHII", 256, 3, 1, 120) + struct.pack("<I", at)
        for _, at in pairwise(range(0, 18 * 3000, 18))
    )
    data = tiff(120, 90, {}, raw)
    link = data.index(struct.pack("<I", 0) + raw)
    chain = bytearray(data[:link] + struct.pack("<I", len(data)) + raw)
    for i in range(2999):
        chain += pages[18 * i : 18 * i + 14] + struct.pack("<I", len(data) + 18 * (i + 1))
    yield Case("tiff of three thousand pages", bytes(chain), "more than 1000 pictures")


def _planes() -> Iterator[Case]:
    shown = picture()
    clear = np.full(shown.shape[:2], 255, np.uint8)
    cmyk = np.asarray(Image.fromarray(shown).convert("CMYK"))
    as_rgb = np.asarray(Image.fromarray(cmyk, "CMYK").convert("RGB"))
    for depth in (np.uint8, np.uint16):
        for order in (False, True):
            for tile in (0, 32):
                how = f"{8 * depth().itemsize} bits, {'MM' if order else 'II'}, {'tiled' if tile else 'one strip'}"
                kinds = (("rgb", 2, shown, shown), ("rgba", 2, np.dstack([shown, clear]), shown))
                for name, photometric, stored, wanted in (*kinds, ("cmyk", 5, cmyk, as_rgb)):
                    planes = np.moveaxis(stored, -1, 0).astype(depth) * (257 if depth is np.uint16 else 1)
                    data = tiff_planes(planes.astype(depth), photometric, order, tile)
                    yield Case(f"tiff of planes: {name}, {how}", data, pixels=wanted)
    planes = np.moveaxis(shown, -1, 0)
    yield Case("big-endian BigTIFF", tiff_planes(planes, 2, True, big=True), pixels=shown)
    yield Case("little-endian BigTIFF", tiff_planes(planes, 2, False, big=True), pixels=shown)
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    both = np.stack([grey, clear])
    data = tiff_planes(np.concatenate([both, both[:1]]), 2).replace(
        struct.pack("<HHII", 262, 3, 1, 2), struct.pack("<HHII", 262, 3, 1, 1)
    )
    yield Case("tiff of planes that are no colours", data, "is not read here")
    small, full = tiff(60, 45, {254: (4, 1, 1)}, bytes(60 * 45)), saved(shown, "TIFF")
    yield Case("tiff whose first page is a reduced one", _two_pages(small, full), "number 2", pixels=shown)


def _two_pages(first: bytes, second: bytes) -> bytes:
    """Return a TIFF with the picture of another behind its own."""
    joined = BytesIO(first)
    with AppendingTiffWriter(joined) as out:
        Image.open(BytesIO(second)).save(out, "TIFF")
        out.newFrame()
    return joined.getvalue()
