"""Hostile, damaged and unusual files, each with the answer that the door must give. All are made here, by code."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import AppendingTiffWriter
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dermlens.ingest.decoders import colour
from dermlens.ingest.formats import LIMITS, Limits
from tests.image_files import (
    dicom,
    dicom_by_gdcm,
    dicom_jpeg,
    dicom_jpeg2000,
    dicom_rle,
    frame_of,
    jpeg_of_rgb,
    jpeg_of_size,
    jpeg_with_many_scans,
    named_srgb,
    picture,
    png_chunk,
    png_of_size,
    samples,
    saved,
    tiff,
    tiff_planes,
    with_zeros,
    without,
)

DAMAGED = "is damaged or cut off"
NAMES = (
    "../../../etc/passwd",
    "..\\..\\windows\\system32\\config.png",
    "nul\0byte.png",
    "<img src=x onerror=alert(1)>.png",
    "[click](javascript:alert(1)).png",
    "$\\LaTeX$ :red[text] `code` **bold**.png",
    "line\nbreak\r\t.png",
    "invoice\u202egnp.exe",
    "half\ud800surrogate.png",
    "a" * 10_000 + ".png",
    "=cmd|'/c calc'!A1.png",
    "",
)
"""Names of files that may not become markup, paths, formulas or anything else but text."""


@dataclass(frozen=True, eq=False)
class Case:
    """One file and the answer it must get."""

    name: str
    data: bytes
    says: str = ""
    """part of the refusal, or of a notice if the file is accepted; "" if there is nothing to say"""
    pixels: np.ndarray | None = None
    """(height, width, 3) uint8 that it must show; None if it must be refused"""
    within: float = 0
    """largest mean difference from them, for lossy formats"""
    limits: Limits = field(default=LIMITS)


def corpus() -> list[Case]:
    """Return every case; their names are unique."""
    parts = (_no_images, _polyglots, _sizes, _bombs, _pixels, _orientations, _pages, _tiffs, _profiles)
    more = (
        _dicoms,
        _dicoms_refused,
        _damaged,
        _brands,
        _planes,
        _other_kinds,
        _colour_tags,
        _greys,
        _mislabelled,
    )
    return [case for part in (*parts, *more) for case in part()]


def truncations() -> Iterator[tuple[str, bytes, list[bytes]]]:
    """Yield the format, the whole and the beginnings, cut off at every kilobyte, of files of every kind."""
    for kind, files in samples(picture(120, 160)).items():
        for whole in files:
            yield kind, whole, [whole[:length] for length in range(min(200, len(whole) // 2), len(whole), 1024)]


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


def _pixels() -> Iterator[Case]:
    shown = picture()
    image = Image.fromarray(shown)
    grey = np.asarray(image.convert("L"))
    three = np.repeat(grey[..., None], 3, -1)
    yield Case("progressive jpeg", saved(image, "JPEG", progressive=True, quality=95), pixels=shown, within=3)
    yield Case("cmyk jpeg", saved(image.convert("CMYK"), "JPEG", quality=98), pixels=shown, within=6)
    yield Case("grey jpeg", saved(image.convert("L"), "JPEG", quality=98), pixels=three, within=3)
    yield Case("webp", saved(image, "WEBP", lossless=True), pixels=shown)
    yield Case("bmp", saved(image, "BMP"), pixels=shown)
    yield Case("heic", saved(image, "HEIF", quality=95), pixels=shown, within=4)
    deep = (grey.astype(np.uint16) << 8) | 0x7F
    told = "16-bit grey values were scaled"
    yield Case("16-bit grey png", saved(deep, "PNG"), told, pixels=three)
    yield Case("16-bit colour png", _png16(shown), pixels=shown)
    yield Case("16-bit grey tiff", saved(deep, "TIFF"), told, pixels=three)
    clear = np.full(shown.shape[:2], 255, np.uint8)
    clear[:20], clear[20:40] = 0, 51
    mixed = shown.astype(float) * (clear / 255)[..., None] + 255 * (1 - clear / 255)[..., None]
    blended = np.floor(mixed + 0.5).astype(np.uint8)
    told = "transparent pixels; they are shown on white"
    layers = np.dstack([shown, clear])
    yield Case("png with alpha", saved(layers, "PNG"), told, pixels=blended, within=0.01)
    yield Case("webp with alpha", saved(layers, "WEBP", lossless=True, exact=True), told, pixels=blended, within=0.01)
    yield Case("tiff with alpha", saved(layers, "TIFF"), told, pixels=blended, within=0.01)
    palette = image.quantize(16)
    plain = np.asarray(palette.convert("RGB"))
    yield Case("palette png", saved(palette, "PNG"), pixels=plain)
    plain = plain.copy()
    plain[np.asarray(palette) == 3] = 255
    yield Case("palette png with a clear colour", saved(palette, "PNG", transparency=3), told, pixels=plain)
    yield Case("wrong extension, jpeg named .dcm", saved(image, "JPEG", quality=95), pixels=shown, within=3)


def _orientations() -> Iterator[Case]:
    """Every EXIF orientation: the picture stored as a camera would, and shown upright (EXIF 2.32, 4.6.4 A)."""
    upright = picture()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.fromarray(np.ascontiguousarray(pixels))
        for kind, within, options in (
            ("PNG", 0, {}),
            ("JPEG", 3, {"quality": 95}),
            ("TIFF", 0, {}),
            ("WEBP", 0, {"lossless": True}),
            ("HEIF", 4, {"quality": 95}),
        ):
            data = saved(image, kind, exif=exif.tobytes() if kind != "TIFF" else exif, **options)
            yield Case(f"{kind} of orientation {orientation}", data, pixels=upright, within=within)
    broken = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    yield Case("damaged exif", saved(upright, "PNG", exif=broken), pixels=upright)


def _pages() -> Iterator[Case]:
    first, second = picture(), picture(seed=8)
    images = [Image.fromarray(p) for p in (first, second, first)]
    for kind, within, options in (
        ("PNG", 0, {}),
        ("WEBP", 0, {"lossless": True}),
        ("TIFF", 0, {}),
        ("MPO", 3, {"quality": 95}),
        ("HEIF", 4, {"quality": 95}),
    ):
        data = saved(images[0], kind, save_all=True, append_images=images[1:], **options)
        yield Case(f"{kind} of several pictures", data, "The file holds 3 pictures; the first", first, within)
    claims = png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    still = saved(first, "PNG")
    yield Case(
        "png that claims two thousand million frames", still[:33] + claims + still[33:], "more than 1000 pictures"
    )


def _tiffs() -> Iterator[Case]:
    grey = np.asarray(Image.fromarray(picture()).convert("L"))
    shown = np.repeat(grey[..., None], 3, -1)
    raw = grey.tobytes()
    yield Case("tiff", tiff(120, 90, {}, raw), pixels=shown)
    yield Case("tiff whose directory leads to itself", tiff(120, 90, {}, raw, following=8), pixels=shown)
    yield Case("tiff whose directory leads nowhere", tiff(120, 90, {}, raw, following=2**31), pixels=shown)
    yield Case("tiff with white as zero", tiff(120, 90, {262: (3, 1, 0)}, raw), pixels=255 - shown)
    deep = (grey.astype("<u2") << 8).tobytes()
    told = "16-bit grey values"
    wide = {258: (3, 1, 16), 279: (4, 1, len(deep))}
    yield Case("16-bit tiff with white as zero", tiff(120, 90, wide | {262: (3, 1, 0)}, deep), told, 255 - shown)
    both = np.dstack([grey, np.full_like(grey, 255)])
    both[:9] = 0
    clear = shown.copy()
    clear[:9] = 255
    layers = {258: (3, 2, 8 | 8 << 16), 277: (3, 1, 2), 338: (3, 1, 1), 279: (4, 1, 2 * len(raw))}
    seen_through = "transparent pixels"
    yield Case("tiff of grey, multiplied by alpha", tiff(120, 90, layers, both.tobytes()), seen_through, clear)
    floats = np.full((90, 120), np.nan, np.float32)
    refused = "floating-point or 32-bit values"
    yield Case("nan tiff", saved(floats, "TIFF"), refused)
    yield Case("32-bit tiff", saved(grey.astype(np.int32), "TIFF"), refused)
    yield Case("camera raw", tiff(120, 90, {50706: (1, 4, 1)}, raw), "a camera raw file")
    yield Case("thumbnail first", tiff(120, 90, {254: (4, 1, 1)}, raw), "a camera raw file")
    yield Case("tiff with a tag of 4 GB", tiff(120, 90, {700: (1, 2**32 - 1, 8)}, raw), pixels=shown)
    pages = b"".join(
        struct.pack("<H", 1) + struct.pack("<HHII", 256, 3, 1, 120) + struct.pack("<I", at)
        for _, at in pairwise(range(0, 18 * 3000, 18))
    )
    data = tiff(120, 90, {}, raw)
    link = data.index(struct.pack("<I", 0) + raw)
    chain = bytearray(data[:link] + struct.pack("<I", len(data)) + raw)
    for i in range(2999):
        chain += pages[18 * i : 18 * i + 14] + struct.pack("<I", len(data) + 18 * (i + 1))
    yield Case("tiff of three thousand pages", bytes(chain), "more than 1000 pictures")


def _profiles() -> Iterator[Case]:
    shown = picture()
    image = Image.fromarray(shown)
    srgb = ImageCms.createProfile("sRGB")
    yield Case("srgb profile", saved(image, "PNG", icc_profile=ImageCms.ImageCmsProfile(srgb).tobytes()), pixels=shown)
    told = "The colour profile is damaged and was ignored"
    yield Case("no profile for a profile", saved(image, "PNG", icc_profile=b"none"), told, pixels=shown)
    told = "The colour profile is one for L*a*b* pictures, not for colour pictures"
    lab = ImageCms.createProfile("LAB")
    wrong = ImageCms.ImageCmsProfile(lab).tobytes()
    yield Case("profile of another colour space", saved(image, "PNG", icc_profile=wrong), told, pixels=shown)
    in_lab = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    back = ImageCms.profileToProfile(in_lab, lab, srgb, outputMode="RGB")
    assert in_lab is not None
    yield Case("tiff in L*a*b*", saved(in_lab, "TIFF"), pixels=np.asarray(back))


def _dicoms() -> Iterator[Case]:
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    three = np.repeat(grey[..., None], 3, -1)
    yield Case("dicom rgb", dicom(shown), pixels=shown)
    planes = np.ascontiguousarray(np.moveaxis(shown, -1, 0))
    yield Case("dicom rgb by plane", dicom(planes.tobytes(), shape=(90, 120), PlanarConfiguration=1), pixels=shown)
    yield Case("dicom monochrome2", dicom(grey, "MONOCHROME2"), pixels=three)
    yield Case("dicom monochrome1", dicom(grey, "MONOCHROME1"), pixels=255 - three)
    twelve = (grey.astype(np.uint16) << 4) | 7
    told = "more than 8 bits were scaled"
    deep = dicom(twelve, "MONOCHROME2", BitsStored=12, HighBit=11)
    from_twelve = np.rint(np.repeat(twelve[..., None], 3, -1) / 4095 * 255).astype(np.uint8)
    yield Case("dicom of 12 bits", deep, told, from_twelve)
    signed = grey.astype(np.int16) - 128
    seen = dicom(signed, "MONOCHROME2", BitsStored=8, HighBit=7)
    yield Case("dicom of signed values", seen, pixels=three)
    luma = np.asarray(Image.fromarray(shown).convert("YCbCr"))
    yield Case("dicom ybr", dicom(luma, "YBR_FULL"), pixels=shown, within=1)
    palette = Image.fromarray(shown).quantize(256)
    colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    colours = np.vstack([colours, np.zeros((256 - len(colours), 3), np.uint8)])
    tables: dict[str, object] = {}
    for i, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = (colours[:, i].astype("<u2") * 257).tobytes()
    indices = np.asarray(palette)
    yield Case("dicom palette", dicom(indices, "PALETTE COLOR", **tables), pixels=colours[indices])
    swapped = dicom(twelve, "MONOCHROME2", ExplicitVRBigEndian, big_endian=True, BitsStored=12, HighBit=11)
    yield Case("dicom big endian", swapped, told, from_twelve)
    yield Case("dicom deflated", dicom(shown, syntax=DeflatedExplicitVRLittleEndian), pixels=shown)
    yield Case("dicom jpeg", dicom_jpeg(shown), pixels=shown, within=3)
    yield Case("dicom jpeg 2000", dicom_jpeg2000(shown), pixels=shown)
    yield Case("dicom rle", dicom_rle(shown), pixels=shown)
    yield Case("dicom lossless jpeg", dicom_by_gdcm(shown, JPEGLosslessSV1), pixels=shown)
    yield Case("dicom jpeg-ls", dicom_by_gdcm(shown, JPEGLSLossless), pixels=shown)
    several = np.stack([shown, 255 - shown, shown])
    frames = dicom(several.tobytes(), shape=(90, 120), NumberOfFrames=3)
    yield Case("dicom of several frames", frames, "The file holds 3 pictures", pixels=shown)
    hostile = {
        "PatientName": "<script>alert(1)</script>" * 50,
        "ImageComments": "\x1b[31m" + "A" * 10_000,
        "PatientComments": "\u202e../../etc/passwd",
        "DerivationDescription": "%s%n" * 100,
    }
    yield Case("dicom with hostile tags", dicom(shown, **hostile), pixels=shown)
    yield Case("dicom with a deep sequence", dicom(shown, ReferencedImageSequence=_nested(150)), pixels=shown)
    window = {"WindowCenter": 1000, "WindowWidth": 500, "BitsStored": 12, "HighBit": 11}
    by_hand = np.clip((twelve - 999.5) / 499 + 0.5, 0, 1)
    through = np.rint(255 * np.repeat(by_hand[..., None], 3, -1)).astype(np.uint8)
    yield Case("dicom with a window", dicom(twelve, "MONOCHROME2", **window), told, through)


def _dicoms_refused() -> Iterator[Case]:
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    yield Case("dicom without pixels", dicom(b"", PixelData=None, Rows=None, Columns=None), "holds no picture")
    yield Case("dicom without a size", dicom(shown, Rows=None), "holds no picture")
    yield Case("dicom of two thousand frames", dicom(shown, NumberOfFrames=2000), "more than 1000 pictures")
    frame = encapsulate([saved(shown, "JPEG")])
    coded = dicom(frame, "YBR_FULL_422", HTJ2K, (90, 120))
    yield Case("dicom in a syntax without a decoder", coded, "High-Throughput JPEG 2000 Image Compression")
    film = dicom(frame, "YBR_FULL_422", "1.2.840.10008.1.2.4.102", (90, 120))
    yield Case("dicom film", film, "MPEG-4 AVC/H.264")
    twelve = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    extended = dicom(frame, "MONOCHROME2", JPEGExtended12Bit, (90, 120), **twelve)
    yield Case("dicom jpeg of 12 bits", extended, "JPEG Extended (Process 2 and 4)")
    maker = dicom(frame, "YBR_FULL_422", JPEGBaseline8Bit, (90, 120)).replace(
        b"1.2.840.10008.1.2.4.50", b"1.2.826.0.1.3680043.22"
    )
    yield Case("dicom in a maker's syntax", maker, "a private transfer syntax")
    yield Case("dicom in colours not known", dicom(shown, "ARGB", SamplesPerPixel=3), "stores its colours in a way")
    yield Case("dicom that contradicts itself", dicom(shown, SamplesPerPixel=1), "contradicts itself")
    yield Case("dicom with fewer pixels than it says", dicom(shown, Rows=91), DAMAGED)
    other = encapsulate([saved(picture(64, 64), "JPEG")])
    yield Case("dicom around another size", dicom(other, "YBR_FULL_422", JPEGBaseline8Bit, (90, 120)), DAMAGED)
    bomb = encapsulate([jpeg_of_size(60_000, 60_000)])
    yield Case("dicom around a bomb", dicom(bomb, "YBR_FULL_422", JPEGBaseline8Bit, (90, 120)), "")
    endless = dicom(grey, "MONOCHROME2", RescaleSlope="1e308", RescaleIntercept="1e308")
    yield Case("dicom of endless brightness", endless, "no usable brightness")
    floats = dicom(grey, "MONOCHROME2", PixelData=None, FloatPixelData=grey.astype("<f4").tobytes(), BitsAllocated=32)
    yield Case("dicom of floats", floats, "floating-point values")


def _nested(depth: int) -> Sequence:
    item = Dataset()
    item.PatientID = "deep"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedImageSequence = Sequence([item])
        item = outer
    return Sequence([item])


def _png16(shown: np.ndarray) -> bytes:
    """Return a PNG of three 16-bit channels, by hand: Pillow does not write it."""
    height, width = shown.shape[:2]
    rows = ((shown.astype(np.uint16) << 8) | 0x7F).astype(">u2").reshape(height, -1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = png_chunk(b"IHDR", head), png_chunk(b"IDAT", zlib.compress(body)), png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _damaged() -> Iterator[Case]:
    """Data lost or zeroed in the middle, and pictures cut at a place where no decoder minds."""
    shown = picture(180, 240)
    image = Image.fromarray(shown)
    jpeg, progressive = saved(image, "JPEG", quality=95), saved(image, "JPEG", quality=95, progressive=True)
    scans = [at for at in range(len(progressive)) if progressive[at : at + 2] == b"\xff\xda"]
    yield Case("jpeg that lost bytes", without(jpeg, 1000), DAMAGED)
    yield Case("jpeg with zeros", with_zeros(jpeg, 600), DAMAGED)
    yield Case("jpeg cut, with an end marker", jpeg[: len(jpeg) // 2] + b"\xff\xd9", DAMAGED)
    yield Case("progressive jpeg that lost bytes", without(progressive), DAMAGED)
    yield Case("progressive jpeg without its last scan", progressive[: scans[-1]] + b"\xff\xd9", DAMAGED)
    seen = np.asarray(Image.open(BytesIO(jpeg)))
    yield Case("jpeg without end marker", jpeg[:-2], "no end marker", pixels=seen)
    yield Case("jpeg with half an end marker", jpeg[:-1], "no end marker", pixels=seen)
    yield Case("dicom jpeg without end marker", _in_dicom(jpeg[:-2], shown), "no end marker", pixels=seen, within=0.5)
    yield Case("dicom jpeg that lost bytes", _in_dicom(without(jpeg, 1000), shown), DAMAGED)
    yield Case("dicom jpeg with zeros", _in_dicom(with_zeros(jpeg, 600), shown), DAMAGED)
    inside = saved(image, "TIFF", compression="jpeg", quality=95)
    yield Case("tiff jpeg with zeros", with_zeros(inside, 600), DAMAGED)
    deflated = saved(image, "TIFF", compression="tiff_adobe_deflate")
    yield Case("tiff deflate with zeros", with_zeros(deflated, 8), DAMAGED)
    heic = saved(image, "HEIF", quality=90)
    tiles = saved(image, "HEIF", quality=90, tile_size=64)
    yield Case("heic of tiles", tiles, pixels=shown, within=4)
    yield Case("heic of tiles with zeros in one", with_zeros(tiles, 64), DAMAGED)
    yield Case("heic with zeros", with_zeros(heic, 64), DAMAGED)
    yield Case("heic that lost its second half", heic[: len(heic) // 2] + bytes(len(heic) // 2), DAMAGED)
    yield Case("webp with zeros", with_zeros(saved(image, "WEBP", quality=90), 256), DAMAGED)
    yield Case("webp that lost bytes", without(saved(image, "WEBP", quality=90)), DAMAGED)
    yield Case("lossless webp with zeros", with_zeros(saved(image, "WEBP", lossless=True), 2000), DAMAGED)
    both = saved(image, "WEBP", save_all=True, append_images=[Image.fromarray(255 - shown)])
    yield Case("webp of several pictures with zeros in the first", with_zeros(both, 256, 0.2), DAMAGED)
    png = bytearray(saved(image, "PNG", compress_level=0))
    png[len(png) // 2] ^= 1
    yield Case("png with one wrong bit", bytes(png), DAMAGED)
    lossless = frame_of(dicom_by_gdcm(shown, JPEGLosslessSV1))
    half = lossless[: len(lossless) // 2] + bytes(len(lossless) // 2 - 2) + b"\xff\xd9"
    yield Case("dicom lossless jpeg, half of it zeros", _in_dicom(half, shown, "RGB", JPEGLosslessSV1), DAMAGED)
    yield Case("lossless jpeg", lossless, pixels=shown)
    deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
    file = dicom_by_gdcm(deep, JPEGLosslessSV1, "MONOCHROME2")
    grey = np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, -1)
    yield Case("dicom lossless jpeg of 16 bits", file, "more than 8 bits", pixels=grey)
    coded = frame_of(file)
    half = coded[: len(coded) // 2] + bytes(len(coded) // 2 - 2) + b"\xff\xd9"
    yield Case("dicom lossless jpeg of 16 bits, half of it zeros", file.replace(coded, half), DAMAGED)
    rle = frame_of(dicom_rle(shown))
    yield Case("dicom rle with zeros", _in_dicom(with_zeros(rle, 256), shown, "RGB", RLELossless), DAMAGED)


def _in_dicom(frame: bytes, shown: np.ndarray, says: str = "YBR_FULL_422", syntax: str = JPEGBaseline8Bit) -> bytes:
    return dicom(encapsulate([frame]), says, syntax, shown.shape[:2])


def _brands() -> Iterator[Case]:
    shown = picture()
    avif, heic = saved(shown, "AVIF", quality=95), saved(shown, "HEIF", quality=95)
    yield Case("avif", avif, pixels=shown, within=4)
    yield Case("avif of brand mif1", avif[:8] + b"mif1" + avif[12:], pixels=shown, within=4)
    for brand in (b"mif2", b"miaf", b"1pic", b"tmap"):
        yield Case(f"heic of brand {brand.decode()}", heic[:8] + brand + heic[12:], pixels=shown, within=4)
    yield Case("Canon's raw file", b"\0\0\0\x18ftypcrx " + bytes(40), "a camera raw file")


def _planes() -> Iterator[Case]:
    shown = picture()
    clear = np.full(shown.shape[:2], 255, np.uint8)
    cmyk = np.asarray(Image.fromarray(shown).convert("CMYK"))
    as_rgb = np.asarray(Image.fromarray(cmyk, "CMYK").convert("RGB"))
    for depth in (np.uint8, np.uint16):
        for order in (False, True):
            for tile in (0, 32):
                how = f"{8 * depth().itemsize} bits, {'MM' if order else 'II'}, {'tiled' if tile else 'one strip'}"
                kinds = (("rgb", 2, shown, shown), ("rgba", 2, np.dstack([shown, clear]), shown))
                for name, photometric, stored, wanted in (*kinds, ("cmyk", 5, cmyk, as_rgb)):
                    planes = np.moveaxis(stored, -1, 0).astype(depth) * (257 if depth is np.uint16 else 1)
                    data = tiff_planes(planes.astype(depth), photometric, order, tile)
                    yield Case(f"tiff of planes: {name}, {how}", data, pixels=wanted)
    planes = np.moveaxis(shown, -1, 0)
    yield Case("big-endian BigTIFF", tiff_planes(planes, 2, True, big=True), pixels=shown)
    yield Case("little-endian BigTIFF", tiff_planes(planes, 2, False, big=True), pixels=shown)
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    both = np.stack([grey, clear])
    data = tiff_planes(np.concatenate([both, both[:1]]), 2).replace(
        struct.pack("<HHII", 262, 3, 1, 2), struct.pack("<HHII", 262, 3, 1, 1)
    )
    yield Case("tiff of planes that are no colours", data, "is not read here")
    small, full = tiff(60, 45, {254: (4, 1, 1)}, bytes(60 * 45)), saved(shown, "TIFF")
    yield Case("tiff whose first page is a reduced one", _two_pages(small, full), "number 2", pixels=shown)


def _two_pages(first: bytes, second: bytes) -> bytes:
    """Return a TIFF with the picture of another behind its own."""
    joined = BytesIO(first)
    with AppendingTiffWriter(joined) as out:
        Image.open(BytesIO(second)).save(out, "TIFF")
        out.newFrame()
    return joined.getvalue()


def _other_kinds() -> Iterator[Case]:
    """Whole files of kinds that are not read: named, not called damaged."""
    shown = picture()
    jpeg = bytearray(saved(shown, "JPEG"))
    jpeg[jpeg.index(b"\xff\xc0") + 4] = 12
    yield Case("jpeg of 12 bits", bytes(jpeg), "a JPEG image of 12 bits a channel")
    yield Case("jpeg-ls", frame_of(dicom_by_gdcm(shown, JPEGLSLossless)), "a JPEG-LS image")
    floats = tiff(120, 90, {258: (3, 1, 32), 339: (3, 1, 3)}, bytes(120 * 90 * 4))
    yield Case("tiff of floats", floats, "floating-point or 32-bit values")
    for method, name in ((34887, "LERC"), (50001, "WebP"), (34712, "JPEG 2000"), (50002, "JPEG XL")):
        yield Case(f"tiff compressed as {name}", tiff(120, 90, {259: (3, 1, method)}, bytes(99)), f"as {name}, which")
    yield Case("tiff of five bits", tiff(120, 90, {258: (3, 1, 5)}, bytes(120 * 90)), "a kind of pixels")
    for near, syntax, name in (  # pydicom writes no syntax that it does not know
        (HTJ2K, b"1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
        (JPEGBaseline8Bit, b"1.2.840.10008.1.2.8.1\0", "Deflated Image Frame Compression"),
        (HTJ2K, b"1.2.840.10008.1.2.4.999", "a transfer syntax that is not known here"),
    ):
        data = dicom(encapsulate([b"frame"]), "RGB", near, (90, 120)).replace(near.encode(), syntax)
        yield Case(f"dicom as {name}", data, name)
    clear = np.dstack([shown, np.zeros(shown.shape[:2], np.uint8)])
    yield Case("nothing but transparency", saved(clear, "PNG"), "Every pixel of the image is transparent")


def _to_srgb(linear: np.ndarray) -> np.ndarray:
    """Return 8-bit sRGB of linear values in 0..1 (IEC 61966-2-1)."""
    low = linear <= 0.0031308
    return np.rint(255 * np.where(low, 12.92 * linear, 1.055 * linear.clip(0, 1) ** (1 / 2.4) - 0.055)).astype(np.uint8)


def _colour_tags() -> Iterator[Case]:
    shown = picture()
    image = Image.fromarray(shown)
    grey = np.asarray(image.convert("L"))
    three = np.repeat(grey[..., None], 3, -1)
    linear, linear_grey = (named_srgb(colour.coded(1, 8, mode, [])) for mode in ("RGB", "L"))
    bright, bright_grey = _to_srgb(shown / 255), _to_srgb(three / 255)
    for kind in ("PNG", "TIFF"):
        yield Case(
            f"linear profile named sRGB, {kind}", saved(image, kind, icc_profile=linear), pixels=bright, within=0.6
        )
    fits = saved(Image.fromarray(grey), "PNG", icc_profile=linear_grey)
    yield Case("grey with a grey profile", fits, pixels=bright_grey, within=0.6)
    deep = grey.astype(np.uint16) * 257
    told = "16-bit grey values"
    for kind in ("PNG", "TIFF"):
        data = saved(deep, kind, icc_profile=linear_grey)
        yield Case(f"16-bit grey with a grey profile, {kind}", data, told, pixels=bright_grey, within=0.6)
    layers = Image.fromarray(np.dstack([grey, np.full_like(grey, 255)]), "LA")
    data = saved(layers, "PNG", icc_profile=linear_grey)
    yield Case("grey and alpha with a grey profile", data, pixels=bright_grey, within=0.6)
    told = "The colour profile is one for colour pictures, not for grey pictures"
    yield Case(
        "grey with a profile of RGB", saved(Image.fromarray(grey), "PNG", icc_profile=linear), told, pixels=three
    )
    yield Case("dicom with a profile", dicom(shown, ICCProfile=linear), pixels=bright, within=0.6)
    path = Dataset()
    path.ICCProfile = linear
    slide = dicom(shown, OpticalPathSequence=Sequence([path]))
    yield Case("dicom with the profile of an optical path", slide, pixels=bright, within=0.6)
    plain = saved(image, "PNG")
    srgb = png_chunk(b"sRGB", b"\0")
    gamma, usual = (png_chunk(b"gAMA", struct.pack(">I", value)) for value in (100_000, 45_455))
    p3, pq = png_chunk(b"cICP", bytes([12, 13, 0, 1])), png_chunk(b"cICP", bytes([9, 16, 0, 1]))
    matrix = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])
    value = shown / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    wide = _to_srgb(light @ matrix.T)
    whites = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    for name, chunks, wanted, says in (
        ("gAMA of linear light", gamma, bright, ""),
        ("the usual gAMA", usual, shown, ""),
        ("sRGB before gAMA", srgb + gamma, shown, ""),
        ("cICP of Display P3", p3, wide, ""),
        ("cICP of PQ, without its primaries", png_chunk(b"cICP", bytes([1, 16, 0, 1])), shown, "high brightness (HDR)"),
        ("cICP of a curve of film", png_chunk(b"cICP", bytes([1, 9, 0, 1])), shown, "colour tags that are not read"),
        ("cHRM of Display P3", png_chunk(b"cHRM", whites), wide, ""),
    ):
        yield Case(f"png with {name}", plain[:33] + chunks + plain[33:], says, pixels=wanted, within=0.7)
    assert pq
    for kind in ("AVIF", "HEIF"):
        coded = saved(image, kind, quality=95)
        at = coded.index(b"colrnclx") + 8
        tagged = coded[:at] + struct.pack(">HH", 12, 13) + coded[at + 4 :]
        yield Case(f"{kind} of Display P3", tagged, pixels=wide, within=5)
        tagged = coded[:at] + struct.pack(">HH", 1, 16) + coded[at + 4 :]
        yield Case(f"{kind} of PQ", tagged, "high brightness (HDR)", pixels=shown, within=4)
    yield Case("bmp with a profile", _bmp_v5(shown, linear), pixels=bright, within=0.6)
    yield Case("bmp whose alpha is all zero", _bmp_v5(np.dstack([shown, np.zeros_like(grey)])), pixels=shown)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    told = "Only the XMP data say that the picture is to be turned"
    for kind in ("JPEG", "PNG", "WEBP"):
        options = {"quality": 95, "xmp": xmp} if kind != "PNG" else {"pnginfo": _xmp_text(xmp)}
        yield Case(f"orientation in XMP alone, {kind}", saved(image, kind, **options), told, pixels=shown, within=5)


def _xmp_text(xmp: bytes) -> PngInfo:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return info


def _bmp_v5(pixels: np.ndarray, profile: bytes = b"") -> bytes:
    """Return a BMP of 24 or 32 bits with a header of version 5, and a profile."""
    height, width, channels = pixels.shape
    order = [2, 1, 0, 3][:channels]
    body = pixels[::-1, :, order].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if channels == 4 else bytes(16)
    head = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 8 * channels, 3 * (channels == 4), len(body), 0, 0, 0, 0)
    space = b"DEBM" if profile else b"BGRs"
    head += masks + space + bytes(48) + struct.pack("<IIII", 4, 124 + len(body), len(profile), 0)
    return b"BM" + struct.pack("<IHHI", 138 + len(body) + len(profile), 0, 0, 138) + head + body + profile


def _greys() -> Iterator[Case]:
    """Everything that a grey or palette DICOM file may say of brightness."""
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    three = np.repeat(grey[..., None], 3, -1)
    empty = {"WindowCenter": "", "WindowWidth": "", "RescaleSlope": "", "RescaleIntercept": "", "VOILUTFunction": ""}
    yield Case("dicom with empty window and rescale", dicom(grey, "MONOCHROME2", **empty), pixels=three)
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        for depth in (8, 16):
            table = Dataset()
            table.LUTDescriptor = [256, 0, depth]
            table.LUTData = (np.arange(256)[::-1] * (257 if depth == 16 else 1)).astype("<u2").tobytes()
            table["LUTData"].VR = "OW"
            data = dicom(grey, "MONOCHROME2", **{name: Sequence([table])})
            yield Case(f"dicom with {name} of {depth} bits", data, pixels=255 - three)
        yield Case(f"dicom with an empty {name}", dicom(grey, "MONOCHROME2", **{name: Sequence([])}), pixels=three)
    yield Case("dicom shown inverse", dicom(grey, "MONOCHROME2", PresentationLUTShape="INVERSE"), pixels=255 - three)
    yield Case(
        "dicom monochrome1, inverse", dicom(grey, "MONOCHROME1", PresentationLUTShape="INVERSE"), pixels=255 - three
    )
    falling = {"RescaleSlope": -1, "RescaleIntercept": 255}
    yield Case("dicom with a falling rescale", dicom(grey, "MONOCHROME2", **falling), pixels=255 - three)
    window, group, seen = Dataset(), Dataset(), np.clip((grey - 99.5) / 49 + 0.5, 0, 1)
    window.WindowCenter, window.WindowWidth = 100, 50
    group.FrameVOILUTSequence = Sequence([window])
    through = np.rint(255 * np.repeat(seen[..., None], 3, -1)).astype(np.uint8)
    for which in ("Shared", "PerFrame"):
        data = dicom(grey, "MONOCHROME2", **{f"{which}FunctionalGroupsSequence": Sequence([group])})
        yield Case(f"dicom with a window in {which} groups", data, pixels=through)
    twelve = grey.astype(np.uint16) << 4 | grey >> 4
    told = "more than 8 bits were scaled"
    high = dicom(twelve << 4, "MONOCHROME2", BitsStored=12, HighBit=15)
    yield Case("dicom of 12 bits, the highest", high, told, pixels=three)
    beside = dicom(twelve | 0x5000, "MONOCHROME2", BitsStored=12, HighBit=11)
    yield Case("dicom of 12 bits with an overlay beside them", beside, told, pixels=three)
    palette = Image.fromarray(shown).quantize(256)
    colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    colours = np.vstack([colours, np.zeros((256 - len(colours), 3), np.uint8)])
    indices = np.asarray(palette)
    tables: dict[str, object] = {}
    for i, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = colours[:, i].astype("<u2").tobytes()
    data = dicom(indices, "PALETTE COLOR", **tables)
    yield Case("dicom palette of 8 bits in 16", data, "they were read as 8", pixels=colours[indices])


def _mislabelled() -> Iterator[Case]:
    """DICOM files that say something of their frames that the frames contradict."""
    shown = picture()
    for name, stored in (("TIFF", b"II*\0\x08\0\0\0"), ("BMP", b"BM")):
        yield Case(f"dicom with the preamble of {name}", stored.ljust(128, b"\0") + dicom(shown)[128:], pixels=shown)
    by_plane = {"PlanarConfiguration": 1}
    yield Case("dicom jpeg, said to be by plane", dicom_jpeg(shown, **by_plane), pixels=shown, within=3)
    yield Case("dicom jpeg 2000, said to be by plane", dicom_jpeg2000(shown, **by_plane), pixels=shown)
    yield Case("dicom rle, said to be by plane", dicom_rle(shown, **by_plane), pixels=shown)
    for syntax in (JPEGLosslessSV1, JPEGLSLossless):
        frame = encapsulate([frame_of(dicom_by_gdcm(shown, syntax))])
        data = dicom(frame, "RGB", syntax, (90, 120), **by_plane)
        yield Case(f"dicom {UID(syntax).name}, said to be by plane", data, pixels=shown)
    coded = encapsulate([jpeg_of_rgb(shown)])
    data = dicom(coded, "RGB", JPEGBaseline8Bit, (90, 120))
    yield Case("dicom jpeg of components named R, G, B", data, pixels=shown, within=3)
    jpeg = saved(shown, "JPEG", quality=95)
    bare = jpeg[:2] + jpeg[2 + 2 + int.from_bytes(jpeg[4:6], "big") :]  # without JFIF's marker
    luma = Image.open(BytesIO(jpeg))
    luma.draft("YCbCr", luma.size)
    says = "they look like YCbCr"
    data = dicom(encapsulate([bare]), "RGB", JPEGBaseline8Bit, (90, 120))
    yield Case("dicom jpeg of YCbCr said to be RGB", data, says, pixels=np.asarray(luma))
