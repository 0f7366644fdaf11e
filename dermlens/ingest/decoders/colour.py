"""Colours brought to sRGB, by the profile or the colour tags of a file. Runs inside the decoding process."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

import numpy as np
from PIL import Image, ImageCms

DAMAGED_PROFILE = "The colour profile is damaged and was ignored; colours may be slightly off."
UNFIT_PROFILE = "The colour profile is one for {profile}, not for {picture}, and was ignored; colours may be off."
CMYK = "The image is CMYK without a colour profile; its colours were worked out roughly and may be off."
HDR = "The image is made for a screen of high brightness (HDR), which was not accounted for; it looks paler than it is."
OTHER_TAGS = "The image has colour tags that are not read here and were ignored; colours may be off."
OTHER_COLOURS = "The file says that its colours are {}, but its JPEG data are {}; they are shown as the data are."
LOOKS_WRONG = "By what the file says its colours are RGB, but they look like YCbCr; they are shown as it says."
ADOBE_RGB = "Only the EXIF data say that the colours are those of Adobe RGB; they were converted from it."
_SPACES = {b"RGB ": "colour pictures", b"GRAY": "grey pictures", b"CMYK": "CMYK pictures", b"Lab ": "L*a*b* pictures"}
_SPACE_OF = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK", "LAB": b"Lab "}
_SAME = 3
"""A profile that changes no colour by more than this, of 255, is sRGB's: the picture stays as it is."""

_D65 = (0.3127, 0.3290)
SRGB_PRIMARIES = (_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_ADOBE = (_D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), (563 / 256, 1.0, 0.0, 0.0, 0.0)
"""Primaries and curve of Adobe RGB (1998), 4.3."""
_PRIMARIES = {  # ITU-T H.273, 8.1
    1: SRGB_PRIMARIES,
    2: SRGB_PRIMARIES,
    4: ((0.310, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), *_P3),
    12: (_D65, *_P3),
}
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_CURVES = {  # H.273, 8.2; cameras mean sRGB's where they write those of television
    **dict.fromkeys((1, 2, 6, 13, 14, 15), _SRGB_CURVE),
    4: (2.2, 1, 0, 0, 0),
    5: (2.8, 1, 0, 0, 0),
    8: (1, 1, 0, 0, 0),
}
_HDR = (16, 18)
_LOOKED_AT = 1 << 14
"""pixels, or a few times as many"""
_ROUNDED = 4
"""By how much of 255 a colour may lie outside of those that exist because it was rounded."""
Chromaticities = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""x and y of white, red, green and blue."""


@dataclass(frozen=True)
class Transform:
    """What brings pixels of one mode to sRGB."""

    mode: str
    """that a strip must have"""
    apply: Callable[[Image.Image], Image.Image] | None = None
    """from that mode to RGB; None if Pillow's own conversion will do"""

    def __call__(self, strip: Image.Image) -> Image.Image:
        """Return a strip of a picture as sRGB."""
        if self.apply is None:
            return strip if strip.mode == "RGB" else strip.convert("RGB")
        return self.apply(strip if strip.mode == self.mode else strip.convert(self.mode))


def transform(mode: str, profile: bytes | None, notices: list[str]) -> Transform:
    """Return what brings a picture to sRGB by its profile; one that does not fit is ignored, and told of.

    Args:
        mode: "RGB", "L", "CMYK" or "LAB"; L*a*b* needs no profile.
        profile: ICC profile, None if there is none.
        notices: to which a sentence may be added.
    """
    if mode not in _SPACE_OF or not (profile or mode == "LAB"):
        notices.extend([CMYK] if mode == "CMYK" else [])
        return Transform(mode)
    if mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    else:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            notices.append(DAMAGED_PROFILE)
            return Transform(mode)
        space = (profile or b"")[16:20]
        if space != _SPACE_OF[mode]:
            made_for = _SPACES.get(space, "other devices")
            notices.append(UNFIT_PROFILE.format(profile=made_for, picture=_SPACES[_SPACE_OF[mode]]))
            return Transform(mode)
    try:
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE  # which makes shadows darker
        built = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notices.append(DAMAGED_PROFILE)
        return Transform(mode)

    def convert(strip: Image.Image) -> Image.Image:
        return ImageCms.applyTransform(strip, built) or strip

    if _changes_nothing(convert, mode):
        return Transform(mode)
    return Transform(mode, _by_table(convert) if mode == "L" else convert)


def _by_table(convert: Callable[[Image.Image], Image.Image]) -> Callable[[Image.Image], Image.Image]:
    """Return what converts grey as a function does, which it asks for every grey once."""
    bands = [list(band.getdata()) for band in convert(Image.fromarray(np.arange(256, dtype=np.uint8)[None])).split()]
    return lambda strip: Image.merge("RGB", [strip.point(band) for band in bands])


def _changes_nothing(convert: Callable[[Image.Image], Image.Image], mode: str) -> bool:
    if mode not in ("RGB", "L"):
        return False
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    probe = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    changed = np.asarray(convert(Image.fromarray(probe)), int)
    return bool(np.abs(changed - (probe if mode == "RGB" else probe[..., None])).max() <= _SAME)


def grey_curve(profile: bytes | None, notices: list[str]) -> np.ndarray | None:
    """Return the sRGB grey of 256 evenly spaced greys under a grey profile, (256,) uint8; None if there is no other."""
    found = transform("L", profile, notices)
    if found.apply is None:
        return None
    return np.asarray(found(Image.fromarray(np.arange(256, dtype=np.uint8)[None])))[0, :, 1]


def coded(primaries: int, curve: int, mode: str, notices: list[str]) -> bytes | None:
    """Return the profile that two numbers of ITU-T H.273 stand for, None if that is sRGB or cannot be told."""
    if curve in _HDR:
        notices.append(HDR)
        curve = 13
    if primaries not in _PRIMARIES or curve not in _CURVES:
        notices.append(OTHER_TAGS)
        return None
    return made(_PRIMARIES[primaries], _CURVES[curve], mode)


def adobe_rgb(mode: str) -> bytes | None:
    """Return the profile of Adobe RGB (1998), None for a mode that has none."""
    return made(*_ADOBE, mode)


def gamma(power: float, primaries: Chromaticities | None, mode: str) -> bytes | None:
    """Return the profile of pixels that are to be raised to a power; None for what is as good as sRGB."""
    curve = _SRGB_CURVE if not power or abs(power - 2.2) < 0.05 else (power, 1, 0, 0, 0)
    return made(primaries or SRGB_PRIMARIES, curve, mode)


def made(primaries: Chromaticities, curve: tuple[float, ...], mode: str) -> bytes | None:
    """Return an ICC profile (ICC.1:2010) for a picture of mode "RGB" or "L"; None for any other mode, and for sRGB.

    Args:
        primaries: of white, red, green and blue.
        curve: g, a, b, c, d of the parametric curve (aX + b)^g from d on, cX below.
        mode: of the picture.
    """
    if mode not in ("RGB", "L") or (primaries == SRGB_PRIMARIES and curve == _SRGB_CURVE):
        return None
    white, *rgb = (np.array([x / y, 1, (1 - x - y) / y]) if y else np.zeros(3) for x, y in primaries)
    points = np.array(rgb).T
    if abs(np.linalg.det(points)) < 1e-6 or not white.any():
        return None
    columns = _adapted(points * np.linalg.solve(points, white), white)
    para = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + b"".join(_fixed(v) for v in curve)
    tags = {b"wtpt": _xyz(_D50), b"cprt": b"text" + bytes(5), b"desc": b"desc" + bytes(84)}
    if mode == "RGB":
        tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), para)
    else:
        tags[b"kTRC"] = para
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", at + len(body), len(value))
        body += padded
    head = struct.pack(">I4xI4s4s4s", at + len(body), 0x04000000, b"mntr", _SPACE_OF[mode], b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + b"".join(_fixed(v) for v in _D50)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def like_ycbcr(pixels: np.ndarray) -> bool:
    """Return whether what is called RGB, (height, width, 3) uint8, is rather brightness and two differences of colour.

    Read so, the colours of a picture of skin all exist, are rather red than blue, and rise and fall together more than
    the channels do as they stand.
    """
    step = max(1, isqrt(pixels.shape[0] * pixels.shape[1] // _LOOKED_AT))
    stored = pixels[::step, ::step].reshape(-1, 3).astype(np.float64).T
    y, blue, red = stored - [[0], [128], [128]]
    shown = np.array([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue])  # ITU-T T.871, 7
    if ((shown < -_ROUNDED) | (shown > 255 + _ROUNDED)).any(0).mean() > 0.01 or red.mean() < blue.mean():
        return False
    spread = stored.std(1)
    if spread.min() < 2:
        return bool(spread[0] >= 8 and spread[1:].max() < spread[0] / 4)
    return bool(np.corrcoef(shown).min() > np.corrcoef(stored).min())


_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def _adapted(columns: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Return XYZ under a white as under D50."""
    gain = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ np.diag(gain) @ _BRADFORD @ columns


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(float(np.clip(value, -32767, 32767)) * 65536))


def _xyz(value: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(v) for v in value)
