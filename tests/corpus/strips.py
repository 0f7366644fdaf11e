"""TIFF files whose strips or tiles are missing, or shorter than the picture. Drawn here, by code."""

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.corpus.case import DAMAGED, Case
from tests.image_files import jpeg_marked, jpeg_of_rgb, picture, saved

Tags = dict[int, list[int] | None]
"""Tags and their values, None for one that is left out."""
FURTHER = 700, [0] * 40_000
"""A tag whose values follow behind the strips, so that a strip cut off is not the end of the file."""

_AS_JPEG: Tags = {259: [7], 262: [6], 530: [1, 1]}


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    yield from _missing()
    yield from _alone()
    yield from _jpegs()


def tiff_of(parts: list[bytes], shape: tuple[int, ...], tags: Tags) -> bytes:
    """Return a little-endian TIFF around strips, or around tiles if `tags` give their sides.

    Args:
        parts: the data of the strips or tiles.
        shape: of the picture, (height, width[, channels]).
        tags: further or other tags, None to leave one out.
    """
    height, width, *channels = shape
    samples = channels[0] if channels else 1
    tiled = 322 in tags
    starts = [8 + sum(map(len, parts[:i])) for i in range(len(parts))]
    base: Tags = {
        256: [width],
        257: [height],
        258: [8] * samples,
        259: [1],
        262: [2 if samples == 3 else 1],
        324 if tiled else 273: starts,
        277: [samples],
        325 if tiled else 279: [len(part) for part in parts],
        **({} if tiled else {278: [height]}),
    }
    entries = {tag: values for tag, values in sorted({**base, **tags}.items()) if values is not None}
    directory = 8 + sum(map(len, parts))
    table, behind, at = struct.pack("<H", len(entries)), b"", directory + 2 + 12 * len(entries) + 4
    for tag, values in entries.items():
        packed = struct.pack(f"<{len(values)}I", *values)
        place = packed if len(values) == 1 else struct.pack("<I", at + len(behind))
        table += struct.pack("<HHI", tag, 4, len(values)) + place
        behind += packed if len(values) > 1 else b""
    return struct.pack("<2sHI", b"II", 42, directory) + b"".join(parts) + table + bytes(4) + behind


def tiles_of(pixels: np.ndarray, side: int) -> list[bytes]:
    """Return the tiles of a picture, row by row, those at the edges filled up."""
    height, width = pixels.shape[:2]
    grown = np.pad(pixels, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    places = [(top, left) for top in range(0, height, side) for left in range(0, width, side)]
    return [np.ascontiguousarray(grown[y : y + side, x : x + side]).tobytes() for y, x in places]


def _missing() -> Iterator[Case]:
    """Pictures without compression of which a part is nowhere in the file."""
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    halves, tiles = [shown[:45].tobytes(), shown[45:].tobytes()], tiles_of(shown, 32)
    by_45, by_tile = {278: [45]}, {322: [32], 323: [32]}
    planes = [np.ascontiguousarray(plane).tobytes() for plane in np.moveaxis(shown, -1, 0)]
    deep = (grey.astype("<u2") * 257)[:45].tobytes()
    yield Case("tiff of two strips", tiff_of(halves, shown.shape, by_45), pixels=shown)
    yield Case("tiff of tiles", tiff_of(tiles, shown.shape, by_tile), pixels=shown)
    yield Case("tiff of planes in strips", tiff_of(planes, shown.shape, {284: [2]}), pixels=shown)
    for name, parts, tags in (
        ("the second of two strips", halves[:1], by_45),
        ("the last row of tiles", tiles[:8], by_tile),
        ("the third of three planes", planes[:2], {284: [2]}),
        ("a part of its second strip", [halves[0], halves[1][:5400]], by_45),
        ("the data of its second strip", [halves[0], b""], by_45),
        ("the data of a tile", [*tiles[:5], b"", *tiles[6:]], by_tile),
        ("a part of its third plane", [*planes[:2], planes[2][:5400]], {284: [2]}),
        ("the place of its second strip", halves, by_45 | {273: [8, 0], 279: [16200, 0]}),
        ("half of its only strip", halves[:1], {}),
        ("half of its only strip, and the length", halves[:1], {279: None}),
        ("half of its only strip, of length zero", halves[:1], {279: [0]}),
        ("half of its only strip, of a huge length", halves[:1], {279: [10**9]}),
    ):
        data = tiff_of(parts, shown.shape, dict([FURTHER]) | tags)
        yield Case(f"tiff that lacks {name}", data, DAMAGED)
    data = tiff_of([deep], grey.shape, {258: [16], 278: [45]})
    yield Case("tiff of 16 bits that lacks the second of two strips", data, DAMAGED)
    luma = np.asarray(Image.fromarray(shown).convert("YCbCr"))
    data = tiff_of([luma[:45].tobytes()], shown.shape, {262: [6], 278: [45], 530: [1, 1]})
    yield Case("tiff of YCbCr that lacks the second of two strips", data, DAMAGED)


def _alone() -> Iterator[Case]:
    """One strip, of whose length writers say something wrong: libtiff and Pillow work it out from its rows."""
    shown = picture()
    whole = shown.tobytes()
    for name, count in (
        ("none", None),
        ("zero", [0]),
        ("too much", [10**9]),
        ("far too little", [32400 & 255]),
    ):
        data = tiff_of([whole], shown.shape, {279: count})
        yield Case(f"tiff that says of the length of its only strip: {name}", data, pixels=shown)
    yield Case("tiff that says nothing of its strips", tiff_of([whole], shown.shape, {278: None}), pixels=shown)
    yield Case("tiff of a strip of rows without end", tiff_of([whole], shown.shape, {278: [2**32 - 1]}), pixels=shown)


def _jpegs() -> Iterator[Case]:
    """JPEG data that are smaller than their strip or tile, or larger."""
    shown = picture()
    luma = np.asarray(Image.fromarray(shown).convert("YCbCr"))
    grown = np.pad(shown, ((0, 6), (0, 8), (0, 0)), mode="edge")
    by_48: Tags = {278: [48]}
    tile: Tags = {322: [128], 323: [96]}
    planes = [_jpeg(shown[..., i]) for i in range(3)]
    whole: tuple[tuple[str, list[bytes], Tags], ...] = (
        ("two strips", [_jpeg(shown[:48]), _jpeg(shown[48:])], by_48),
        ("a strip of more rows than the picture", [_jpeg(grown[:, :120])], {}),
        ("a tile", [_jpeg(grown)], tile),
        ("a tile that ends with the picture", [_jpeg(shown)], tile),
        ("planes", planes, {262: [2], 284: [2]}),
    )
    for name, parts, tags in whole:
        data = tiff_of(parts, shown.shape, _AS_JPEG | tags)
        yield Case(f"tiff of JPEG in {name}", data, pixels=shown, within=3)
    torn: tuple[tuple[str, list[bytes], Tags], ...] = (
        ("has too few rows", [_jpeg(shown[:40])], {}),
        ("has too few columns", [_jpeg(shown[:, :80])], {}),
        ("has too few rows in its second strip", [_jpeg(shown[:48]), _jpeg(shown[48:64])], by_48),
        ("lacks its second strip", [_jpeg(shown[:48])], by_48),
        ("is smaller than its tile", [_jpeg(grown[:64, :96])], tile),
        ("has too few rows in its third plane", [*planes[:2], _jpeg(shown[:60, :, 2])], {262: [2], 284: [2]}),
    )
    for name, parts, tags in torn:
        yield Case(f"tiff of JPEG that {name}", tiff_of(parts, shown.shape, _AS_JPEG | tags), DAMAGED)
    yield from _colours(shown, luma)


def _colours(shown: np.ndarray, luma: np.ndarray) -> Iterator[Case]:
    """JPEG data that say what their colours are, and a page that says something else."""
    of_ycbcr, of_rgb = _jpeg(shown), jpeg_of_rgb(shown)
    shared = saved(shown, "JPEG", quality=95, subsampling="4:2:0")
    as_rgb: Tags = {259: [7], 262: [2]}
    ycbcr_told, rgb_told = "are RGB, but its JPEG data are YCbCr", "are YCbCr, but its JPEG data are RGB"
    for name, stream, tags, says in (
        ("RGB", of_rgb, as_rgb, ""),
        ("RGB said to be YCbCr", of_rgb, _AS_JPEG, rgb_told),
        ("YCbCr said to be RGB", of_ycbcr, as_rgb, ycbcr_told),
        ("YCbCr by Adobe's marker said to be RGB", jpeg_marked(of_ycbcr, False, 1), as_rgb, ycbcr_told),
        ("YCbCr 4:2:0 said to be RGB", shared, as_rgb, ycbcr_told),
    ):
        data = tiff_of([stream], shown.shape, tags)
        yield Case(f"tiff of JPEG of {name}", data, says, pixels=shown, within=3)
    unmarked = jpeg_marked(of_ycbcr, False, None)
    yield Case("tiff of JPEG without markers", tiff_of([unmarked], shown.shape, _AS_JPEG), pixels=shown, within=3)
    data = tiff_of([unmarked], shown.shape, as_rgb)
    yield Case("tiff of JPEG without markers said to be RGB", data, "they look like YCbCr", pixels=luma, within=3)
    halves = [_jpeg(shown[:48]), jpeg_of_rgb(shown[48:])]
    data = tiff_of(halves, shown.shape, _AS_JPEG | {278: [48]})
    yield Case("tiff of JPEG of both YCbCr and RGB", data, DAMAGED)


def _jpeg(pixels: np.ndarray) -> bytes:
    return saved(np.ascontiguousarray(pixels), "JPEG", quality=95, subsampling=0)
