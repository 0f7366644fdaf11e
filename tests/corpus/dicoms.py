"""DICOM files: syntaxes, grey values, and what contradicts itself. Drawn here, by code."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from dermlens.ingest.formats import LIMITS
from tests.corpus.case import DAMAGED, Case
from tests.image_files import (
    dicom,
    dicom_by_gdcm,
    dicom_jpeg,
    dicom_jpeg2000,
    dicom_rle,
    frame_of,
    jpeg_marked,
    jpeg_of_rgb,
    jpeg_of_size,
    picture,
    saved,
)


def cases() -> Iterator[Case]:
    """Yield every case of this module."""
    yield from _dicoms()
    yield from _dicoms_refused()
    yield from _greys()
    yield from _mislabelled()
    yield from _shapes()
    yield from _depths()


def _dicoms() -> Iterator[Case]:
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    three = np.repeat(grey[..., None], 3, -1)
    yield Case("dicom rgb", dicom(shown), pixels=shown)
    planes = np.ascontiguousarray(np.moveaxis(shown, -1, 0))
    yield Case("dicom rgb by plane", dicom(planes.tobytes(), shape=(90, 120), PlanarConfiguration=1), pixels=shown)
    yield Case("dicom monochrome2", dicom(grey, "MONOCHROME2"), pixels=three)
    yield Case("dicom monochrome1", dicom(grey, "MONOCHROME1"), pixels=255 - three)
    twelve = (grey.astype(np.uint16) << 4) | 7
    told = "more than 8 bits were scaled"
    deep = dicom(twelve, "MONOCHROME2", BitsStored=12, HighBit=11)
    from_twelve = np.rint(np.repeat(twelve[..., None], 3, -1) / 4095 * 255).astype(np.uint8)
    yield Case("dicom of 12 bits", deep, told, from_twelve)
    signed = grey.astype(np.int16) - 128
    seen = dicom(signed, "MONOCHROME2", BitsStored=8, HighBit=7)
    yield Case("dicom of signed values", seen, pixels=three)
    luma = np.asarray(Image.fromarray(shown).convert("YCbCr"))
    yield Case("dicom ybr", dicom(luma, "YBR_FULL"), pixels=shown, within=1)
    palette = Image.fromarray(shown).quantize(256)
    colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    colours = np.vstack([colours, np.zeros((256 - len(colours), 3), np.uint8)])
    tables: dict[str, object] = {}
    for i, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = (colours[:, i].astype("<u2") * 257).tobytes()
    indices = np.asarray(palette)
    yield Case("dicom palette", dicom(indices, "PALETTE COLOR", **tables), pixels=colours[indices])
    swapped = dicom(twelve, "MONOCHROME2", ExplicitVRBigEndian, big_endian=True, BitsStored=12, HighBit=11)
    yield Case("dicom big endian", swapped, told, from_twelve)
    yield Case("dicom deflated", dicom(shown, syntax=DeflatedExplicitVRLittleEndian), pixels=shown)
    yield Case("dicom jpeg", dicom_jpeg(shown), pixels=shown, within=3)
    yield Case("dicom jpeg 2000", dicom_jpeg2000(shown), pixels=shown)
    yield Case("dicom rle", dicom_rle(shown), pixels=shown)
    yield Case("dicom lossless jpeg", dicom_by_gdcm(shown, JPEGLosslessSV1), pixels=shown)
    yield Case("dicom jpeg-ls", dicom_by_gdcm(shown, JPEGLSLossless), pixels=shown)
    several = np.stack([shown, 255 - shown, shown])
    frames = dicom(several.tobytes(), shape=(90, 120), NumberOfFrames=3)
    yield Case("dicom of several frames", frames, "The file holds 3 pictures", pixels=shown)
    hostile = {
        "PatientName": "<script>alert(1)</script>" * 50,
        "ImageComments": "\x1b[31m" + "A" * 10_000,
        "PatientComments": "\u202e../../etc/passwd",
        "DerivationDescription": "%s%n" * 100,
    }
    yield Case("dicom with hostile tags", dicom(shown, **hostile), pixels=shown)
    yield Case("dicom with a deep sequence", dicom(shown, ReferencedImageSequence=_nested(150)), pixels=shown)
    window = {"WindowCenter": 1000, "WindowWidth": 500, "BitsStored": 12, "HighBit": 11}
    by_hand = np.clip((twelve - 999.5) / 499 + 0.5, 0, 1)
    through = np.rint(255 * np.repeat(by_hand[..., None], 3, -1)).astype(np.uint8)
    yield Case("dicom with a window", dicom(twelve, "MONOCHROME2", **window), told, through)


def _dicoms_refused() -> Iterator[Case]:
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    yield Case("dicom without pixels", dicom(b"", PixelData=None, Rows=None, Columns=None), "holds no picture")
    yield Case("dicom without a size", dicom(shown, Rows=None), "holds no picture")
    yield Case("dicom of two thousand frames", dicom(shown, NumberOfFrames=2000), "more than 1000 pictures")
    frame = encapsulate([saved(shown, "JPEG")])
    coded = dicom(frame, "YBR_FULL_422", HTJ2K, (90, 120))
    yield Case("dicom in a syntax without a decoder", coded, "High-Throughput JPEG 2000 Image Compression")
    film = dicom(frame, "YBR_FULL_422", "1.2.840.10008.1.2.4.102", (90, 120))
    yield Case("dicom film", film, "MPEG-4 AVC/H.264")
    twelve = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    extended = dicom(frame, "MONOCHROME2", JPEGExtended12Bit, (90, 120), **twelve)
    yield Case("dicom jpeg of 12 bits", extended, "JPEG Extended (Process 2 and 4)")
    maker = dicom(frame, "YBR_FULL_422", JPEGBaseline8Bit, (90, 120)).replace(
        b"1.2.840.10008.1.2.4.50", b"1.2.826.0.1.3680043.22"
    )
    yield Case("dicom in a maker's syntax", maker, "a private transfer syntax")
    yield Case("dicom in colours not known", dicom(shown, "ARGB", SamplesPerPixel=3), "stores its colours in a way")
    yield Case("dicom that contradicts itself", dicom(shown, SamplesPerPixel=1), "contradicts itself")
    yield Case("dicom with fewer pixels than it says", dicom(shown, Rows=91), DAMAGED)
    other = encapsulate([saved(picture(64, 64), "JPEG")])
    yield Case("dicom around another size", dicom(other, "YBR_FULL_422", JPEGBaseline8Bit, (90, 120)), DAMAGED)
    bomb = encapsulate([jpeg_of_size(60_000, 60_000)])
    yield Case("dicom around a bomb", dicom(bomb, "YBR_FULL_422", JPEGBaseline8Bit, (90, 120)), "")
    endless = dicom(grey, "MONOCHROME2", RescaleSlope="1e308", RescaleIntercept="1e308")
    yield Case("dicom of endless brightness", endless, "no usable brightness")
    floats = dicom(grey, "MONOCHROME2", PixelData=None, FloatPixelData=grey.astype("<f4").tobytes(), BitsAllocated=32)
    yield Case("dicom of floats", floats, "floating-point values")


def _nested(depth: int) -> Sequence:
    item = Dataset()
    item.PatientID = "deep"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedImageSequence = Sequence([item])
        item = outer
    return Sequence([item])


def _greys() -> Iterator[Case]:
    """Everything that a grey or palette DICOM file may say of brightness."""
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    three = np.repeat(grey[..., None], 3, -1)
    empty = {"WindowCenter": "", "WindowWidth": "", "RescaleSlope": "", "RescaleIntercept": "", "VOILUTFunction": ""}
    yield Case("dicom with empty window and rescale", dicom(grey, "MONOCHROME2", **empty), pixels=three)
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        for depth in (8, 16):
            table = Dataset()
            table.LUTDescriptor = [256, 0, depth]
            table.LUTData = (np.arange(256)[::-1] * (257 if depth == 16 else 1)).astype("<u2").tobytes()
            table["LUTData"].VR = "OW"
            data = dicom(grey, "MONOCHROME2", **{name: Sequence([table])})
            yield Case(f"dicom with {name} of {depth} bits", data, pixels=255 - three)
        yield Case(f"dicom with an empty {name}", dicom(grey, "MONOCHROME2", **{name: Sequence([])}), pixels=three)
    yield Case("dicom shown inverse", dicom(grey, "MONOCHROME2", PresentationLUTShape="INVERSE"), pixels=255 - three)
    yield Case(
        "dicom monochrome1, inverse", dicom(grey, "MONOCHROME1", PresentationLUTShape="INVERSE"), pixels=255 - three
    )
    falling = {"RescaleSlope": -1, "RescaleIntercept": 255}
    yield Case("dicom with a falling rescale", dicom(grey, "MONOCHROME2", **falling), pixels=255 - three)
    window, group, seen = Dataset(), Dataset(), np.clip((grey - 99.5) / 49 + 0.5, 0, 1)
    window.WindowCenter, window.WindowWidth = 100, 50
    group.FrameVOILUTSequence = Sequence([window])
    through = np.rint(255 * np.repeat(seen[..., None], 3, -1)).astype(np.uint8)
    for which in ("Shared", "PerFrame"):
        data = dicom(grey, "MONOCHROME2", **{f"{which}FunctionalGroupsSequence": Sequence([group])})
        yield Case(f"dicom with a window in {which} groups", data, pixels=through)
    twelve = grey.astype(np.uint16) << 4 | grey >> 4
    told = "more than 8 bits were scaled"
    high = dicom(twelve << 4, "MONOCHROME2", BitsStored=12, HighBit=15)
    yield Case("dicom of 12 bits, the highest", high, told, pixels=three)
    beside = dicom(twelve | 0x5000, "MONOCHROME2", BitsStored=12, HighBit=11)
    yield Case("dicom of 12 bits with an overlay beside them", beside, told, pixels=three)
    palette = Image.fromarray(shown).quantize(256)
    colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    colours = np.vstack([colours, np.zeros((256 - len(colours), 3), np.uint8)])
    indices = np.asarray(palette)
    tables: dict[str, object] = {}
    for i, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = colours[:, i].astype("<u2").tobytes()
    data = dicom(indices, "PALETTE COLOR", **tables)
    yield Case("dicom palette of 8 bits in 16", data, "they were read as 8", pixels=colours[indices])


def _mislabelled() -> Iterator[Case]:
    """DICOM files that say something of their frames that the frames contradict."""
    shown = picture()
    for name, stored in (("TIFF", b"II*\0\x08\0\0\0"), ("BMP", b"BM")):
        yield Case(f"dicom with the preamble of {name}", stored.ljust(128, b"\0") + dicom(shown)[128:], pixels=shown)
    by_plane = {"PlanarConfiguration": 1}
    yield Case("dicom jpeg, said to be by plane", dicom_jpeg(shown, **by_plane), pixels=shown, within=3)
    yield Case("dicom jpeg 2000, said to be by plane", dicom_jpeg2000(shown, **by_plane), pixels=shown)
    yield Case("dicom rle, said to be by plane", dicom_rle(shown, **by_plane), pixels=shown)
    for syntax in (JPEGLosslessSV1, JPEGLSLossless):
        frame = encapsulate([frame_of(dicom_by_gdcm(shown, syntax))])
        data = dicom(frame, "RGB", syntax, (90, 120), **by_plane)
        yield Case(f"dicom {UID(syntax).name}, said to be by plane", data, pixels=shown)
    coded = encapsulate([jpeg_of_rgb(shown)])
    data = dicom(coded, "RGB", JPEGBaseline8Bit, (90, 120))
    yield Case("dicom jpeg of components named R, G, B", data, pixels=shown, within=3)
    jpeg = saved(shown, "JPEG", quality=95)
    luma = Image.open(BytesIO(jpeg))
    luma.draft("YCbCr", luma.size)
    says = "they look like YCbCr"
    data = dicom(encapsulate([jpeg_marked(jpeg, False, None)]), "RGB", JPEGBaseline8Bit, (90, 120))
    yield Case("dicom jpeg of YCbCr said to be RGB", data, says, pixels=np.asarray(luma))


def _shapes() -> Iterator[Case]:
    """Pictures of pixels that are no squares, and what files say of that (PS3.3, 10.7.1.3 and C.7.6.3.1.7)."""
    shown = picture()
    flat = shown.reshape(45, 2, 120, 3).mean(1).round().astype(np.uint8)
    thin = shown.reshape(90, 60, 2, 3).mean(2).round().astype(np.uint8)
    high, wide, told = "2.00 times as high as wide", "2.00 times as wide as high", "not plausible; they were taken for"
    spaced = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    for tag, unit in (*((tag, "0.1") for tag in spaced), ("PixelAspectRatio", "1")):
        twice = f"{2 * float(unit):g}"
        yield Case(f"dicom of high pixels by {tag}", dicom(flat, **{tag: [twice, unit]}), high, shown, 2)
        yield Case(f"dicom of wide pixels by {tag}", dicom(thin, **{tag: [unit, twice]}), wide, shown, 2)
        yield Case(f"dicom of square pixels by {tag}", dicom(shown, **{tag: [unit, unit]}), pixels=shown)
        yield Case(f"dicom of endless pixels by {tag}", dicom(shown, **{tag: [unit, "0"]}), told, shown)
    yield Case("dicom jpeg of high pixels", dicom_jpeg(flat, PixelAspectRatio=["2", "1"]), high, shown, 3)
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = ["0.2", "0.1"]
    group.PixelMeasuresSequence = Sequence([measures])
    for which in ("Shared", "PerFrame"):
        data = dicom(flat, **{f"{which}FunctionalGroupsSequence": Sequence([group])})
        yield Case(f"dicom of high pixels in {which} groups", data, high, shown, 2)
    both = {"PixelSpacing": ["0.1", "0.1"], "PixelAspectRatio": ["2", "1"]}
    yield Case("dicom of pixels of two shapes", dicom(shown, **both), "the one by their spacing was taken", shown)
    yield Case("dicom of nearly square pixels", dicom(shown, PixelSpacing=["0.0280", "0.0279"]), pixels=shown)
    yield Case("dicom of very high pixels", dicom(shown, PixelAspectRatio=["9", "1"]), told, shown)
    drawn = dicom(shown, PixelSpacing=["1.11", "2.22"]), dicom_jpeg(shown, PixelSpacing=["1.11", "2.22"])
    for name, value in (("words", b"abcd\\efgh"), ("no numbers", b"NaN \\NaN "), ("negative", b"-1.1\\-2.2")):
        for kind, data, within in (("", drawn[0], 0), (" jpeg", drawn[1], 3)):
            hostile = data.replace(b"1.11\\2.22", value[:9])
            yield Case(f"dicom{kind} of pixels as high as {name}", hostile, told, shown, within)
    few = replace(LIMITS, pixels=20_000)
    data = dicom(shown, PixelAspectRatio=["2", "1"])
    yield Case("dicom too large with square pixels", data, "The image has 120 x 180 pixels; at most", limits=few)


def _depths() -> Iterator[Case]:
    """Colours of other than 8 bits, by hand from PS3.3, C.7.6.3.1.2, and headers of other bits than their data."""
    shown = picture()
    grey = np.asarray(Image.fromarray(shown).convert("L"))
    luma = np.asarray(Image.fromarray(shown).convert("YCbCr"))
    for bits in (1, 6, 7):
        few = shown >> (8 - bits)
        seen = _spread(few, bits)
        depth = {"BitsStored": bits, "HighBit": bits - 1}
        yield Case(f"dicom rgb of {bits} bits", dicom(few, **depth), pixels=seen)
        yield Case(f"dicom rle rgb of {bits} bits", dicom_rle(few, **depth), pixels=seen)
    six = {"BitsStored": 6, "HighBit": 5}
    yield Case("dicom jpeg 2000 rgb of 6 bits", dicom_jpeg2000(shown >> 2, **six), pixels=_spread(shown >> 2, 6))
    few = luma >> 2
    y, cb, cr = few[..., 0] * (255 / 63), (few[..., 1] - 32.0) * (255 / 63), (few[..., 2] - 32.0) * (255 / 63)
    by_hand = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)
    seen = np.rint(by_hand.clip(0, 255)).astype(np.uint8)
    yield Case("dicom ybr of 6 bits", dicom(few, "YBR_FULL", **six), pixels=seen, within=1)
    deep = luma * np.uint16(257)
    planes = np.moveaxis(deep, -1, 0).astype("<u2").tobytes()
    sixteen = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
    by_plane = dicom(planes, "YBR_FULL", shape=(90, 120), PlanarConfiguration=1, **sixteen)
    twelve = dicom(luma.astype(np.uint16) << 4, "YBR_FULL", BitsStored=12, HighBit=11)
    eight = dicom(luma.astype(np.uint16), "YBR_FULL", BitsStored=8, HighBit=7)
    for name, data in (
        ("16 bits", dicom(deep, "YBR_FULL")),
        ("16 bits, big endian", dicom(deep, "YBR_FULL", ExplicitVRBigEndian, big_endian=True)),
        ("16 bits by plane", by_plane),
        ("16 bits, rle", dicom_rle(deep, PhotometricInterpretation="YBR_FULL")),
        ("16 bits, jpeg-ls", dicom_by_gdcm(deep, JPEGLSLossless, "YBR_FULL")),
        ("12 bits", twelve),
        ("8 bits in 16", eight),
    ):
        yield Case(f"dicom ybr of {name}", data, pixels=shown, within=1)
    pairs = np.stack([deep[:, ::2, 0], deep[:, 1::2, 0], deep[:, ::2, 1], deep[:, ::2, 2]], -1).astype("<u2").tobytes()
    data = dicom(pairs, "YBR_FULL_422", shape=(90, 120), **sixteen)
    yield Case("dicom ybr 4:2:2 of 16 bits", data, pixels=shown, within=2)
    yield Case(
        "dicom of 32 bits", dicom(grey.astype(np.uint32), "MONOCHROME2"), "values of 32 bits, which are not read"
    )
    coarse = encapsulate([frame_of(dicom_by_gdcm(shown >> 2, JPEGLSLossless))])
    yield Case(
        "dicom jpeg-ls of 6 bits", dicom(coarse, "RGB", JPEGLSLossless, (90, 120), **six), "compressed as JPEG-LS"
    )
    contradicts = "contradicts itself"
    yield Case("dicom jpeg said to be of 6 bits", dicom_jpeg(shown, **six), contradicts)
    wide = {"BitsAllocated": 16, "BitsStored": 8, "HighBit": 7}
    yield Case("dicom jpeg said to stand in 16 bits", dicom_jpeg(shown, **wide), pixels=shown, within=3)
    frames = {mode: saved(Image.fromarray(shown).convert(mode), "JPEG", quality=95) for mode in ("L", "RGB", "CMYK")}
    bare = encapsulate([jpeg_marked(frames["RGB"], False, None)])
    data = dicom(bare, "YBR_FULL_422", JPEGBaseline8Bit, (90, 120), **wide)
    yield Case("dicom jpeg without markers, said to stand in 16 bits", data, pixels=shown, within=3)
    data = dicom(encapsulate([frames["L"]]), "MONOCHROME2", JPEGBaseline8Bit, (90, 120), **wide)
    three = np.repeat(grey[..., None], 3, -1)
    yield Case("dicom jpeg of grey, said to stand in 16 bits", data, pixels=three, within=3)
    for said, mode in (("RGB", "L"), ("RGB", "CMYK"), ("MONOCHROME2", "RGB")):
        data = dicom(encapsulate([frames[mode]]), said, JPEGBaseline8Bit, (90, 120))
        yield Case(f"dicom jpeg of {mode} said to be {said}", data, contradicts)


def _spread(values: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(values * (255 / ((1 << bits) - 1))).astype(np.uint8)
