"""Damage inside a HEIC picture, of which Pillow's plugin does not tell.

Runs inside the decoding process, on hostile bytes. libde265 conceals damage and notes a warning; libheif drops the
warnings. So the coded data are handed to libde265, which pillow-heif brings along, once more.
"""

import ctypes
import ctypes.util
from collections.abc import Iterator
from pathlib import Path

import pillow_heif

from dermlens.errors import ImageError
from dermlens.ingest.decoders.damage import TAIL, DamagedError
from dermlens.ingest.decoders.heif import boxes, hevc

UNCHECKED = "Whether the HEIC data are whole could not be checked; look whether the picture is."
_HEAD = 1 << 16
"""Bytes of a file in which its list of items stands."""
_OTHER_CODECS = {b"vvc1": "VVC", b"evc1": "EVC", b"avc1": "H.264", b"j2k1": "JPEG 2000"}
_MOST_CALLS = 10_000
_MOST_BYTES = 4 * 2**20
"""of a file whose data are decoded without their end as well, which takes time"""
_FILL = b"\0\3"
"""What may follow the data of a slice (ITU-T H.265, 7.3.2.10)."""

_NO_SLICE = 32
"""the first type of a NAL unit that is none"""


def refuse_kinds(data: bytes) -> None:
    """Raise ImageError if a file holds no HEVC, but data of a codec that is not read."""
    head = data[:_HEAD]
    name = next((name for item, name in _OTHER_CODECS.items() if item in head), None)
    if name and not any(item in head for item in (b"hvc1", b"hev1")):
        raise ImageError(f"The file holds a HEIF image compressed as {name}, which is not read here. Save it as JPEG.")


def check(data: bytes, notices: list[str]) -> tuple[int, int]:
    """Return the colours that the coded data of the picture name, as two numbers of ITU-T H.273: hevc.UNNAMED for none.

    Raises:
        DamagedError: the decoder warns about the data; or they go on after the picture, so that without their end,
            which those that are sound need, it would not warn.
    """
    try:
        pictures = list(_pictures(data))
    except boxes.ODD:
        pictures = []
    if _DECODER is None or not pictures:
        notices.append(UNCHECKED)
        return hevc.UNNAMED
    for units in pictures:
        if _warns(_DECODER, units):
            raise DamagedError("the decoder warned")
        coded = _up_to_last_slice(units)
        last = coded[-1].rstrip(_FILL)
        if len(data) <= _MOST_BYTES and not _warns(_DECODER, [*coded[:-1], last[:-TAIL]]):
            raise DamagedError("the picture is complete before its data are")
    return hevc.colours(pictures[0]) or hevc.UNNAMED


def _up_to_last_slice(units: list[bytes]) -> list[bytes]:
    """Return NAL units without those behind the last slice, which may be lacking (ITU-T H.265, 7.4.2.4.4); all if

    there is no slice.
    """
    slices = [i for i, unit in enumerate(units) if unit[:1] and unit[0] >> 1 & 63 < _NO_SLICE]
    return units[: slices[-1] + 1] if slices else units


def _library() -> ctypes.CDLL | None:
    """Return libde265: that of pillow-heif, or the system's."""
    beside = Path(pillow_heif.__file__).parent.parent / "pillow_heif.libs"
    name = next(map(str, sorted(beside.glob("libde265*"))), None) or ctypes.util.find_library("de265")
    try:
        library = ctypes.CDLL(name) if name else None
    except OSError:
        return None
    if library:
        library.de265_new_decoder.restype = ctypes.c_void_p
    return library


_DECODER = _library()


def _warns(library: ctypes.CDLL, units: list[bytes]) -> bool:
    """Return whether libde265 has anything to say of a picture of these NAL units."""
    decoder = ctypes.c_void_p(library.de265_new_decoder())
    try:
        for unit in units:
            library.de265_push_NAL(decoder, unit, len(unit), ctypes.c_int64(0), None)
        library.de265_flush_data(decoder)
        more = ctypes.c_int(1)
        for _ in range(_MOST_CALLS):
            if library.de265_decode(decoder, ctypes.byref(more)) or not more.value:
                break
        return bool(library.de265_get_warning(decoder))
    finally:
        library.de265_free_decoder(decoder)


def _pictures(data: bytes) -> Iterator[list[bytes]]:
    """Yield the NAL units of the primary picture, or of each of its tiles."""
    file = boxes.read(data)
    for item in [file.primary, *file.tiles]:
        configuration = next((box[4:] for box in file.properties.get(item, []) if box[:4] == b"hvcC"), None)
        if configuration and item in file.places:
            coded = boxes.data_of(file, item, data)
            yield [*_parameter_sets(configuration), *_units(coded, (configuration[21] & 3) + 1)]


def _parameter_sets(configuration: bytes) -> Iterator[bytes]:
    """Yield the NAL units that stand before the data (ISO/IEC 14496-15, 8.3.3.1)."""
    reader = boxes.Reader(configuration, 22)
    for _ in range(reader.take(1)):
        reader.take(1)
        for _ in range(reader.take(2)):
            length = reader.take(2)
            yield configuration[reader.at : reader.at + length]
            reader.at += length


def _units(coded: bytes, width: int) -> Iterator[bytes]:
    """Yield NAL units, each with its length before it in `width` bytes."""
    at = 0
    while at + width <= len(coded):
        length = int.from_bytes(coded[at : at + width], "big")
        at += width
        if at + length > len(coded):
            raise DamagedError("a part is cut off")
        yield coded[at : at + length]
        at += length
