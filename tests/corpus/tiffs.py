"""TIFF files: directories, planes, byte orders. Drawn here, by code."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter

from tests.corpus.case import DAMAGED, ROUGH_CMYK, Case
from tests.corpus.strips import tiff_of
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
    yield from _colours()
    yield from _pages()


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
    yield Case("nan tiff", saved(floats, "TIFF"), "holds floating-point values")
    half = {258: (3, 1, 16), 339: (3, 1, 3), 279: (4, 1, 2 * len(raw))}
    yield Case("tiff of 16-bit floats", tiff(120, 90, half, bytes(2 * len(raw))), "holds floating-point values")
    yield Case("32-bit tiff", tiff(120, 90, {258: (3, 1, 32)}, bytes(4 * len(raw))), "holds values of 32 bits")
    for bits in (8, 16, 32):
        signed = (grey.astype(int) - 128).astype(f"<i{bits // 8}")
        tags = {258: (3, 1, bits), 339: (3, 1, 2), 279: (4, 1, signed.nbytes)}
        yield Case(f"tiff of signed {bits} bits", tiff(120, 90, tags, signed.tobytes()), "holds signed values")
    told = "lacks the tag PhotometricInterpretation"
    yield Case("tiff of grey that says nothing of its values", tiff(120, 90, {262: None}, raw), told)
    three = {258: (3, 1, 8), 262: None, 277: (3, 1, 3), 279: (4, 1, 3 * len(raw))}
    yield Case("tiff of rgb that says nothing of its values", tiff(120, 90, three, picture().tobytes()), told)
    whole = tiff(120, 90, {}, raw)
    yield Case("tiff whose tags are cut off", whole[: whole.index(struct.pack("<HHI", 277, 3, 1))], DAMAGED)
    yield Case("camera raw", tiff(120, 90, {50706: (1, 4, 1)}, raw), "a camera raw file")
    yield Case("thumbnail first", tiff(120, 90, {254: (4, 1, 1)}, raw), "a camera raw file")
    yield Case("tiff of a mask alone", tiff(120, 90, {254: (4, 1, 4)}, raw), "only reduced copies or masks")
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
                    says = ROUGH_CMYK if name == "cmyk" else ""
                    yield Case(f"tiff of planes: {name}, {how}", data, says, pixels=wanted)
    planes = np.moveaxis(shown, -1, 0)
    yield Case("big-endian BigTIFF", tiff_planes(planes, 2, True, big=True), pixels=shown)
    yield Case("little-endian BigTIFF", tiff_planes(planes, 2, False, big=True), pixels=shown)
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    both = np.stack([grey, clear])
    data = tiff_planes(np.concatenate([both, both[:1]]), 2).replace(
        struct.pack("<HHII", 262, 3, 1, 2), struct.pack("<HHII", 262, 3, 1, 1)
    )
    yield Case("tiff of planes that are no colours", data, "is not read here")


def _colours() -> Iterator[Case]:
    """Palettes, YCbCr, orientation."""
    shown = picture()
    palette = Image.fromarray(shown).quantize(64)
    data = saved(palette, "TIFF")
    colours = Image.open(BytesIO(data)).tag_v2[320]  # type: ignore[attr-defined]
    for name, compression in (("", None), (", as lzw", "tiff_lzw")):
        data = saved(palette, "TIFF", compression=compression)
        few = data.replace(struct.pack("<768H", *colours), struct.pack("<768H", *(value >> 8 for value in colours)))
        assert few != data
        told = "The palette's colours are of 8 bits"
        yield Case(f"tiff of a palette of 8-bit colours{name}", few, told, pixels=np.asarray(palette.convert("RGB")))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
    told = "Only the XMP data say that the picture is to be turned"
    for name, options in (("", {}), (", as lzw", {"compression": "tiff_lzw"})):
        for turn in (3, 6):
            data = saved(shown, "TIFF", tiffinfo={700: xmp % turn}, **options)
            yield Case(f"tiff of orientation {turn} in XMP alone{name}", data, told, pixels=shown)
        turned = np.ascontiguousarray(np.rot90(shown, 1))
        data = saved(turned, "TIFF", tiffinfo={274: 6, 700: xmp % 6}, **options)
        yield Case(f"tiff of orientation 6, in XMP too{name}", data, pixels=shown)
    for turn, stored in ((1, shown), (3, shown[::-1, ::-1]), (6, np.rot90(shown, 1))):
        samples = _ycbcr_420(np.asarray(Image.fromarray(np.ascontiguousarray(stored)).convert("YCbCr")))
        for name, method, coded in (("plain", 1, samples), ("deflate", 8, zlib.compress(samples))):
            tags = {258: (3, 1, 8), 259: (3, 1, method), 262: (3, 1, 6), 274: (3, 1, turn), 277: (3, 1, 3)}
            tags |= {279: (4, 1, len(coded)), 530: (3, 2, 2 | 2 << 16)}
            data = tiff(stored.shape[1], stored.shape[0], tags, coded)
            yield Case(f"tiff of YCbCr 4:2:0, {name}, of orientation {turn}", data, pixels=shown, within=2)
    full = np.asarray(Image.fromarray(shown).convert("YCbCr")).tobytes()
    tags = {258: (3, 1, 8), 262: (3, 1, 6), 277: (3, 1, 3), 279: (4, 1, len(full)), 530: (3, 2, 1 | 1 << 16)}
    untold = tiff(120, 90, {**tags, 530: None}, full)
    yield Case("tiff of YCbCr 4:4:4 that does not say so", untold, pixels=shown, within=2)
    for name, rare in (("coefficients", {529: [1, 1, 1]}), ("black and white", {532: [16, 235, 128, 240, 128, 240]})):
        untold = tiff_of([full], shown.shape, {262: [6], **rare})
        yield Case(f"tiff of YCbCr 4:4:4 that does not say so, but its {name}", untold, "YCbCr of a rare kind")
    samples = _ycbcr_420(np.asarray(Image.fromarray(shown).convert("YCbCr")))
    untold = tiff(120, 90, {**tags, 279: (4, 1, len(samples)), 530: None}, samples)
    yield Case("tiff of YCbCr 4:2:0 that does not say so", untold, pixels=shown, within=2)
    yield Case("tiff of YCbCr 4:4:4", tiff(120, 90, tags, full), pixels=shown, within=1)


def _ycbcr_420(pixels: np.ndarray) -> bytes:
    """Return (even, even, 3) YCbCr as units of four Y, one Cb and one Cr (TIFF 6.0, section 21)."""
    blocks = pixels.astype(int).reshape(pixels.shape[0] // 2, 2, pixels.shape[1] // 2, 2, 3).swapaxes(1, 2)
    units = blocks.reshape(-1, 4, 3)
    return np.hstack([units[..., 0], units[..., 1:].mean(1).round()]).astype(np.uint8).tobytes()


def _pages() -> Iterator[Case]:
    """Pages before the one that shows the picture, none of which may be taken for it."""
    shown = picture()
    full = saved(shown, "TIFF")
    small, size = bytes(60 * 45), bytes(120 * 90)
    for name, first in (
        ("a reduced one", tiff(60, 45, {254: (4, 1, 1)}, small)),
        ("a reduced one, said in the old way", tiff(60, 45, {255: (3, 1, 2)}, small)),
        ("a mask", tiff(120, 90, {254: (4, 1, 4)}, size)),
        ("a mask by its values", tiff(120, 90, {262: (3, 1, 4)}, size)),
        ("a mask by its kind and values", tiff(120, 90, {254: (4, 1, 4), 262: (3, 1, 4)}, size)),
        ("a reduced one of a kind that is not read", tiff(60, 45, {254: (4, 1, 1), 258: (3, 1, 5)}, small)),
        ("the mask of a reduced one", tiff(60, 45, {254: (4, 1, 5)}, small)),
    ):
        yield Case(f"tiff whose first page is {name}", _two_pages(first, full), "number 2", pixels=shown)
    big = _big([(shown[::2, ::2], 1), (shown, 0), (shown[::4, ::4], 1)])
    yield Case("tiff whose first page is a reduced one, a BigTIFF of three", big, "number 2", pixels=shown)


def _two_pages(first: bytes, second: bytes) -> bytes:
    """Return a TIFF with the picture of another behind its own."""
    joined = BytesIO(first)
    with AppendingTiffWriter(joined) as out:
        Image.open(BytesIO(second)).save(out, "TIFF")
        out.newFrame()
    return joined.getvalue()


def _big(pages: list[tuple[np.ndarray, int]]) -> bytes:
    """Return a BigTIFF of uncompressed pages, each (height, width, 3) uint8 and the value of NewSubfileType."""
    out, link = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0)), 8
    for pixels, kind in pages:
        height, width = pixels.shape[:2]
        strip, at = pixels.tobytes(), len(out)
        out += strip
        entries = (
            *((254, 4, 1, kind), (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 0x0008_0008_0008)),
            *((259, 3, 1, 1), (262, 3, 1, 2), (273, 16, 1, at), (277, 3, 1, 3)),
            *((278, 3, 1, height), (279, 16, 1, len(strip))),
        )
        out[link : link + 8] = struct.pack("<Q", len(out))
        out += struct.pack("<Q", len(entries)) + b"".join(struct.pack("<HHQQ", *entry) for entry in entries)
        link = len(out)
        out += bytes(8)
    return bytes(out)
