"""Whole files of kinds that are not read: named, not called damaged. Drawn here, by code."""

import struct
from collections.abc import Iterator

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from tests.corpus.case import Case
from tests.image_files import (
    dicom,
    dicom_by_gdcm,
    frame_of,
    picture,
    saved,
    tiff,
)


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    yield from _other_kinds()


def _other_kinds() -> Iterator[Case]:
    """Whole files of kinds that are not read: named, not called damaged."""
    shown = picture()
    jpeg = bytearray(saved(shown, "JPEG"))
    jpeg[jpeg.index(b"\xff\xc0") + 4] = 12
    yield Case("jpeg of 12 bits", bytes(jpeg), "a JPEG image of 12 bits a channel")
    yield Case("jpeg-ls", frame_of(dicom_by_gdcm(shown, JPEGLSLossless)), "a JPEG-LS image")
    floats = tiff(120, 90, {258: (3, 1, 32), 339: (3, 1, 3)}, bytes(120 * 90 * 4))
    yield Case("tiff of floats", floats, "floating-point values")
    for method, name in ((34887, "LERC"), (50001, "WebP"), (34712, "JPEG 2000"), (50002, "JPEG XL")):
        yield Case(f"tiff compressed as {name}", tiff(120, 90, {259: (3, 1, method)}, bytes(99)), f"as {name}, which")
    header = struct.pack("<iiHHIIiiII", 120, 90, 1, 24, 0, 99, 0, 0, 0, 0)
    for size, at, value, name in (
        (40, 12, 4, "stored as JPEG"),
        (40, 12, 5, "stored as PNG"),
        (64, 12, 4, "stored as runs of 24 bits"),
        (40, 10, 2, "has 2 bits a pixel"),
    ):
        changed = header[:at] + struct.pack("<H", value) + header[at + 2 :]
        data = b"BM" + struct.pack("<IHHII", 0, 0, 0, 14 + size, size) + changed.ljust(size - 4, b"\0") + bytes(99)
        yield Case(f"bmp of {size} bytes' header, {name}", data, f"The BMP image {'is ' * ('stored' in name)}{name}")
    yield Case("tiff of five bits", tiff(120, 90, {258: (3, 1, 5)}, bytes(120 * 90)), "a kind of pixels")
    for near, syntax, name in (  # pydicom writes no syntax that it does not know
        (HTJ2K, b"1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
        (JPEGBaseline8Bit, b"1.2.840.10008.1.2.8.1\0", "Deflated Image Frame Compression"),
        (HTJ2K, b"1.2.840.10008.1.2.4.999", "a transfer syntax that is not known here"),
    ):
        data = dicom(encapsulate([b"frame"]), "RGB", near, (90, 120)).replace(near.encode(), syntax)
        yield Case(f"dicom as {name}", data, name)
    heic = saved(shown, "HEIF")
    for item, name in ((b"vvc1", "VVC"), (b"j2k1", "JPEG 2000")):
        yield Case(f"heif of {name}", heic.replace(b"hvc1", item), f"a HEIF image compressed as {name}")
    alone = heic[:8] + b"vvic" + heic[12:16] + b"vvic" * 3 + heic[28:]
    yield Case("heif of VVC, by its brand alone", alone, "a HEIF image compressed as VVC")
    clear = np.dstack([shown, np.zeros(shown.shape[:2], np.uint8)])
    yield Case("nothing but transparency", saved(clear, "PNG"), "Every pixel of the image is transparent")
