import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from scipy.ndimage import zoom

from dermlens.case.predict import softmax
from dermlens.errors import ConfigError, ModelError
from dermlens.explain import gradients, methods
from dermlens.explain.grad_cam import heat_on_image
from dermlens.explain.gradients import load_network
from dermlens.explain.methods import METHODS, explain_with
from dermlens.image.preprocess import fit
from dermlens.image.synthetic import draw_lesion
from dermlens.models.model import Model

if TYPE_CHECKING:
    import keras


@pytest.fixture(scope="module")
def network(toy: Model) -> "keras.Model":
    return load_network(toy)


def one_view(model: Model) -> Model:
    return dataclasses.replace(model, views=1)


def likeliest(model: Model, square: np.ndarray) -> int:
    return int(model.engine.run(square[None]).logits[0].argmax())


@pytest.mark.parametrize("method", METHODS)
def test_the_heat_is_where_the_spot_is(method: str, spot: Model) -> None:
    network, shape, at = load_network(spot), (200, 300), (130, 110)
    image = np.zeros((*shape, 3), np.uint8)
    cv2.circle(image, at[::-1], 25, (255, 255, 255), -1)
    told: list[float] = []
    heat = explain_with(method, spot, image, 0, told.append, network)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)
    shown = heat_on_image(heat, *shape, spot.geometry)
    if method != "smooth_grad":  # of a network that adds up brightness, the gradient is the same everywhere
        peak = np.unravel_index(shown.argmax(), shape)
        assert np.hypot(peak[0] - at[0], peak[1] - at[1]) < 25


@pytest.mark.parametrize("method", METHODS)
def test_flipping_the_image_flips_the_map(
    method: str, toy: Model, network: "keras.Model", lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "NOISE", 0.0)
    here = explain_with(method, toy, lesion, 4, network=network)
    there = explain_with(method, toy, np.ascontiguousarray(lesion[:, ::-1]), 4, network=network)
    assert here.max() > 0
    assert there[:, ::-1] == pytest.approx(here, abs=1e-4 * float(here.max()))


def test_smooth_grad_without_noise_is_the_gradient_by_differences(
    toy: Model, network: "keras.Model", lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "NOISE", 0.0)
    found = explain_with("smooth_grad", one_view(toy), lesion, 2, network=network)
    square = fit(lesion, toy.geometry).astype(np.float32)
    step = 0.25
    for row, column in ((0, 0), (7, 20), (16, 16), (30, 3)):
        moved = np.repeat(square[None], 6, 0)
        for channel in range(3):
            moved[2 * channel, row, column, channel] += step
            moved[2 * channel + 1, row, column, channel] -= step
        logits = network.predict(moved, verbose=0)[:, 2].astype(float)
        slopes = (logits[::2] - logits[1::2]) / (2 * step)
        assert found[row, column] == pytest.approx(np.abs(slopes).max(), rel=0.05, abs=2e-5)


def test_smooth_grad_is_the_same_every_time_and_another_for_each_class(
    toy: Model, network: "keras.Model", lesion: np.ndarray
) -> None:
    first = explain_with("smooth_grad", toy, lesion, 4, network=network)
    assert np.array_equal(first, explain_with("smooth_grad", toy, lesion, 4, network=network))
    assert not np.array_equal(first, explain_with("smooth_grad", toy, lesion, 5, network=network))


@pytest.mark.parametrize("method", ["grad_cam_plus_plus", "score_cam"])
@pytest.mark.parametrize("index", [0, 4])
def test_what_needs_no_gradients_is_what_tf_keras_vis_draws(
    method: str, index: int, toy: Model, network: "keras.Model", monkeypatch: pytest.MonkeyPatch
) -> None:
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.scorecam import Scorecam
    from tf_keras_vis.utils.scores import CategoricalScore

    monkeypatch.setattr(methods, "SCORE_CAM_CHANNELS", 5)  # the toy has few
    square = fit(draw_lesion(np.random.default_rng(2), 64, 64), toy.geometry)
    kind, more = (Scorecam, {"max_N": 5}) if method == "score_cam" else (GradcamPlusPlus, {})
    expected = kind(network, clone=False)(
        CategoricalScore(index),
        square[None].astype(np.float32),
        penultimate_layer=toy.feature_layer,
        seek_penultimate_conv_layer=False,
        expand_cam=False,
        normalize_cam=False,
        **more,
    )[0]
    found = explain_with(method, one_view(toy), square, index)
    assert found.max() == pytest.approx(1)
    assert found == pytest.approx(np.asarray(expected) / np.max(expected), abs=1e-4)


def test_score_cam_weighs_channels_by_the_probability_they_leave(toy: Model) -> None:
    square = fit(draw_lesion(np.random.default_rng(2), 64, 64), toy.geometry)
    features = toy.engine.run(square[None]).features[0]
    masks = zoom(features, (4, 4, 1), order=1, mode="nearest")
    low, high = masks.min((0, 1)), masks.max((0, 1))
    masks = (masks - low) / (high - low + 1e-7)
    masked = square.astype(np.float32) * np.moveaxis(masks, -1, 0)[..., None]
    index = likeliest(toy, square)
    weights = softmax(toy.engine.run(masked).logits)[:, index]
    expected = np.maximum(features @ weights, 0)
    found = explain_with("score_cam", one_view(toy), square, index)
    assert found == pytest.approx(expected / expected.max(), abs=1e-4)


def test_a_class_that_no_channel_speaks_for_has_no_heat(toy: Model, lesion: np.ndarray) -> None:
    against = dataclasses.replace(toy, head_kernel=-np.abs(toy.head_kernel))
    assert not explain_with("grad_cam_plus_plus", against, lesion, 3).any()


def test_what_cannot_be_drawn_is_refused(toy: Model, lesion: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="'lime'"):
        explain_with("lime", toy, lesion, 0)
    changed = dataclasses.replace(toy, card={"files": {"model.keras": "0" * 64}})
    with pytest.raises(ModelError, match="was changed"):
        load_network(changed)
    with pytest.raises(ModelError, match=r"nowhere/model\.keras: there is no such file"):
        load_network(dataclasses.replace(toy, folder=Path("nowhere")))
