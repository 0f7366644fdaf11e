from typing import Any

import keras
import numpy as np
import pytest

from dermlens.labels import N_CLASSES
from training.config import Config, Phase
from training.losses import ClassHits, class_weights, make_loss

COUNTS = np.array([10, 20, 30, 40, 50, 800, 50])
LABELS = np.eye(N_CLASSES, dtype=np.float32)[[0, 3, 5, 5]]
LOGITS = np.random.default_rng(0).normal(0, 2, (4, N_CLASSES)).astype(np.float32)


def loss(labels: np.ndarray = LABELS, logits: np.ndarray = LOGITS, **settings: Any) -> np.ndarray:
    config = Config(architecture="baseline_cnn", phases=(Phase(1, 1e-3),), **settings)
    return keras.ops.convert_to_numpy(make_loss(config, COUNTS)(labels, logits))


def keras_loss(kind: type, **settings: object) -> np.ndarray:
    return keras.ops.convert_to_numpy(kind(from_logits=True, reduction=None, **settings)(LABELS, LOGITS))


def test_cross_entropy_by_hand() -> None:
    logits = np.zeros((2, N_CLASSES), np.float32)
    logits[1, 2] = np.log(6)  # probabilities 6/12 for the class, 1/12 for each other
    labels = np.eye(N_CLASSES, dtype=np.float32)[[0, 2]]
    assert loss(labels, logits) == pytest.approx([np.log(7), np.log(2)])
    smooth = loss(labels, logits, label_smoothing=0.7)
    assert smooth == pytest.approx([np.log(7), 0.4 * np.log(2) + 0.6 * np.log(12)])


def test_focal_loss_by_hand() -> None:
    logits = np.zeros((1, N_CLASSES), np.float32)
    logits[0, 2] = np.log(6)
    labels = np.eye(N_CLASSES, dtype=np.float32)[[2]]
    assert loss(labels, logits, loss="focal", focal_alpha=3.0, focal_gamma=2.0) == pytest.approx([3 / 4 * np.log(2)])
    assert loss(labels, logits, loss="focal", focal_alpha=1.0, focal_gamma=0.0) == pytest.approx([np.log(2)])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_against_keras(smoothing: float) -> None:
    expected = keras_loss(keras.losses.CategoricalCrossentropy, label_smoothing=smoothing)
    np.testing.assert_allclose(loss(label_smoothing=smoothing), expected, rtol=1e-5)
    focal = {"alpha": 0.25, "gamma": 1.5, "label_smoothing": smoothing}
    expected = keras_loss(keras.losses.CategoricalFocalCrossentropy, **focal)
    found = loss(loss="focal", focal_alpha=0.25, focal_gamma=1.5, label_smoothing=smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_certain_answers_give_finite_values_and_gradients() -> None:
    import tensorflow as tf

    logits = tf.Variable(np.where(LABELS == 1, 200, -200).astype(np.float32))
    config = Config(architecture="baseline_cnn", phases=(Phase(1, 1e-3),), loss="focal")
    for labels in (LABELS, LABELS[::-1]):
        with tf.GradientTape() as tape:
            value = make_loss(config, COUNTS)(labels, logits)
        assert np.isfinite(value).all()
        assert np.isfinite(tape.gradient(value, logits)).all()


def test_class_weights_by_hand() -> None:
    counts = np.array([1, 4, 0, 0, 0, 0, 0])
    assert class_weights(counts, 0.0).tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert class_weights(counts, 1.0) == pytest.approx([2.5, 0.625, 0, 0, 0, 0, 0])  # 5 images, 2 classes
    assert class_weights(counts, 0.5) == pytest.approx([5 / 3, 5 / 6, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_class_weights_have_mean_one_over_the_images_and_scale_the_loss(power: float) -> None:
    weights = class_weights(COUNTS, power)
    assert (weights * COUNTS).sum() / COUNTS.sum() == pytest.approx(1)
    np.testing.assert_allclose(loss(class_weight_power=power), loss() * weights[[0, 3, 5, 5]], rtol=1e-5)


def test_blended_labels_get_the_blend_of_both_losses() -> None:
    blended = 0.3 * LABELS[:1] + 0.7 * LABELS[1:2]
    both = [loss(one, LOGITS[:1])[0] for one in (LABELS[:1], LABELS[1:2])]
    assert loss(blended, LOGITS[:1])[0] == pytest.approx(0.3 * both[0] + 0.7 * both[1], rel=1e-5)


def test_hits_are_counted_by_class_and_added_up() -> None:
    tally = ClassHits()
    answers = np.eye(N_CLASSES, dtype=np.float32)[[0, 5, 5, 4]]
    tally.update_state(LABELS, answers)
    tally.update_state(0.6 * LABELS + 0.4 * LABELS[::-1], answers)  # blended: the larger share counts
    assert keras.ops.convert_to_numpy(tally.hits).tolist() == [2, 0, 0, 0, 0, 2, 0]
    assert keras.ops.convert_to_numpy(tally.seen).tolist() == [2, 0, 0, 2, 0, 4, 0]
    assert float(tally.result()) == 0.5
