"""The shape of a DICOM picture's pixels: one of other than square ones is stretched. Runs in the decoding process."""

import math
from collections.abc import Iterator

import numpy as np
import pydicom
from PIL import Image

from dermlens.ingest.decoders import grey

TAGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""Height and width of a pixel, in the order in which they count: the last is for files without the others (PS3.3,

C.7.6.3.1.7).
"""
_SQUARE = 1.01
"""A side that is longer than the other by less than this was rounded."""
_MOST = 4
_STRETCHED = "The DICOM file says that its pixels are {:.2f} times as {}; the picture was stretched to its true shape."
_UNUSABLE = "The DICOM file gives its pixels a shape that is not plausible; they were taken for square."
_OTHERS = "The DICOM file gives its pixels several shapes; the one by their spacing was taken."


def true_size(file: pydicom.Dataset, notices: list[str]) -> tuple[int, int]:
    """Return the width and height that a picture has with square pixels; no side gets shorter."""
    width, height = int(file.Columns), int(file.Rows)
    told = list(_ratios(file))
    usable = [ratio for ratio in told if 1 / _MOST <= ratio <= _MOST]
    if not usable:
        notices.extend([_UNUSABLE] if told else [])
        return width, height
    ratio = usable[0]
    if any(max(other / ratio, ratio / other) > _SQUARE for other in usable):
        notices.append(_OTHERS)
    if max(ratio, 1 / ratio) <= _SQUARE:
        return width, height
    notices.append(_STRETCHED.format(max(ratio, 1 / ratio), "high as wide" if ratio > 1 else "wide as high"))
    return (width, round(height * ratio)) if ratio > 1 else (round(width / ratio), height)


def stretched(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture at a width and height."""
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _ratios(file: pydicom.Dataset) -> Iterator[float]:
    """Yield height through width of a pixel, wherever it is told; 0 for what is no ratio."""
    groups = grey.functional_groups(file, "PixelMeasuresSequence")
    for holder, tag in (*((group, TAGS[0]) for group in groups), *((file, tag) for tag in TAGS)):
        try:
            sides = holder[tag].value if tag in holder else None
            if not sides:
                continue
            height, width = (float(side) for side in sides)
        except (ValueError, TypeError, OverflowError):  # of what is no number, and of one number or three
            yield 0
            continue
        fits = math.isfinite(height) and math.isfinite(width) and height > 0 and width > 0
        yield height / width if fits else 0
