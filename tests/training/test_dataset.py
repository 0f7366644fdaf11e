from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.case.predict import forward, predict
from dermlens.dataset.ham10000 import IMAGE_FOLDERS, image_path
from dermlens.errors import DataError
from dermlens.image.preprocess import Geometry, fit
from dermlens.image.synthetic import draw_lesion
from dermlens.image.tta import expand
from dermlens.ingest.read import read_image
from dermlens.models.model import Model
from tests import fake_ham10000
from training.artefact import load_model
from training.dataset import batches, canvas, class_counts, data_hash, epoch_order, load_images, one_hot


def rows_of(colours: list[tuple[int, int, int]], root: Path) -> pd.DataFrame:
    for i, colour in enumerate(colours):
        folder = root / IMAGE_FOLDERS[i % 2]
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"ISIC_{i}.jpg"), np.full((40, 53, 3), colour[::-1], np.uint8))
    return pd.DataFrame({"image_id": [f"ISIC_{i}" for i in range(len(colours))], "dx": ["nv", "mel"] * 3})


def test_images_come_in_order_with_their_classes_whatever_thread_read_them(tmp_path: Path) -> None:
    colours = [(40 * i, 200 - 30 * i, 128) for i in range(6)]
    rows = rows_of(colours, tmp_path)
    for for_training, width in ((True, 43), (False, 32)):
        found = load_images(tmp_path, rows.iloc[::-1], 32, "as-is", for_training)
        assert found.pixels.shape == (6, 32, width, 3)
        assert found.pixels.dtype == np.uint8
        assert found.ids.tolist() == [f"ISIC_{i}" for i in (5, 4, 3, 2, 1, 0)]
        assert found.y.tolist() == [4, 5, 4, 5, 4, 5]
        np.testing.assert_allclose(found.pixels.mean((1, 2)), colours[::-1], atol=3)


def test_unreadable_and_missing_images_are_named(tmp_path: Path) -> None:
    rows = rows_of([(1, 2, 3)] * 6, tmp_path)
    image_path(tmp_path, "ISIC_3").write_bytes(b"garbage")
    with pytest.raises(DataError, match="Image ISIC_3: The file cannot be read"):
        load_images(tmp_path, rows, 32, "as-is", True)
    image_path(tmp_path, "ISIC_3").unlink()
    with pytest.raises(DataError, match="Image ISIC_3 is in neither"):
        load_images(tmp_path, rows, 32, "as-is", True)


def test_squeezed_copies_are_stretched_to_their_true_aspect(tmp_path: Path) -> None:
    image = draw_lesion(np.random.default_rng(0), 120, 160)
    rows = rows_of([(0, 0, 0)] * 6, tmp_path)
    squeezed = cv2.resize(image, (120, 120), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(image_path(tmp_path, "ISIC_0")), squeezed[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    found = load_images(tmp_path, rows.iloc[:1], 64, "4:3", False).pixels[0].astype(float)
    assert np.abs(found - fit(image, Geometry(64))).mean() < 3
    as_is = load_images(tmp_path, rows.iloc[:1], 64, "as-is", False).pixels[0].astype(float)
    assert np.abs(as_is - fit(image, Geometry(64))).mean() > 6


@pytest.mark.parametrize(("height", "width"), [(450, 600), (600, 450), (300, 300), (300, 330), (200, 500), (60, 80)])
def test_canvas_is_four_by_three_without_distortion_or_padding(height: int, width: int) -> None:
    short = min(height, width)
    image = np.full((height, width, 3), 60, np.uint8)
    cv2.circle(image, (width // 2, height // 2), short // 4, (250, 250, 250), -1, cv2.LINE_AA)
    out = canvas(image, 96)
    assert out.shape == (96, 128, 3)
    assert out.min() >= 40  # no black margin
    disc = out[..., 0] > 155
    extents = [np.ptp(disc.any(axis).nonzero()[0]) + 1 for axis in (0, 1)]
    assert extents == [pytest.approx(48, abs=2)] * 2
    drawn = (image[..., 0] > 155).sum() * (96 / short) ** 2
    assert disc.sum() == pytest.approx(drawn, rel=0.04)


def test_training_and_app_see_the_same_image_and_give_the_same_logits(
    tmp_path: Path, published: Path, toy: Model
) -> None:
    fake_ham10000.write(tmp_path, lesions=1, height=90, width=120)
    rows = pd.read_csv(tmp_path / "split.csv").iloc[:4]
    network = load_model(published / "toy" / "model.keras")
    trained_on = load_images(tmp_path, rows, toy.geometry.size, "as-is", for_training=False)
    for square, image_id in zip(trained_on.pixels, rows["image_id"], strict=True):
        pixels = read_image(image_path(tmp_path, image_id).read_bytes()).pixels
        np.testing.assert_array_equal(square, fit(pixels, toy.geometry))
        shown = expand(square, toy.views).astype(np.float32)
        expected = network.predict_on_batch(shown).mean(0)
        np.testing.assert_allclose(predict(toy, pixels).logits, expected, atol=1e-4)
        np.testing.assert_allclose(forward(toy, square)[0], expected, atol=1e-4)
    assert np.ptp(network.predict_on_batch(trained_on.pixels.astype(np.float32)), axis=0).max() > 1e-2


classes = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(np.array)


@settings(deadline=None)
@given(classes, st.integers(0, 100))
def test_without_sampling_every_image_comes_once(y: np.ndarray, seed: int) -> None:
    order = epoch_order(y, 0.0, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(y)))


@settings(deadline=None)
@given(classes, st.floats(0.1, 1.0), st.integers(0, 100))
def test_sampling_draws_each_image_as_often_as_its_share_rounded_up_or_down(y, power: float, seed: int) -> None:
    order = epoch_order(y, power, np.random.default_rng(seed))
    assert len(order) == len(y)
    weight = class_counts(y)[y] ** -power
    expected = len(y) * weight / weight.sum()
    drawn = np.bincount(order, minlength=len(y))
    assert (drawn >= np.floor(expected - 1e-9)).all()
    assert (drawn <= np.ceil(expected + 1e-9)).all()
    np.testing.assert_array_equal(order, epoch_order(y, power, np.random.default_rng(seed)))


def test_full_power_balances_the_classes_over_many_epochs() -> None:
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 5], [10, 30, 200]))
    epochs = [class_counts(y[epoch_order(y, 1.0, np.random.default_rng(seed))]) for seed in range(200)]
    assert np.mean(epochs, 0)[[0, 1, 5]] == pytest.approx([80, 80, 80], abs=1.5)
    means = [class_counts(y[epoch_order(y, 0.5, np.random.default_rng(s))]) for s in range(200)]
    share = np.sqrt([10, 30, 200]) / np.sqrt([10, 30, 200]).sum()
    assert np.mean(means, 0)[[0, 1, 5]] == pytest.approx(240 * share, abs=1.5)


def test_batches_follow_the_order_and_drop_an_incomplete_end() -> None:
    x, y = np.arange(10)[:, None], np.arange(10) % 7
    order = np.array([9, 3, 5, 1, 8, 0, 2, 4, 6, 7])
    found = list(batches(x, one_hot(y), order, 4))
    assert [pair[0].ravel().tolist() for pair in found] == [[9, 3, 5, 1], [8, 0, 2, 4]]
    assert [pair[1].argmax(1).tolist() for pair in found] == [[2, 3, 5, 1], [1, 0, 2, 4]]
    assert found[0][1].dtype == np.float32
    assert (found[0][1].sum(1) == 1).all()
    assert [len(pair[0]) for pair in batches(x, one_hot(y), order[:3], 4)] == [3]


def test_data_hash_tells_another_row_class_or_split() -> None:
    rows = pd.DataFrame({"image_id": ["a", "b"], "dx": ["nv", "mel"], "split": ["train", "validation"], "age": [1, 2]})
    assert data_hash(rows) == data_hash(rows.assign(age=3))
    others = [rows.iloc[:1], rows.assign(dx="nv"), rows.assign(split="train"), rows.assign(image_id=["a", "c"])]
    assert len({data_hash(rows), *map(data_hash, others)}) == 5
