"""What the door lets in: formats, limits, and how a file is known by its first bytes."""

from dataclasses import dataclass

ACCEPTED = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "HEIC", "DICOM")
LISTED = f"{', '.join(ACCEPTED[:-1])} and {ACCEPTED[-1]}"
"""The accepted formats as a person reads them."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".heic", ".heif", ".hif"}
    | {".dcm", ".dicom", ".gif", ".avif", ".jp2", ".jxl", ".svg", ".dng"}
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
    cpu_seconds: int = 4
    """of computing, whatever else the machine does"""
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
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

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
    (b"8bps", "a Photoshop file"),
    (b"mz", "a program"),
    (b"\x7felf", "a program"),
)


def format_of(data: bytes) -> str | None:
    """Return which of ACCEPTED a file is by its first bytes, None if it is none of them."""
    for start, name in _STARTS:
        if data.startswith(start):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIC"
    return "DICOM" if data[128:132] == b"DICM" else None


def other_kind(data: bytes) -> str:
    """Return what a file that is none of ACCEPTED is, as half a sentence: "it is a PDF document"."""
    head = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head[4:8] == b"ftyp":
        return "it is an AVIF image" if head[8:12] in (b"avif", b"avis") else "it is a video"
    found = next((name for start, name in _OTHERS if head.startswith(start)), None)
    return f"it is {found}" if found else "it does not begin like any known image format"
