import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from dermlens.case.predict import softmax
from dermlens.errors import ConfigError, ModelError
from dermlens.explain import gradients
from dermlens.explain.grad_cam import heat_on_image
from dermlens.explain.gradients import METHODS, explain_with, load_network
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
    heat = explain_with(method, spot, network, image, 0, told.append)
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
    monkeypatch.setattr(gradients, "SMOOTH_GRAD_NOISE", 0.0)
    here = explain_with(method, toy, network, lesion, 4)
    there = explain_with(method, toy, network, np.ascontiguousarray(lesion[:, ::-1]), 4)
    assert here.max() > 0
    assert there[:, ::-1] == pytest.approx(here, abs=1e-4 * float(here.max()))


def test_smooth_grad_without_noise_is_the_gradient_by_differences(
    toy: Model, network: "keras.Model", lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "SMOOTH_GRAD_NOISE", 0.0)
    found = explain_with("smooth_grad", one_view(toy), network, lesion, 2)
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
    first = explain_with("smooth_grad", toy, network, lesion, 4)
    assert np.array_equal(first, explain_with("smooth_grad", toy, network, lesion, 4))
    assert not np.array_equal(first, explain_with("smooth_grad", toy, network, lesion, 5))


def test_score_cam_weighs_channels_by_the_probability_they_leave(toy: Model, network: "keras.Model") -> None:
    square = fit(draw_lesion(np.random.default_rng(2), 64, 64), toy.geometry)
    features = toy.engine.run(square[None]).features[0]
    from scipy.ndimage import zoom

    masks = zoom(features, (4, 4, 1), order=1, mode="nearest")
    low, high = masks.min((0, 1)), masks.max((0, 1))
    masks = (masks - low) / (high - low + 1e-7)
    masked = square.astype(np.float32) * np.moveaxis(masks, -1, 0)[..., None]
    index = likeliest(toy, square)
    weights = softmax(toy.engine.run(masked).logits)[:, index]
    expected = np.maximum(features @ weights, 0)
    found = explain_with("score_cam", one_view(toy), network, square, index)
    assert found == pytest.approx(expected / expected.max(), abs=1e-4)


def test_grad_cam_plus_plus_weighs_gradients_by_the_published_formula(toy: Model, network: "keras.Model") -> None:
    square = fit(draw_lesion(np.random.default_rng(2), 64, 64), toy.geometry)
    features = toy.engine.run(square[None]).features[0].astype(float)
    index = likeliest(toy, square)
    slope = toy.head_kernel[:, index].astype(float) / 64  # d logit / d feature, the same at all 8 x 8 places
    # Eq. 19 of the paper with Y = exp(logit): its derivatives are Y times powers of the slope, and Y cancels.
    alpha = slope**2 / (2 * slope**2 + features.sum((0, 1)) * slope**3)
    weights = 64 * alpha * np.maximum(slope, 0)
    expected = np.maximum(features @ weights, 0)
    found = explain_with("grad_cam_plus_plus", one_view(toy), network, square, index)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def test_what_cannot_be_drawn_is_refused(
    toy: Model, network: "keras.Model", lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="'lime'"):
        explain_with("lime", toy, network, lesion, 0)
    changed = dataclasses.replace(toy, card={"files": {"model.keras": "0" * 64}})
    with pytest.raises(ModelError, match="was changed"):
        load_network(changed)
    with pytest.raises(ModelError, match=r"nowhere/model\.keras: there is no such file"):
        load_network(dataclasses.replace(toy, folder=Path("nowhere")))


def test_tensorflow_is_imported_only_when_a_map_is_drawn() -> None:
    code = (
        "import dermlens.explain.gradients, sys; assert not {'tensorflow', 'keras', 'tf_keras_vis'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0
