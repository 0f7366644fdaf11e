"""The colours that an AV1 picture names in its sequence header (AV1 specification, 5.5).

Runs inside the decoding process, on hostile bytes.
"""

from dermlens.ingest.decoders.heif.bits import Bits

_SEQUENCE_HEADER = 1
_MOST = 1024
"""bytes of a sequence header, which needs fewer"""
_PROFESSIONAL, _HIGH = 2, 1


def colours(data: bytes) -> tuple[int, int] | None:
    """Return the primaries and the curve, two numbers of ITU-T H.273, that the first sequence header names: 2 if none.

    None if there is no sequence header, or it is cut off.
    """
    at = 0
    while at < len(data):
        head = data[at]
        at += 2 if head & 4 else 1
        size, at = _leb128(data, at) if head & 2 else (len(data) - at, at)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            try:
                return _colours(Bits(data[at : at + min(size, _MOST)]))
            except IndexError:
                return None
        at += size
    return None


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length (4.10.5), and where it ends."""
    value = 0
    for i, byte in enumerate(data[at : at + 8]):
        value |= (byte & 127) << (7 * i)
        if not byte & 128:
            return value, at + i + 1
    return len(data), len(data)


def _colours(bits: Bits) -> tuple[int, int]:
    profile = bits.take(3)
    bits.take()
    reduced = bits.take()
    if reduced:
        bits.take(5)
    else:
        _pass_operating_points(bits)
    wide, high = bits.take(4), bits.take(4)
    bits.take(wide + 1 + high + 1)
    if not reduced and bits.take():  # numbers of frames
        bits.take(4 + 3)
    bits.take(3)
    if not reduced:
        _pass_tools_of_films(bits)
    bits.take(3)
    deep = bits.take()
    if profile == _PROFESSIONAL and deep:
        bits.take()
    if profile != _HIGH:  # whether it is grey
        bits.take()
    return (bits.take(8), bits.take(8)) if bits.take() else (2, 2)


def _pass_operating_points(bits: Bits) -> None:
    delay, model = 0, 0
    if bits.take():  # timing
        bits.take(32 + 32)
        if bits.take():
            bits.code()
        model = bits.take()
        if model:
            delay = bits.take(5) + 1
            bits.take(32 + 5 + 5)
    initial = bits.take()
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take()
        if model and bits.take():
            bits.take(2 * delay + 1)
        if initial and bits.take():
            bits.take(4)


def _pass_tools_of_films(bits: Bits) -> None:
    bits.take(4)
    ordered = bits.take()
    if ordered:
        bits.take(2)
    screen = 1 if bits.take() else bits.take()
    if screen and not bits.take():
        bits.take()
    if ordered:
        bits.take(3)
