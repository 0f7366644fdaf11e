"""What the door lets in: formats, limits, and how a file is known by its first bytes."""

import re
from dataclasses import dataclass
from importlib.util import find_spec

ACCEPTED = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "HEIC", "AVIF", "DICOM")
READ = tuple(kind for kind in ACCEPTED if kind != "HEIC" or find_spec("pillow_heif"))
"""Those of ACCEPTED for which this installation has a decoder."""
LISTED = f"{', '.join(READ[:-1])} and {READ[-1]}"
"""The formats that are read, as a person reads them."""
NO_HEIC = (
    "The file is a HEIC image, for which this installation has no decoder. Save it as JPEG or PNG, or ask the "
    "server's operator to add one (`make heic`)."
)

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".heic", ".heif", ".hif"}
    | {".avif", ".dcm", ".dicom", ".gif", ".jp2", ".jxl", ".jls", ".svg", ".dng"}
)
"""Suffixes, in lower case, by which the images among a folder's files are told; what is read, content decides. Those of
formats that cannot be read are among them: such a file is an image that failed, not one to be passed over."""


@dataclass(frozen=True)
class Limits:
    """How much one file may cost. The first four are checked from its header, before anything is decoded."""

    bytes: int = 50 * 2**20
    """of the file"""
    pixels: int = 64_000_000
    """height x width, also after a squeezed copy is stretched"""
    shortest_side: int = 32
    """in pixels; a smaller picture is of no use"""
    pictures: int = 1000
    """frames, pages or pictures in one file"""
    cpu_seconds: int = 6
    """of computing, whatever else the machine does; for every whole MiB of the file one more"""
    seconds: float = 60.0
    """of waiting for the decoder, on a busy machine too"""
    memory: int = 2**30
    """bytes of address space of the decoding process"""


LIMITS = Limits()

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)
_BEFORE_DICOM = ("TIFF", "BMP")
"""What DICOM's preamble of 128 bytes may begin like, so that other programs open the same file (PS3.10, 7.1)."""
_BARE_DICOM = re.compile(
    rb"\x02\0[\0\x01]\0(UL\x04\0|OB\0\0)|\x08\0[\0\x01\x05\x06\x08\x12-\x18]\0([A-Z]{2}..|..\0\0)", re.DOTALL
)
"""How DICOM begins without its preamble: with a first element of group 0002 or 0008, its type told or implied."""
_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"mif1", b"msf1", b"mif2", b"mif3", b"miaf", b"1pic", b"tmap"}
"""Brands of still pictures that tell nothing of their codec."""
_HEAD = 1 << 16
"""Bytes of a HEIF file in which its list of items stands."""

# How other files that people pick by mistake begin, in lower case, and what to call them.
_OTHERS = (
    (b"gif8", "a GIF image"),
    (b"%pdf", "a PDF document"),
    (b"pk\x03\x04", "a ZIP archive or an Office document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG file"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"\x00\x00\x00\x0cjp  ", "a JPEG 2000 image"),
    (b"\x00\x00\x00\x0cjxl ", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"8bps", "a Photoshop file"),
    (b"mz", "a program"),
    (b"\x7felf", "a program"),
)

_OTHER_BRANDS = {
    b"crx ": "a camera raw file",
    b"vvic": "a HEIF image compressed as VVC",
    b"evbi": "a HEIF image compressed as EVC",
    b"avci": "a HEIF image compressed as H.264",
    b"j2ki": "a HEIF image compressed as JPEG 2000",
}


def format_of(data: bytes) -> str | None:
    """Return which of ACCEPTED a file is by its first bytes, None if it is none of them."""
    found = next((name for start, name in _STARTS if data.startswith(start)), None)
    if data[128:132] == b"DICM" and (found is None or found in _BEFORE_DICOM):
        return "DICOM"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return found or _heif(data) or ("DICOM" if _BARE_DICOM.match(data) else None)


def _brands(data: bytes) -> list[bytes]:
    """Return the major and the compatible brands of a file of ISO's base media format, none for any other file."""
    if data[4:8] != b"ftyp":
        return []
    listed = data[16 : min(int.from_bytes(data[:4], "big"), _HEAD)]
    return [data[8:12], *(listed[at : at + 4] for at in range(0, len(listed), 4))]


def _heif(data: bytes) -> str | None:
    """Return "HEIC" or "AVIF" for a still picture in HEIF: by its brands, or by the codec of its items."""
    brands = set(_brands(data))
    hevc, av1 = bool(brands & _HEVC_BRANDS), bool(brands & _AVIF_BRANDS)
    if not (hevc or av1 or brands & _HEIF_BRANDS):
        return None
    if hevc == av1:
        av1 = b"av01" in data[:_HEAD] and b"hvc1" not in data[:_HEAD]
    return "AVIF" if av1 else "HEIC"


def other_kind(data: bytes) -> str:
    """Return what a file that is none of ACCEPTED is, as half a sentence: "it is a PDF document"."""
    head = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head[4:8] == b"ftyp":
        return f"it is {_OTHER_BRANDS.get(head[8:12], 'a video')}"
    found = next((name for start, name in _OTHERS if head.startswith(start)), None)
    return f"it is {found}" if found else "it does not begin like any known image format"
