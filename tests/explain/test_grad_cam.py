from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from dermlens.errors import ConfigError
from dermlens.explain.grad_cam import colour, grad_cam, heat_on_image, overlay
from dermlens.image.preprocess import Geometry, fit, visible_box
from dermlens.image.tta import expand, restore
from dermlens.labels import N_CLASSES
from tests.conftest import toy_network

if TYPE_CHECKING:
    import keras


def test_grad_cam_by_hand() -> None:
    features = np.array([[[1.0, 2.0], [3.0, 0.0]]])  # h 1, w 2, C 2
    kernel = np.array([[1.0, -1.0], [2.0, 1.0]])  # two classes
    # class 0: 1+4, 3+0; class 1: -1+2, -3+0 -> 0; both over h w = 2
    assert grad_cam(features, kernel).tolist() == [[[2.5, 1.5]], [[0.5, 0.0]]]


def test_grad_cam_keeps_leading_axes() -> None:
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6))
    maps = grad_cam(features, np.random.default_rng(1).normal(size=(6, 7)))
    assert maps.shape == (2, 3, 7, 4, 5)
    assert maps.dtype == np.float32
    assert (maps >= 0).all()


def reference_correlations(network: "keras.Model", image: np.ndarray) -> list[float]:
    """Compare the one-product form with tf-keras-vis, class by class."""
    import keras
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import CategoricalScore

    pooling, head = network.get_layer("embedding"), network.get_layer("logits")
    layer = pooling.input._keras_history.operation.name
    features = keras.Model(network.input, pooling.input).predict(image[None], verbose=0)[0]
    maps = grad_cam(features, np.asarray(head.kernel))
    found = []
    for index in range(N_CLASSES):
        gradcam = Gradcam(network, clone=False)
        reference = gradcam(
            CategoricalScore(index),
            image[None],
            penultimate_layer=layer,
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
        )
        reference = np.asarray(reference)[0]
        if maps[index].max() > 0:
            assert maps[index] == pytest.approx(reference, rel=1e-3, abs=1e-3 * float(reference.max()))
            found.append(float(np.corrcoef(maps[index].ravel(), reference.ravel())[0, 1]))
        else:
            assert np.allclose(reference, 0, atol=1e-7)
    return found


def test_one_product_is_the_grad_cam_of_tf_keras_vis() -> None:
    image = np.random.default_rng(3).uniform(0, 255, (32, 32, 3)).astype(np.float32)
    found = reference_correlations(toy_network(), image)
    assert len(found) >= 3
    assert min(found) >= 0.999


@pytest.mark.slow
def test_one_product_is_the_grad_cam_of_tf_keras_vis_for_efficientnet() -> None:
    import keras

    keras.utils.set_random_seed(0)
    base = keras.applications.EfficientNetV2B0(include_top=False, weights=None, input_shape=(128, 128, 3))
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(base.output)
    network = keras.Model(base.input, keras.layers.Dense(N_CLASSES, name="logits")(x))
    image = np.random.default_rng(3).uniform(0, 255, (128, 128, 3)).astype(np.float32)
    found = reference_correlations(network, image)
    assert len(found) >= 3
    assert min(found) >= 0.999


def spot_detector(square: np.ndarray, cells: int) -> np.ndarray:
    """A stand-in for a network: mean brightness of each cell, (V, cells, cells, 1)."""
    views, size = square.shape[:2]
    cell = size // cells
    return square[..., :1].reshape(views, cells, cell, cells, cell, 1).mean((2, 4))


@pytest.mark.parametrize("views", [1, 4, 8])
@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (300, 300), (200, 600), (600, 200), (1200, 1600)])
def test_the_map_is_hot_where_the_lesion_is(shape: tuple[int, int], views: int) -> None:
    geometry, cells = Geometry(128), 16
    seen = visible_box(*shape, geometry)
    for row, column in ((0.25, 0.3), (0.5, 0.5), (0.8, 0.15), (0.1, 0.9)):
        spot = (seen.top + int(row * seen.height), seen.left + int(column * seen.width))
        image = np.zeros((*shape, 3), np.uint8)
        cv2.circle(image, spot[::-1], max(seen.height, seen.width) // 20, (255, 255, 255), -1)
        features = restore(spot_detector(expand(fit(image, geometry), views), cells), views).mean(0)
        heat = heat_on_image(grad_cam(features, np.ones((1, 1)))[0], *shape, geometry)
        peak = np.unravel_index(heat.argmax(), heat.shape)
        one_cell = max(seen.height, seen.width) / cells
        assert heat.shape == shape
        assert np.hypot(peak[0] - spot[0], peak[1] - spot[1]) <= one_cell


def test_heat_is_scaled_by_its_own_maximum() -> None:
    heat = heat_on_image(np.array([[0.0, 0.0], [0.0, 4.0]]), 100, 100, Geometry(64))
    assert heat.max() == 1
    assert heat.min() == 0
    assert heat.dtype == np.float32
    assert not heat_on_image(np.zeros((2, 2)), 100, 100, Geometry(64)).any()


def test_overlay_covers_what_is_hot_and_leaves_the_rest() -> None:
    pixels = np.full((2, 2, 3), 100, np.uint8)
    heat = np.array([[0.0, 0.5], [0.5, 1.0]], np.float32)
    assert np.array_equal(overlay(pixels, heat, 0), pixels)
    shown = overlay(pixels, heat, 1)
    assert shown[0, 0].tolist() == [100, 100, 100]
    assert shown[1, 1].tolist() == colour(np.ones((1, 1)))[0, 0].tolist()
    assert shown.dtype == np.uint8


@pytest.mark.parametrize("name", ["inferno", "viridis", "cividis", "magma"])
def test_colours_get_lighter_with_heat(name: str) -> None:
    ramp = colour(np.linspace(0, 1, 64)[None], name)[0].astype(float)
    luminance = ramp @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -0.5).all()
    assert luminance[-1] - luminance[0] > 100


def test_inferno_is_red_where_it_is_warm() -> None:
    red, _, blue = colour(np.full((1, 1), 0.6))[0, 0].tolist()
    assert red > blue + 100


def test_overlay_refuses_what_makes_no_sense() -> None:
    pixels, heat = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32)
    with pytest.raises(ConfigError, match="jet"):
        overlay(pixels, heat, 0.5, "jet")
    with pytest.raises(ConfigError, match="opacity"):
        overlay(pixels, heat, 1.5)
    with pytest.raises(ConfigError, match="one size"):
        overlay(pixels, np.zeros((3, 2), np.float32), 0.5)
