"""Whether a dermoscopic image is good enough to be read: sharpness, light, glare, size, and what lies over the skin.

Everything but the resolution is measured on a copy whose shorter side has SIDE pixels, about what the networks see, so
that the limits hold for images of any size; of a strip, on its middle. Each limit is passed by at least 98.5 % of
HAM10000's training images, and was set on them alone. Hairs, rulers, ink and dark corners belong to ordinary
dermoscopy: they are named, not refused.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from dermlens.image.preprocess import resize
from dermlens.wording import percent

SIDE = 224
LONGEST = 4
"""Most by which the part that is measured is longer than it is wide."""
MOST_MARKS = 500
"""Of which a ruler is looked for, the longest ones: each is held against every other."""
MIN_SHARPNESS = 0.58
MIN_BRIGHTNESS = 110.0
MAX_BRIGHTNESS = 245.0
MAX_GLARE = 0.01
MIN_SHORT_SIDE = 200
MAX_INK = 0.01
MIN_TICKS = 6
MAX_VIGNETTE = 0.15
MAX_HAIR = 0.12
WITHIN = "No limit for sharpness, light, size, glare, hair, ink, ruler or dark corners was exceeded."
"""Said of an image without findings: something below its limit may still be there."""

_LINE = 21


def _line(angle: float) -> np.ndarray:
    kernel, middle = np.zeros((_LINE, _LINE), np.uint8), _LINE // 2
    x, y = round(middle * np.cos(angle)), round(middle * np.sin(angle))
    return cv2.line(kernel, (middle - x, middle - y), (middle + x, middle + y), 1)


_LINES = [_line(angle) for angle in np.arange(12) * np.pi / 12]


@dataclass(frozen=True)
class Finding:
    """Something that makes an image harder to read, and what to do about it; one sentence each."""

    name: str
    text: str
    advice: str
    poor: bool
    """whether the image itself is poor; False for what ordinary dermoscopic images may show"""


@dataclass(frozen=True)
class Quality:
    """What was measured of one image. Shares are of the image's area, 0..1."""

    sharpness: float
    """0 (nothing but blur) to 1: one less the blur effect of Crete et al., Proc SPIE 6492:64920I, 2007"""
    brightness: float
    """90th percentile of the luma outside dark corners, 0..255: the skin's, also where a dark lesion fills the image"""
    glare: float
    """share that is burnt out to white"""
    short_side: int
    """of the original, in pixels"""
    ink: float
    """share in the colours of skin markers: blue, violet or green"""
    ticks: int
    """most marks that stand in a row at even distances, as on a ruler"""
    vignette: float
    """share of the dark corners or frame"""
    hair: float
    """share under thin dark lines"""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is beyond its limit, poor images first."""
        return tuple(finding for finding in _findings(self) if finding is not None)

    @property
    def poor(self) -> bool:
        """Whether the image is blurred, badly lit or too small."""
        return any(finding.poor for finding in self.findings)


def check(pixels: np.ndarray) -> Quality:
    """Measure the quality of an image.

    Args:
        pixels: (h, w, 3) uint8 RGB, at its true aspect.
    """
    short_side = min(pixels.shape[:2])
    pixels = _middle(pixels, LONGEST * short_side)
    height, width = pixels.shape[:2]
    scale = SIDE / short_side
    small = pixels if scale >= 1 else resize(pixels, round(height * scale), round(width * scale))
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    frame = _vignette(luma)
    inside = frame if frame.all() else ~frame
    thin = _thin_dark(luma) & inside
    return Quality(
        sharpness=sharpness(luma, frame),
        brightness=float(np.percentile(luma[inside], 90)),
        glare=float(_glare(small)[inside].mean()),
        short_side=short_side,
        ink=float((_ink(small) & inside).mean()),
        ticks=_ticks(thin),
        vignette=float(frame.mean()),
        hair=float(_long(thin).mean()),
    )


def _middle(pixels: np.ndarray, most: int) -> np.ndarray:
    top, left = (max(0, side - most) // 2 for side in pixels.shape[:2])
    return pixels[top : top + most, left : left + most]


def sharpness(luma: np.ndarray, frame: np.ndarray) -> float:
    """One less the blur effect, 0..1: how much of the variation between neighbours a further blur takes away.

    Args:
        luma: (h, w) uint8. frame: (h, w) bool, dark corners, which do not count.
    """
    grey = luma.astype(np.float32)
    # The soft edge of a vignette says nothing of the focus.
    counted = cv2.dilate(frame.astype(np.uint8), np.ones((25, 25), np.uint8)) == 0
    kept = []
    for axis, size in ((0, (1, 11)), (1, (11, 1))):
        here = counted[1:] if axis == 0 else counted[:, 1:]
        before = np.abs(np.diff(grey, axis=axis))[here]
        after = np.abs(np.diff(cv2.blur(grey, size, borderType=cv2.BORDER_REFLECT), axis=axis))[here]
        total = float(before.sum())
        kept.append(float(np.maximum(0, before - after).sum()) / total if total > 0 else 0.0)
    return min(kept)


def _vignette(luma: np.ndarray) -> np.ndarray:
    """Return what is nearly black and hangs together with a corner, (h, w) bool."""
    dark = (cv2.GaussianBlur(luma, (0, 0), 2) < 45).astype(np.uint8)
    _, labels = cv2.connectedComponents(dark)
    corners = labels[[0, 0, -1, -1], [0, -1, 0, -1]]
    return np.isin(labels, corners[corners > 0])


def _glare(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = cv2.split(pixels)
    return cv2.min(cv2.min(red, green), blue) >= 245


def _ink(pixels: np.ndarray) -> np.ndarray:
    """Return what is strongly blue, violet or green, (h, w) bool; blue-grey structures of lesions are paler.

    In CIELAB: b* below -25 or a* below -10, not black.
    """
    lightness, a, b = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB))
    return ((b < 128 - 25) | (a < 128 - 10)) & (lightness > 64)


def _thin_dark(luma: np.ndarray) -> np.ndarray:
    """Return dark structures narrower than about 4 % of the shorter side, (h, w) bool."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    return cv2.morphologyEx(luma, cv2.MORPH_BLACKHAT, kernel) > 18


def _long(thin: np.ndarray) -> np.ndarray:
    """Keep what runs straight for about a tenth of the shorter side, as hairs do and the nets of a lesion do not."""
    mask = thin.astype(np.uint8)
    kept = np.zeros_like(mask)
    for kernel in _LINES:
        kept = np.maximum(kept, cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel))
    return kept > 0


def _ticks(thin: np.ndarray) -> int:
    """Count the marks of the longest row of short, parallel, evenly spaced lines."""
    outlines, _ = cv2.findContours(thin.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    marks = []
    for outline in outlines:
        (x, y), (w, h), angle = cv2.minAreaRect(outline)
        length, breadth = max(w, h) + 1, min(w, h) + 1
        if 0.02 * SIDE <= length <= 0.2 * SIDE and length >= 2 * breadth:
            marks.append((x, y, np.deg2rad(angle if w >= h else angle + 90) % np.pi, length))
    if len(marks) < MIN_TICKS:
        return 0
    x, y, angle, length = np.array(sorted(marks, key=lambda mark: -mark[3])[:MOST_MARKS]).T
    best = 0
    for i in range(len(x)):
        turn = np.abs((angle - angle[i] + np.pi / 2) % np.pi - np.pi / 2)
        along = (x - x[i]) * np.cos(angle[i]) + (y - y[i]) * np.sin(angle[i])
        across = (y - y[i]) * np.cos(angle[i]) - (x - x[i]) * np.sin(angle[i])
        row = np.sort(across[(turn < np.deg2rad(12)) & (np.abs(along) <= 0.6 * length[i])])
        best = max(best, evenly_spaced(row))
    return best


def evenly_spaced(positions: np.ndarray) -> int:
    """Return the length of the longest run of sorted positions (n,) whose gaps differ by at most a quarter."""
    gaps = np.diff(positions)
    best = run = 1
    for before, after in pairwise(gaps):
        even = before > 2 and abs(after - before) <= 0.25 * max(before, after)
        run = run + 1 if even else 1
        best = max(best, run)
    return best + 1 if best > 1 else 0


def _findings(q: Quality) -> tuple[Finding | None, ...]:
    """Return one entry per check, None where it is passed."""

    def found(fires: bool, name: str, text: str, advice: str, poor: bool = False) -> Finding | None:
        return Finding(name, text, advice, poor) if fires else None

    return (
        found(
            q.sharpness < MIN_SHARPNESS,
            "blurred",
            "The image is blurred or shows no detail.",
            "Focus again, hold the dermatoscope still, and take the picture again.",
            True,
        ),
        found(
            q.brightness < MIN_BRIGHTNESS,
            "too dark",
            "The image is very dark.",
            "Switch the dermatoscope's light on or expose longer.",
            True,
        ),
        found(
            q.brightness > MAX_BRIGHTNESS,
            "too bright",
            "The image is very bright.",
            "Use a shorter exposure; burnt-out colours cannot be recovered.",
            True,
        ),
        found(
            q.short_side < MIN_SHORT_SIDE,
            "too small",
            f"The shorter side has {q.short_side} pixels; the models were tested from {SIDE} on.",
            "Send the original file rather than a thumbnail or a screenshot.",
            True,
        ),
        found(
            q.glare > MAX_GLARE,
            "glare",
            f"{percent(q.glare)} of the image is burnt out to white.",
            "Use polarised light or contact fluid, and press out air bubbles.",
        ),
        found(
            q.hair > MAX_HAIR,
            "hair",
            f"Thin dark lines, probably hairs, cover {percent(q.hair)} of the image.",
            "Comb or clip the hair over the lesion.",
        ),
        found(
            q.ink > MAX_INK,
            "ink",
            f"{percent(q.ink)} of the image has the colour of a skin marker.",
            "Wipe the ink off: networks are known to take ink marks for a sign of melanoma.",
        ),
        found(
            q.ticks >= MIN_TICKS,
            "ruler",
            "Evenly spaced marks, probably a ruler, are in the image.",
            "Move the ruler out of the frame.",
        ),
        found(
            q.vignette > MAX_VIGNETTE,
            "dark corners",
            f"Dark corners or a dark frame take up {percent(q.vignette)} of the image.",
            "Crop to the lit part, or zoom in.",
        ),
    )
