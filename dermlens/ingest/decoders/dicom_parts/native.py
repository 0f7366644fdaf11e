"""Whether uncompressed DICOM pixel data are as long as the header says. Runs inside the decoding process."""

import pydicom

from dermlens.errors import ImageError

CONTRADICTS = "The DICOM file contradicts itself about its channels or bits. Export the image again."
_FURTHER = (
    "The pixel data are enough for {} pictures, though the DICOM file tells of {}; look whether the picture is right."
)
_PADDED = "The pixel data go on behind the picture with zeros, as if it were larger; look whether it is right."
_FULL = (
    "The DICOM file says that two pixels share a colour, but its data have one for each; they were read as they are."
)


def check_length(file: pydicom.Dataset, notices: list[str]) -> None:
    """Hold the length of the pixel data against the header, whose layout of YBR_FULL_422 is put right.

    Data that are too short are left to the decoder.

    Raises:
        ImageError: they are longer than the header says, and neither by whole pictures nor by zeros.
    """
    length, frames = len(file.PixelData), int(file.get("NumberOfFrames") or 1)
    full = int(file.Rows) * int(file.Columns) * int(file.SamplesPerPixel) * int(file.BitsAllocated)
    each = full
    if file.PhotometricInterpretation == "YBR_FULL_422":
        if _whole(length, full) == frames:
            file.PhotometricInterpretation = "YBR_FULL"
            notices.append(_FULL)
        else:
            each = full * 2 // 3
            file.PlanarConfiguration = 0  # such data have no planes (PS3.3, C.7.6.3.1.2)
    if length * 8 < each * frames:
        return
    there = _whole(length, each)
    if there > frames:
        notices.append(_FURTHER.format(there, frames))
    elif not there and any(file.PixelData[-(-each * frames // 8) :]):
        raise ImageError(CONTRADICTS)
    elif not there:
        notices.append(_PADDED)


def _whole(length: int, bits: int) -> int:
    """Return how many pictures of so many bits some bytes are, but for one of padding; 0 if there are others left."""
    count = length * 8 // bits
    return count if length - -(-count * bits // 8) <= 1 else 0
