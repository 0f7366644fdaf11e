import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dermlens.case.predict import predict
from dermlens.case.stability import FLIPS, HAIRS, Look, Stability, alterations, at_mix, probe, sentence, with_hairs
from dermlens.errors import ModelError
from dermlens.image.preprocess import Geometry, visible_box
from dermlens.labels import CLASSES, INDEX
from dermlens.models import registry
from dermlens.models.model import Model
from tests.conftest import publish_toy, spot_network

GEOMETRY = Geometry(64)


def drawn(shape: tuple[int, int] = (120, 160), at: tuple[int, int] = (40, 70), radius: int = 12) -> np.ndarray:
    image = np.full((*shape, 3), 120, np.uint8)
    cv2.circle(image, at[::-1], radius, (200, 160, 120), -1)
    return image


def spot_of(image: np.ndarray) -> tuple[float, float, float]:
    """Row, column and area of what is brighter than the ground."""
    rows, columns = np.nonzero(image[..., 0] > 160)
    return rows.mean(), columns.mean(), float(len(rows))


def test_a_turn_moves_a_spot_about_the_centre() -> None:
    image = drawn()
    row, column, area = spot_of(alterations(4, GEOMETRY)["turned by 90 degrees"](image))
    # against the clock about (59.5, 79.5): what lay (-19.5, -9.5) from it lies at (9.5, -19.5)
    assert (row, column) == pytest.approx((59.5 + 9.5, 79.5 - 19.5), abs=0.6)
    assert area == pytest.approx(spot_of(image)[2], rel=0.03)


def test_zooming_scales_a_spot_and_its_distance_from_the_centre() -> None:
    image = drawn()
    row, column, area = spot_of(alterations(4, GEOMETRY)["20 % nearer"](image))
    assert (row, column) == pytest.approx((59.5 - 1.2 * 19.5, 79.5 - 1.2 * 9.5), abs=0.6)
    assert area == pytest.approx(1.44 * spot_of(image)[2], rel=0.04)


def test_light_and_contrast_by_hand() -> None:
    image = np.array([[[100, 50, 0], [200, 150, 250]]], np.uint8)
    change = alterations(4, GEOMETRY)
    assert change["20 % darker"](image).tolist() == [[[80, 40, 0], [160, 120, 200]]]
    assert change["20 % lighter"](image).tolist() == [[[120, 60, 0], [240, 180, 255]]]
    # about the mean of each channel, 150, 100, 125
    assert change["less contrast"](image).tolist() == [[[110, 60, 25], [190, 140, 225]]]
    assert change["more contrast"](image).tolist() == [[[88, 38, 0], [212, 162, 255]]]


def test_blur_keeps_the_mean_and_lowers_the_detail() -> None:
    image = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    change = alterations(4, GEOMETRY)
    slight, strong = (change[name](image) for name in ("slightly out of focus", "out of focus"))
    assert slight.mean() == pytest.approx(image.mean(), abs=0.5)
    assert image.std() > slight.std() > strong.std()


def test_hairs_are_thin_dark_and_cross_what_is_seen() -> None:
    image = np.full((300, 500, 3), 200, np.uint8)
    seen = visible_box(300, 500, GEOMETRY)
    one, three = (with_hairs(image, n, GEOMETRY)[..., 0] < 120 for n in (1, 3))
    assert (image == 200).all()
    assert not (one & ~three).any()
    assert three.sum() > 2 * one.sum()
    assert 0.002 < one.mean() < 0.02
    part = one[seen.top : seen.top + seen.height, seen.left : seen.left + seen.width]
    assert part.any(0).all() or part.any(1).all(), "from one side to the other"


@pytest.mark.parametrize(("views", "flips", "quarter_turn"), [(1, 3, True), (4, 0, True), (8, 0, False)])
def test_what_an_answer_is_averaged_over_is_no_alteration(views: int, flips: int, quarter_turn: bool) -> None:
    names = alterations(views, GEOMETRY)
    assert len(set(names) & set(FLIPS)) == flips
    assert ("turned by 90 degrees" in names) == quarter_turn
    assert 16 <= len(names) <= 24


def test_every_alteration_makes_another_image_of_the_same_kind(lesion: np.ndarray) -> None:
    before, made = lesion.copy(), set()
    for name, alter in alterations(1, GEOMETRY).items():
        altered = alter(lesion)
        assert altered.shape == lesion.shape, name
        assert altered.dtype == np.uint8, name
        made.add(altered.tobytes())
    assert len(made) == len(alterations(1, GEOMETRY))
    assert lesion.tobytes() not in made
    assert np.array_equal(before, lesion)


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A network that calls what is lighter than the middle grey the first class, and all else the second."""
    network = spot_network()
    head, bias = network.get_layer("logits").get_weights()
    bias[1] = 0.1
    network.get_layer("logits").set_weights([head, bias])
    return registry.load(publish_toy(tmp_path_factory.mktemp("light") / "light", network, views=4))


def test_brightness_alone_decides_for_a_network_that_looks_at_nothing_else(light: Model) -> None:
    grey = np.full((80, 80, 3), 140, np.uint8)
    found = probe(light, grey, predict(light, grey))
    assert found.called == CLASSES[0]
    assert found.changed
    assert {look.name for look in found.changed} <= {"20 % darker", "10 % darker", *HAIRS}
    assert {look.called for look in found.changed} == {CLASSES[1]}
    assert found.diagnoses == {CLASSES[0]: found.n - len(found.changed), CLASSES[1]: len(found.changed)}
    assert found.low < found.probability < found.high
    dark = next(look for look in found.looks if look.name == "20 % darker")
    assert found.low == pytest.approx(float(dark.probabilities[0]))


def test_an_even_image_cannot_be_turned_into_another_answer(spot: Model) -> None:
    grey = np.full((80, 80, 3), 200, np.uint8)
    found = probe(spot, grey, predict(spot, grey))
    for name in ("turned by 30 degrees", "10 % nearer", "slightly out of focus", "less contrast"):
        look = next(look for look in found.looks if look.name == name)
        assert look.probabilities[0] == pytest.approx(found.probability, abs=1e-3), name


def test_the_probe_is_the_same_every_time_and_asks_each_copy_once(toy: Model, lesion: np.ndarray) -> None:
    answer = predict(toy, lesion)
    asked: list[None] = []
    first, second = probe(toy, lesion, answer), probe(toy, lesion, answer, lambda: asked.append(None))
    assert first.n == len(asked) == len(alterations(toy.views, toy.geometry))
    for a, b in zip(first.looks, second.looks, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.probabilities, b.probabilities)
        assert a.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_probabilities_are_calibrated_where_the_model_has_a_calibration(toy: Model, lesion: np.ndarray) -> None:
    answer, even = predict(toy, lesion), np.full(7, 1 / 7)
    fitted = SimpleNamespace(calibration=SimpleNamespace(apply=lambda logits: even))
    found = probe(dataclasses.replace(toy, fitted=fitted), lesion, answer)
    assert (found.low, found.high) == pytest.approx((1 / 7, 1 / 7))
    assert {look.called for look in found.looks} == {CLASSES[0]}, "probabilities decide the call"


def test_an_answer_of_another_model_is_refused(toy: Model, spot: Model, lesion: np.ndarray) -> None:
    with pytest.raises(ModelError, match="spot"):
        probe(toy, lesion, predict(spot, lesion))


def look(code: str, mel: float) -> Look:
    shares = np.full(7, (1 - mel) / 6)
    shares[INDEX["mel"]] = mel
    return Look("turned", code, shares)


def test_the_sentence_counts_what_changed() -> None:
    steady = Stability("a", "mel", 0.8, (look("mel", 0.62), look("mel", 0.9)), 1.0)
    said = "A calls all 2 altered copies melanoma too; its probability lies between 62 % and 90 %."
    assert sentence(steady, "A") == said
    shaky = Stability("a", "mel", 0.8, (look("mel", 0.62), look("nv", 0.3), look("bkl", 0.2), look("nv", 0.1)), 1.0)
    assert shaky.diagnoses == {"nv": 2, "mel": 1, "bkl": 1}
    assert sentence(shaky, "A") == (
        "A calls 3 of 4 altered copies something other than melanoma: melanocytic nevus (2), "
        "benign keratosis (1). The probability of melanoma lies between 10 % and 62 %."
    )


def test_another_class_mix_moves_every_copy_and_the_calls_with_it() -> None:
    looks = tuple(Look(str(i), "nv", np.array([0, 0, 0, 0, mel, 1 - mel, 0])) for i, mel in enumerate((0.1, 0.4)))
    found = Stability("toy", "nv", 0.7, looks, 1.0)
    weight = np.array([1, 1, 1, 1, 3, 1, 1])

    def move(p: np.ndarray) -> np.ndarray:
        return p * weight / (p * weight).sum()

    moved = at_mix(found, move(np.array([0, 0, 0, 0, 0.3, 0.7, 0])), move)
    assert moved.called == "mel"
    assert moved.probability == pytest.approx(0.9 / 1.6)
    assert [look.called for look in moved.looks] == ["nv", "mel"]
    assert (moved.low, moved.high) == pytest.approx((0.3 / 1.2, 1.2 / 1.8))
