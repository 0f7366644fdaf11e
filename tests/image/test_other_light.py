import cv2
import numpy as np
import pytest

from dermlens.errors import DataError
from dermlens.image.other_light import Change


@pytest.fixture
def flat() -> np.ndarray:
    return np.full((20, 30, 3), (200, 100, 50), np.uint8)


def test_nothing_is_changed_by_default(lesion: np.ndarray) -> None:
    np.testing.assert_array_equal(Change("none")(lesion), lesion)


def test_gains_scale_their_own_channel_and_are_clipped(flat: np.ndarray) -> None:
    assert Change("x", gains=(1.5, 1.1, 0.9))(flat)[0, 0].tolist() == [255, 110, 45]


def test_gamma_is_a_power_of_shares_of_the_range(flat: np.ndarray) -> None:
    expected = [round(255 * (v / 255) ** 1.25) for v in (200, 100, 50)]
    assert Change("x", gamma=1.25)(flat)[0, 0].tolist() == expected


def test_zoom_shows_the_middle_at_its_own_resolution() -> None:
    rows = np.repeat(np.arange(100, dtype=np.uint8)[:, None, None], 3, 2)
    pixels = np.repeat(rows, 50, 1)
    seen = Change("x", zoom=0.8)(pixels)
    assert seen.shape == (80, 40, 3)
    assert (seen[0, 0, 0], seen[-1, 0, 0]) == (10, 89)


def test_blur_and_compression_are_those_of_opencv(lesion: np.ndarray) -> None:
    sigma = 0.01 * min(lesion.shape[:2])
    np.testing.assert_array_equal(Change("x", blur=0.01)(lesion), cv2.GaussianBlur(lesion, (0, 0), sigma))
    data = cv2.imencode(".jpg", lesion[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    np.testing.assert_array_equal(
        Change("x", jpeg=40)(lesion), np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    )


def test_what_was_written_is_read_and_said() -> None:
    change = Change("warm", gains=(1.08, 1.0, 0.92), gamma=0.8, zoom=0.8, blur=0.008, jpeg=40)
    assert Change.from_dict(change.to_dict()) == change
    assert change.values() == (
        "red × 1.08, blue × 0.92, gamma 0.8, the middle 80 % of each side, sigma 0.8 % of the shorter side, quality 40"
    )
    assert Change("brighter", gains=(1.15, 1.15, 1.15)).values() == "all channels × 1.15"


@pytest.mark.parametrize("wrong", [{"gains": [1, 1]}, {"zoom": 1.5}, {"jpeg": 101}, {"gamma": 0}, {"blur": "much"}])
def test_a_change_that_is_none_is_refused(wrong: dict) -> None:
    with pytest.raises(DataError):
        Change.from_dict({**Change("x").to_dict(), **wrong})
