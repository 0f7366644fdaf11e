"""What a JPEG 2000 stream says of its colours and bits. Runs inside the decoding process, on hostile bytes."""

_START = b"\xff\x4f\xff\x51"
"""How a codestream begins (ITU-T T.800, A.4): its start, and the marker of its size."""
_CODING, _TILE = b"\xff\x52", b"\xff\x90"
_SYCC = b"\0\0\0\x12"
_ENUMERATED = 1


def colours(data: bytes) -> str:
    """Return the colours that a stream says it holds, of which decoders make RGB: "RGB" or "YCbCr"; "" if none.

    RGB is what the codestream's own transform starts from (G.1); YCbCr is named by a file around it alone (I.5.3.3).
    """
    start = data.find(_START)
    if start < 0:
        return ""
    box = data.find(b"colr", 0, start)
    if box >= 0 and data[box + 4] == _ENUMERATED and data[box + 7 : box + 11] == _SYCC:
        return "YCbCr"
    at = start + 2
    while at + 10 < len(data) and data[at : at + 2] != _TILE:
        if data[at : at + 2] == _CODING:
            return "RGB" if data[at + 8] == 1 else ""
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return ""


def depth(data: bytes) -> tuple[int, bool]:
    """Return how many bits a value has, and whether it can be negative (ITU-T T.800, A.5.1)."""
    told = data[data.index(_START) + 42]
    return (told & 127) + 1, told > 127
