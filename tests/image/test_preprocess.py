import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dermlens.image.preprocess
from dermlens.errors import ConfigError
from dermlens.image.preprocess import (
    Box,
    Geometry,
    fingerprint,
    fit,
    matches,
    placement,
    true_aspect,
    unfit,
    visible_box,
)

GEOMETRY = Geometry(64)
sides = st.integers(1, 400)


def test_a_4_to_3_image_shows_its_centre_square() -> None:
    assert visible_box(450, 600, GEOMETRY) == Box(0, 75, 450, 450)
    assert visible_box(600, 450, GEOMETRY) == Box(75, 0, 450, 450)
    assert placement(450, 600, GEOMETRY) == Box(0, 0, 64, 64)


def test_a_3_to_1_image_loses_a_quarter_of_its_length_and_is_padded() -> None:
    assert visible_box(100, 300, GEOMETRY) == Box(0, 37, 100, 225)  # 300 x 0.75
    assert placement(100, 300, GEOMETRY) == Box(18, 0, 28, 64)  # 64 x 100/225 = 28.4
    square = fit(np.full((100, 300, 3), 200, np.uint8), Geometry(64, pad=(1, 2, 3)))
    assert (square[18:46] == 200).all()
    assert (square[:18] == (1, 2, 3)).all()
    assert (square[46:] == (1, 2, 3)).all()


def test_without_cropping_the_whole_image_is_seen() -> None:
    assert visible_box(450, 600, Geometry(64, max_crop=0)) == Box(0, 0, 450, 600)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (300, 300), (200, 600), (600, 200), (90, 120), (41, 67)])
def test_a_circle_stays_a_circle(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    cv2.circle(image, (shape[1] // 2, shape[0] // 2), min(shape) // 3, (255, 255, 255), -1)
    rows, columns = np.nonzero(fit(image, Geometry(128))[..., 0] > 127)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
    assert rows.mean() == pytest.approx(63.5, abs=1.5)
    assert columns.mean() == pytest.approx(63.5, abs=1.5)


@given(height=sides, width=sides, crop=st.sampled_from([0, 0.1, 0.25, 0.9]))
def test_any_size_fits_and_its_boxes_stay_inside(height: int, width: int, crop: float) -> None:
    geometry = Geometry(32, crop)
    box, place = visible_box(height, width, geometry), placement(height, width, geometry)
    for part, (h, w) in ((box, (height, width)), (place, (32, 32))):
        assert 0 <= part.top <= part.top + part.height <= h
        assert 0 <= part.left <= part.left + part.width <= w
    assert max(place.height, place.width) == 32
    image = np.full((height, width, 3), 77, np.uint8)
    square = fit(image, geometry)
    assert square.shape == (32, 32, 3)
    assert square.dtype == np.uint8
    heat = unfit(np.ones((4, 4)), height, width, geometry)
    assert heat.shape == (height, width)
    assert heat.sum() == pytest.approx(box.height * box.width)


def test_a_photograph_that_already_fits_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(fit(image, GEOMETRY), image)


def test_unfit_leaves_what_was_not_seen_cold() -> None:
    heat = unfit(np.ones((4, 4)), 90, 120, GEOMETRY)
    assert (heat[:, 15:105] == 1).all()
    assert (heat[:, :15] == 0).all()
    assert (heat[:, 105:] == 0).all()


def test_squeezed_copies_get_their_aspect_back() -> None:
    original = np.zeros((450, 600, 3), np.uint8)
    cv2.circle(original, (300, 225), 120, (255, 255, 255), -1)
    squeezed = cv2.resize(original, (224, 224), interpolation=cv2.INTER_AREA)
    restored = true_aspect(squeezed, "4:3")
    assert restored.shape == (224, 299, 3)
    rows, columns = np.nonzero(restored[..., 0] > 127)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)
    assert true_aspect(squeezed) is squeezed
    with pytest.raises(ConfigError, match="16:9"):
        true_aspect(squeezed, "16:9")


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 4},
        {"size": "64"},
        {"size": 64.0},
        {"max_crop": 1.0},
        {"pad": [0, 0]},
        {"pad": [0, 0, 256]},
        {"crop": 0.5},
    ],
)
def test_a_card_with_a_wrong_geometry_is_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        Geometry.from_dict({**GEOMETRY.to_dict(), **wrong})


def test_geometry_survives_the_card() -> None:
    geometry = Geometry(192, 0.1, (5, 6, 7))
    assert Geometry.from_dict(geometry.to_dict()) == geometry
    with pytest.raises(ConfigError, match="pad"):
        Geometry.from_dict({"size": 64})


@pytest.mark.parametrize("size", [32, 160, 224, 300])
def test_the_fingerprint_tells_preprocessings_apart_but_forgives_a_last_bit(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    geometry = Geometry(size)
    stored = fingerprint(geometry)
    assert matches(stored, geometry)
    nudged = bytes(b + 1 if b < 255 else b - 1 for b in bytes.fromhex(stored))
    assert matches(nudged.hex(), geometry)
    for other in (Geometry(size, max_crop=0.2), Geometry(size, pad=(9, 0, 0)), Geometry(size + 1)):
        assert not matches(stored, other)
    assert not matches("no fingerprint", geometry)
    real = cv2.resize
    monkeypatch.setattr(
        dermlens.image.preprocess.cv2,
        "resize",
        lambda image, to, interpolation: real(image, to, interpolation=cv2.INTER_LINEAR),
    )
    assert not matches(stored, geometry)
