import pytest

from dermlens.ingest.decoders.heif import av1

STILL = [(0, 3), (1, 1), (1, 1), (4, 5)]
"""profile, still picture, reduced header, level (AV1 specification, 5.5.1)"""
FILM = [(0, 3), (0, 1), (0, 1)]
TIMING = [(1, 1), (1, 32), (25, 32), (1, 1), (0b00101, 5), (1, 1), (9, 5), (1, 32), (9, 5), (9, 5)]
"""with a decoder model, whose delays have 10 bits"""
POINTS = [(1, 1), (1, 5), *2 * [(0, 12), (9, 5), (1, 1), (1, 1), (3, 10), (3, 10), (0, 1), (1, 1), (9, 4)]]
NO_TIMING = [(0, 1), (0, 1), (0, 5), (0, 12), (5, 5)]
SIZE = [(6, 4), (6, 4), (119, 7), (89, 7)]
FRAME_NUMBERS = [(1, 1), (3, 4), (3, 3)]
BLOCKS, FILTERS = [(0, 3)], [(0, 3)]
TOOLS = [(0, 4), (1, 1), (0, 2), (0, 1), (1, 1), (0, 1), (1, 1), (6, 3)]
"""an order of frames; screen content forced, and whole motion vectors"""
P3 = [(1, 1), (12, 8), (13, 8), (6, 8), (1, 1)]


def header(*parts: list[tuple[int, int]]) -> bytes:
    """Return a sequence header of (value, bits)."""
    bits = "".join(f"{value:0{count}b}" for part in parts for value, count in part)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def obu(content: bytes, kind: int = 1) -> bytes:
    return bytes([kind << 3 | 2, len(content)]) + content


EIGHT_BITS = [(0, 1), (0, 1)]
HEADERS = {
    "still": header(STILL, SIZE, BLOCKS, FILTERS, EIGHT_BITS, P3),
    "film": header(FILM, NO_TIMING, SIZE, FRAME_NUMBERS, BLOCKS, TOOLS, FILTERS, EIGHT_BITS, P3),
    "film with timing": header(FILM, TIMING, POINTS, SIZE, FRAME_NUMBERS, BLOCKS, TOOLS, FILTERS, EIGHT_BITS, P3),
    "4:4:4": header([(1, 3), *STILL[1:]], SIZE, BLOCKS, FILTERS, [(0, 1)], P3),
    "12 bits": header([(2, 3), *STILL[1:]], SIZE, BLOCKS, FILTERS, [(1, 1), (1, 1), (0, 1)], P3),
}


@pytest.mark.parametrize("name", HEADERS)
def test_the_colours_of_a_sequence_header_are_found(name: str) -> None:
    found = HEADERS[name]
    assert av1.colours(obu(found)) == (12, 13)
    assert av1.colours(obu(b"", 2) + obu(found) + obu(bytes(99), 6)) == (12, 13), "behind a temporal delimiter"
    assert av1.colours(b"\x0e\0" + bytes([0x80 | len(found), 0]) + found) == (12, 13), "layers, and a longer length"
    assert av1.colours(b"\x08" + found) == (12, 13), "without its length"


def test_colours_that_are_not_named_or_cut_off_are_none() -> None:
    assert av1.colours(obu(header(STILL, SIZE, BLOCKS, FILTERS, EIGHT_BITS, [(0, 1)]))) == (2, 2)
    assert av1.colours(obu(bytes(99), 6)) is None
    for end in range(8):
        assert av1.colours(obu(HEADERS["film"][:end])) is None
    assert av1.colours(b"\x0a" + b"\xff" * 20) is None
