"""Image files of every format that the door reads, made from pixels."""

import io
import struct
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dermlens.image.synthetic import draw_lesion

PLAIN = {"PatientName": "Doe^Jane", "PatientID": "secret-7", "PatientBirthDate": "19700101"}
"""What must never come out of a DICOM file."""


def picture(height: int = 90, width: int = 120, seed: int = 7) -> np.ndarray:
    """Return a drawn lesion, (height, width, 3) uint8 RGB."""
    return draw_lesion(np.random.default_rng(seed), height, width)


def saved(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    """Return an image as Pillow saves it."""
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)  # type: ignore
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    samples: np.ndarray, depth: int = 8, interlaced: bool = False, clear: list[int] | None = None, chunks: bytes = b""
) -> bytes:
    """Return a PNG of grey, grey and alpha, RGB or RGBA, written by hand (third edition, 7, 8 and 11).

    Args:
        samples: (height, width[, channels]), as stored.
        depth: bits of a sample.
        interlaced: whether by Adam7.
        clear: the value of each channel that is transparent, if one is.
        chunks: to stand before the pixels.
    """
    pixels = samples.reshape(*samples.shape[:2], -1)
    height, width, channels = pixels.shape
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b""
    for top, left, down, across in passes:
        for row in pixels[top::down, left::across]:
            if depth < 8:
                packed = np.packbits(np.unpackbits(row.astype(np.uint8), axis=-1)[:, 8 - depth :]).tobytes()
            else:
                packed = row.astype(">u2" if depth == 16 else np.uint8).tobytes()
            rows += b"\0" + packed if row.size else b""
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    if clear:
        chunks += png_chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    parts = png_chunk(b"IHDR", head), chunks, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_of_size(width: int, height: int, rows: bytes = b"\0" * 99) -> bytes:
    """Return an 8-bit RGB PNG that claims a size, with these bytes for pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(rows, 9)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_of_size(width: int, height: int) -> bytes:
    """Return a JPEG whose header claims a size that its data do not have."""
    data = saved(picture(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def jpeg_with_many_scans(side: int, scans: int) -> bytes:
    """Return a progressive JPEG that repeats one tiny scan over and over: minutes of work in few bytes."""
    data = saved(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    last = data[starts[-1] : -2]
    return data[:-2] + last * scans + data[-2:]


def tiff(
    width: int, height: int, tags: dict[int, tuple[int, int, int] | None], pixels: bytes, following: int = 0
) -> bytes:
    """Return a little-endian grey TIFF of one strip, with other tags {tag: (type, count, value)} and a next IFD.

    A tag of None is left out.
    """
    base: dict[int, tuple[int, int, int] | None] = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, 1),
        277: (3, 1, 1),
        278: (4, 1, height),
        279: (4, 1, len(pixels)),
    }
    entries = {tag: entry for tag, entry in {**base, **tags}.items() if entry}
    entries[273] = (4, 1, 8 + 2 + 12 * (len(entries) + 1) + 4)
    packed = b"".join(  # a value of two bytes stands at the lower end of its four
        struct.pack("<HHII", tag, kind, count, value) for tag, (kind, count, value) in sorted(entries.items())
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", following) + pixels


def tiff_planes(
    planes: np.ndarray, photometric: int = 2, big_endian: bool = False, tile: int = 0, big: bool = False
) -> bytes:
    """Return an uncompressed TIFF that stores its channels in planes.

    Args:
        planes: (channels, height, width), uint8 or uint16; a channel beyond those of the colours is alpha.
        photometric: 2 for RGB, 5 for CMYK.
        big_endian: the order of its bytes.
        tile: side of its tiles, 0 for one strip a plane.
        big: whether it is a BigTIFF.
    """
    return _tiff(list(planes[..., None]), len(planes), photometric, big_endian, tile, big)


def tiff_interleaved(pixels: np.ndarray, big_endian: bool = False, tile: int = 0) -> bytes:
    """Return an uncompressed TIFF of grey, RGB or RGBA, (height, width, channels) uint8 or uint16, pixel by pixel."""
    channels = pixels.shape[2]
    return _tiff([pixels], channels, 1 if channels == 1 else 2, big_endian, tile)


def _tiff(
    parts: list[np.ndarray], channels: int, photometric: int, big_endian: bool, tile: int, big: bool = False
) -> bytes:
    """Return an uncompressed TIFF of arrays (height, width, channels), each of which has its own strip or tiles."""
    e = ">" if big_endian else "<"
    height, width = parts[0].shape[:2]
    bits = 8 * parts[0].dtype.itemsize
    parts = [part.astype(part.dtype.newbyteorder(e)) for part in parts]
    if tile:
        grown = [np.pad(p, ((0, -height % tile), (0, -width % tile), (0, 0))) for p in parts]
        parts = [
            p[y : y + tile, x : x + tile] for p in grown for y in range(0, height, tile) for x in range(0, width, tile)
        ]
    bodies = [part.tobytes() for part in parts]
    at = 16
    starts = [at + sum(map(len, bodies[:i])) for i in range(len(bodies))]
    extra = channels - {1: 1, 2: 3, 5: 4}[photometric]
    entries: dict[int, tuple[str, list[int]]] = {
        256: ("H", [width]),
        257: ("H", [height]),
        258: ("H", [bits] * channels),
        259: ("H", [1]),
        262: ("H", [photometric]),
        277: ("H", [channels]),
        284: ("H", [2 if parts[0].shape[2] < channels else 1]),
        **({322: ("H", [tile]), 323: ("H", [tile])} if tile else {278: ("H", [height])}),
        **({338: ("H", [2] * extra)} if extra else {}),
        (324 if tile else 273): ("I", starts),
        (325 if tile else 279): ("I", [len(body) for body in bodies]),
    }
    link, offset = ("Q", "Q") if big else ("H", "I")
    room = struct.calcsize(e + offset)
    directory = at + sum(map(len, bodies))
    behind = directory + struct.calcsize(e + link) + len(entries) * (4 + 2 * room) + room
    table, outside = struct.pack(e + link, len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{e}{len(values)}{kind}", *values)
        table += struct.pack(e + "HH" + offset, tag, {"H": 3, "I": 4}[kind], len(values))
        if len(packed) > room:
            table += struct.pack(e + offset, behind + len(outside))
            outside += packed
        else:
            table += packed.ljust(room, b"\0")
    head = struct.pack(e + "HHHQ", 43, 8, 0, directory) if big else struct.pack(e + "HI", 42, directory)
    start = (b"MM" if big_endian else b"II") + head
    return start.ljust(16, b"\0") + b"".join(bodies) + table + struct.pack(e + offset, 0) + outside


def named_srgb(profile: bytes | None) -> bytes:
    """Return a profile, made without a name, under the name sRGB."""
    assert profile is not None
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"sRGB\0"
    return profile.replace(b"desc" + bytes(84), name + bytes(88 - len(name)))


def with_zeros(data: bytes, count: int = 60, share: float = 0.5) -> bytes:
    """Return a file of which some bytes became zeros, at a share of its length."""
    at = int(len(data) * share)
    return data[:at] + bytes(count) + data[at + count :]


def without(data: bytes, count: int = 60, share: float = 0.5) -> bytes:
    """Return a file that has lost some bytes, at a share of its length."""
    at = int(len(data) * share)
    return data[:at] + data[at + count :]


def frame_of(file: bytes) -> bytes:
    """Return the first compressed frame of a DICOM file."""
    read = dcmread(io.BytesIO(file))
    return get_frame(read.PixelData, 0, number_of_frames=int(read.get("NumberOfFrames") or 1))


def jpeg_of_rgb(pixels: np.ndarray) -> bytes:
    """Return a JPEG without markers of an application, whose components are named R, G and B and not transformed."""
    data = saved(pixels, "JPEG", quality=95, keep_rgb=True, subsampling=0)
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def jpeg_marked(jpeg: bytes, jfif: bool, transform: int | None) -> bytes:
    """Return a JPEG that Pillow wrote with JFIF's marker with that marker or not, and Adobe's of a transform."""
    end = 4 + int.from_bytes(jpeg[4:6], "big")
    adobe = b"" if transform is None else b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])
    return jpeg[: end if jfif else 2] + adobe + jpeg[end:]


def dicom(
    pixels: np.ndarray | bytes,
    interpretation: str = "RGB",
    syntax: str = ExplicitVRLittleEndian,
    shape: tuple[int, int] | None = None,
    big_endian: bool = False,
    **tags: object,
) -> bytes:
    """Return a DICOM file with patient tags.

    Args:
        pixels: (rows, columns[, 3]) as stored; or the bytes of PixelData, with `shape`.
        interpretation: photometric interpretation.
        syntax: transfer syntax UID.
        shape: rows and columns that the header gives.
        big_endian: how the file is written.
        tags: further or other tags, None to leave one out.
    """
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = UID(syntax)
    file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    file.SOPInstanceUID = "1.2.3.4"
    array = pixels if isinstance(pixels, np.ndarray) else None
    rows, columns = shape or (array.shape[:2] if array is not None else (90, 120))
    bits = 8 * array.dtype.itemsize if array is not None else 8
    values = {
        **PLAIN,
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 3 if interpretation.startswith(("RGB", "YBR")) else 1,
        "PhotometricInterpretation": interpretation,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(array is not None and array.dtype.kind == "i"),
        "PixelData": array.astype(array.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
        if array is not None
        else pixels,
        **tags,
    }
    if values["SamplesPerPixel"] == 3:
        values.setdefault("PlanarConfiguration", 0)
    for name, value in values.items():
        if value is not None:
            setattr(file, name, value)
    if "PixelData" in file:
        in_bytes = isinstance(pixels, bytes) or file.BitsAllocated == 8
        file["PixelData"].VR = "OB" if in_bytes else "OW"
    out = io.BytesIO()
    dcmwrite(out, file, enforce_file_format=True)
    return out.getvalue()


def dicom_jpeg(pixels: np.ndarray, **tags: object) -> bytes:
    """Return a DICOM file that holds a baseline JPEG."""
    frame = saved(pixels, "JPEG", quality=95, subsampling=0)
    return dicom(encapsulate([frame]), "YBR_FULL_422", JPEGBaseline8Bit, pixels.shape[:2], **tags)


def dicom_jpeg2000(pixels: np.ndarray, **tags: object) -> bytes:
    """Return a DICOM file that holds a lossless JPEG 2000 codestream."""
    frame = saved(pixels, "JPEG2000", no_jp2=True, irreversible=False, mct=1)
    return dicom(encapsulate([frame]), "YBR_RCT", JPEG2000, pixels.shape[:2], **tags)


def dicom_rle(pixels: np.ndarray, **tags: object) -> bytes:
    """Return a DICOM file compressed by run lengths, of RGB or of grey with 8 or 16 bits."""
    from pydicom.pixels import get_encoder

    bits, samples = 8 * pixels.dtype.itemsize, pixels.shape[2] if pixels.ndim == 3 else 1
    interpretation = "RGB" if samples == 3 else "MONOCHROME2"
    frame = get_encoder(RLELossless).encode(
        pixels,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        number_of_frames=1,
        samples_per_pixel=samples,
        bits_allocated=bits,
        bits_stored=bits,
        photometric_interpretation=interpretation,
        pixel_representation=0,
        planar_configuration=0,
        encoding_plugin="pydicom",
    )
    depth = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    return dicom(encapsulate([frame]), interpretation, RLELossless, pixels.shape[:2], **{**depth, **tags})


def dicom_by_gdcm(pixels: np.ndarray, syntax: str, interpretation: str = "RGB") -> bytes:
    """Return a DICOM file compressed by GDCM, which writes files only: to JPEGLosslessSV1 or JPEGLSLossless."""
    import gdcm

    with TemporaryDirectory() as folder:
        path = Path(folder, "file.dcm")
        path.write_bytes(dicom(pixels, interpretation))
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return path.read_bytes()


def samples(pixels: np.ndarray) -> dict[str, list[bytes]]:
    """Return files of every accepted format that show these pixels, a few kinds of each."""
    image = Image.fromarray(pixels)
    grey, palette = image.convert("L"), image.quantize(32)
    clear = np.dstack([pixels, np.full(pixels.shape[:2], 200, np.uint8)])
    deep = (np.asarray(grey).astype(np.uint16) << 8) | 0x7F

    def two(kind: str) -> bytes:
        return saved(image, kind, save_all=True, append_images=[grey.convert("RGB")])

    return {
        "JPEG": [
            saved(image, "JPEG"),
            saved(image, "JPEG", progressive=True),
            saved(grey, "JPEG"),
            saved(image.convert("CMYK"), "JPEG"),
            two("MPO"),
        ],
        "PNG": [
            saved(image, "PNG"),
            saved(deep, "PNG"),
            saved(palette, "PNG", transparency=3),
            saved(clear, "PNG"),
            two("PNG"),
        ],
        "WebP": [saved(image, "WEBP"), saved(clear, "WEBP", lossless=True), two("WEBP")],
        "TIFF": [
            saved(image, "TIFF"),
            saved(image, "TIFF", compression="tiff_lzw"),
            saved(image, "TIFF", compression="jpeg"),
            saved(deep, "TIFF", compression="tiff_deflate"),
            two("TIFF"),
        ],
        "BMP": [saved(image, "BMP"), saved(palette, "BMP"), saved(grey, "BMP")],
        "HEIC": [saved(image, "HEIF"), saved(clear, "HEIF", quality=90)],
        "AVIF": [saved(image, "AVIF"), saved(clear, "AVIF", quality=90), two("AVIF")],
        "DICOM": [
            dicom(pixels),
            dicom(deep, "MONOCHROME2"),
            dicom_jpeg(pixels),
            dicom_jpeg2000(pixels),
            dicom_rle(pixels),
            dicom_by_gdcm(pixels, JPEGLSLossless),
            dicom_by_gdcm(pixels, JPEGLosslessSV1),
        ],
    }
