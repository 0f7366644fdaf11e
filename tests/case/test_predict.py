import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dermlens.case.predict import forward, predict, softmax
from dermlens.explain.grad_cam import grad_cam, heat_on_image
from dermlens.image.preprocess import fit
from dermlens.ingest.read import read_image
from dermlens.models.model import Model
from tests.conftest import encode


def test_softmax_by_hand() -> None:
    assert softmax(np.log([1.0, 2.0, 5.0])) == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    assert softmax(np.array([[0.0, 1e4], [-1e4, -1e4]])).tolist() == [[0, 1], [0.5, 0.5]]


@given(logits=hnp.arrays(np.float32, (3, 7), elements=st.floats(-1000, 1000, width=32)), shift=st.floats(-50, 50))
def test_softmax_is_a_distribution_that_no_shift_changes(logits: np.ndarray, shift: float) -> None:
    found = softmax(logits)
    assert found.dtype == np.float32
    assert (found >= 0).all()
    assert found.sum(-1) == pytest.approx(1, abs=1e-5)
    assert softmax(logits.astype(float) + shift) == pytest.approx(softmax(logits.astype(float)), abs=1e-9)


def test_a_prediction_is_what_keras_gives_for_the_averaged_views(toy: Model, lesion: np.ndarray) -> None:
    from training.artefact import load_model

    square = fit(lesion, toy.geometry).astype(np.float32)
    views = np.stack([square, square[:, ::-1], square[::-1], square[::-1, ::-1]])
    network = load_model(toy.folder / "model.keras")
    logits = network.predict(views, verbose=0).mean(0)
    found = predict(toy, lesion)
    assert found.logits == pytest.approx(logits, abs=1e-4)
    assert found.probabilities == pytest.approx(softmax(logits), abs=1e-5)
    assert (found.model_id, found.height, found.width) == ("toy", 90, 120)
    assert found.milliseconds > 0


def test_the_maps_belong_to_the_averaged_logits(toy: Model, lesion: np.ndarray) -> None:
    found = predict(toy, lesion)
    logits, features, embedding = forward(toy, fit(lesion, toy.geometry))
    assert found.maps.shape == (7, 8, 8)
    assert np.array_equal(found.maps, grad_cam(features, toy.head_kernel))
    assert embedding == pytest.approx(features.mean((0, 1)), abs=1e-5)
    assert logits == pytest.approx(embedding @ toy.head_kernel + toy.head_bias, abs=1e-4)


def test_flipping_the_image_flips_the_maps_and_keeps_the_diagnosis(toy: Model, lesion: np.ndarray) -> None:
    here, there = predict(toy, lesion), predict(toy, np.ascontiguousarray(lesion[:, ::-1]))
    assert there.logits == pytest.approx(here.logits, abs=1e-4)
    assert there.maps[..., ::-1] == pytest.approx(here.maps, abs=1e-5)


@pytest.mark.parametrize("views", [1, 4, 8])
@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (300, 300), (200, 600)])
def test_the_whole_path_puts_the_heat_on_the_spot(spot: Model, shape: tuple[int, int], views: int) -> None:
    model = dataclasses.replace(spot, views=views)
    short = min(shape)
    for down, right in ((-0.3, -0.25), (0, 0), (0.3, 0.2)):
        at = (int(shape[0] / 2 + down * short), int(shape[1] / 2 + right * short))
        image = np.zeros((*shape, 3), np.uint8)
        cv2.circle(image, at[::-1], short // 12, (255, 255, 255), -1)
        found = predict(model, image)
        heat = heat_on_image(found.maps[0], *shape, model.geometry)
        peak = np.unravel_index(heat.argmax(), shape)
        assert np.hypot(peak[0] - at[0], peak[1] - at[1]) <= 1.5 * max(shape) / 16


def test_bytes_through_the_app_and_pixels_through_training_give_the_same_logits(toy: Model, lesion: np.ndarray) -> None:
    assert np.array_equal(predict(toy, read_image(encode(lesion)).pixels).logits, predict(toy, lesion).logits)


def test_tensorflow_is_not_imported_even_by_a_prediction(published: Path, lesion: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "lesion.png").write_bytes(encode(lesion))
    code = """
import sys
from pathlib import Path
from dermlens import score
from dermlens.case import predict
from dermlens.explain import grad_cam
from dermlens.ingest.read import read_image
from dermlens.models import registry
model = registry.load(registry.find(Path(sys.argv[1]), "toy"))
pixels = read_image(Path(sys.argv[2]).read_bytes()).pixels
found = predict.predict(model, pixels)
grad_cam.overlay(pixels, grad_cam.heat_on_image(found.maps[0], *pixels.shape[:2], model.geometry), 0.5)
heavy = {"tensorflow", "keras", "jax", "torch", "streamlit", "training"} & set(sys.modules)
assert not heavy, heavy
print(round(float(found.probabilities.sum()), 4))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, published, tmp_path / "lesion.png"],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1.0"
