from pathlib import Path

import keras
import numpy as np
import pytest

from dermlens.errors import ModelError
from tests.training.loop.toys import config
from training.artefact import load_model
from training.augmentation import augmenter
from training.config import Augment
from training.loop import inputs

array = keras.ops.convert_to_numpy


def test_cached_views_are_what_the_frozen_stages_make_of_changed_images() -> None:
    image = keras.Input((8, 8, 3))
    trunk = keras.Model(image, keras.layers.AveragePooling2D(8)(image))
    pixels = np.random.default_rng(0).integers(0, 255, (inputs.EVAL_BATCH + 2, 8, 11, 3)).astype(np.uint8)
    labels = np.eye(7, dtype=np.float32)[np.arange(len(pixels)) % 7]

    def cached(settings: Augment, count: int) -> list[np.ndarray]:
        augment = augmenter(settings, 8)
        prepare, seeded = inputs.augmented(augment), inputs.views_of(augment, count, 1)
        found = [inputs.cache_view(trunk, prepare, pixels, labels) for _ in seeded]
        assert all((after == labels).all() for _, after in found)
        return [features for features, _ in found]

    views = cached(Augment(), 2)
    assert [v.shape for v in views] == [(len(pixels), 1, 1, 3)] * 2
    assert views[0].dtype == np.float16
    assert np.abs(views[0] - views[1]).mean() > 1
    np.testing.assert_array_equal(views, cached(Augment(), 2))
    plain = cached(Augment(False, 0, 0, 0, 0, 0, 0, 0), 1)[0]
    np.testing.assert_allclose(plain[:, 0, 0], pixels[:, :, 1:9].mean((1, 2)), rtol=2e-3)


def test_a_teacher_answers_the_same_augmented_images(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(published))
    teacher = load_model(published / "toy" / "model.keras")
    side = teacher.input_shape[1]
    pixels = np.random.default_rng(0).integers(0, 255, (5, side, round(side * 4 / 3), 3)).astype(np.uint8)
    labels = np.eye(7, dtype=np.float32)[:5]
    teach = inputs.teaching(config(teacher="toy", teacher_share=0.25), side)
    squares, taught = inputs.augmented(augmenter(Augment(), side), teach)(pixels, labels)
    answers = array(keras.ops.softmax(teacher.predict_on_batch(array(squares))))
    np.testing.assert_allclose(taught, 0.75 * labels + 0.25 * answers, atol=1e-5)
    assert (taught.argmax(1) == labels.argmax(1)).all()
    assert inputs.teaching(config(), side) is None
    larger = inputs.teaching(config(teacher="toy"), 2 * side)
    shown = np.repeat(np.repeat(array(squares), 2, 1), 2, 2)
    np.testing.assert_allclose(larger(shown, labels)[1], 0.5 * labels + 0.5 * answers, atol=0.05)
    with pytest.raises(ModelError, match="no model 'absent'"):
        inputs.teaching(config(teacher="absent"), side)
