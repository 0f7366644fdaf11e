import hashlib

import numpy as np
import pytest

from dermlens.case.image import KEPT_SIDE, examine, overlap, seen_part, thumbnail
from dermlens.case.predict import predict
from dermlens.errors import ImageError, ModelError
from dermlens.image.preprocess import Box
from dermlens.models.model import Model
from tests.conftest import encode


def test_an_image_is_read_and_every_model_asked(toy: Model, lesion: np.ndarray) -> None:
    data = encode(lesion)
    image = examine(data, "a.png", [toy], synthetic=True)
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert image.key == image.sha256[:12]
    assert (image.height, image.width, image.synthetic, image.name) == (90, 120, True, "a.png")
    np.testing.assert_array_equal(image.pixels, lesion)
    np.testing.assert_array_equal(image.answers["toy"].logits, predict(toy, lesion).logits)
    assert seen_part(image, toy.geometry) == Box(0, 15, 90, 90)


def test_the_models_see_all_pixels_but_a_smaller_copy_is_kept(toy: Model) -> None:
    rng = np.random.default_rng(0)
    large = rng.integers(0, 256, (30, 40, 3), np.uint8).repeat(60, 0).repeat(60, 1)
    image = examine(encode(large), "large.png", [toy])
    assert max(image.pixels.shape) == KEPT_SIDE
    assert image.pixels.shape[:2] == (KEPT_SIDE * 3 // 4, KEPT_SIDE)
    assert (image.height, image.width) == (1800, 2400)
    np.testing.assert_array_equal(image.answers["toy"].logits, predict(toy, large).logits)


def test_the_failure_of_one_model_leaves_the_other_answers(
    toy: Model, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ModelError("broken")

    monkeypatch.setattr("dermlens.case.image.predict", fail)
    image = examine(encode(lesion), "a.png", [toy])
    assert image.answers == {}
    assert image.failures == {"toy": "broken"}


def test_what_is_no_image_is_refused(toy: Model) -> None:
    with pytest.raises(ImageError):
        examine(b"no image", "a.png", [toy])


def test_stored_aspect_is_undone_before_the_models_are_asked(toy: Model, lesion: np.ndarray) -> None:
    square = lesion[:, 15:105]
    image = examine(encode(square), "a.png", [toy], stored_aspect="4:3")
    assert (image.height, image.width) == (90, 120)
    assert image.stored_aspect == "4:3"
    assert image.key == f"{image.sha256[:12]}-4to3", (
        "what is kept by the key must not be taken for that of other pixels"
    )


def test_overlap_of_heat_maps() -> None:
    one = np.array([[2.0, 0.0], [0.0, 0.0]])
    half = np.array([[1.0, 1.0], [0.0, 0.0]])
    other = np.array([[0.0, 0.0], [0.0, 3.0]])
    assert overlap(one, 7 * one) == pytest.approx(1)
    assert overlap(one, half) == pytest.approx(0.5)
    assert overlap(one, other) == 0
    assert np.isnan(overlap(one, 0 * one))


def test_a_thumbnail_keeps_the_aspect_and_enlarges_nothing() -> None:
    assert thumbnail(np.zeros((400, 600, 3), np.uint8), 96).shape == (64, 96, 3)
    assert thumbnail(np.zeros((4000, 10, 3), np.uint8), 96).shape == (96, 1, 3)
    small = np.zeros((20, 30, 3), np.uint8)
    assert thumbnail(small, 96) is small
