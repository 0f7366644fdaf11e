"""Whole files of every encoding that the accepted formats allow: sampling, depth, order, compression. Drawn by code."""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from tests.corpus.case import ROUGH_CMYK, Case
from tests.image_files import (
    dicom,
    dicom_by_gdcm,
    dicom_rle,
    frame_of,
    jpeg_of_rgb,
    picture,
    png,
    saved,
    tiff_interleaved,
)

ODD = (91, 121)
"""A size that is no multiple of anything."""
DEEP = "16-bit grey values were scaled"


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    for part in (_jpeg, _png, _webp, _tiff, _bmp, _heic, _avif, _dicom):
        yield from part(picture(*ODD))


def arithmetic(shown: np.ndarray, *options: str) -> bytes | None:
    """Return an arithmetic-coded JPEG by libjpeg-turbo's own tool, None where there is none: no library writes them."""
    if not shutil.which("cjpeg"):
        return None
    command = ["cjpeg", "-arithmetic", *options]
    return subprocess.run(command, input=saved(shown, "PPM"), capture_output=True, check=True).stdout


def _grey(shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    return grey, np.repeat(grey[..., None], 3, -1)


def _jpeg(shown: np.ndarray) -> Iterator[Case]:
    for sampling in ("4:4:4", "4:2:2", "4:2:0", "4:1:1"):
        data = saved(shown, "JPEG", quality=95, subsampling=sampling)
        yield Case(f"jpeg {sampling}", data, pixels=shown, within=3)
    tall = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440]
    yield Case("jpeg 4:4:0", cv2.imencode(".jpg", shown[..., ::-1], tall)[1].tobytes(), pixels=shown, within=3)
    usual = {"quality": 95, "subsampling": "4:2:0"}
    for progressive in (False, True):
        data = saved(shown, "JPEG", **usual, progressive=progressive, restart_marker_blocks=3)
        how = "progressive" if progressive else "sequential"
        yield Case(f"jpeg with restart markers, {how}", data, pixels=shown, within=3)
    yield Case("jpeg of optimised codes", saved(shown, "JPEG", **usual, optimize=True), pixels=shown, within=3)
    yield Case("jpeg of RGB, said by Adobe", saved(shown, "JPEG", quality=95, keep_rgb=True), pixels=shown, within=3)
    yield Case("jpeg of components named R, G, B", jpeg_of_rgb(shown), pixels=shown, within=3)
    large = picture(1200, 1600)
    for name, drawn, options in (
        ("arithmetic-coded jpeg", shown, ("-quality", "95")),
        ("arithmetic-coded progressive jpeg", shown, ("-quality", "95", "-progressive")),
        ("arithmetic-coded jpeg with restart markers", shown, ("-quality", "95", "-restart", "1")),
        ("arithmetic-coded jpeg of over 64 KiB", large, ("-quality", "97")),
        ("arithmetic-coded progressive jpeg of over 64 KiB", large, ("-quality", "97", "-progressive")),
    ):
        if coded := arithmetic(drawn, *options):
            assert drawn is shown or len(coded) > 1 << 16
            yield Case(name, coded, pixels=drawn, within=3)


def _png(shown: np.ndarray) -> Iterator[Case]:
    grey, three = _grey(shown)
    for name, samples, options, seen, says in (
        ("rgb", shown, {}, shown, ""),
        ("rgba", np.dstack([shown, np.full_like(grey, 255)]), {}, shown, ""),
        ("grey of 16 bits", grey.astype(np.uint16) * 257, {"depth": 16}, three, DEEP),
        (
            "grey and alpha of 16 bits",
            np.dstack([grey, np.full_like(grey, 255)]) * np.uint16(257),
            {"depth": 16},
            three,
            "",
        ),
        ("rgba of 16 bits", np.dstack([shown, np.full_like(grey, 255)]) * np.uint16(257), {"depth": 16}, shown, ""),
        *((f"grey of {d} bits", grey >> (8 - d), {"depth": d}, _spread(three, d), "") for d in (1, 2, 4)),
    ):
        for interlaced in (False, True):
            how = f"{name}, interlaced" if interlaced else name
            yield Case(f"png of {how}", png(samples, interlaced=interlaced, **options), says, pixels=seen)
    told = "transparent pixels; they are shown on white"
    level = grey[45, 60]
    clear = np.where(three == level, np.uint8(255), three)
    yield Case("png of grey with a clear level", png(grey, clear=[int(level)]), told, pixels=clear)
    point = shown[45, 60]
    clear = np.where((shown == point).all(-1)[..., None], np.uint8(255), shown)
    yield Case("png of rgb with a clear colour", png(shown, clear=[int(v) for v in point]), told, pixels=clear)
    yield from _clear_colours(shown)
    for bits in (1, 2, 4, 8):
        palette = Image.fromarray(shown).quantize(1 << bits)
        yield Case(
            f"png of a palette of {bits} bits",
            saved(palette, "PNG", bits=bits),
            pixels=np.asarray(palette.convert("RGB")),
        )


def _clear_colours(shown: np.ndarray) -> Iterator[Case]:
    """One value is transparent, in all of its bits and in none else (PNG, third edition, 11.3.1.1)."""
    told = "transparent pixels; they are shown on white"
    grey, three = _grey(shown)
    for bits in (1, 2, 4, 8):
        stored, seen = grey >> (8 - bits), _spread(three, bits)
        level = int(stored[45, 60])
        clear = np.where((stored == level)[..., None], np.uint8(255), seen)
        for interlaced in (False, True):
            data = png(stored, bits, interlaced, [level])
            yield Case(f"png of grey of {bits} bits, one clear{', interlaced' * interlaced}", data, told, clear)
        if bits > 1:
            absent = next(v for v in range(1 << bits) if bits == 2 or v not in stored)
            kept = np.where(stored == absent, (absent + 1) % (1 << bits), stored).astype(np.uint8)
            seen = _spread(np.repeat(kept[..., None] << (8 - bits), 3, -1), bits)
            yield Case(f"png of grey of {bits} bits, an absent one clear", png(kept, bits, clear=[absent]), pixels=seen)
    for name, rounded, drawn in (("grey", grey, three), ("rgb", shown, shown)):
        deep = rounded * np.uint16(257)
        deep[:20] = 0x1234
        seen = drawn.copy()
        seen[:20] = 255
        says = DEEP if name == "grey" else ""
        for how, interlaced in (("", False), (", interlaced", True)):
            key = [0x1234] * (1 if name == "grey" else 3)
            yield Case(f"png of {name} of 16 bits, one clear{how}", png(deep, 16, interlaced, key), told, seen)
        seen = drawn.copy()
        seen[:20] = 0x12
        point = [int(v) for v in np.atleast_1d(rounded[45, 60])]
        for half, key in (("lower", [0x100 | v for v in point]), ("upper", [v << 8 | (v ^ 1) for v in point])):
            data = png(deep, 16, clear=key)
            yield Case(f"png of {name} of 16 bits, clear is one that agrees in its {half} half", data, says, seen)
    for name, level, depth in (("grey of 16 bits", 0x1234, 16), ("grey", 0, 8)):
        data = png(np.full((40, 40), level), depth, clear=[level])
        yield Case(f"png of {name}, all of it clear", data, "Every pixel of the image is transparent")


def _spread(values: np.ndarray, bits: int) -> np.ndarray:
    """Return 8-bit values as they are after being stored with fewer bits (PNG, third edition, 13.12)."""
    return np.rint((values >> (8 - bits)) * (255 / ((1 << bits) - 1))).astype(np.uint8)


def _webp(shown: np.ndarray) -> Iterator[Case]:
    yield Case("lossy webp", saved(shown, "WEBP", quality=95), pixels=shown, within=4)
    yield Case("lossy webp of few bytes", saved(shown, "WEBP", quality=5), pixels=shown, within=9)
    yield Case("lossless webp of odd size", saved(shown, "WEBP", lossless=True), pixels=shown)
    clear = np.full(shown.shape[:2], 255, np.uint8)
    clear[:30] = 0
    seen = shown.copy()
    seen[:30] = 255
    layers = np.dstack([shown, clear])
    yield Case("lossy webp with alpha", saved(layers, "WEBP", quality=95), "shown on white", pixels=seen, within=4)


def _tiff(shown: np.ndarray) -> Iterator[Case]:
    image = Image.fromarray(shown)
    grey, three = _grey(shown)
    for method in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "lzma", "zstd"):
        data = saved(image, "TIFF", compression=method)
        yield Case(f"tiff as {method}", data, pixels=shown)
    for method in ("tiff_lzw", "tiff_adobe_deflate"):
        data = saved(image, "TIFF", compression=method, tiffinfo={317: 2})
        yield Case(f"tiff as {method}, of differences", data, pixels=shown)
    for method in ("group3", "group4", "tiff_ccitt", "packbits"):
        black = image.convert("1")
        data = saved(black, "TIFF", compression=method)
        yield Case(f"tiff of black and white as {method}", data, pixels=np.asarray(black.convert("RGB")))
    yield Case("tiff as jpeg", saved(image, "TIFF", compression="jpeg", quality=95), pixels=shown, within=3)
    yield Case(
        "tiff as jpeg, of grey",
        saved(Image.fromarray(grey), "TIFF", compression="jpeg", quality=95),
        pixels=three,
        within=3,
    )
    palette = image.quantize(64)
    yield Case("tiff of a palette", saved(palette, "TIFF"), pixels=np.asarray(palette.convert("RGB")))
    cmyk = image.convert("CMYK")
    yield Case("tiff of CMYK", saved(cmyk, "TIFF"), ROUGH_CMYK, pixels=np.asarray(cmyk.convert("RGB")))
    data = saved(cmyk, "TIFF", compression="tiff_lzw")
    yield Case("tiff of CMYK as lzw", data, ROUGH_CMYK, pixels=np.asarray(cmyk.convert("RGB")))
    yield Case("BigTIFF", saved(image, "TIFF", big_tiff=True), pixels=shown)
    yield Case("tiff of many strips", saved(image, "TIFF", compression="tiff_lzw", strip_size=1024), pixels=shown)
    clear = np.full_like(grey, 255)
    for order in (False, True):
        for tile in (0, 32):
            how = f"{'MM' if order else 'II'}, {'tiled' if tile else 'one strip'}"
            for name, stored, wanted, says in (
                ("rgb of 8 bits", shown, shown, ""),
                ("rgb of 16 bits", shown * np.uint16(257), shown, ""),
                ("rgba of 16 bits", np.dstack([shown, clear]) * np.uint16(257), shown, ""),
                ("grey of 16 bits", (grey * np.uint16(257))[..., None], three, DEEP),
            ):
                yield Case(f"tiff of {name}, {how}", tiff_interleaved(stored, order, tile), says, pixels=wanted)


def _bmp(shown: np.ndarray) -> Iterator[Case]:
    height, width = shown.shape[:2]
    image = Image.fromarray(shown)

    def bmp(
        bits: int, rows: list[bytes], method: int = 0, after: bytes = b"", down: bool = False, colours: int = 0
    ) -> bytes:
        body = b"".join(row + bytes(-len(row) % 4) if method != 1 else row for row in (rows if down else rows[::-1]))
        side = -height if down else height
        head = struct.pack("<IiiHHIIiiII", 40, width, side, 1, bits, method, len(body), 0, 0, colours, 0) + after
        return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body

    order = shown[..., ::-1]
    rows = [row.tobytes() for row in order]
    yield Case("bmp of 24 bits", bmp(24, rows), pixels=shown)
    yield Case("bmp from the top", bmp(24, rows, down=True), pixels=shown)
    padded = np.dstack([order, np.zeros((height, width), np.uint8)])
    yield Case("bmp of 32 bits", bmp(32, [row.tobytes() for row in padded]), pixels=shown)
    for name, widths, masks in (("555", (5, 5, 5), b""), ("565", (5, 6, 5), struct.pack("<3I", 0xF800, 0x7E0, 0x1F))):
        few = [shown[..., i].astype(int) * ((1 << b) - 1) // 255 for i, b in enumerate(widths)]
        packed = (few[0] << (widths[1] + widths[2]) | few[1] << widths[2] | few[2]).astype("<u2")
        seen = np.dstack([np.rint(v * 255 / ((1 << b) - 1)) for v, b in zip(few, widths, strict=True)]).astype(np.uint8)
        data = bmp(16, [row.tobytes() for row in packed], 3 if masks else 0, masks)
        yield Case(f"bmp of 16 bits, {name}", data, pixels=seen, within=1)
    for bits in (1, 4, 8):
        palette = image.quantize(1 << bits)
        colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
        colours = np.vstack([colours, np.zeros(((1 << bits) - len(colours), 3), np.uint8)])
        table = np.dstack([colours[None, :, ::-1], np.zeros((1, 1 << bits, 1), np.uint8)]).tobytes()
        indices = np.asarray(palette)
        wide = np.unpackbits(indices[..., None], axis=-1)[..., 8 - bits :].reshape(height, -1)
        data = bmp(bits, [row.tobytes() for row in np.packbits(wide, axis=-1)], after=table, colours=1 << bits)
        yield Case(f"bmp of a palette of {bits} bits", data, pixels=colours[indices])
    runs = [b"".join(bytes([1, v]) for v in row) + b"\0\0" for row in indices]
    runs[0] += b"\0\1"  # the last to be written is the top
    yield Case("bmp of runs", bmp(8, runs, 1, table, colours=256), pixels=colours[indices])


def _heic(shown: np.ndarray) -> Iterator[Case]:
    import pillow_heif

    grey, three = _grey(shown)
    for sampling in (420, 422, 444):
        data = saved(shown, "HEIF", quality=95, chroma=sampling)
        yield Case(f"heic {sampling}", data, pixels=shown, within=4)
    lossless = saved(shown, "HEIF", quality=-1, chroma=444, matrix_coefficients=0)
    yield Case("lossless heic", lossless, pixels=shown, within=1)
    yield Case("heic of grey", saved(Image.fromarray(grey), "HEIF", quality=95), pixels=three, within=3)
    clear = np.full_like(grey, 255)
    clear[:30] = 0
    seen = shown.copy()
    seen[:30] = 255
    data = saved(np.dstack([shown, clear]), "HEIF", quality=95)
    yield Case("heic with alpha", data, "shown on white", pixels=seen, within=4)
    deep = pillow_heif.from_bytes("RGB;16", shown.shape[1::-1], (shown * np.uint16(257)).tobytes())
    file = BytesIO()
    deep.save(file, quality=95)
    yield Case("heic of 10 bits", file.getvalue(), pixels=shown, within=4)


def _avif(shown: np.ndarray) -> Iterator[Case]:
    grey, three = _grey(shown)
    for sampling in ("4:2:0", "4:2:2", "4:4:4"):
        data = saved(shown, "AVIF", quality=95, subsampling=sampling)
        yield Case(f"avif {sampling}", data, pixels=shown, within=4)
    yield Case("avif of grey", saved(Image.fromarray(grey), "AVIF", quality=95), pixels=three, within=3)
    yield Case("avif of limited range", saved(shown, "AVIF", quality=95, range="limited"), pixels=shown, within=4)
    clear = np.full_like(grey, 255)
    clear[:30] = 0
    seen = shown.copy()
    seen[:30] = 255
    data = saved(np.dstack([shown, clear]), "AVIF", quality=95)
    yield Case("avif with alpha", data, "shown on white", pixels=seen, within=4)
    for depth in (10, 12):
        options = [cv2.IMWRITE_AVIF_QUALITY, 95, cv2.IMWRITE_AVIF_DEPTH, depth]
        stored = shown[..., ::-1].astype(int) * ((1 << depth) - 1) // 255
        data = cv2.imencode(".avif", stored.astype(np.uint16), options)[1].tobytes()
        yield Case(f"avif of {depth} bits", data, pixels=shown, within=4)


def _dicom(shown: np.ndarray) -> Iterator[Case]:
    grey, three = _grey(shown)
    image, luma = Image.fromarray(shown), np.asarray(Image.fromarray(shown).convert("YCbCr"))
    size = shown.shape[:2]
    told = "more than 8 bits were scaled"
    deep = grey * np.uint16(257)
    yield Case("dicom implicit", dicom(shown, syntax=ImplicitVRLittleEndian), pixels=shown)
    yield Case("dicom big endian, rgb", dicom(shown, syntax=ExplicitVRBigEndian, big_endian=True), pixels=shown)
    planes = np.moveaxis(luma, -1, 0).tobytes()
    yield Case(
        "dicom ybr by plane", dicom(planes, "YBR_FULL", shape=size, PlanarConfiguration=1), pixels=shown, within=1
    )
    even = shown[:, :120]
    ycc = np.asarray(Image.fromarray(even).convert("YCbCr"))
    pairs = np.stack([ycc[:, ::2, 0], ycc[:, 1::2, 0], ycc[:, ::2, 1], ycc[:, ::2, 2]], -1)
    data = dicom(pairs.tobytes(), "YBR_FULL_422", shape=even.shape[:2])
    yield Case("dicom ybr 4:2:2, uncompressed", data, pixels=even, within=2)
    for sampling in ("4:2:2", "4:2:0"):
        frame = saved(image, "JPEG", quality=95, subsampling=sampling)
        data = dicom(encapsulate([frame]), "YBR_FULL_422", JPEGBaseline8Bit, size)
        yield Case(f"dicom jpeg {sampling}", data, pixels=shown, within=3)
    frame = saved(image, "JPEG", quality=95, subsampling="4:4:4")
    data = dicom(encapsulate([frame]), "YBR_FULL", JPEGExtended12Bit, size)
    yield Case("dicom jpeg of process 2", data, pixels=shown, within=3)
    frame = saved(Image.fromarray(grey), "JPEG", quality=95)
    for interpretation, wanted in (("MONOCHROME2", three), ("MONOCHROME1", 255 - three)):
        data = dicom(encapsulate([frame]), interpretation, JPEGBaseline8Bit, size)
        yield Case(f"dicom jpeg, {interpretation}", data, pixels=wanted, within=3)
    fragments = encapsulate([frame], fragments_per_frame=3)
    yield Case(
        "dicom jpeg in fragments", dicom(fragments, "MONOCHROME2", JPEGBaseline8Bit, size), pixels=three, within=3
    )
    for has_table in (False, True):
        frames = [saved(image, "JPEG", quality=95, subsampling="4:4:4"), saved(255 - shown, "JPEG")]
        data = dicom(encapsulate(frames, has_bot=has_table), "YBR_FULL_422", JPEGBaseline8Bit, size, NumberOfFrames=2)
        says = "The file holds 2 pictures"
        yield Case(f"dicom jpeg of two frames, {'with' if has_table else 'without'} a table", data, says, shown, 3)
    even_grey, even_three = _grey(even)  # GDCM takes no odd number of bytes
    lossless = encapsulate([frame_of(dicom_by_gdcm(even, JPEGLosslessSV1))])
    yield Case("dicom lossless jpeg of process 14", dicom(lossless, "RGB", JPEGLossless, even.shape[:2]), pixels=even)
    for syntax, name in ((JPEGLosslessSV1, "lossless jpeg"), (JPEGLSLossless, "jpeg-ls")):
        yield Case(f"dicom {name} of grey", dicom_by_gdcm(even_grey, syntax, "MONOCHROME2"), pixels=even_three)
    data = dicom_by_gdcm(even_grey * np.uint16(257), JPEGLSLossless, "MONOCHROME2")
    yield Case("dicom jpeg-ls of 16 bits", data, told, pixels=even_three)
    near = encapsulate([frame_of(dicom_by_gdcm(even_grey, JPEGLSLossless, "MONOCHROME2"))])
    data = dicom(near, "MONOCHROME2", JPEGLSNearLossless, even.shape[:2])
    yield Case("dicom jpeg-ls, near-lossless", data, pixels=even_three)
    for name, interpretation, drawn, wanted, options, within in (
        ("rgb", "RGB", image, shown, {"irreversible": False, "mct": 0}, 0),
        ("lossy", "YBR_ICT", image, shown, {"irreversible": True, "mct": 1, "quality_layers": [5]}, 4),
        ("grey", "MONOCHROME2", Image.fromarray(grey), three, {"irreversible": False}, 0),
        ("tiled", "YBR_RCT", image, shown, {"irreversible": False, "mct": 1, "tile_size": (64, 64)}, 0),
        ("in jp2", "YBR_RCT", image, shown, {"irreversible": False, "mct": 1, "no_jp2": False}, 0),
    ):
        frame = saved(drawn, "JPEG2000", **{"no_jp2": True, **options})
        syntax = JPEG2000 if within else JPEG2000Lossless
        data = dicom(encapsulate([frame]), interpretation, syntax, size)
        yield Case(f"dicom jpeg 2000, {name}", data, pixels=wanted, within=within)
    frame = saved(Image.fromarray(deep), "JPEG2000", no_jp2=True, irreversible=False)
    bits = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
    data = dicom(encapsulate([frame]), "MONOCHROME2", JPEG2000Lossless, size, **bits)
    yield Case("dicom jpeg 2000 of 16 bits", data, told, pixels=three)
    yield Case("dicom rle of grey", dicom_rle(grey), pixels=three)
    yield Case("dicom rle of 16 bits", dicom_rle(deep), told, pixels=three)
