"""How much of random damage is found: `python -m tests.damage [--files N]`.

Prints, for every encoding, of N damaged files how many are refused, look as before, are shown otherwise with a notice,
and are shown otherwise without a word. What is left in the last column has as many blocks, codes or pixels as a sound
file has, so that no decoder can tell; data without compression or check sum are of that kind altogether.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np
from PIL import Image
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless

from dermlens.errors import ImageError
from dermlens.ingest.read import read_image
from tests.corpus.encodings import arithmetic
from tests.image_files import dicom_by_gdcm, dicom_jpeg, dicom_jpeg2000, dicom_rle, picture, saved, with_zeros, without

FILES = 120
REFUSED, SAME, TOLD, UNNOTICED = "refused", "look the same", "other, with a notice", "other, without a word"
SEEN = 8
"""Difference of a channel, of 255, from which on a pixel is another."""


def encodings() -> dict[str, bytes]:
    """Return a whole file of every encoding that has something to be damaged, by name."""
    shown = picture(360, 480)
    image = Image.fromarray(shown)
    coded = arithmetic(shown, "-quality", "90")
    return {
        "JPEG": saved(image, "JPEG", quality=90),
        "JPEG, restart markers": saved(image, "JPEG", quality=90, restart_marker_rows=1),
        "JPEG, optimised": saved(image, "JPEG", quality=90, optimize=True),
        "JPEG, progressive": saved(image, "JPEG", quality=90, progressive=True),
        **({"JPEG, arithmetic-coded": coded} if coded else {}),
        "PNG": saved(image, "PNG"),
        "WebP": saved(image, "WEBP", quality=90),
        "WebP, lossless": saved(image, "WEBP", lossless=True),
        "HEIC": saved(image, "HEIF", quality=90),
        "HEIC, no parallel rows": saved(image, "HEIF", quality=90, enc_params={"x265:wpp": "0"}),
        "HEIC, tiles": saved(image, "HEIF", quality=90, tile_size=128),
        "AVIF": saved(image, "AVIF", quality=90),
        "TIFF, LZW": saved(image, "TIFF", compression="tiff_lzw"),
        "TIFF, deflate": saved(image, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF, JPEG": saved(image, "TIFF", compression="jpeg", quality=90),
        "TIFF, PackBits": saved(image, "TIFF", compression="packbits"),
        "DICOM, JPEG": dicom_jpeg(shown),
        "DICOM, JPEG 2000": dicom_jpeg2000(shown),
        "DICOM, lossless JPEG": dicom_by_gdcm(shown, JPEGLosslessSV1),
        "DICOM, JPEG-LS": dicom_by_gdcm(shown, JPEGLSLossless),
        "DICOM, RLE": dicom_rle(shown),
    }


def damaged(data: bytes, count: int, seed: int = 5) -> Iterator[bytes]:
    """Yield a file `count` times, with bytes lost, zeroed or replaced, or one bit changed, behind its first 15 %."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        share = rng.uniform(0.15, 0.95)
        at = int(share * len(data))
        how = int(rng.integers(7))
        if how < 2:
            yield with_zeros(data, (64, 4096)[how], share)[: len(data)]
        elif how < 4:
            yield without(data, (64, 4096)[how - 2], share)
        elif how == 4:
            yield data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
        elif how == 5:
            yield data[:at] + rng.bytes(16) + data[at + 16 :]
        else:
            half = len(data) // 2
            yield data[:half] + bytes(len(data) - half - 2) + data[-2:]


def found(data: bytes, count: int) -> Counter[str]:
    """Return how many of `count` damaged files of a whole one had each outcome."""
    whole = read_image(data).pixels.astype(int)
    outcomes: Counter[str] = Counter()
    for changed in damaged(data, count):
        try:
            shown = read_image(changed)
        except ImageError:
            outcomes[REFUSED] += 1
            continue
        same = shown.pixels.shape == whole.shape and np.abs(shown.pixels - whole).max() <= SEEN
        outcomes[SAME if same else TOLD if shown.notices else UNNOTICED] += 1
    return outcomes


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.damage", description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=FILES, help=f"damaged files of each encoding (default: {FILES})")
    count = parser.parse_args().files
    columns = (REFUSED, SAME, TOLD, UNNOTICED)
    print(f"| encoding, {count} files each | {' | '.join(columns)} |\n| --- |" + " ---: |" * len(columns))
    for name, data in encodings().items():
        outcomes = found(data, count)
        print(f"| {name} | {' | '.join(str(outcomes[column]) for column in columns)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
