"""Files that are no images, are two things at once, lie about their size, or grow without end. Drawn here, by code."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
)

from dermlens.ingest.formats import Limits
from tests.corpus.case import DAMAGED, Case
from tests.image_files import (
    dicom,
    jpeg_of_size,
    jpeg_with_many_scans,
    picture,
    png_chunk,
    png_of_size,
    saved,
    tiff,
)


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    yield from _no_images()
    yield from _polyglots()
    yield from _sizes()
    yield from _bombs()


def _no_images() -> Iterator[Case]:
    yield Case("empty", b"", "The file is empty (0 bytes)")
    yield Case("one byte", b"\xff", "not begin like any known image format")
    yield Case("zeros", bytes(100_000), "not begin like any known image format")
    yield Case("text", b"just text, named .jpg", "be read: it does not begin like any known image format")
    yield Case("svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "an SVG drawing")
    yield Case(
        "svg with prologue", b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "an XML or SVG file"
    )
    yield Case("pdf", b"%PDF-1.7\n1 0 obj<<>>endobj\n", "a PDF document")
    yield Case("zip", b"PK\x03\x04" + bytes(60), "a ZIP archive or an Office document")
    yield Case("html", b"\xef\xbb\xbf<!DOCTYPE html><script>alert(1)</script>", "a web page")
    yield Case("gif", saved(Image.fromarray(picture()), "GIF"), "a GIF image")
    frames = [Image.fromarray(picture(seed=i)) for i in range(3)]
    yield Case("animated gif", saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), "a GIF image")
    yield Case("film", b"\0\0\0\x18ftypmp42" + bytes(40), "a video")
    yield Case("jpeg 2000", saved(picture(), "JPEG2000"), "a JPEG 2000 image")
    yield Case("program", b"MZ\x90\0" + bytes(200), "a program")
    starts = (
        ("JPEG", b"\xff\xd8\xff"),
        ("PNG", b"\x89PNG\r\n\x1a\n"),
        ("WebP", b"RIFF\0\0\0\0WEBP"),
        ("TIFF", b"II*\0"),
        ("BMP", b"BM"),
        ("HEIC", b"\0\0\0\x18ftypheic"),
        ("AVIF", b"\0\0\0\x18ftypavif"),
    )
    for kind, start in starts:
        yield Case(f"only the beginning of a {kind}", start, DAMAGED)
        noise = np.random.default_rng(0).bytes(5000)
        yield Case(f"noise that begins like a {kind}", start + noise, DAMAGED)


def _polyglots() -> Iterator[Case]:
    shown = picture()
    png, jpeg = saved(shown, "PNG"), saved(shown, "JPEG", quality=95)
    seen = np.asarray(Image.open(BytesIO(jpeg)).convert("RGB"))
    page = b"<html><script>alert(document.cookie)</script></html>"
    yield Case("jpeg and zip", jpeg + b"PK\x03\x04" + bytes(99), pixels=seen)
    yield Case(
        "jpeg and html", jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(page) + 2) + page + jpeg[2:], pixels=seen
    )
    yield Case("png and html", png + page, pixels=shown)
    text = png_chunk(b"tEXt", b"Comment\0" + page)
    yield Case("png with html inside", png[:33] + text + png[33:], pixels=shown)
    yield Case("pdf and jpeg", b"%PDF-1.7\n" + jpeg, "a PDF document")
    yield Case("gif and javascript", b"GIF89a/*" + jpeg, "a GIF image")
    program = b"MZ\x90\0" + bytes(124)
    yield Case("program and dicom", program + dicom(shown)[128:], pixels=shown)
    yield Case("jpeg within a png's name", png, pixels=shown)


def _sizes() -> Iterator[Case]:
    one, strip = np.zeros((1, 1, 3), np.uint8), np.zeros((1, 10_000, 3), np.uint8)
    yield Case("1 x 1", saved(one, "PNG"), "1 x 1 pixels; a lesion cannot be judged")
    yield Case("1 x 10000", saved(strip, "JPEG"), "10000 x 1 pixels; a lesion cannot be judged")
    yield Case("31 x 400", saved(np.zeros((400, 31, 3), np.uint8), "PNG"), "31 x 400 pixels; a lesion cannot be judged")
    flat = np.full((32, 40, 3), 127, np.uint8)
    yield Case("constant, and as small as can be", saved(flat, "PNG"), pixels=flat)
    long = np.full((32, 60_000, 3), 9, np.uint8)
    yield Case("32 x 60000", saved(long, "PNG"), pixels=long)
    large = "20000 x 20000 pixels; at most 64 million are read"
    yield Case("png header 20000 x 20000", png_of_size(20_000, 20_000), large)
    yield Case("jpeg header 20000 x 20000", jpeg_of_size(20_000, 20_000), large)
    yield Case("tiff header 20000 x 20000", tiff(20_000, 20_000, {}, bytes(99)), large)
    bmp = bytearray(saved(picture(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 20_000, 20_000)
    yield Case("bmp header 20000 x 20000", bytes(bmp), large)
    claims = {"Rows": 20_000, "Columns": 20_000}
    yield Case("dicom header 20000 x 20000", dicom(picture(), **claims), large)
    webp = b"VP8X" + struct.pack("<IB3x", 10, 0) + 2 * (19_999).to_bytes(3, "little")
    yield Case("webp canvas 20000 x 20000", b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp, "pixels")
    heic = saved(picture(), "HEIF")
    at = heic.index(b"ispe") + 8
    yield Case("heic header 20000 x 20000", heic[:at] + struct.pack(">II", 20_000, 20_000) + heic[at + 8 :], "")
    most = Limits(bytes=1000)
    yield Case("more bytes than allowed", saved(picture(), "PNG"), "larger than 0 MiB", limits=most)


def _bombs() -> Iterator[Case]:
    yield Case("png bomb over the limit", png_of_size(30_000, 30_000, bytes(2**24)), "30000 x 30000 pixels")
    black = np.zeros((5000, 8000, 3), np.uint8)
    rows = bytes(5000 * (1 + 8000 * 3))
    yield Case("png bomb within the limit", png_of_size(8000, 5000, rows), pixels=black)
    yield Case("png that never ends", png_of_size(100, 100, bytes(2**26)), pixels=np.zeros((100, 100, 3), np.uint8))
    profile = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2**24), 9))
    plain = saved(picture(), "PNG")
    yield Case("png with a bomb for a profile", plain[:33] + profile + plain[33:], DAMAGED)
    text = png_chunk(b"zTXt", b"p\0\0" + zlib.compress(bytes(2**24), 9))
    yield Case("png with a bomb for a text", plain[:33] + text + plain[33:], DAMAGED)
    yield Case("jpeg header 65500 x 65500", jpeg_of_size(65_500, 65_500), "65500 x 65500 pixels; at most")
    slow = Limits(cpu_seconds=1)
    yield Case("jpeg that decodes for ever", jpeg_with_many_scans(4000, 20_000), "took too long", limits=slow)
    deflated = dicom(bytes(2**27), syntax=DeflatedExplicitVRLittleEndian, Rows=90, Columns=120)
    small = Limits(memory=2**28)
    yield Case("dicom bomb", deflated, "needs more than 256 MiB of memory", limits=small)
