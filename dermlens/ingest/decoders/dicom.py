"""The first picture of a DICOM file as RGB. Runs inside the decoding process; only the tags named here are read."""

import contextlib
import io
import warnings

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate, get_frame
from pydicom.multival import MultiValue
from pydicom.pixels import convert_color_space, get_decoder, pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from dermlens.errors import ImageError
from dermlens.ingest.decoders import colour, damage, grey, jpeg, tags
from dermlens.ingest.decoders.damage import DamagedError
from dermlens.ingest.decoders.dicom_parts import jpeg2000, native, spacing
from dermlens.ingest.decoders.pixels import Decoded, check_pictures, check_size
from dermlens.ingest.formats import Limits

with contextlib.suppress(ImportError):
    import gdcm

    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()

_TAGS = [
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "FloatPixelData"),
    *("DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "ICCProfile", "OpticalPathSequence"),
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape"),
    *("ModalityLUTSequence", "VOILUTSequence", "PresentationLUTSequence"),
    *spacing.TAGS,
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(f"{c}PaletteColorLookupTable{part}" for c in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")),
    *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
]
_LAYOUT = (
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
"""What a decoder must know of a frame."""
IDENTITY = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "StudyID", "StudyDate", "StudyTime"),
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
"""What `identity` reads, and nothing else ever does."""
_LONGEST = 195
"""Characters of a value that are taken over: one more than the longest name, of three groups of 64, has."""
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_AS_RGB = ("RGB", "YBR_ICT", "YBR_RCT")
"""What decoders make RGB of."""
_LUMA = ("YBR_FULL", "YBR_FULL_422")
_PREFERRED = ("pillow", "gdcm")
"""Pillow's decoders first: they are the most widely tested."""
_NEW_SYNTAXES = {  # those that pydicom has no name for
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
_ROOT = "1.2.840.10008."
"""of every syntax of the standard"""
_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
_JPEG_START = b"\xff\xd8"
_EMPTY = bytes(256)
_GAP = "The JPEG 2000 data hold a long run of zeros, as if a part were lost; look whether the picture is whole."
_OTHER_KIND = "The DICOM file says that it is compressed as JPEG 2000, but its data are JPEG. Export the image again."
_TURNED = "Only the EXIF data of the JPEG inside say that the picture is to be turned; it is shown as it is stored."
_FEWER_BITS = "The compressed data have {} bits a value, though the DICOM file says {}; the picture may be too dark."
_OTHER_SIGN = (
    "The compressed data and the DICOM file disagree on whether values can be negative; light and dark may be wrong."
)


def decode(data: bytes, limits: Limits) -> Decoded:
    """Decode the first frame.

    Args:
        data: the whole file.
        limits: checked against the header.

    Raises:
        ImageError: no picture, more than allowed, or a transfer syntax or photometric interpretation without a decoder.
        Exception: anything, for a damaged file.
    """
    file = pydicom.dcmread(io.BytesIO(data), specific_tags=list(_TAGS), force=data[128:132] != b"DICM")
    if "TransferSyntaxUID" not in file.file_meta:  # in a file without its head, which pydicom told from the data
        implicit, _ = file.original_encoding
        file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    _check(file, limits)
    notices = list(check_pictures(int(file.get("NumberOfFrames") or 1), limits))
    size = spacing.true_size(file, notices)
    check_size(*size, limits)
    says_rgb = file.PhotometricInterpretation in _AS_RGB
    frame = _frame(file, limits, notices)
    interpretation = str(file.PhotometricInterpretation)  # of the frame, which JPEG data may have corrected
    if interpretation in _GREY:
        pixels = grey.look_up(frame, grey.grey_table(file, notices))
    elif interpretation == "PALETTE COLOR":
        pixels = grey.look_up(frame, grey.palette(file, notices))
    else:
        pixels = _eight_bits(frame, int(file.BitsStored), brightness_first=_unconverted(file))
        if _unconverted(file):
            pixels = convert_color_space(pixels, "YBR_FULL", "RGB")
        elif says_rgb and colour.LOOKS_WRONG not in notices and colour.like_ycbcr(pixels):
            notices.append(colour.LOOKS_WRONG)
    return Decoded(spacing.stretched(_to_srgb(pixels, file, notices), size), tuple(notices))


def identity(data: bytes) -> dict[str, str]:
    """Return which object a file is, and whose: tag -> value, for tags of IDENTITY that are there.

    Values are as the file has them, several of one tag with a backslash between them as there; whether they can stand
    in an object is for who makes one. Of one that is longer than any may be, so much is left that it is too long still.

    Args:
        data: the whole file.
    """
    file = pydicom.dcmread(
        io.BytesIO(data), specific_tags=["SpecificCharacterSet", *IDENTITY], force=data[128:132] != b"DICM"
    )
    found = {}
    for tag in IDENTITY:
        value = file.get(tag)
        found[tag] = ("\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or ""))[:_LONGEST]
    return {tag: value for tag, value in found.items() if value}


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
    if samples != (3 if interpretation in _COLOUR else 1) or not 1 <= file.BitsStored <= file.BitsAllocated:
        raise ImageError(native.CONTRADICTS)
    if file.BitsAllocated > 16:
        raise ImageError(
            f"The DICOM file holds values of {file.BitsAllocated} bits, which are not read here. "
            "Export the image with 8 or 16 bits a channel."
        )


def _unconverted(file: pydicom.Dataset) -> bool:
    """Return whether a frame is left as brightness and two differences of colour: pydicom converts 8 bits alone."""
    return file.PhotometricInterpretation in _LUMA and not file.BitsStored == file.BitsAllocated == 8


def _eight_bits(frame: np.ndarray, bits: int, brightness_first: bool) -> np.ndarray:
    """Return (rows, columns, 3) as uint8. Differences of colour stay about the middle of their range."""
    if bits > 8:
        return (frame >> (bits - 8)).astype(np.uint8)
    if frame.max() >= 1 << bits:
        raise ImageError(native.CONTRADICTS)
    if bits == 8:
        return frame.astype(np.uint8, copy=False)
    values, step = np.arange(1 << bits), 255 / ((1 << bits) - 1)
    lightness = np.rint(values * step).astype(np.uint8)
    difference = np.rint((values - (1 << (bits - 1))) * step + 128).clip(0, 255).astype(np.uint8)
    tables = (lightness, difference, difference) if brightness_first else (lightness,) * 3
    return np.stack([table[frame[..., i]] for i, table in enumerate(tables)], -1)


def _frame(file: pydicom.Dataset, limits: Limits, notices: list[str]) -> np.ndarray:
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
    if plugin == "gdcm" and syntax in JPEGLSTransferSyntaxes and file.BitsStored in (6, 7):
        raise ImageError(_no_decoder(syntax))
    if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        frame = _compressed(file, syntax, plugin, notices)
    else:
        native.check_length(file, notices)
        stored = pixel_array(file, index=0, decoding_plugin=plugin, correct_unused_bits=False, raw=_unconverted(file))
        frame = grey.aligned(stored, file)
    expected = (file.Rows, file.Columns, 3)[: 3 if file.SamplesPerPixel == 3 else 2]
    if frame.shape != expected:
        raise ValueError(f"the frame has the shape {frame.shape}, the header says {expected}")
    return frame


def _compressed(file: pydicom.Dataset, syntax: UID, plugin: str, notices: list[str]) -> np.ndarray:
    """Return the first of compressed frames; raises DamagedError for damage that decoders do not mind."""
    offsets = file.get("ExtendedOffsetTable"), file.get("ExtendedOffsetTableLengths")
    coded = get_frame(
        file.PixelData,
        0,
        number_of_frames=int(file.get("NumberOfFrames") or 1),
        extended_offsets=offsets if all(offsets) else None,
    )
    if syntax not in _JPEG:
        if syntax in JPEG2000TransferSyntaxes:
            if coded.startswith(_JPEG_START):
                raise ImageError(_OTHER_KIND)
            notices.extend([_GAP] if _EMPTY in coded else [])
            if (told := jpeg2000.colours(coded)) and file.SamplesPerPixel == 3:
                _heed(told, file, notices)
        frame = _decoded(file, coded, plugin)
        if syntax == RLELossless:
            return grey.aligned(frame, file)
        if syntax in JPEG2000TransferSyntaxes:
            depth, signed = jpeg2000.depth(coded)
            notices.extend([_OTHER_SIGN] if signed != (file.PixelRepresentation == 1) else [])
        else:
            depth = jpeg.read(coded).precision
        return _within_range(frame, depth, file, notices)
    stream = jpeg.read(coded)
    if stream.frame == jpeg.LOSSLESS:
        return _within_range(_lossless(file, coded, stream, plugin, notices), stream.precision, file, notices)
    said: list[str] = []
    coded = jpeg.whole(coded, said)
    if len(stream.components) != file.SamplesPerPixel or file.BitsStored != 8 or file.get("PixelRepresentation"):
        raise ImageError(native.CONTRADICTS)
    file.BitsAllocated = 8
    image = Image.open(io.BytesIO(coded), formats=["JPEG"])
    if not _profile(file):
        notices += said
        file.ICCProfile = tags.profile(image, coded, "JPEG", image.mode, notices)
    else:
        notices += (notice for notice in said if notice != colour.DAMAGED_PROFILE)
    if tags.turned(image):
        notices.append(_TURNED)
    if file.SamplesPerPixel == 3 and (told := jpeg.colours(stream)):
        _heed(told, file, notices)
        return np.asarray(image)
    frame = _decoded(file, coded, plugin)
    if file.PhotometricInterpretation == "RGB" and len(set(stream.sampling)) > 1:  # as of brightness and colours alone
        notices.append(colour.LOOKS_WRONG)
    return frame


def _lossless(file: pydicom.Dataset, coded: bytes, stream: jpeg.Stream, plugin: str, notices: list[str]) -> np.ndarray:
    """Return a frame of lossless JPEG: it has no transform, so that the file alone says what its colours are."""
    if plugin == "gdcm":  # Pillow, which decodes the few that are said to be baseline, needs the markers
        coded = jpeg.unmarked(coded)
    if stream.precision == 8:
        return _decoded(file, jpeg.whole(coded, notices), plugin)
    bits = min(max(int(file.BitsStored), stream.precision), int(file.BitsAllocated))
    with damage.complaints() as said:  # with all bits: GDCM cuts off those that the file does not tell of
        frame = _decoded(file, coded, plugin, bits)
    if said or np.array_equal(frame, _decoded(file, jpeg.with_another_end(coded), plugin, bits)):
        raise DamagedError("the picture is complete before its data are")
    return frame


def _within_range(frame: np.ndarray, depth: int, file: pydicom.Dataset, notices: list[str]) -> np.ndarray:
    """Return a frame whose values are such as the file says; `depth` is what its data say of their bits.

    Raises:
        ImageError: some are not.
    """
    _, lowest, highest = grey.domain(file)
    if file.BitsStored < 8 * frame.dtype.itemsize and (frame.max() > highest or frame.min() < lowest):
        raise ImageError(native.CONTRADICTS)
    unspread = file.PhotometricInterpretation in _COLOUR or not grey.has_range(file)
    if depth < file.BitsStored and unspread and file.PhotometricInterpretation != "PALETTE COLOR":
        notices.append(_FEWER_BITS.format(depth, file.BitsStored))
    return frame


def _heed(told: str, file: pydicom.Dataset, notices: list[str]) -> None:
    """Take the colours that a frame's data say they hold, of which the decoder makes RGB, for what it holds."""
    if (file.PhotometricInterpretation in _LUMA) != (told == "YCbCr"):
        notices.append(colour.OTHER_COLOURS.format(file.PhotometricInterpretation, told))
    file.PhotometricInterpretation = "RGB"


def _decoded(file: pydicom.Dataset, coded: bytes, plugin: str, bits: int = 0) -> np.ndarray:
    """Return what a decoder makes of a frame's data. PlanarConfiguration says nothing of them (PS3.5, 8.2).

    Args:
        file: that they are of.
        coded: the data.
        plugin: with the decoder.
        bits: of a value, if other than the file says.
    """
    alone = pydicom.Dataset()
    alone.file_meta = file.file_meta
    for tag in _LAYOUT:
        if tag in file:
            setattr(alone, tag, file[tag].value)
    alone.NumberOfFrames = 1
    if bits:
        alone.BitsStored, alone.HighBit = bits, bits - 1
    if alone.SamplesPerPixel > 1:
        alone.PlanarConfiguration = 0
    alone.PixelData = encapsulate([coded])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*RLE segment")  # more or less than the picture: damage
        return pixel_array(alone, index=0, decoding_plugin=plugin, correct_unused_bits=False, raw=_unconverted(file))


def _no_decoder(syntax: UID) -> str:
    known = "a private transfer syntax"
    if syntax in _NEW_SYNTAXES:
        known = f"{_NEW_SYNTAXES[syntax]} ({syntax})"
    elif syntax.is_valid and not syntax.is_private and syntax.name != syntax:
        known = f"{syntax.name} ({syntax})"
    elif syntax.startswith(_ROOT):
        known = "a transfer syntax that is not known here"
    return (
        f"The DICOM file is compressed as {known}, for which there is no decoder here. "
        "Export the image uncompressed, or as JPEG or PNG."
    )


def _to_srgb(pixels: np.ndarray, file: pydicom.Dataset, notices: list[str]) -> np.ndarray:
    mode = "L" if file.PhotometricInterpretation in _GREY else "RGB"
    return np.ascontiguousarray(colour.transform(mode, _profile(file), notices)(Image.fromarray(pixels)))


def _profile(file: pydicom.Dataset) -> bytes | None:
    """Return the profile of a file, or of a slide's first optical path."""
    paths = file.get("OpticalPathSequence") or [None]
    held = file.get("ICCProfile") or (paths[0].get("ICCProfile") if paths[0] is not None else None)
    return held if isinstance(held, bytes) and held else None
