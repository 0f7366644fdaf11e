"""Whole pictures of the usual formats: pixels, orientation, brands, how many a file holds. Drawn here, by code."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.corpus.case import ROUGH_CMYK, Case
from tests.image_files import (
    picture,
    png_chunk,
    saved,
)


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    yield from _pixels()
    yield from _orientations()
    yield from _pages()
    yield from _brands()


def _pixels() -> Iterator[Case]:
    shown = picture()
    image = Image.fromarray(shown)
    grey = np.asarray(image.convert("L"))
    three = np.repeat(grey[..., None], 3, -1)
    yield Case("progressive jpeg", saved(image, "JPEG", progressive=True, quality=95), pixels=shown, within=3)
    yield Case("cmyk jpeg", saved(image.convert("CMYK"), "JPEG", quality=98), ROUGH_CMYK, pixels=shown, within=6)
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
    nothing = "Every pixel of the image is transparent"
    yield Case("palette png of clear colours alone", saved(palette, "PNG", transparency=bytes(16)), nothing)
    used = bytes(4) + b"\xff" * 12  # clear are the first four colours
    in_use = Image.fromarray(np.asarray(palette) % 4)
    in_use.putpalette([*range(48)])
    yield Case("palette png of clear colours and others, unused", saved(in_use, "PNG", transparency=used), nothing)
    one = Image.new("P", (120, 90), 3)
    one.putpalette([*range(48)])
    yield Case("palette png of one clear colour", saved(one, "PNG", transparency=3), nothing)
    layers = np.dstack([shown, np.zeros_like(clear)])
    yield Case("png of which everything is clear", saved(layers, "PNG"), nothing)
    yield Case("wrong extension, jpeg named .dcm", saved(image, "JPEG", quality=95), pixels=shown, within=3)


def _png16(shown: np.ndarray) -> bytes:
    """Return a PNG of three 16-bit channels, by hand: Pillow does not write it."""
    height, width = shown.shape[:2]
    rows = ((shown.astype(np.uint16) << 8) | 0x7F).astype(">u2").reshape(height, -1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = png_chunk(b"IHDR", head), png_chunk(b"IDAT", zlib.compress(body)), png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


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
            ("AVIF", 4, {"quality": 95}),
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


def _parts(shown: np.ndarray) -> Iterator[Case]:
    """Files that show a part of the stored picture only, cut out before it is turned (ISO/IEC 23000-22, 7.3.6.7)."""
    for kind in ("AVIF", "HEIF"):
        whole = saved(shown, kind, quality=95)
        data = _with_clap(whole, (60, 40))
        yield Case(f"{kind} of which the middle is shown", data, pixels=shown[25:65, 30:90], within=4)
        data = _with_clap(whole, (61, 41), (-19, 11))  # from -(120 - 61) / 2 - 9.5 = 20 and (90 - 41) / 2 + 5.5 = 30
        yield Case(f"{kind} of which a part beside the middle is shown", data, pixels=shown[30:71, 20:81], within=4)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(np.ascontiguousarray(np.rot90(shown, 1)), "AVIF", quality=95, exif=exif.tobytes())
    part = np.rot90(np.rot90(shown, 1)[10:50, 20:80], -1)
    data = _with_clap(turned, (60, 40), (10, -60))  # from (90 - 60) / 2 + 5 = 20 and (120 - 40) / 2 - 30 = 10
    yield Case("AVIF of which a part is shown, then turned", data, pixels=part, within=4)
    said = "in an order that is not read here"
    yield Case("AVIF that is turned, then a part is shown", _with_clap(turned, (60, 40), last=True), said)
    beyond = _with_clap(saved(shown, "AVIF"), (60, 40), (90, 0))
    yield Case("AVIF of which a part beyond it is shown", beyond, "does not lie inside it")


def _brands() -> Iterator[Case]:
    shown = picture()
    avif, heic = saved(shown, "AVIF", quality=95), saved(shown, "HEIF", quality=95)
    yield Case("avif", avif, pixels=shown, within=4)
    yield Case("avif of brand mif1", avif[:8] + b"mif1" + avif[12:], pixels=shown, within=4)
    for brand in (b"mif2", b"miaf", b"1pic", b"tmap"):
        yield Case(f"heic of brand {brand.decode()}", heic[:8] + brand + heic[12:], pixels=shown, within=4)
    yield from _parts(shown)
    yield Case("Canon's raw file", b"\0\0\0\x18ftypcrx " + bytes(40), "a camera raw file")


def _with_clap(data: bytes, size: tuple[int, int], offset: tuple[int, int] = (0, 0), last: bool = False) -> bytes:
    """Return a HEIF file of one item, by Pillow or its plugin, that shows a part only (ISO/IEC 14496-12, 12.1.4).

    Args:
        data: the file.
        size: width and height of the part.
        offset: of its centre from the picture's, to the right and down, in halves of a pixel.
        last: whether the part is said after the turning of the picture, not before.
    """
    clap = struct.pack(">I4s4IiIiI", 40, b"clap", size[0], 1, size[1], 1, offset[0], 2, offset[1], 2)
    at = {name: data.index(name) - 4 for name in (b"meta", b"iloc", b"iprp", b"ipco", b"ipma")}
    grown = bytearray(data)
    place = at[b"iloc"] + (20 if data[at[b"iloc"] + 13] >> 4 else 22)  # of the item, or of its first part
    for _, start, more in (
        *((name, at[name], 41) for name in (b"meta", b"iprp")),
        (b"ipco", at[b"ipco"], 40),
        (b"ipma", at[b"ipma"], 1),
        (b"iloc", place, 41),
    ):
        struct.pack_into(">I", grown, start, int.from_bytes(data[start : start + 4], "big") + more)
    kinds, start = 0, at[b"ipco"] + 8
    while start < at[b"ipma"]:
        kinds, start = kinds + 1, start + int.from_bytes(data[start : start + 4], "big")
    count = at[b"ipma"] + 18
    grown[count] += 1
    link = count + 1 + (data[count] if last else 0)
    grown[link:link] = bytes([0x80 | (kinds + 1)])
    grown[at[b"ipma"] : at[b"ipma"]] = clap
    return bytes(grown)
