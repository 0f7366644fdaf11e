"""YCbCr that is called RGB is told from RGB by its looks: on drawn pictures, and on real ones where ../shared is."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dermlens.ingest.decoders.colour import like_ycbcr
from tests.image_files import picture

SHARED = Path(__file__).parents[3] / "shared"
REAL = ("ham10000/HAM10000_images_part_1", "external/isic2017_256", "external/isic2019_84")


def _luma(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))


@pytest.mark.parametrize("seed", range(20))
def test_a_drawn_lesion_is_told(seed: int) -> None:
    shown = picture(seed=seed)
    assert not like_ycbcr(shown)
    assert like_ycbcr(_luma(shown))


def test_grey_and_even_pictures_are_not_taken_for_ycbcr() -> None:
    grey = np.asarray(Image.fromarray(picture()).convert("L").convert("RGB"))
    assert not like_ycbcr(grey)
    assert like_ycbcr(_luma(grey))
    for colour in ((0, 0, 0), (128, 128, 128), (255, 255, 255), (200, 150, 130)):
        assert not like_ycbcr(np.full((40, 50, 3), colour, np.uint8))


@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared")
@pytest.mark.parametrize("folder", REAL)
def test_of_real_pictures_none_is_taken_for_ycbcr_and_nearly_all_are_found(folder: str) -> None:
    paths = random.Random(4).sample(sorted((SHARED / folder).glob("*.jpg")), 200)
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    assert not any(like_ycbcr(pixels) for pixels in pictures)
    assert sum(like_ycbcr(_luma(pixels)) for pixels in pictures) >= 190
