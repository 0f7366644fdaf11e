"""The colours that an HEVC picture names in its sequence parameter set. Runs inside the decoding process.

libheif and libde265 do not hand on all of them: Display P3, of phones, gets lost.
"""

from dermlens.ingest.decoders.heif.bits import Bits

UNNAMED = (2, 2)
"""What stands for colours that are not named."""
_SPS = 33


def colours(units: list[bytes]) -> tuple[int, int] | None:
    """Return the primaries and the curve, two numbers of ITU-T H.273, that the parameter set among NAL units names.

    UNNAMED if it names none; None if it is not understood, as that of a film may be.
    """
    sps = next((unit for unit in units if unit[:1] and unit[0] >> 1 & 63 == _SPS), None)
    try:
        return _colours(Bits(sps[2:].replace(b"\0\0\3", b"\0\0"))) if sps else None
    except IndexError:
        return None


def _colours(bits: Bits) -> tuple[int, int] | None:
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 88 + 8)
    if layers:
        return None
    bits.code()
    if bits.code() == 3:  # 4:4:4
        bits.take()
    bits.code(), bits.code()
    if bits.take():  # cropped
        for _ in range(4):
            bits.code()
    for _ in range(3):  # depths, and the width of a counter
        bits.code()
    bits.take()
    for _ in range(3 + 6):  # the picture buffer; sizes of blocks
        bits.code()
    if bits.take() and bits.take():  # scaling lists of its own
        _pass_scaling_lists(bits)
    bits.take(2)
    if bits.take():  # raw samples
        bits.take(8)
        bits.code(), bits.code()
        bits.take()
    if bits.code() or bits.take():  # reference pictures: it is a film
        return None
    bits.take(2)
    if not bits.take():
        return UNNAMED
    if bits.take() and bits.take(8) == 255:  # the aspect of a pixel
        bits.take(32)
    if bits.take():  # overscan
        bits.take()
    if bits.take():
        bits.take(4)
        if bits.take():
            return bits.take(8), bits.take(8)
    return UNNAMED


def _pass_scaling_lists(bits: Bits) -> None:
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            if not bits.take():
                bits.code()
                continue
            for _ in range(min(64, 1 << (4 + 2 * size)) + (size > 1)):
                bits.code()
