"""How a HEIF file (ISO/IEC 23008-12) is put together: its picture, and what is said of it.

Runs inside the decoding process, on hostile bytes.
"""

from dataclasses import dataclass

ODD = (KeyError, IndexError, ValueError)
"""What reading a file of an unusual structure raises."""
_MOST = 255
"""properties of an item that are looked at"""


@dataclass(frozen=True)
class File:
    """What a file says of its primary picture."""

    primary: int
    tiles: list[int]
    """the items that it is put together from, none twice"""
    properties: dict[int, list[bytes]]
    """of the primary picture and of its tiles, in their order, each as its type and content"""
    places: dict[int, list[tuple[int, int]]]
    """where in the file the data of every item lie, (start, length) of each of their parts"""


class Reader:
    """Reads whole numbers, big-endian, one after the other; ValueError at the end."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def take(self, size: int) -> int:
        """Return the number in the next `size` bytes, 0 for none."""
        self.at += size
        if self.at > len(self.data):
            raise ValueError("a box is too short")
        return int.from_bytes(self.data[self.at - size : self.at], "big")


def read(data: bytes) -> File:
    """Read the box meta (ISO/IEC 14496-12, 8.11); raises one of ODD."""
    meta = _boxes(_boxes(data)[b"meta"][0][4:])
    pitm, properties = meta[b"pitm"][0], _boxes(meta[b"iprp"][0])
    primary = int.from_bytes(pitm[4 : 8 if pitm[0] else 6], "big")
    tiles = list(dict.fromkeys(_tiles(meta.get(b"iref", [b""])[0], primary)))
    found = _properties(properties, {primary, *tiles})
    return File(primary, tiles, found, _places(meta[b"iloc"][0]))


def data_of(file: File, item: int, data: bytes) -> bytes:
    """Return the data of an item, nothing if they stand elsewhere than in the file itself."""
    return b"".join(data[start : start + length] for start, length in file.places.get(item, []))


def _boxes(data: bytes) -> dict[bytes, list[bytes]]:
    """Return the content of the boxes in a row by their type."""
    found: dict[bytes, list[bytes]] = {}
    at = 0
    while at + 8 <= len(data):
        size, head = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if size < head:
            size = len(data) - at
        found.setdefault(data[at + 4 : at + 8], []).append(data[at + head : at + size])
        at += size
    return found


def _tiles(iref: bytes, primary: int) -> list[int]:
    """Return the items that a picture is put together from."""
    width = 4 if iref[:1] == b"\x01" else 2
    for box in _boxes(iref[4:]).get(b"dimg", []):
        reader = Reader(box)
        if reader.take(width) == primary:
            return [reader.take(width) for _ in range(reader.take(2))]
    return []


def _places(iloc: bytes) -> dict[int, list[tuple[int, int]]]:
    """Return where in the file the data of every item lie, (start, length) of each of their parts."""
    version, reader = iloc[0], Reader(iloc, 4)
    sizes, more = reader.take(1), reader.take(1)
    wide = 4 if version == 2 else 2
    found = {}
    for _ in range(reader.take(wide)):
        item = reader.take(wide)
        method = reader.take(2) & 15 if version else 0
        reader.take(2)
        base = reader.take(more >> 4)
        parts = []
        for _ in range(reader.take(2)):
            reader.take(more & 15 if version else 0)
            parts.append((base + reader.take(sizes >> 4), reader.take(sizes & 15)))
        if method == 0:  # from the beginning of the file
            found[item] = parts
    return found


def _properties(properties: dict[bytes, list[bytes]], wanted: set[int]) -> dict[int, list[bytes]]:
    listed = _listed(properties[b"ipco"][0])
    found: dict[int, list[bytes]] = {item: [] for item in wanted}
    for ipma in properties.get(b"ipma", []):
        reader = Reader(ipma, 4)
        width = 2 if ipma[3] & 1 else 1
        for _ in range(reader.take(4)):
            own = found.get(reader.take(4 if ipma[0] else 2))
            for _ in range(reader.take(1)):
                number = reader.take(width) & (0x7FFF if width == 2 else 0x7F)
                if own is not None and len(own) < _MOST and 0 < number <= len(listed):
                    own.append(listed[number - 1])
    return found


def _listed(ipco: bytes) -> list[bytes]:
    """Return the boxes in a row, each as its type and content."""
    found, at = [], 0
    while at + 8 <= len(ipco):
        size = max(8, int.from_bytes(ipco[at : at + 4], "big"))
        found.append(ipco[at + 4 : at + size])
        at += size
    return found
