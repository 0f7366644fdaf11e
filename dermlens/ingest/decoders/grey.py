"""From the stored values of a grey or palette DICOM picture to 8 bits. Runs inside the decoding process.

Grey goes through the modality LUT or rescale, then the VOI LUT or window, then the presentation's shape (PS3.3, C.11.1,
C.11.2 and C.11.6), where the file has them; otherwise the whole range that values can take is spread over 0..255.
"""

from typing import Any

import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut

from dermlens.errors import ImageError

SCALED = "The grey values of more than 8 bits were scaled to 8 bits."
_PRESENTATION = "The DICOM file has a presentation LUT, which was not applied; light and dark may be shifted."
_EIGHT_IN_SIXTEEN = "The palette's colours are of 8 bits, though the DICOM file says 16; they were read as 8."
_UNUSABLE = "The DICOM file gives no usable brightness (rescale or window). Export the image again."
_CHANNELS = ("Red", "Green", "Blue")


def domain(file: pydicom.Dataset) -> tuple[np.ndarray, int, int]:
    """Return every value that a stored pixel can take, (2^bits allocated,) in the order of its unsigned bits,

    and the lowest and highest value of the bits in use.
    """
    bits = 8 if file.BitsAllocated <= 8 else 16
    unsigned = np.arange(1 << bits, dtype=f"u{bits // 8}")
    if file.PixelRepresentation == 1:
        half = 1 << (file.BitsStored - 1)
        return unsigned.view(f"i{bits // 8}"), -half, half - 1
    return unsigned, 0, (1 << file.BitsStored) - 1


def aligned(frame: np.ndarray, file: pydicom.Dataset) -> np.ndarray:
    """Return stored values moved down to bit 0, without what lies in the bits beside them (PS3.5, 8.1.1)."""
    native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
    width, stored = 8 * native.dtype.itemsize, int(file.BitsStored)
    above = width - 1 - int(file.get("HighBit") or stored - 1)
    if stored >= width or above < 0:
        return native
    whole = native.view(f"u{native.dtype.itemsize}") << above
    return whole.view(f"i{width // 8}" if file.PixelRepresentation == 1 else f"u{width // 8}") >> (width - stored)


def look_up(frame: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return table[value] for every pixel; negative values stand in the upper half of the table."""
    native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
    return table[native.view(f"u{frame.dtype.itemsize}")]


def grey_table(file: pydicom.Dataset, notices: list[str]) -> np.ndarray:
    """Return what 8-bit grey every stored value becomes, (2^bits allocated,) uint8.

    Raises:
        ImageError: the file gives no usable brightness.
    """
    stored, lowest, highest = domain(file)
    values = stored.astype(np.float64)
    ends = np.array([lowest, highest], np.float64)
    groups = [file, *functional_groups(file, "PixelValueTransformationSequence")]
    slope, intercept = (next(_numbers(groups, tag), None) for tag in ("RescaleSlope", "RescaleIntercept"))
    if modality := _item(file, "ModalityLUTSequence"):
        table, most = _lut(modality, file)
        values, ends = _through(values, modality, table, file), np.array([0.0, most])
    elif slope is not None and intercept is not None:
        values, ends = values * slope + intercept, ends * slope + intercept
    with np.errstate(over="ignore", invalid="ignore"):
        share = _voi(values, ends, file)
    if not np.isfinite(share).all() or not np.isfinite(ends).all() or ends[0] == ends[1]:
        raise ImageError(_UNUSABLE)
    if file.PhotometricInterpretation == "MONOCHROME1" or file.get("PresentationLUTShape") == "INVERSE":
        share = 1 - share
    if file.get("PresentationLUTSequence"):
        notices.append(_PRESENTATION)
    if file.BitsStored > 8:
        notices.append(SCALED)
    return np.rint(255 * share.clip(0, 1)).astype(np.uint8)


def _voi(values: np.ndarray, ends: np.ndarray, file: pydicom.Dataset) -> np.ndarray:
    """Return how bright every value is shown, 0..1."""
    groups = [*functional_groups(file, "FrameVOILUTSequence"), file]
    if voi := _item(file, "VOILUTSequence"):
        table, most = _lut(voi, file)
        return _through(values, voi, table, file) / most
    centre, width = (next(_numbers(groups, tag), None) for tag in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return (values - ends.min()) / max(np.ptp(ends), np.finfo(float).tiny)
    function = next((str(g.VOILUTFunction).upper() for g in groups if g.get("VOILUTFunction")), "LINEAR")
    if width < (1 if function == "LINEAR" else np.finfo(float).tiny):
        raise ImageError(_UNUSABLE)
    if function == "SIGMOID":
        return 1 / (1 + np.exp((-4 * (values - centre) / width).clip(-700, 700)))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    return ((values - centre) / width + 0.5).clip(0, 1)


def has_range(file: pydicom.Dataset) -> bool:
    """Return whether a file says, by a LUT or a window, which values are black and white."""
    groups = [*functional_groups(file, "FrameVOILUTSequence"), file]
    window = all(next(_numbers(groups, tag), None) is not None for tag in ("WindowCenter", "WindowWidth"))
    return window or any(_item(file, tag) for tag in ("ModalityLUTSequence", "VOILUTSequence"))


def _item(holder: pydicom.Dataset, tag: str) -> pydicom.Dataset | None:
    """Return the first item of a sequence, None if it is absent or empty."""
    items = holder.get(tag)
    return items[0] if items else None


def functional_groups(file: pydicom.Dataset, tag: str) -> list[pydicom.Dataset]:
    """Return what the functional groups say under a tag: of the first frame, then of all frames."""
    holders = (_item(file, f"{which}FunctionalGroupsSequence") for which in ("PerFrame", "Shared"))
    found = (_item(holder, tag) for holder in holders if holder is not None)
    return [item for item in found if item is not None]


def _numbers(holders: list[pydicom.Dataset], tag: str) -> Any:
    """Yield the first value of a tag from every dataset that has one."""
    for holder in holders:
        value = holder.get(tag)
        if isinstance(value, pydicom.multival.MultiValue):
            value = value[0] if value else None
        if value is not None and value != "":
            yield float(value)


def _lut(item: pydicom.Dataset, file: pydicom.Dataset) -> tuple[np.ndarray, int]:
    """Return the values of a LUT, and the highest that it may give."""
    count, depth = int(item.LUTDescriptor[0]) or 1 << 16, int(item.LUTDescriptor[2])
    table = _entries(item.LUTData, count, file)[:count].astype(np.float64)
    if len(table) != count or not 8 <= depth <= 16:
        raise ValueError("the LUT has not as many entries as it says")
    return table, (1 << depth) - 1


def _entries(data: object, count: int, file: pydicom.Dataset) -> np.ndarray:
    """Return the numbers of a LUT's data, which are words, or bytes if there are no more bytes than entries."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.array(data, np.uint16))
    if len(data) < 2 * count:
        return np.frombuffer(data, np.uint8)
    order = "<" if file.file_meta.TransferSyntaxUID.is_little_endian else ">"
    return np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2")


def _through(values: np.ndarray, item: pydicom.Dataset, table: np.ndarray, file: pydicom.Dataset) -> np.ndarray:
    first = int(item.LUTDescriptor[1])
    if first >= 1 << 15 and file.PixelRepresentation == 1:
        first -= 1 << 16  # it was read as unsigned
    return table[(np.rint(values) - first).clip(0, len(table) - 1).astype(int)]


def palette(file: pydicom.Dataset, notices: list[str]) -> np.ndarray:
    """Return the colour of every stored value, (2^bits allocated, 3) uint8."""
    descriptor = file.RedPaletteColorLookupTableDescriptor
    count, depth = int(descriptor[0]) or 1 << 16, int(descriptor[2])
    if "RedPaletteColorLookupTableData" not in file:
        colours = apply_color_lut(domain(file)[0], file)[..., :3]
    else:
        first = int(descriptor[1]) - (1 << 16 if descriptor[1] >= 1 << 15 and file.PixelRepresentation == 1 else 0)
        data = [_entries(file[f"{c}PaletteColorLookupTableData"].value, count, file)[:count] for c in _CHANNELS]
        if len({len(channel) for channel in data}) > 1 or len(data[0]) != count:
            raise ValueError("the palette has not as many colours as it says")
        colours = np.stack(data, -1)[(domain(file)[0].astype(int) - first).clip(0, count - 1)]
    if depth > 8 and colours.dtype.itemsize > 1 and colours.max() < 256:
        notices.append(_EIGHT_IN_SIXTEEN)
        depth = 8
    return (colours >> (depth - 8) if colours.dtype.itemsize > 1 and depth > 8 else colours).astype(np.uint8)
