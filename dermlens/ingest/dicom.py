"""The first picture of a DICOM file as RGB. Runs inside the decoding process; only the tags named here are read."""

import contextlib
import io

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_rescale, apply_windowing, get_decoder, pixel_array
from pydicom.uid import UID, JPEGExtended12Bit

from dermlens.errors import ImageError
from dermlens.ingest.formats import Limits
from dermlens.ingest.pixels import Decoded, check_pictures, check_size, colour_transform

with contextlib.suppress(ImportError):
    import gdcm

    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()

_TAGS = [
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "FloatPixelData"),
    *("DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "ICCProfile"),
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(f"{c}PaletteColorLookupTable{part}" for c in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")),
    *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
]
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PREFERRED = ("pillow", "gdcm")
"""Pillow's decoders first: they are the most widely tested."""


def decode(data: bytes, limits: Limits) -> Decoded:
    """Decode the first frame.

    Grey values go through rescale slope and window (PS3.3, C.11.1 and C.11.2) where the file has them, otherwise the
    whole range that they can take is spread over 0..255.

    Args:
        data: the whole file.
        limits: checked against the header.

    Raises:
        ImageError: no picture, more than allowed, or a transfer syntax or photometric interpretation without a decoder.
        Exception: anything, for a damaged file.
    """
    file = pydicom.dcmread(io.BytesIO(data), specific_tags=list(_TAGS))
    _check(file, limits)
    notices = list(check_pictures(int(file.get("NumberOfFrames") or 1), limits))
    frame = _frame(file, limits)
    interpretation = str(file.PhotometricInterpretation)
    if interpretation in _GREY:
        if file.BitsStored > 8:
            notices.append("The grey values of more than 8 bits were scaled to 8 bits.")
        pixels = np.repeat(_look_up(frame, _grey_table(file))[..., None], 3, -1)
    elif interpretation == "PALETTE COLOR":
        pixels = _look_up(frame, _palette(file))
    else:
        pixels = (frame >> (file.BitsStored - 8)).astype(np.uint8) if file.BitsStored > 8 else frame.astype(np.uint8)
    return Decoded(_to_srgb(pixels, file, notices), tuple(notices))


def _check(file: pydicom.Dataset, limits: Limits) -> None:
    if "FloatPixelData" in file or "DoubleFloatPixelData" in file:
        raise ImageError("The DICOM file holds floating-point values, for which no brightness is defined.")
    if "PixelData" not in file or "Rows" not in file or "Columns" not in file:
        raise ImageError("The DICOM file holds no picture. Export the image itself, not a report or a list of images.")
    check_size(int(file.Columns), int(file.Rows), limits)
    interpretation, samples = str(file.PhotometricInterpretation), int(file.SamplesPerPixel)
    if interpretation not in (*_GREY, *_COLOUR, "PALETTE COLOR"):
        raise ImageError(
            f"The DICOM file stores its colours in a way not supported here; only {', '.join((*_GREY, *_COLOUR))} "
            "and PALETTE COLOR are. Export the image as JPEG or PNG."
        )
    if samples != (3 if interpretation in _COLOUR else 1) or not 1 <= file.BitsStored <= file.BitsAllocated <= 16:
        raise ImageError("The DICOM file contradicts itself about its channels or bits. Export the image again.")


def _frame(file: pydicom.Dataset, limits: Limits) -> np.ndarray:
    """Return the first frame, (rows, columns) or, as RGB, (rows, columns, 3)."""
    syntax = UID(file.file_meta.TransferSyntaxUID)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as e:
        raise ImageError(_no_decoder(syntax)) from e
    if not decoder.is_available:
        raise ImageError(_no_decoder(syntax))
    Image.MAX_IMAGE_PIXELS = limits.pixels // 2  # a frame can claim another size than the file around it
    # One decoder per syntax, and no second try: GDCM ends its process on damaged files that Pillow only refuses.
    plugin = next((p for p in _PREFERRED if p in decoder.available_plugins), "")
    if plugin == "pillow" and file.BitsStored > 8 and (syntax == JPEGExtended12Bit or file.SamplesPerPixel == 3):
        raise ImageError(_no_decoder(syntax))
    frame = pixel_array(file, index=0, decoding_plugin=plugin)
    expected = (file.Rows, file.Columns, 3)[: 3 if file.SamplesPerPixel == 3 else 2]
    if frame.shape != expected:
        raise ValueError(f"the frame has the shape {frame.shape}, the header says {expected}")
    return frame


def _no_decoder(syntax: UID) -> str:
    known = f"{syntax.name} ({syntax})" if syntax.is_valid and not syntax.is_private and syntax.name != syntax else ""
    return (
        f"The DICOM file is compressed as {known or 'a private transfer syntax'}, for which there is no decoder here. "
        "Export the image uncompressed, or as JPEG or PNG."
    )


def _domain(file: pydicom.Dataset) -> tuple[np.ndarray, int, int]:
    """Return every value that a stored pixel can take, (2^bits allocated,) in the order of its unsigned bits,

    and the lowest and highest value of the bits in use.
    """
    bits = 8 if file.BitsAllocated <= 8 else 16
    unsigned = np.arange(1 << bits, dtype=f"u{bits // 8}")
    if file.PixelRepresentation == 1:
        half = 1 << (file.BitsStored - 1)
        return unsigned.view(f"i{bits // 8}"), -half, half - 1
    return unsigned, 0, (1 << file.BitsStored) - 1


def _look_up(frame: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return table[value] for every pixel; negative values stand in the upper half of the table."""
    native = frame.astype(frame.dtype.newbyteorder("="), copy=False)
    return table[native.view(f"u{frame.dtype.itemsize}")]


def _grey_table(file: pydicom.Dataset) -> np.ndarray:
    """Return what 8-bit grey every stored value becomes, (2^bits,) uint8."""
    values, lowest, highest = _domain(file)
    ends = apply_rescale(np.array([lowest, highest]), file).astype(np.float64)
    shown = apply_windowing(apply_rescale(values, file), file).astype(np.float64)
    if not np.isfinite(shown).all() or ends[0] == ends[1]:
        raise ImageError("The DICOM file gives no usable brightness (rescale or window). Export the image again.")
    share = ((shown - ends.min()) / np.ptp(ends)).clip(0, 1)
    if file.PhotometricInterpretation == "MONOCHROME1":
        share = 1 - share
    return np.rint(255 * share).astype(np.uint8)


def _palette(file: pydicom.Dataset) -> np.ndarray:
    """Return the colour of every stored value, (2^bits, 3) uint8."""
    colours = apply_color_lut(_domain(file)[0], file)[..., :3]
    depth = int(file.RedPaletteColorLookupTableDescriptor[2])
    return (colours >> (depth - 8) if colours.dtype.itemsize > 1 and depth > 8 else colours).astype(np.uint8)


def _to_srgb(pixels: np.ndarray, file: pydicom.Dataset, notices: list[str]) -> np.ndarray:
    profile = file.get("ICCProfile")
    if not isinstance(profile, bytes) or not profile:
        return np.ascontiguousarray(pixels)
    image = Image.fromarray(pixels)
    image.info["icc_profile"] = profile
    return np.asarray(colour_transform(image, notices)(image))
