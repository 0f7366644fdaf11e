import math

import keras
import numpy as np
import pytest

from dermlens.errors import DermlensError
from dermlens.labels import INDEX
from tests.training.loop.toys import config, small
from training.loop import epoch
from training.losses import ClassHits, make_loss

array = keras.ops.convert_to_numpy


def test_validation_figures_by_hand() -> None:
    y = np.array([INDEX[dx] for dx in ("nv", "nv", "nv", "mel", "mel", "bcc")])
    guesses = np.array([INDEX[dx] for dx in ("nv", "nv", "mel", "mel", "nv", "bcc")])
    logits = np.log(np.full((6, 7), 1 / 12, np.float32))
    logits[np.arange(6), guesses] = np.log(0.5)
    loss = make_loss(config(label_smoothing=0.7, loss="focal"), np.ones(7, int))
    found = epoch.measure(logits, y, loss)
    assert found["val_accuracy"] == pytest.approx(4 / 6)
    assert found["val_balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found["val_melanoma_recall"] == 0.5
    assert found["val_cross_entropy"] == pytest.approx((4 * np.log(2) + 2 * np.log(12)) / 6)  # plain
    assert found["val_loss"] == pytest.approx(float(array(loss(np.eye(7, dtype=np.float32)[y], logits)).mean()))
    assert math.isnan(epoch.measure(logits[:3], y[:3], loss)["val_melanoma_recall"])


def test_forward_answers_all_images_in_order_in_inference_mode() -> None:
    model, n = small(), epoch.EVAL_BATCH + 3
    x = np.random.default_rng(0).integers(0, 255, (n, 4, 4, 3)).astype(np.uint8)
    found = epoch.forward(model, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, array(model(x.astype(np.float32), training=False)), rtol=1e-4, atol=1e-4)


def test_an_epoch_reports_its_mean_and_stops_when_the_loss_is_not_finite() -> None:
    model, tally = small(), ClassHits()
    model.compile(keras.optimizers.SGD(0.1), make_loss(config(), np.ones(7, int)), metrics=[tally])
    x, y = np.random.default_rng(0).normal(size=(3, 5, 4, 4, 3)).astype(np.float32), np.eye(7, dtype=np.float32)[:5]
    logits = [array(model(x[0], training=True))]  # before the first step
    found = epoch.fit_epoch(model, tally, [(x[0], y)], [0.0], [], 0.0, "epoch 1")
    expected = float(array(make_loss(config(), np.ones(7, int))(y, logits[0])).mean())
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    hits = logits[0].argmax(1) == np.arange(5)
    assert found["accuracy"] == pytest.approx(hits.mean())
    assert found["balanced_accuracy"] == pytest.approx(hits.mean())
    assert found["learning_rate"] == 0.0
    twice = epoch.fit_epoch(model, tally, [(x[0], y), (x[1], y)], [0.0, 0.25], [], 0.0, "epoch 2")
    assert twice["learning_rate"] == 0.25
    with pytest.raises(DermlensError, match=r"epoch 3: the loss is nan at step 1\. Lower the learning rate"):
        epoch.fit_epoch(model, tally, [(x[0] * np.nan, y)], [0.1], [], 0.0, "epoch 3")
