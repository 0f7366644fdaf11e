"""DICOM files whose pixel data are of other bits, or of another length, than their header says. Drawn here, by code."""

from collections.abc import Iterator

import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless

from tests.corpus.case import Case
from tests.image_files import dicom, dicom_by_gdcm, frame_of, picture, saved

_CONTRADICTS = "contradicts itself about its channels or bits"


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    yield from _too_many()
    yield from _too_few()
    yield from _signs()
    yield from _lengths()
    yield from _shared_colours()


def _said(frame: bytes, syntax: str, interpretation: str, bits: int, allocated: int = 16, **tags: object) -> bytes:
    """Return a file of 90 x 120 pixels around a frame, of whose values it says how many bits they have."""
    depth = {"BitsAllocated": allocated, "BitsStored": bits, "HighBit": bits - 1}
    return dicom(encapsulate([frame]), interpretation, syntax, (90, 120), **depth, **tags)


def _coded(values: np.ndarray) -> Iterator[tuple[str, str, bytes]]:
    """Yield the name and syntax of lossless coders, and what they make of grey."""
    yield "jpeg 2000", JPEG2000Lossless, saved(values, "JPEG2000", no_jp2=True, irreversible=False)
    for name, syntax in (("jpeg-ls", JPEGLSLossless), ("lossless jpeg", JPEGLosslessSV1)):
        yield name, syntax, frame_of(dicom_by_gdcm(values, syntax, "MONOCHROME2"))


def _too_many() -> Iterator[Case]:
    """Values that need more bits than the file says."""
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L")).astype(np.uint16)
    for name, syntax, frame in _coded(grey * 257):
        yield Case(f"dicom {name} of 16 bits said to be 12", _said(frame, syntax, "MONOCHROME2", 12), _CONTRADICTS)
    for name, syntax in (("jpeg-ls", JPEGLSLossless), ("lossless jpeg", JPEGLosslessSV1)):
        frame = frame_of(dicom_by_gdcm(shown.astype(np.uint16) * 257, syntax))
        yield Case(f"dicom {name} of 16 bits a channel said to be 12", _said(frame, syntax, "RGB", 12), _CONTRADICTS)
    twelve = grey << 4
    seen = np.repeat(np.rint(twelve / 4095 * 255).astype(np.uint8)[..., None], 3, -1)
    told = "more than 8 bits"
    for name, syntax, frame in _coded(twelve):
        data = _said(frame, syntax, "MONOCHROME2", 12)
        yield Case(f"dicom {name} of 16 bits with values of 12", data, told, pixels=seen)


def _too_few() -> Iterator[Case]:
    """Values of fewer bits than the file says, which are dark unless a window tells how bright they are."""
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    dark = np.repeat(np.rint(grey / 4095 * 255).astype(np.uint8)[..., None], 3, -1)
    three = np.repeat(grey[..., None], 3, -1)
    told = "have 8 bits a value, though the DICOM file says 12"
    for name, syntax, frame in _coded(grey):
        yield Case(f"dicom {name} of 8 bits said to be 12", _said(frame, syntax, "MONOCHROME2", 12), told, pixels=dark)
        data = _said(frame, syntax, "MONOCHROME2", 12, WindowCenter=128, WindowWidth=256)
        yield Case(f"dicom {name} of 8 bits said to be 12, with a window", data, "more than 8 bits", pixels=three)
        data = _said(frame, syntax, "MONOCHROME2", 8)
        yield Case(f"dicom {name} of 8 bits in 16", data, pixels=three)
    frame = frame_of(dicom_by_gdcm(shown, JPEGLSLossless))
    data = _said(frame, JPEGLSLossless, "RGB", 12)
    yield Case("dicom jpeg-ls of 8 bits a channel said to be 12", data, told, pixels=shown >> 4)


def _signs() -> Iterator[Case]:
    """Values that cannot be negative in a file that says they can."""
    grey = np.asarray(Image.fromarray(picture()).convert("L"))
    frame = saved(grey, "JPEG2000", no_jp2=True, irreversible=False)
    data = _said(frame, JPEG2000Lossless, "MONOCHROME2", 8, 8, PixelRepresentation=1)
    seen = np.repeat((grey + np.uint8(128))[..., None], 3, -1)  # 128 stands for -128, which is black
    yield Case("dicom jpeg 2000 said to be signed", data, "disagree on whether values can be negative", pixels=seen)
    data = _said(saved(grey, "JPEG"), JPEGBaseline8Bit, "MONOCHROME2", 8, 8, PixelRepresentation=1)
    yield Case("dicom jpeg said to be signed", data, _CONTRADICTS)


def _lengths() -> Iterator[Case]:
    """Pixel data without compression that are longer than the header says."""
    shown = picture()
    odd = picture(91, 121)
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    raw, deep = shown.tobytes(), (grey.astype("<u2") * 257).tobytes()
    bits = np.packbits((grey > 128).ravel(), bitorder="little").tobytes()
    two_greys = np.where(grey > 128, np.uint8(255), np.uint8(0))[..., None].repeat(3, -1)
    one = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    yield Case("dicom of odd length, padded", dicom(odd.tobytes(), shape=(91, 121)), pixels=odd)
    yield Case("dicom of single bits", dicom(bits, "MONOCHROME2", shape=(90, 120), **one), pixels=two_greys)
    two = dicom(raw + (255 - shown).tobytes(), shape=(90, 120), NumberOfFrames=2)
    yield Case("dicom of two frames", two, "The file holds 2 pictures", pixels=shown)
    told = "enough for 2 pictures, though the DICOM file tells of 1"
    yield Case("dicom of a frame more than it says", dicom(raw * 2, shape=(90, 120)), told, pixels=shown)
    padded = dicom(raw + bytes(128), shape=(90, 120))
    yield Case("dicom with zeros behind its picture", padded, "go on behind the picture with zeros", pixels=shown)
    for name, data in (
        ("columns", dicom(raw, shape=(90, 118))),
        ("rows", dicom(raw, shape=(60, 120))),
        ("bits", dicom(deep + b"\1\1", "MONOCHROME2", shape=(90, 120))),
        ("single bits", dicom(bits + b"\1" * 100, "MONOCHROME2", shape=(90, 120), **one)),
    ):
        yield Case(f"dicom of more {name} than it says", data, _CONTRADICTS)


def _shared_colours() -> Iterator[Case]:
    """YBR_FULL_422 without compression: two brightnesses and the colour of both (PS3.3, C.7.6.3.1.2), or not so."""
    shown = picture()
    luma = np.asarray(Image.fromarray(shown).convert("YCbCr"))
    colours = luma.reshape(90, 60, 2, 3)[..., 1:].mean(2).round().astype(np.uint8)
    pairs = np.dstack([luma[:, ::2, 0], luma[:, 1::2, 0], colours]).tobytes()
    planes = np.ascontiguousarray(np.moveaxis(luma, -1, 0)).tobytes()
    told = "that two pixels share a colour, but its data have one for each"
    for name, data, says, tags in (
        ("", pairs, "", {}),
        (" said to be in planes", pairs, "", {"PlanarConfiguration": 1}),
        (" of two frames", pairs * 2, "The file holds 2 pictures", {"NumberOfFrames": 2}),
        (" with a colour for each pixel", luma.tobytes(), told, {}),
        (" with a colour for each pixel, in planes", planes, told, {"PlanarConfiguration": 1}),
    ):
        data = dicom(data, "YBR_FULL_422", shape=(90, 120), **tags)
        yield Case(f"dicom ybr 4:2:2{name}", data, says, pixels=shown, within=2)
