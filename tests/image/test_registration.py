import cv2
import numpy as np
import pytest

from dermlens.image.registration import laid_over, register
from dermlens.image.synthetic import draw_lesion


def picture(seed: int = 7) -> np.ndarray:
    drawn = draw_lesion(np.random.default_rng(seed), 450, 600).astype(float)
    grain = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 24, drawn.shape), (0, 0), 1.5)
    return np.clip(drawn + 3 * grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("degrees", "scale", "shift"), [(0, 1, (0, 0)), (25, 1.1, (12, -8)), (-60, 0.85, (-20, 15)), (180, 1, (0, 0))]
)
def test_a_picture_that_was_turned_moved_and_scaled_is_laid_back(degrees: float, scale: float, shift: tuple) -> None:
    fixed = picture()
    matrix = cv2.getRotationMatrix2D((300, 225), degrees, scale)
    matrix[:, 2] += shift
    moving = cv2.warpAffine(fixed, matrix, (600, 450), borderMode=cv2.BORDER_REFLECT_101)
    found = register(moving, fixed)
    assert found is not None
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[150, 120, 1], [450, 120, 1], [300, 330, 1.0]]).T
    assert np.abs(found.matrix @ corners - back @ corners).max() < 2  # pixels
    assert found.scale == pytest.approx(1 / scale, rel=0.02)
    middle = (slice(150, 300), slice(220, 380))
    laid = laid_over(moving, fixed, found)
    assert laid.shape == fixed.shape
    assert np.abs(laid[middle].astype(float) - fixed[middle]).mean() < 12


def test_pictures_of_another_size_are_laid_over_each_other() -> None:
    fixed = picture()
    found = register(cv2.resize(fixed, (900, 675)), fixed)
    assert found is not None
    assert found.scale == pytest.approx(600 / 900, rel=0.02)


@pytest.mark.parametrize("moving", [picture(8), np.full((450, 600, 3), 128, np.uint8), picture()[:40, :40]])
def test_what_has_nothing_in_common_is_not_laid_over(moving: np.ndarray) -> None:
    assert register(moving, picture()) is None
