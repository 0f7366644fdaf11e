"""DICOM files around JPEG and JPEG 2000 data that say something themselves. Drawn here, by code."""

import struct
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless

from dermlens.ingest.decoders import colour
from tests.corpus.case import Case
from tests.image_files import dicom, dicom_by_gdcm, dicom_rle, frame_of, jpeg_marked, jpeg_of_rgb, picture, saved


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    yield from _jpegs()
    yield from _jpegs_2000()
    yield from _lossless()
    yield from _told_inside()
    yield from _called_rgb()


def _jpegs() -> Iterator[Case]:
    """DICOM files around JPEG data that say themselves what their colours are (libjpeg's default_decompress_parms)."""
    shown = picture()
    luma = saved(shown, "JPEG", quality=95)
    named = saved(shown, "JPEG", quality=95, keep_rgb=True, subsampling=0)  # with Adobe's marker of transform 0
    plain = bytearray(named)
    for marker, first, step in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        at = named.index(marker) + first
        plain[at : at + 3 * step : step] = b"\1\2\3"
    for name, frame, colours in (
        ("YCbCr by JFIF", luma, "YCbCr"),
        ("YCbCr by Adobe", jpeg_marked(luma, False, 1), "YCbCr"),
        ("YCbCr by JFIF and Adobe", jpeg_marked(luma, True, 1), "YCbCr"),
        ("RGB by Adobe", bytes(plain), "RGB"),
        ("RGB by Adobe and by names", named, "RGB"),
        ("RGB by names", jpeg_of_rgb(shown), "RGB"),
    ):
        seen = np.asarray(Image.open(BytesIO(frame)).convert("RGB"))
        for said in ("YBR_FULL_422", "YBR_FULL", "RGB"):
            other = (said == "RGB") != (colours == "RGB")
            says = f"says that its colours are {said}, but its JPEG data are {colours}" if other else ""
            data = dicom(encapsulate([frame]), said, JPEGBaseline8Bit, (90, 120))
            yield Case(f"dicom jpeg, {name}, said to be {said}", data, says, pixels=seen)
        assert np.abs(seen.astype(int) - shown).mean() < 3
    frames = encapsulate([jpeg_marked(luma, True, 1), saved(255 - shown, "JPEG")])
    data = dicom(frames, "YBR_FULL_422", JPEGBaseline8Bit, (90, 120), NumberOfFrames=2)
    yield Case("dicom jpeg of two frames, by Adobe", data, "The file holds 2 pictures", pixels=shown, within=3)
    exact = saved(shown, "JPEG", quality=95, subsampling=0)
    stored = Image.open(BytesIO(exact))
    stored.draft("YCbCr", stored.size)
    data = dicom(encapsulate([jpeg_marked(exact, False, None)]), "RGB", JPEGBaseline8Bit, (90, 120))
    says = "they look like YCbCr"
    yield Case("dicom jpeg of YCbCr 4:4:4 said to be RGB", data, says, pixels=np.asarray(stored))


def _jpegs_2000() -> Iterator[Case]:
    """DICOM files around JPEG 2000 data that decoders make RGB of themselves, whatever the file says."""
    shown = picture()
    luma = Image.fromarray(shown).convert("YCbCr")
    own = saved(shown, "JPEG2000", no_jp2=True, irreversible=False, mct=1)
    lossy = saved(shown, "JPEG2000", no_jp2=True, irreversible=True, mct=1, quality_layers=[2])
    around = saved(luma, "JPEG2000", no_jp2=False, irreversible=False, mct=0)
    stored = saved(np.asarray(luma), "JPEG2000", no_jp2=True, irreversible=False, mct=0)
    luma_says, rgb_says = "its JPEG data are RGB", "its JPEG data are YCbCr"
    for name, frame, said, says, within in (
        ("transformed", own, "YBR_FULL", luma_says, 0),
        ("transformed", own, "YBR_FULL_422", luma_says, 0),
        ("transformed", own, "RGB", "", 0),
        ("transformed with losses", lossy, "YBR_FULL", luma_says, 4),
        ("in a file of YCbCr", around, "YBR_FULL", "", 2),
        ("in a file of YCbCr", around, "RGB", rgb_says, 2),
        ("of YCbCr", stored, "YBR_FULL", "", 1),
    ):
        data = dicom(encapsulate([frame]), said, JPEG2000, (90, 120))
        yield Case(f"dicom jpeg 2000 {name}, said to be {said}", data, says, pixels=shown, within=within)


def _lossless() -> Iterator[Case]:
    """Lossless JPEG has no transform: DICOM says what its colours are, whatever its markers say."""
    shown = picture()
    luma = np.asarray(Image.fromarray(shown).convert("YCbCr"))
    jfif = saved(shown, "JPEG")[2:20]
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1"
    for said, stored, within in (("RGB", shown, 0), ("YBR_FULL", luma, 1)):
        frame = frame_of(dicom_by_gdcm(stored, JPEGLosslessSV1, said))
        for name, marker in (("JFIF", jfif), ("Adobe", adobe)):
            data = dicom(encapsulate([frame[:2] + marker + frame[2:]]), said, JPEGLosslessSV1, (90, 120))
            yield Case(f"dicom lossless jpeg of {said} with the marker of {name}", data, pixels=shown, within=within)
    frame = frame_of(dicom_by_gdcm(shown, JPEGLosslessSV1))
    data = dicom(encapsulate([frame]), "RGB", JPEGBaseline8Bit, (90, 120))
    yield Case("dicom lossless jpeg said to be baseline", data, pixels=shown)
    says = "a lossless JPEG image of YCbCr, which is not read"
    yield Case("lossless jpeg with the marker of JFIF", frame[:2] + jfif + frame[2:], says)


def _told_inside() -> Iterator[Case]:
    """What a JPEG says of itself beside its pixels: heeded where DICOM says nothing of that."""
    shown = picture()
    linear = colour.coded(1, 8, "RGB", []) or b""
    light = shown / 255
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    bright = np.rint(255 * curve).astype(np.uint8)
    inside = saved(shown, "JPEG", quality=98, subsampling=0, icc_profile=linear)
    start = inside.index(b"ICC_PROFILE") - 4
    part = inside[start : start + 2 + int.from_bytes(inside[start + 2 : start + 4], "big")]
    twice = inside[:start] + part + inside[start:]
    plain = saved(shown, "JPEG", quality=98, subsampling=0)
    for name, frame, held, wanted in (
        ("with a profile", inside, None, bright),
        ("with a profile twice, and one of the file", twice, linear, bright),
        ("with a profile of the file", plain, linear, bright),
    ):
        data = dicom(encapsulate([frame]), "YBR_FULL_422", JPEGBaseline8Bit, (90, 120), ICCProfile=held)
        yield Case(f"dicom jpeg {name}", data, pixels=wanted, within=3)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(shown, "JPEG", quality=98, subsampling=0, exif=exif.tobytes())
    data = dicom(encapsulate([turned]), "YBR_FULL_422", JPEGBaseline8Bit, (90, 120))
    yield Case("dicom jpeg of orientation 6", data, "Only the EXIF data of the JPEG inside", pixels=shown, within=3)
    adobe = struct.pack("<HHHII", 1, 0x8769, 4, 1, 26) + bytes(4) + struct.pack("<HHHIII", 1, 0xA001, 3, 1, 2, 0)
    wide = saved(shown, "JPEG", quality=98, subsampling=0, exif=b"Exif\0\0II*\0\x08\0\0\0" + adobe)
    data = dicom(encapsulate([wide]), "YBR_FULL_422", JPEGBaseline8Bit, (90, 120), ICCProfile=linear)
    yield Case("dicom jpeg of Adobe RGB, with a profile of the file", data, pixels=bright, within=3)
    two = saved(Image.fromarray(shown), "MPO", save_all=True, append_images=[Image.fromarray(255 - shown)], quality=95)
    data = dicom(encapsulate([two]), "YBR_FULL_422", JPEGBaseline8Bit, (90, 120))
    yield Case("dicom jpeg of a camera's two pictures", data, pixels=shown, within=3)
    data = dicom(encapsulate([saved(shown, "JPEG")]), "YBR_FULL_422", JPEG2000, (90, 120))
    yield Case("dicom jpeg said to be JPEG 2000", data, "but its data are JPEG")


def _called_rgb() -> Iterator[Case]:
    """YCbCr that the file calls RGB, or what a decoder makes RGB of: no data say otherwise, but the picture does."""
    luma = np.asarray(Image.fromarray(picture()).convert("YCbCr"))
    coded = saved(luma, "JPEG2000", no_jp2=True, irreversible=False, mct=0)
    for name, data in (
        ("without compression", dicom(luma)),
        ("of 16 bits", dicom(luma.astype(np.uint16) * 257)),
        ("as rle", dicom_rle(luma)),
        ("as jpeg-ls", dicom_by_gdcm(luma, JPEGLSLossless)),
        ("as lossless jpeg", dicom_by_gdcm(luma, JPEGLosslessSV1)),
        ("as jpeg 2000", dicom(encapsulate([coded]), "RGB", JPEG2000, (90, 120))),
        ("as jpeg 2000, by ICT", dicom(encapsulate([coded]), "YBR_ICT", JPEG2000, (90, 120))),
    ):
        yield Case(f"dicom of YCbCr called RGB, {name}", data, "they look like YCbCr", pixels=luma)
