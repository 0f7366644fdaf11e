"""Whether the strips or tiles of a TIFF page are all there, and whole.

Runs inside the decoding process, on hostile bytes. Decoders leave black what is missing.
"""

import zlib
from typing import Any

from dermlens.ingest.decoders import colour, jpeg
from dermlens.ingest.decoders.damage import DamagedError

PLAIN, OLD_JPEG, JPEG = 1, 6, 7
_DEFLATE = (8, 32946)
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STARTS, _SAMPLES, _ROWS, _COUNTS, _PLANES = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_STARTS, _TILE_COUNTS = 322, 323, 324, 325
_TABLES, _OLD_JPEG_AT, _OLD_JPEG_SIZE, _SUBSAMPLING = 347, 513, 514, 530
_YCBCR = 6
_CHUNK = 1 << 20
_UNCHECKED = "Whether the JPEG data are whole could not be checked; look whether the picture is."


def check(data: bytes, directory: int, tags: Any, notices: list[str]) -> str:
    """Return the colours that JPEG data of three channels say they hold, "RGB" or "YCbCr"; "" if nothing is said.

    Args:
        data: the whole file.
        directory: where that of the page stands in it.
        tags: of the page, as Pillow reads them.
        notices: to which a sentence may be added.

    Raises:
        DamagedError: a strip or tile is missing, or damaged in a way that libtiff does not mind.
    """
    compression = tags.get(_COMPRESSION, PLAIN)
    if compression == OLD_JPEG:
        _check_old_jpeg(data, tags, notices)
        return ""
    starts = tags.get(_STARTS) or tags.get(_TILE_STARTS) or ()
    counts = tags.get(_COUNTS) or tags.get(_TILE_COUNTS) or ()
    parts = _parts(tags, len(starts))
    if len(parts) == 1 and not any(counts):  # which readers take for all that follows
        counts = (len(data),)
    if compression == PLAIN:
        _check_plain([_size(*part, tags) for part in parts], starts, counts, directory, len(data))
    tables, told = bytes(tags.get(_TABLES, b"")), set()
    for (columns, rows, differences), start, count in zip(parts, starts, counts, strict=False):
        strip = data[start : start + count]
        if compression == JPEG:
            stream = tables[:-2] + strip[2:] if tables else strip
            sides = _coarse(columns, rows, tags) if differences else (columns, rows)
            found = jpeg.read(stream)
            told.add(_colours_of_filled(found, *sides))
            _check_jpeg(stream, notices, found)
        elif compression in _DEFLATE:
            _check_deflated(strip)
    if {"RGB", "YCbCr"} <= told:
        raise DamagedError("strips or tiles are of different colours")
    return max(told, default="")


def _parts(tags: Any, there: int) -> list[tuple[int, int, bool]]:
    """Return the columns and rows that every strip or tile must have, and whether it is of a plane of differences.

    Where it is compressed, a tile may end with the picture. Raises DamagedError if there are fewer strips or tiles.
    """
    width, height = tags[_WIDTH], tags[_HEIGHT]
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANES) == 2 else 1
    columns, rows, full = width, min(tags.get(_ROWS) or height, height), False
    if _TILE_WIDTH in tags:
        columns, rows = tags[_TILE_WIDTH], tags[_TILE_HEIGHT]
        full = tags.get(_COMPRESSION, PLAIN) == PLAIN
    lefts, tops = range(0, width, columns), range(0, height, rows)
    if there < planes * len(lefts) * len(tops):
        raise DamagedError("strips or tiles are missing")
    sides = [
        (columns, rows) if full else (min(columns, width - left), min(rows, height - top))
        for top in tops
        for left in lefts
    ]
    coarse = tags.get(_PHOTOMETRIC) == _YCBCR
    return [(*each, coarse and plane in (1, 2)) for plane in range(planes) for each in sides]


def _size(columns: int, rows: int, differences: bool, tags: Any) -> int:
    """Return how many bytes a strip or tile has without compression."""
    bits, samples = tags.get(_BITS, (1,)), tags.get(_SAMPLES, 1)
    across, down = _subsampling(tags)
    if tags.get(_PLANES) == 2:
        columns, rows = _coarse(columns, rows, tags) if differences else (columns, rows)
        return rows * -(-columns * bits[0] // 8)
    if across * down > 1:
        columns, rows = _coarse(columns, rows, tags)
        return rows * -(-columns * (across * down + 2) * bits[0] // 8)
    return rows * -(-columns * (sum(bits) if len(bits) == samples else bits[0] * samples) // 8)


def _coarse(columns: int, rows: int, tags: Any) -> tuple[int, int]:
    across, down = _subsampling(tags)
    return -(-columns // across), -(-rows // down)


def _subsampling(tags: Any) -> tuple[int, int]:
    """Return how many pixels, across and down, share a colour."""
    if tags.get(_PHOTOMETRIC) != _YCBCR:
        return 1, 1
    across, down = tags.get(_SUBSAMPLING, (2, 2))
    return across, down


def _check_plain(
    sizes: list[int], starts: tuple[int, ...], counts: tuple[int, ...], directory: int, length: int
) -> None:
    """Check where strips or tiles that are not compressed stand.

    One alone may say any length, which old writers got wrong and readers work out from its rows, if there is room for
    it before or behind the page's directory.
    """
    for i, (size, start) in enumerate(zip(sizes, starts, strict=False)):
        told = i >= len(counts) or counts[i] >= size
        fits = told if len(sizes) > 1 else not start <= directory < start + size
        if not (start and fits) or start + size > length:
            raise DamagedError("a strip or tile is cut off")


def _check_old_jpeg(data: bytes, tags: Any, notices: list[str]) -> None:
    """Check the one stream that may hold all strips (TIFF 6.0, section 22); without it tables and data lie apart."""
    start, count = tags.get(_OLD_JPEG_AT), tags.get(_OLD_JPEG_SIZE)
    stream = data[start : start + count if count else None] if start else b""
    if b"\xff\xda" in stream:
        _check_jpeg(stream, notices)
    else:
        notices.append(_UNCHECKED)


def _colours_of_filled(found: jpeg.Stream, columns: int, rows: int) -> str:
    """Return the colours that JPEG data say they hold, which must be enough for their strip or tile."""
    if found.width < columns or found.height < rows:
        raise DamagedError("the JPEG data do not fill their strip or tile")
    return jpeg.colours(found) if len(found.components) == 3 else ""


def _check_jpeg(stream: bytes, notices: list[str], found: jpeg.Stream | None = None) -> None:
    """Check a stream whose own colour profile goes for nothing: the page's tags name the colours."""
    said: list[str] = []
    jpeg.whole(stream, said, found)
    notices += (notice for notice in said if notice != colour.DAMAGED_PROFILE)


def _check_deflated(strip: bytes) -> None:
    inflate = zlib.decompressobj()
    try:
        while inflate.decompress(strip, _CHUNK):
            strip = inflate.unconsumed_tail
    except zlib.error as e:
        raise DamagedError("the check sum is wrong") from e
    if not inflate.eof:
        raise DamagedError("the data have no end")
