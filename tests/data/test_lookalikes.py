from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from data import lookalikes
from data.lookalikes import LEAST_AGREEING, agreeing, balanced, candidates, describe, directions
from dermlens.dataset.ham10000 import SPLIT_TABLE, load_split
from dermlens.errors import DataError
from dermlens.image.synthetic import draw_lesion
from dermlens.models.model import Model


def skin(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    """A drawn lesion with enough marks on it to be told from others, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = draw_lesion(rng, height, width).astype(np.float32)
    marks = cv2.GaussianBlur(rng.normal(0, 60, (height, width)).astype(np.float32), (0, 0), 3)
    return np.clip(image + 3 * marks[..., None], 0, 255).astype(np.uint8)


def photographed_again(image: np.ndarray) -> np.ndarray:
    """The same skin turned, smaller, and under another light."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 30, 0.9)
    turned = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.clip(turned * np.array([0.8, 0.9, 1.0]) + 10, 0, 255).astype(np.uint8)


def test_features_agree_on_a_lesion_under_another_light_and_not_on_another_lesion() -> None:
    one, again, other = describe(skin(1)), describe(photographed_again(skin(1))), describe(skin(2))
    assert agreeing(one, again) >= 3 * LEAST_AGREEING
    assert agreeing(one, other) < LEAST_AGREEING
    empty = describe(np.full((60, 80, 3), 128, np.uint8))
    assert empty[0].shape == (0, 2)
    assert agreeing(one, empty) == 0


def test_grey_world_takes_the_colour_of_the_light_away() -> None:
    image = skin(3).astype(np.float32) * 0.7
    lit = balanced((image * np.array([1.0, 0.8, 0.6])).astype(np.uint8))
    assert np.ptp(lit.mean((0, 1))) < 1.5


def test_held_out_images_are_compared_with_the_nearest_of_other_splits_alone() -> None:
    points = np.array([[1, 0], [0.99, 0.1], [0.9, 0.4], [0, 1], [1, 0.01]], np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    group = np.array(["test", "train", "train", "train", "test"])
    assert candidates(points, group, group == "test", count=1) == {(0, 1), (1, 4)}
    assert candidates(points, group, group == "test", count=2) == {(0, 1), (0, 2), (1, 4), (2, 4)}
    assert candidates(points, group, group == "none") == set()
    assert np.linalg.norm(directions(np.random.default_rng(0).normal(size=(9, 4))), axis=1) == pytest.approx(1)


def test_a_search_finds_the_pair_across_splits(toy: Model) -> None:
    images = [skin(seed) for seed in range(6)]
    images += [photographed_again(images[0]), photographed_again(images[1])]
    group = np.array(["train", "test", "train", "train", "train", "test", "test", "test"])
    found = lookalikes.search(lambda i: images[i], group, toy)
    assert found[["i", "j"]].to_numpy().tolist() == [[0, 6]]  # 1 and 7 are both of the test split
    pairs = pd.DataFrame({"image_a": ["0"], "image_b": ["6"], "agreeing": found["agreeing"], "same": [""]})
    sheet = lookalikes.contact_sheet(pairs, lambda name: images[int(name)])
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3


PAIRS = "image_a,image_b,agreeing,same\na,b,30,yes\nc,d,20,no\ne,f,9,\n"


def test_what_a_person_said_is_read_and_a_slip_is_named(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(PAIRS)
    assert lookalikes.load_lookalikes(file)["same"].tolist() == ["yes", "no", ""]
    for slip in ("Yes", "y", "yes ", "maybe"):
        file.write_text(PAIRS.replace(",yes", f",{slip}"))
        with pytest.raises(DataError, match=f"line 2, column same: '{slip}' is neither"):
            lookalikes.load_lookalikes(file)


def test_pairs_that_a_person_said_yes_to_are_one_lesion_where_both_images_are_known() -> None:
    table = pd.DataFrame({"image_id": list("abcdx"), "lesion_id": ["A", "B", "C", "D", "X"]})
    pairs = pd.DataFrame(
        {"image_a": list("acxa"), "image_b": list("bdyx"), "agreeing": 9.0, "same": ["yes", "no", "yes", ""]}
    )
    assert lookalikes.same_lesion(table, pairs).to_dict("list") == {"lesion_a": ["A"], "lesion_b": ["B"]}


def test_what_was_said_stays_whatever_is_found_later() -> None:
    before = pd.DataFrame(
        {"image_a": list("aceg"), "image_b": list("bdfh"), "agreeing": 9.0, "same": ["yes", "no", "", "yes"]}
    )
    found = pd.DataFrame({"image_a": list("dk"), "image_b": list("cl"), "agreeing": [21.0, 10]})
    again = lookalikes.with_earlier(found, before)
    assert again.drop(columns="agreeing").to_numpy().tolist() == [
        ["d", "c", "no"],
        ["k", "l", ""],
        ["a", "b", "yes"],
        ["g", "h", "yes"],
    ]
    nothing, earlier = found.head(0), again.tail(2).reset_index(drop=True)
    pd.testing.assert_frame_equal(lookalikes.with_earlier(nothing, earlier), earlier, check_dtype=False)


def test_every_committed_pair_was_looked_at_and_no_lesion_of_ham10000_is_in_two_splits() -> None:
    pairs, split = lookalikes.load_lookalikes(), load_split(SPLIT_TABLE).set_index("image_id")["split"]
    assert set(pairs["same"]) == {"yes", "no"}
    own = pairs[(pairs["same"] == "yes") & pairs["image_a"].isin(split.index) & pairs["image_b"].isin(split.index)]
    assert len(own) > 0
    assert (split[own["image_a"]].to_numpy() == split[own["image_b"]].to_numpy()).all()
