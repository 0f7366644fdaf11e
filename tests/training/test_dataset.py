from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.case.predict import forward, predict
from dermlens.dataset import isic2019
from dermlens.dataset.ham10000 import IMAGE_FOLDERS, image_path
from dermlens.dataset.isic2019 import BCN20000, ISIC_2017
from dermlens.errors import DataError
from dermlens.image.preprocess import Geometry, fit
from dermlens.image.synthetic import draw_lesion
from dermlens.image.tta import expand
from dermlens.ingest.read import read_image
from dermlens.models.model import Model
from tests import fake_ham10000, fake_isic2019
from tests.conftest import encode
from training.artefact import load_model
from training.config import Config, Phase
from training.dataset import (
    HAM10000,
    Images,
    canvas,
    class_counts,
    data_hash,
    epoch_order,
    load_images,
    located,
    one_hot,
    sampling_weights,
    select_rows,
)


def rows_of(colours: list[tuple[int, int, int]], root: Path) -> pd.DataFrame:
    for i, colour in enumerate(colours):
        folder = root / IMAGE_FOLDERS[i % 2]
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"ISIC_{i}.jpg"), np.full((40, 53, 3), colour[::-1], np.uint8))
    return pd.DataFrame({"image_id": [f"ISIC_{i}" for i in range(len(colours))], "dx": ["nv", "mel"] * 3})


def config(**settings: Any) -> Config:
    return Config(architecture="baseline_cnn", phases=(Phase(1, 1e-3),), **settings)


def load(root: Path, rows: pd.DataFrame, size: int, stored_aspect: str, for_training: bool) -> Images:
    return load_images(located(rows, root, stored_aspect), size, for_training)


def test_images_come_in_order_with_their_classes_whatever_thread_read_them(tmp_path: Path) -> None:
    colours = [(40 * i, 200 - 30 * i, 128) for i in range(6)]
    rows = rows_of(colours, tmp_path)
    for for_training, width in ((True, 43), (False, 32)):
        found = load(tmp_path, rows.iloc[::-1], 32, "as-is", for_training)
        assert [(image.shape, image.dtype.name) for image in found.pixels] == [((32, width, 3), "uint8")] * 6
        assert found.ids.tolist() == [f"ISIC_{i}" for i in (5, 4, 3, 2, 1, 0)]
        assert found.y.tolist() == [4, 5, 4, 5, 4, 5]
        means = [image.mean((0, 1)) for image in found.pixels]
        np.testing.assert_allclose(means, colours[::-1], atol=3)


def test_a_small_picture_trains_at_its_own_resolution_and_is_enlarged_only_to_be_answered(tmp_path: Path) -> None:
    rows = rows_of([(90, 90, 90)] * 6, tmp_path)  # 40 x 53
    large = np.full((200, 300, 3), 90, np.uint8)
    image_path(tmp_path, "ISIC_1").write_bytes(encode(large, ".jpg"))
    image_path(tmp_path, "ISIC_2").write_bytes(encode(np.full((60, 44, 3), 90, np.uint8), ".jpg"))  # a portrait
    shapes = [image.shape for image in load(tmp_path, rows.iloc[:3], 64, "as-is", True).pixels]
    assert shapes == [(40, 53, 3), (64, 85, 3), (44, 59, 3)]
    assert {image.shape for image in load(tmp_path, rows.iloc[:3], 64, "as-is", False).pixels} == {(64, 64, 3)}


def test_unreadable_and_missing_images_are_named(tmp_path: Path) -> None:
    rows = rows_of([(1, 2, 3)] * 6, tmp_path)
    image_path(tmp_path, "ISIC_3").write_bytes(b"garbage")
    with pytest.raises(DataError, match="Image ISIC_3: The file cannot be read"):
        load(tmp_path, rows, 32, "as-is", True)
    image_path(tmp_path, "ISIC_3").unlink()
    with pytest.raises(DataError, match="Image ISIC_3 is in neither"):
        load(tmp_path, rows, 32, "as-is", True)


def test_squeezed_copies_are_stretched_to_their_true_aspect(tmp_path: Path) -> None:
    image = draw_lesion(np.random.default_rng(0), 120, 160)
    rows = rows_of([(0, 0, 0)] * 6, tmp_path)
    squeezed = cv2.resize(image, (120, 120), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(image_path(tmp_path, "ISIC_0")), squeezed[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    found = load(tmp_path, rows.iloc[:1], 64, "4:3", False).pixels[0].astype(float)
    assert np.abs(found - fit(image, Geometry(64))).mean() < 3
    as_is = load(tmp_path, rows.iloc[:1], 64, "as-is", False).pixels[0].astype(float)
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
    trained_on = load(tmp_path, rows, toy.geometry.size, "as-is", for_training=False)
    for square, image_id in zip(trained_on.pixels, rows["image_id"], strict=True):
        pixels = read_image(image_path(tmp_path, image_id).read_bytes()).pixels
        np.testing.assert_array_equal(square, fit(pixels, toy.geometry))
        shown = expand(square, toy.views).astype(np.float32)
        expected = network.predict_on_batch(shown).mean(0)
        np.testing.assert_allclose(predict(toy, pixels).logits, expected, atol=1e-4)
        np.testing.assert_allclose(forward(toy, square)[0], expected, atol=1e-4)
    assert np.ptp(network.predict_on_batch(np.stack(trained_on.pixels).astype(np.float32)), axis=0).max() > 1e-2


@pytest.fixture
def archives(tmp_path: Path) -> tuple[Path, Path, pd.DataFrame]:
    """Folders of a drawn HAM10000 and of two other archives, and rows of both."""
    own = fake_ham10000.write(tmp_path / "own", lesions=1).assign(source=HAM10000)
    other = fake_isic2019.table(lesions=1)
    fake_isic2019.write(tmp_path / "other", other)
    rows = pd.concat([own, other[other["dx"] != "scc"]])
    return tmp_path / "own", tmp_path / "other", rows.sort_values("image_id", ignore_index=True)


def test_every_image_is_looked_for_in_its_own_archive_with_its_own_stored_aspect(archives) -> None:
    own, other, rows = archives
    rows["stored_aspect"] = rows["stored_aspect"].where(rows["source"] != ISIC_2017, "4:3")
    found = located(rows, own, "as-is", other)
    for row in found.itertuples():
        here = row.source == HAM10000
        assert row.file == (image_path(own, row.image_id) if here else isic2019.image_path(other, row.image_id))
    aspects = found.groupby("source")["stored_aspect"].unique().map(list)
    assert aspects.to_dict() == {HAM10000: ["as-is"], ISIC_2017: ["4:3"], BCN20000: ["as-is"]}
    assert found["image_id"].tolist() == rows["image_id"].tolist()
    alone = located(rows.loc[rows["source"] == HAM10000, ["image_id", "dx"]], own, "4:3")  # as of the split table
    assert set(alone["stored_aspect"]) == {"4:3"}


def test_rows_of_other_archives_ask_for_their_folder_and_name_what_it_lacks(archives) -> None:
    own, other, rows = archives
    with pytest.raises(DataError, match=r"trains on other archives as well: pass --external DIR"):
        located(rows, own, "as-is")
    missing = rows["image_id"][rows["source"] == BCN20000].iloc[0]
    isic2019.image_path(other, missing).unlink()
    with pytest.raises(DataError, match=f"Image {missing} is not in ISIC_2019_Training_Input"):
        located(rows, own, "as-is", other)


def test_weights_share_an_epoch_between_the_archives_and_inside_them_by_class_size() -> None:
    rows = pd.DataFrame(
        {
            "source": [HAM10000] * 5 + [ISIC_2017] * 3 + [BCN20000] * 4,
            "dx": ["nv"] * 4 + ["mel"] + ["nv", "mel", "mel"] + ["nv"] * 4,
        }
    )
    assert sampling_weights(rows, config()) is None
    np.testing.assert_allclose(sampling_weights(rows.iloc[:5], config(epoch_images=3)), [0.2] * 5)
    half = sampling_weights(rows.iloc[:5], config(sampling_power=0.5))
    np.testing.assert_allclose(half, np.array([0.5] * 4 + [1]) / 3)  # 4 of weight 1/2 and one of weight 1
    even = sampling_weights(rows, config(isic2017_share=0.3, bcn20000_share=0.2))
    np.testing.assert_allclose(even, [0.1] * 5 + [0.1] * 3 + [0.05] * 4)
    balanced = sampling_weights(rows, config(sampling_power=1.0, isic2017_share=0.3, bcn20000_share=0.2))
    np.testing.assert_allclose(balanced, [0.0625] * 4 + [0.25] + [0.15, 0.075, 0.075] + [0.05] * 4)


@pytest.fixture
def other_archives(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A drawn table in the place of the committed one of external images."""
    table = fake_isic2019.table()
    monkeypatch.setattr(isic2019, "load_external", lambda: table)
    return table


def test_rows_of_the_wanted_archives_come_along_but_those_of_their_test_sets(other_archives: pd.DataFrame) -> None:
    table = fake_ham10000.table(lesions=4)
    table["split"] = np.resize(["train", "validation", "test"], len(table))
    alone = select_rows(table, config())
    assert set(alone["source"]) == {HAM10000}
    other = other_archives[other_archives["dx"] != "scc"]
    for shares, sources in (
        ({"isic2017_share": 0.2}, [ISIC_2017]),
        ({"isic2017_share": 0.2, "bcn20000_share": 0.1}, [ISIC_2017, BCN20000]),
    ):
        rows = select_rows(table, config(**shares))
        own = rows[rows["source"] == HAM10000]
        assert own["image_id"].tolist() == alone["image_id"].tolist()
        assert rows["image_id"].is_monotonic_increasing
        assert set(rows["split"]) == {"train", "validation", "external_validation"}
        assert set(own["split"]) == {"train", "validation"}
        for mine, theirs in (("train", "train"), ("external_validation", "validation")):
            found = rows.loc[(rows["split"] == mine) & (rows["source"] != HAM10000), "image_id"]
            wanted = other.loc[(other["split"] == theirs) & other["source"].isin(sources), "image_id"]
            assert found.tolist() == wanted.tolist() != []
    assert set(other["split"]) >= {"train", "validation", "bcn20000"}, "there was something to leave out"
    assert data_hash(rows) != data_hash(alone)
    assert "vasc" not in set(select_rows(table, config(isic2017_share=0.2, leave_out="vasc"))["dx"])


weights = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=200).map(lambda found: np.array(found) / sum(found))


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(0, 100), st.integers(1, 400))
def test_without_weights_every_image_comes_once(n: int, seed: int, count: int) -> None:
    order = epoch_order(n, None, count, np.random.default_rng(seed))
    assert sorted(order) == list(range(n))


@settings(deadline=None)
@given(weights, st.integers(1, 400), st.integers(0, 100))
def test_an_image_is_drawn_as_often_as_its_weight_says_rounded_up_or_down(weight, count: int, seed: int) -> None:
    order = epoch_order(len(weight), weight, count, np.random.default_rng(seed))
    assert len(order) == count
    drawn = np.bincount(order, minlength=len(weight))
    assert len(drawn) == len(weight)
    assert (drawn >= np.floor(count * weight - 1e-9)).all()
    assert (drawn <= np.ceil(count * weight + 1e-9)).all()
    np.testing.assert_array_equal(order, epoch_order(len(weight), weight, count, np.random.default_rng(seed)))


def test_full_power_balances_the_classes_over_many_epochs() -> None:
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 5], [10, 30, 200]))

    def drawn(power: float, count: int) -> np.ndarray:
        weight = class_counts(y)[y] ** -power
        orders = [epoch_order(len(y), weight / weight.sum(), count, np.random.default_rng(s)) for s in range(200)]
        return np.mean([class_counts(y[order]) for order in orders], 0)[[0, 1, 5]]

    assert drawn(1.0, 240) == pytest.approx([80, 80, 80], abs=1.5)
    assert drawn(1.0, 60) == pytest.approx([20, 20, 20], abs=1.5)
    share = np.sqrt([10, 30, 200]) / np.sqrt([10, 30, 200]).sum()
    assert drawn(0.5, 240) == pytest.approx(240 * share, abs=1.5)


def test_labels_are_one_at_their_class() -> None:
    found = one_hot(np.array([2, 0]))
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]


def test_data_hash_tells_another_row_class_or_split() -> None:
    rows = pd.DataFrame({"image_id": ["a", "b"], "dx": ["nv", "mel"], "split": ["train", "validation"], "age": [1, 2]})
    assert data_hash(rows) == data_hash(rows.assign(age=3))
    others = [rows.iloc[:1], rows.assign(dx="nv"), rows.assign(split="train"), rows.assign(image_id=["a", "c"])]
    assert len({data_hash(rows), *map(data_hash, others)}) == 5
