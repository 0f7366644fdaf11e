"""Data lost or zeroed in the middle, and pictures cut at a place where no decoder minds. Drawn here, by code."""

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from dermlens.ingest.decoders.heif import boxes
from tests.corpus.case import DAMAGED, Case
from tests.corpus.encodings import arithmetic
from tests.image_files import (
    dicom,
    dicom_by_gdcm,
    dicom_jpeg2000,
    dicom_rle,
    frame_of,
    picture,
    png,
    png_chunk,
    saved,
    tiff,
    with_zeros,
    without,
)


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    yield from _damaged()
    yield from _rows_missing()


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
    old = saved(image, "JPEG", quality=95, subsampling="4:2:0")
    yield Case("tiff of old-style jpeg", _tiff_old_jpeg(old, 240, 180), pixels=shown, within=3)
    apart = _tiff_old_jpeg_in_parts(old, 240, 180)
    told = "Whether the JPEG data are whole could not be checked"
    yield Case("tiff of old-style jpeg in parts", apart, told, pixels=shown, within=3)
    cut = old[: len(old) * 6 // 10] + b"\xff\xd9"
    yield Case("tiff of old-style jpeg cut, with an end marker", _tiff_old_jpeg(cut, 240, 180), DAMAGED)
    deflated = saved(image, "TIFF", compression="tiff_adobe_deflate")
    yield Case("tiff deflate with zeros", with_zeros(deflated, 8), DAMAGED)
    heic = saved(image, "HEIF", quality=90)
    tiles = saved(image, "HEIF", quality=90, tile_size=64)
    yield Case("heic of tiles", tiles, pixels=shown, within=4)
    yield Case("heic of tiles with zeros in one", with_zeros(tiles, 64), DAMAGED)
    yield Case("heic with zeros", with_zeros(heic, 64), DAMAGED)
    yield Case("heic that lost its second half", heic[: len(heic) // 2] + bytes(len(heic) // 2), DAMAGED)
    for name, unit in (
        ("an end of sequence", b"\x48\1"),
        ("an end of bitstream", b"\x4a\1"),
        ("filler data", b"\x4c\1" + b"\xff" * 20 + b"\x80"),
        ("a message", b"\x50\1\5\x18" + b"0123456789abcdef" + b"a text  " + b"\x80"),  # user data, unregistered
    ):
        yield Case(f"heic with {name} behind its picture", _with_unit(heic, unit), pixels=shown, within=4)
        torn = with_zeros(_with_unit(heic, unit), 64)
        yield Case(f"heic with {name} behind its picture, and zeros in that", torn, DAMAGED)
    alone = saved(image, "HEIF", quality=90, enc_params={"x265:wpp": "0"})
    yield Case("heic without parallel rows", alone, pixels=shown, within=4)
    for name, share in (("first", 0.3), ("second", 0.7)):
        yield Case(f"heic without parallel rows, zeros in its {name} half", with_zeros(alone, 64, share), DAMAGED)
    avif = saved(image, "AVIF", quality=90)
    yield Case("avif with zeros", with_zeros(avif, 64), DAMAGED)
    yield Case("avif that lost its second half", avif[: len(avif) // 2] + bytes(len(avif) // 2), DAMAGED)
    yield Case("lossless webp with few zeros", with_zeros(saved(image, "WEBP", lossless=True), 64), DAMAGED)
    if arithmetic_coded := arithmetic(shown, "-quality", "95"):
        yield Case("arithmetic-coded jpeg that lost bytes", without(arithmetic_coded, 600, 0.4), DAMAGED)
    lost = with_zeros(frame_of(dicom_jpeg2000(shown)), 600)
    file = _in_dicom(lost, shown, "YBR_RCT", JPEG2000)
    yield Case("dicom jpeg 2000 with zeros", file, "as if a part were lost", pixels=shown, within=64)
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


def _rows_missing() -> Iterator[Case]:
    """PNG files whose data end too early without a sign of it: the stream has its end, and every check sum is right."""
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    row, last_pass = 1 + 3 * 120, 45 * (1 + 3 * 120)  # the last pass of Adam7 has every second row in full
    for name, whole, missing in (
        ("its last row", png(shown), row),
        ("a byte of its last row", png(shown), 1),
        ("forty rows", png(shown), 40 * row),
        ("everything", png(shown), 90 * row),
        ("a row of 16-bit grey", png(grey.astype(np.uint16) * 257, 16), 1 + 2 * 120),
        ("a row of single bits", png(grey >> 7, 1), 1 + 15),
        ("its last pass", png(shown, interlaced=True), last_pass),
        ("a row of its last pass", png(shown, interlaced=True), row),
        ("a row of its last pass of four bits", png(grey >> 4, 4, interlaced=True), 1 + 60),
    ):
        yield Case(f"png that lacks {name}", _with_other_rows(whole, lambda rows, n=missing: rows[:-n]), DAMAGED)
    more = _with_other_rows(png(shown), lambda rows: rows + rows)
    yield Case("png of more rows than it needs", more, pixels=shown)
    apart = _with_other_rows(png(shown), lambda rows: rows, parts=7)
    yield Case("png of many chunks, one of them empty", apart, pixels=shown)


def _with_other_rows(file: bytes, change: Callable[[bytes], bytes], parts: int = 1) -> bytes:
    """Return a PNG with a function of its bytes of pixels for these, in some chunks and an empty one."""
    at = file.index(b"IDAT")
    end = at + 4 + int.from_bytes(file[at - 4 : at], "big")
    coded = zlib.compress(change(zlib.decompress(file[at + 4 : end])))
    step = -(-len(coded) // parts)
    chunks = [png_chunk(b"IDAT", coded[i : i + step]) for i in range(0, len(coded), step)]
    return file[: at - 4] + b"".join([*chunks[:1], png_chunk(b"IDAT", b""), *chunks[1:]]) + file[end + 4 :]


def _with_unit(heic: bytes, unit: bytes) -> bytes:
    """Return a HEIC of one item, by Pillow's plugin, with a NAL unit more at the end of its data."""
    file = boxes.read(heic)
    ((start, length),) = file.places[file.primary]
    more = struct.pack(">I", len(unit)) + unit
    grown = bytearray(heic[: start + length] + more + heic[start + length :])
    mdat = heic.index(b"mdat") - 4
    place = heic.index(struct.pack(">I", length), heic.index(b"iloc"))
    for at in (mdat, place):
        struct.pack_into(">I", grown, at, int.from_bytes(heic[at : at + 4], "big") + len(more))
    return bytes(grown)


def _in_dicom(frame: bytes, shown: np.ndarray, says: str = "YBR_FULL_422", syntax: str = JPEGBaseline8Bit) -> bytes:
    return dicom(encapsulate([frame]), says, syntax, shown.shape[:2])


def _tiff_old_jpeg(stream: bytes, width: int, height: int) -> bytes:
    """Return a TIFF around a JPEG of YCbCr 4:2:0, in the old way (TIFF 6.0, section 22)."""
    tags = {258: (3, 1, 8), 259: (3, 1, 6), 262: (3, 1, 6), 277: (3, 1, 3), 512: (3, 1, 1), 530: (3, 2, 2 | 2 << 16)}
    at = 8 + 2 + 12 * (9 + 4) + 4
    return tiff(width, height, {**tags, 513: (4, 1, at), 514: (4, 1, len(stream))}, stream)


def _tiff_old_jpeg_in_parts(stream: bytes, width: int, height: int) -> bytes:
    """Return a TIFF of a baseline JPEG of YCbCr 4:2:0 whose tables and data lie apart (TIFF 6.0, section 22)."""
    tables: dict[tuple[int, int], bytes] = {}
    at = 2
    while stream[at + 1] != 0xDA:
        size = int.from_bytes(stream[at + 2 : at + 4], "big")
        segment, marker = stream[at + 4 : at + 2 + size], stream[at + 1]
        while segment and marker in (0xC4, 0xDB):
            length = 64 if marker == 0xDB else 16 + sum(segment[1:17])
            tables[marker, segment[0]] = segment[1 : 1 + length]
            segment = segment[1 + length :]
        at += 2 + size
    scan = stream[at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big") : -2]
    tags = {258: (3, 1, 8), 259: (3, 1, 6), 262: (3, 1, 6), 277: (3, 1, 3), 512: (3, 1, 1), 530: (3, 2, 2 | 2 << 16)}
    body, begin = scan + bytes(len(scan) % 2), 8 + 2 + 12 * (9 + 2 + 3) + 4
    for tag, marker, high in ((519, 0xDB, 0), (520, 0xC4, 0), (521, 0xC4, 0x10)):
        places = []
        for number in (0, 1):
            places.append(begin + len(body))
            body += tables[marker, high | number]
        tags[tag] = (4, 3, begin + len(body))
        body += struct.pack("<3I", *places, places[1])
    return tiff(width, height, {**tags, 279: (4, 1, len(scan))}, body)
