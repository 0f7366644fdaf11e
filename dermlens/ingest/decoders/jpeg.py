"""What a JPEG stream is, and whether it is whole. Runs inside the decoding process, on hostile bytes.

libjpeg decodes around damage and only warns, and Pillow, libtiff and pydicom hide its warnings. So a stream is decoded
once more, by a reader to which a warning is an error.
"""

import re
from dataclasses import dataclass, field

import numpy as np
import simplejpeg

from dermlens.errors import ImageError
from dermlens.ingest.decoders import colour
from dermlens.ingest.decoders.damage import TAIL, DamagedError
from dermlens.wording import counted

_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
"""A marker, and none of those that stand inside a scan."""
_IN_SCAN = re.compile(rb"\xff+[^\x00\xff]")
"""Any marker."""
_RESTARTS = range(0xD0, 0xD8)
_MORE = bytes(4) + b"\x35\x9c\x71\xe2" * 4
"""No more zeros than an encoder leaves out, and then anything."""
LOSSLESS = 0xC3
_END, _SCAN, _LS = 0xD9, 0xDA, 0xF7
_APP0, _APP14 = 0xE0, 0xEE
_APP2, _PROFILE = 0xE2, b"ICC_PROFILE\0"
"""How the segments begin that hold the parts of a profile (ICC.1:2010, B.4)."""
_BARE = (0x01, 0xD8, _END)
"""Markers without a length."""
_FRAMES = frozenset({*range(0xC0, 0xD0), _LS} - {0xC4, 0xC8, 0xCC})
_READ = (0xC0, 0xC1, 0xC2, LOSSLESS, 0xC9, 0xCA)
_PROGRESSIVE = (0xC2, 0xCA)
_ARITHMETIC = (0xC9, 0xCA)
_KINDS = {0xCB: "a JPEG image that is lossless and arithmetic-coded", _LS: "a JPEG-LS image"}
_DAMAGE = ("corrupt jpeg data", "premature end", "inconsistent progression")
"""How those of libjpeg's warnings begin that tell of damage; others tell of odd headers."""
_UNCHECKED = "Whether the JPEG data are whole could not be checked; look whether the picture is."
_NO_END = "The JPEG data have no end marker, though no part of the picture is missing."


@dataclass
class Stream:
    """What the markers of a JPEG stream say."""

    frame: int = 0
    """the code of its frame header, 0 if there is none"""
    precision: int = 0
    """bits a channel"""
    height: int = 0
    width: int = 0
    components: bytes = b""
    """their identifiers"""
    sampling: bytes = b""
    """their sampling factors"""
    ended: bool = False
    """whether there is an end marker"""
    jfif: bool = False
    adobe: int | None = None
    """the transform that Adobe's marker names, None without one"""
    profile: list[tuple[int, int, int, int]] = field(default_factory=list)
    """by part of the colour profile, its number, how many there are, and where its segment begins and ends"""
    marks: list[tuple[int, int]] = field(default_factory=list)
    """where the segments begin and end that tell of its colours"""
    missing: dict[int, bytearray] = field(default_factory=dict)
    """by component, the bits of each of its 64 coefficients that no scan has brought"""


def read(data: bytes) -> Stream:
    """Read the markers up to the end marker, or to the end of the data."""
    stream, at, scanned = Stream(), 2, False
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _END:
            stream.ended = True
            break
        if marker in _BARE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        segment = data[at + 2 : at + length]
        _note(stream, marker, segment)
        scanned |= marker == _SCAN
        at += length
        if marker in (_APP0, _APP14):
            stream.marks.append((found.start(), at))
        if marker == _APP2 and segment.startswith(_PROFILE) and len(segment) >= 14 and not scanned:
            stream.profile.append((segment[12], segment[13], found.start(), at))
        if stream.frame == _LS:  # inside its scans markers look otherwise
            break
    return stream


def _note(stream: Stream, marker: int, segment: bytes) -> None:
    if marker in _FRAMES and not stream.frame and len(segment) > 5:
        stream.frame, stream.precision = marker, segment[0]
        stream.height, stream.width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
        stream.components = segment[6 : 6 + 3 * segment[5] : 3]
        stream.sampling = segment[7 : 7 + 3 * segment[5] : 3]
        stream.missing = {c: bytearray(b"\xff" * 64) for c in stream.components}
    elif marker == _SCAN and segment:
        count = segment[0]
        first, last, bits = 0, 63, 0
        if stream.frame in _PROGRESSIVE:
            first, last, bits = *segment[1 + 2 * count : 3 + 2 * count], segment[-1] & 15
        for component in segment[1 : 1 + 2 * count : 2]:
            if component in stream.missing:
                stream.missing[component][first : min(last, 63) + 1] = bytes([bits]) * (min(last, 63) + 1 - first)
    elif marker == _APP0 and segment.startswith(b"JFIF\0") and len(segment) >= 14:
        stream.jfif = True
    elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
        stream.adobe = segment[11]


def colours(stream: Stream) -> str:
    """Return the colours that a stream of three channels says it holds, "RGB" or "YCbCr", as libjpeg finds them;

    "" if it says nothing.
    """
    if stream.jfif or stream.adobe:
        return "YCbCr"
    return "RGB" if stream.adobe == 0 or stream.components == b"RGB" else ""


def whole(data: bytes, notices: list[str], stream: Stream | None = None) -> bytes:
    """Return a JPEG stream that Pillow can decode whole: with the end marker that it may lack, without a bad profile.

    Args:
        data: the stream. notices: to which sentences may be added. stream: what `read` found in it, if that is known.

    Raises:
        ImageError: it is of a kind that is not read.
        DamagedError: it is damaged, or a part of the picture is missing.
    """
    stream = stream or read(data)
    refuse_kinds(stream)
    if not stream.ended:
        if stream.frame in _ARITHMETIC:  # whose decoder goes on without data, so that none can be known to be there
            raise DamagedError("no end marker")
        data = data.removesuffix(b"\xff") + b"\xff\xd9"
        notices.append(_NO_END)
    if stream.profile and not _fits_together(stream):
        data = _without(data, [(start, end) for _, _, start, end in stream.profile])
        notices.append(colour.DAMAGED_PROFILE)
    if any(any(bits) for bits in stream.missing.values()):
        raise DamagedError("scans are missing")
    # Not scaled down, which would be faster: with a lossless stream the reader then writes beyond its buffer.
    try:
        colours = stream.frame == LOSSLESS and len(stream.components) > 1
        simplejpeg.decode_jpeg(data, "RGB" if colours else "GRAY", strict=True)
    except ValueError as e:
        if str(e).lower().startswith(_DAMAGE):
            raise DamagedError("the decoder warned") from e
        notices.append(_UNCHECKED)
    if stream.frame in _ARITHMETIC and not np.array_equal(_grey(data), _grey(_with_more(data))):
        raise DamagedError("the data end before the picture is complete")
    return data


def _fits_together(stream: Stream) -> bool:
    """Return whether the parts of a profile are all there, each once, as libjpeg and browsers want them."""
    numbers, counts = [part[0] for part in stream.profile], {part[1] for part in stream.profile}
    return sorted(numbers) == list(range(1, len(numbers) + 1)) and counts == {len(numbers)}


def unmarked(data: bytes) -> bytes:
    """Return a stream that says nothing of its colours."""
    return _without(data, read(data).marks)


def _without(data: bytes, segments: list[tuple[int, int]]) -> bytes:
    for start, end in reversed(segments):
        data = data[:start] + data[end:]
    return data


def _grey(data: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(data, "GRAY", strict=False)


def _with_more(data: bytes) -> bytes:
    """Return an arithmetic-coded stream with bytes at the end of every scan that a whole one does not need.

    Where data are missing a decoder goes on with zeros, as it must (ITU-T T.81, D.2.6), and does not warn.
    """
    at = data.index(b"\xff\xda")
    made = bytearray(data[:at])
    while found := _IN_SCAN.search(data, at):
        scanned = data[at : found.start()]
        made += scanned + (_MORE if scanned else b"") + found[0]
        at = found.end()
        if found[0][-1] == _END:
            break
        if found[0][-1] not in _RESTARTS:
            length = int.from_bytes(data[at : at + 2], "big")
            made += data[at : at + length]
            at += length
    return bytes(made)


def with_another_end(data: bytes) -> bytes:
    """Return a stream whose last coded bytes are others: of a whole one, the decoded picture must change."""
    end = data.rfind(b"\xff\xd9")
    end = len(data) if end < 0 else end
    start = max(end - TAIL, 0)
    other = bytes(b ^ 0x55 for b in data[start:end]).replace(b"\xff", b"\xaa")
    return data[:start] + other + data[end:]


def refuse_kinds(stream: Stream, is_file: bool = False) -> None:
    """Raise ImageError if a stream is of a kind that is not read, DamagedError if it is of none.

    Args:
        stream: its markers.
        is_file: whether it is a file, and no part of one that says what its colours are.
    """
    if not stream.frame:
        raise DamagedError("no frame")
    kind = _KINDS.get(stream.frame)
    if not kind and stream.frame not in _READ:
        kind = "a hierarchical JPEG image"
    if not kind and stream.precision != 8:
        kind = f"a JPEG image of {stream.precision} bits a channel"
    if not kind and len(stream.components) not in (1, 3, 4):
        kind = f"a JPEG image of {counted(len(stream.components), 'channel')}"
    if not kind and is_file and stream.frame == LOSSLESS and len(stream.components) == 3 and colours(stream) != "RGB":
        kind = "a lossless JPEG image of YCbCr"  # which libjpeg-turbo does not convert
    if kind:
        raise ImageError(f"The file holds {kind}, which is not read here. Save it as an 8-bit JPEG or as PNG.")
