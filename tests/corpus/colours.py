"""Colour profiles and colour tags. Drawn here, by code."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit

from dermlens.ingest.decoders import colour
from tests.corpus.case import Case
from tests.image_files import (
    dicom,
    named_srgb,
    picture,
    png,
    png_chunk,
    saved,
    tiff,
)


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    yield from _profiles()
    yield from _broken_profiles()
    yield from _colour_tags()
    yield from _exif_colours()


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


def _broken_profiles() -> Iterator[Case]:
    """Whole pictures whose profile does not fit together (ICC.1:2010, B.4), or does not inflate (PNG, 11.3.2.3)."""
    shown = picture()
    grey = Image.fromarray(shown).convert("L")
    told = "The colour profile is damaged and was ignored"
    wide = colour.coded(12, 13, "RGB", []) or b""
    long = wide + bytes(70_000)
    long = struct.pack(">I", len(long)) + long[4:]
    once, twice = (saved(shown, "JPEG", quality=95, icc_profile=profile) for profile in (wide, long))
    start = once.index(b"ICC_PROFILE") - 4
    first = once[start : start + 2 + int.from_bytes(once[start + 2 : start + 4], "big")]
    last = twice.rindex(b"ICC_PROFILE") - 4
    end = last + 2 + int.from_bytes(twice[last + 2 : last + 4], "big")
    for name, data in (
        ("twice as the only one", once[:start] + first + once[start:]),
        ("numbered 0", once.replace(b"ICC_PROFILE\0\1", b"ICC_PROFILE\0\0")),
        ("of which one is lost", twice[:last] + twice[end:]),
        ("both with one number", twice.replace(b"ICC_PROFILE\0\2", b"ICC_PROFILE\0\1")),
        ("of two counts", twice.replace(b"ICC_PROFILE\0\2\2", b"ICC_PROFILE\0\2\3")),
    ):
        yield Case(f"jpeg with parts of a profile {name}", data, told, pixels=shown, within=3)
    inside = once[:start] + first + once[start:]
    yield Case(
        "dicom jpeg with parts of a profile twice",
        dicom(encapsulate([inside]), "YBR_FULL_422", JPEGBaseline8Bit, (90, 120)),
        told,
        pixels=shown,
        within=3,
    )
    strip = saved(grey, "JPEG", quality=95)
    strip = strip[:2] + first * 2 + strip[2:]
    three = np.asarray(grey.convert("RGB"))
    data = tiff(120, 90, {259: (3, 1, 7)}, strip)
    yield Case("tiff jpeg with parts of a profile twice", data, pixels=three, within=3)
    data = saved(shown, "PNG", icc_profile=wide)
    at = data.index(b"iCCP")
    size = int.from_bytes(data[at - 4 : at], "big")
    held = bytearray(data[at + 4 : at + 4 + size])
    held[-20] ^= 255
    for name, body in (
        ("does not inflate", bytes(held)),
        ("ends too early", data[at + 4 : at + size - 56]),
        ("is empty", b"ICC\0\0" + zlib.compress(b"")),
    ):
        broken = data[: at - 4] + png_chunk(b"iCCP", body) + data[at + 8 + size :]
        yield Case(f"png with a profile that {name}", broken, told, pixels=shown)


def _to_srgb(linear: np.ndarray) -> np.ndarray:
    """Return 8-bit sRGB of linear values in 0..1 (IEC 61966-2-1)."""
    light = linear.clip(0, 1)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * curved).astype(np.uint8)


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
    p3 = png_chunk(b"cICP", bytes([12, 13, 0, 1]))
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
    yield from _narrow(shown)
    yield from _ramps()
    for kind in ("AVIF", "HEIF"):
        coded = saved(image, kind, quality=95)
        at = coded.index(b"colrnclx") + 8
        tagged = coded[:at] + struct.pack(">HH", 12, 13) + coded[at + 4 :]
        yield Case(f"{kind} of Display P3", tagged, pixels=wide, within=5)
        tagged = coded[:at] + struct.pack(">HH", 1, 16) + coded[at + 4 :]
        yield Case(f"{kind} of PQ", tagged, "high brightness (HDR)", pixels=shown, within=4)
        for name, data in (("of its own", coded), ("of none", coded.replace(b"colrnclx", b"freenclx"))):
            foreign = _with_foreign_colours(data)
            yield Case(f"{kind} of colours {name}, with those of another item before", foreign, pixels=shown, within=4)
    inside = {"color_primaries": 12, "transfer_characteristics": 13}
    coded = saved(image, "HEIF", quality=95, **inside).replace(b"colrnclx", b"freenclx")
    yield Case("heic of Display P3, named inside its data alone", coded, pixels=wide, within=5)
    inside = {"color_primaries": 1, "transfer_characteristics": 16}
    coded = saved(image, "HEIF", quality=95, **inside).replace(b"colrnclx", b"freenclx")
    yield Case("heic of PQ, named inside its data alone", coded, "high brightness (HDR)", pixels=shown, within=5)
    coded = _named_inside(saved(image, "AVIF", quality=95), 12, 13)
    yield Case("avif of Display P3, named inside its data alone", coded, pixels=wide, within=5)
    coded = _named_inside(saved(image, "AVIF", quality=95), 1, 16)
    yield Case("avif of PQ, named inside its data alone", coded, "high brightness (HDR)", pixels=shown, within=5)
    yield Case("bmp with a profile", _bmp_v5(shown, linear), pixels=bright, within=0.6)
    yield Case("bmp whose alpha is all zero", _bmp_v5(np.dstack([shown, np.zeros_like(grey)])), pixels=shown)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    told = "Only the XMP data say that the picture is to be turned"
    for kind in ("JPEG", "PNG", "WEBP"):
        options = {"quality": 95, "xmp": xmp} if kind != "PNG" else {"pnginfo": _xmp_text(xmp)}
        yield Case(f"orientation in XMP alone, {kind}", saved(image, kind, **options), told, pixels=shown, within=5)


def _narrow(shown: np.ndarray) -> Iterator[Case]:
    """PNGs whose values go from 16 to 235, as cICP tells by its last number (PNG, third edition, 11.3.2.6)."""
    chunk = png_chunk(b"cICP", bytes([1, 13, 0, 0]))
    narrow = np.rint(16 + shown / 255 * 219).astype(np.uint8)
    yield Case("png of narrow range", png(narrow, chunks=chunk), pixels=shown, within=0.6)
    opaque = np.full(shown.shape[:2], 255, np.uint8)
    yield Case(
        "png of narrow range and alpha", png(np.dstack([narrow, opaque]), chunks=chunk), pixels=shown, within=0.6
    )
    beyond = shown.copy()
    beyond[:9], beyond[9:18] = 3, 250
    seen = np.rint((beyond.astype(float) - 16) * 255 / 219).clip(0, 255)
    yield Case("png of narrow range, overshooting", png(beyond, chunks=chunk), pixels=seen.astype(np.uint8))
    clear = seen.astype(np.uint8)
    clear[:9] = 255
    data = png(beyond, clear=[3, 3, 3], chunks=chunk)
    yield Case("png of narrow range with a clear colour", data, "shown on white", pixels=clear)
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    three = np.repeat(grey[..., None], 3, -1)
    for depth in (8, 16):
        stored = np.rint((16 + grey / 255 * 219) * (1 << (depth - 8))).astype(np.uint16)
        data, says = png(stored, depth, chunks=chunk), "16-bit grey values" if depth == 16 else ""
        yield Case(f"png of grey of {depth} bits and narrow range", data, says, pixels=three, within=0.6)
    palette = Image.fromarray(narrow).quantize(64)
    plain = saved(palette, "PNG")
    seen = np.rint((np.asarray(palette.convert("RGB")) - 16.0) * 255 / 219).clip(0, 255).astype(np.uint8)
    yield Case("png of a palette of narrow range", plain[:33] + chunk + plain[33:], pixels=seen)


def _named_inside(avif: bytes, primaries: int, curve: int) -> bytes:
    """Return an AVIF by Pillow, of sRGB and BT.601, that names other colours, and no more in its boxes."""
    bits = "".join(f"{byte:08b}" for byte in avif.replace(b"colrnclx", b"freenclx"))
    named = [f"1{primaries:08b}{curve:08b}{6:08b}" for primaries, curve in ((1, 13), (primaries, curve))]
    assert bits.count(named[0]) == 1, "of the sequence header"
    changed = bits.replace(*named)
    return bytes(int(changed[at : at + 8], 2) for at in range(0, len(changed), 8))


def _ramps() -> Iterator[Case]:
    """All 256 greys of linear light, the darkest of which look far brighter: to be shown exactly, by hand."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 40, 0)
    bright = np.repeat(_to_srgb(ramp / 255)[..., None], 3, -1)
    linear = colour.coded(1, 8, "L", [])
    gamma = png_chunk(b"gAMA", struct.pack(">I", 100_000))
    yield Case("png of all greys, with gAMA of linear light", png(ramp, chunks=gamma), pixels=bright)
    yield Case(
        "tiff of all greys, with a profile of linear light", saved(ramp, "TIFF", icc_profile=linear), pixels=bright
    )
    deep = png(ramp.astype(np.uint16) * 257, 16, chunks=gamma)
    yield Case("png of all greys of 16 bits, with gAMA of linear light", deep, "16-bit grey values", pixels=bright)
    data = dicom(ramp, "MONOCHROME2", ICCProfile=linear)
    yield Case("dicom of all greys, with a profile of linear light", data, pixels=bright)


def _with_foreign_colours(data: bytes) -> bytes:
    """Return a HEIF file of one item, by Pillow or its plugin, whose first property names BT.2020 and linear light and

    is of no item: as that of a thumbnail or a gain map, which are others than the picture.
    """
    box = struct.pack(">I4s4sHHHB", 19, b"colr", b"nclx", 9, 8, 9, 0x80)
    at = {name: data.index(name) - 4 for name in (b"meta", b"iloc", b"iprp", b"ipco", b"ipma")}
    grown = bytearray(data)
    place = at[b"iloc"] + (20 if data[at[b"iloc"] + 13] >> 4 else 22)  # of the item, or of its first part
    for start in (at[b"meta"], at[b"iprp"], at[b"ipco"], place):
        struct.pack_into(">I", grown, start, int.from_bytes(data[start : start + 4], "big") + len(box))
    links = at[b"ipma"] + 19
    for link in range(links, links + data[links - 1]):
        grown[link] += 1
    grown[at[b"ipco"] + 8 : at[b"ipco"] + 8] = box
    return bytes(grown)


def _exif_colours() -> Iterator[Case]:
    """Adobe RGB, said by EXIF alone: by hand, with Adobe RGB's and sRGB's matrices of D65 (Adobe RGB (1998), 4.3)."""
    shown = picture()
    to_xyz = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])
    from_xyz = np.array([[3.24045, -1.53714, -0.49853], [-0.96927, 1.87601, 0.04156], [0.05564, -0.20403, 1.05723]])
    wide = _to_srgb((shown / 255) ** 2.19921875 @ to_xyz.T @ from_xyz.T)
    told = "Only the EXIF data say that the colours are those of Adobe RGB"
    uncalibrated, adobe, srgb = 0xFFFF, 2, 1
    exact = {"quality": 98, "subsampling": 0}
    for kind, within, options in (("JPEG", 2, exact), ("PNG", 0.1, {}), ("WEBP", 0.1, {"lossless": True})):
        for name, space, index, wanted, says in (
            ("by R03", uncalibrated, b"R03", wide, told),
            ("by its number", adobe, b"R98", wide, told),
            ("not by R98", uncalibrated, b"R98", shown, ""),
            ("not by R03 with sRGB's number", srgb, b"R03", shown, ""),
        ):
            data = saved(shown, kind, exif=b"Exif\0\0II*\0\x08\0\0\0" + _directories(space, index, 8), **options)
            yield Case(f"{kind} of Adobe RGB {name}", data, says, pixels=wanted, within=within)
    tagged = {258: (3, 1, 8), 262: (3, 1, 2), 277: (3, 1, 3)}
    at = len(tiff(120, 90, {**tagged, 34665: (4, 1, 0)}, shown.tobytes()))
    for name, index, wanted, says in (("by R03", b"R03", wide, told), ("not by R98", b"R98", shown, "")):
        data = tiff(120, 90, {**tagged, 34665: (4, 1, at)}, shown.tobytes())
        data += _directories(uncalibrated, index, at - 18)[18:]
        yield Case(f"TIFF of Adobe RGB {name}", data, says, pixels=wanted, within=0.1)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + _directories(uncalibrated, b"R03", 8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(shown, "JPEG", exif=exif, icc_profile=profile, **exact)
    yield Case("jpeg of Adobe RGB by R03, with a profile of sRGB", data, pixels=shown, within=2)
    data = saved(shown, "PNG", exif=exif)
    data = data[:33] + png_chunk(b"sRGB", b"\0") + data[33:]
    yield Case("png of Adobe RGB by R03, with sRGB's chunk", data, pixels=shown)


def _directories(space: int, index: bytes, at: int) -> bytes:
    """Return EXIF's directories, little-endian, for a place `at` in a file: the first, EXIF's, interoperability's."""
    own, inner = at + 18, at + 48
    first = struct.pack("<HHHIII", 1, 0x8769, 4, 1, own, 0)
    exif = struct.pack("<HHHIIHHIII", 2, 0xA001, 3, 1, space, 0xA005, 4, 1, inner, 0)
    return first + exif + struct.pack("<HHHI4sI", 1, 1, 2, 4, index, 0)


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
