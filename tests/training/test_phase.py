import contextlib
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from dermlens.errors import DermlensError, ModelError
from dermlens.labels import INDEX
from tests import fake_ham10000
from training import averaging
from training import phase as phases
from training import run as runs
from training.architectures import build
from training.config import Config, Phase
from training.losses import ClassHits, make_loss

array = keras.ops.convert_to_numpy


def config(**settings: Any) -> Config:
    return Config(architecture="baseline_cnn", phases=(Phase(4, 0.1), Phase(4, 0.1)), **settings)


def small() -> keras.Model:
    """A network with a batch norm, on (4, 4, 3)."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 3))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, name="conv")(image))
    return keras.Model(image, keras.layers.Dense(7, name="logits")(keras.layers.GlobalAveragePooling2D()(x)))


def test_learning_rate_by_hand() -> None:
    cosine = Phase(epochs=5, learning_rate=0.1, warmup_epochs=1)
    rates = [phases.learning_rate(cosine, epoch) for epoch in (0.5, 1, 3, 5)]
    assert rates == pytest.approx([0.1 * 0.501, 0.1, 0.1 * (0.01 + 0.99 / 2), 0.001])
    assert 0 < phases.learning_rate(cosine, 0) < 0.001
    assert phases.learning_rate(Phase(5, 0.1, schedule="constant"), 4.9, 0.3) == 0.1
    assert phases.learning_rate(Phase(5, 0.1, schedule="plateau"), 4.9, 0.3) == pytest.approx(0.03)
    assert phases.learning_rate(Phase(5, 0.1, schedule="plateau", warmup_epochs=1), 0.5, 0.3) == pytest.approx(0.0501)


def rows(*values: tuple[float, float]) -> list[dict[str, float]]:
    return [{"val_balanced_accuracy": score, "val_loss": loss} for score, loss in values]


def follow_epochs(state: dict[str, Any], settings: Config, epochs: list[dict[str, float]]) -> list[Any]:
    for row in epochs:
        phases.note_epoch(state, row, row["val_balanced_accuracy"] > state["best"], settings)
    return [state["best"], state["waited"], state["plateau"]["factor"], state["stopped_early"]]


def fresh(number: int) -> dict[str, Any]:
    state = {"history": [], "best": -1.0, "stopped_early": False, "finished": False}
    phases.begin_phase(state, number)
    return state


def test_the_rate_falls_when_the_loss_has_not_for_longer_than_the_patience() -> None:
    settings = config(plateau_patience=2)
    losses = [(0.1, 1.0), (0.1, 1.1), (0.1, 1.0), (0.1, 0.9), (0.1, 0.95), (0.1, 0.95)]
    assert follow_epochs(fresh(0), settings, rows(*losses))[2] == 1.0
    assert follow_epochs(fresh(0), settings, rows(*losses, (0.1, 0.9)))[2] == pytest.approx(0.3)
    assert follow_epochs(fresh(0), settings, rows(*losses, *[(0.1, 0.9)] * 4))[2] == pytest.approx(0.09)
    assert follow_epochs(fresh(0), settings, rows((0.1, math.nan), (0.1, math.nan), (0.1, 1.0)))[2] == 1.0


def test_early_stopping_counts_in_the_last_phase_alone() -> None:
    settings, worse = config(patience=2), rows((0.5, 1), (0.4, 1), (0.4, 1), (0.4, 1))
    state = fresh(0)
    assert follow_epochs(state, settings, worse) == [0.5, 3, pytest.approx(0.3), False]
    phases.begin_phase(state, 1)
    assert follow_epochs(state, settings, rows((0.45, 1))) == [0.5, 1, 1.0, False]  # not the three of before
    assert follow_epochs(state, settings, rows((0.6, 1), (0.6, 1))) == [0.6, 1, 1.0, False]
    assert follow_epochs(state, settings, rows((0.3, 1)))[3] is True
    assert len(state["history"]) == 8
    assert follow_epochs(fresh(1), config(patience=0), worse * 3)[3] is False


def test_decay_is_left_off_biases_and_norms_and_does_not_depend_on_gradients() -> None:
    model = small()
    optimizer = phases.make_optimizer(config(weight_decay=0.1), Phase(1, 0.5))
    optimizer.build(model.trainable_variables)
    for v in model.trainable_variables:
        v.assign(np.ones(v.shape))
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables])
    left = {v.path: float(array(v).ravel()[0]) for v in model.trainable_variables}
    decayed = {path for path, value in left.items() if value == pytest.approx(1 - 0.5 * 0.1)}
    assert decayed == {"conv/kernel", "logits/kernel"}
    assert all(value == 1 for path, value in left.items() if path not in decayed)


def test_averaged_weights_follow_the_weights_with_the_statistics_of_norms() -> None:
    model = small()
    average = averaging.start_average(model)
    start, name = [array(v).copy() for v in average], [v.path for v in model.weights]
    assert "norm/moving_mean" in name
    for v in model.weights:
        v.assign(v + 1)
    averaging.follow(average, model.weights, 0.9, step=1000)
    for mean, before in zip(average, start, strict=True):
        np.testing.assert_allclose(array(mean), before + 0.1, atol=1e-6)
    averaging.follow(average, model.weights, 0.9, step=1)  # early: min(0.9, 2 / 11) of the old value
    for mean, before in zip(average, start, strict=True):
        np.testing.assert_allclose(array(mean), before + 1 - 0.9 * 2 / 11, atol=1e-5)


def test_averaged_weights_are_lent_to_the_model_and_taken_back_bit_by_bit() -> None:
    model = small()
    own, average = [w.copy() for w in model.get_weights()], averaging.start_average(model)
    for mean in average:
        mean.assign(mean * 3 + 1e-3)
    with averaging.averaged(model, average):
        for w, mean in zip(model.get_weights(), average, strict=True):
            np.testing.assert_array_equal(w, array(mean))
    for a, b in zip(model.get_weights(), own, strict=True):
        np.testing.assert_array_equal(a, b)
    with averaging.averaged(model, []):
        for a, b in zip(model.get_weights(), own, strict=True):
            np.testing.assert_array_equal(a, b)


def test_validation_figures_by_hand() -> None:
    y = np.array([INDEX[dx] for dx in ("nv", "nv", "nv", "mel", "mel", "bcc")])
    guesses = np.array([INDEX[dx] for dx in ("nv", "nv", "mel", "mel", "nv", "bcc")])
    logits = np.log(np.full((6, 7), 1 / 12, np.float32))
    logits[np.arange(6), guesses] = np.log(0.5)
    loss = make_loss(config(label_smoothing=0.7, loss="focal"), np.ones(7, int))
    found = phases.measure(logits, y, loss)
    assert found["val_accuracy"] == pytest.approx(4 / 6)
    assert found["val_balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found["val_melanoma_recall"] == 0.5
    assert found["val_cross_entropy"] == pytest.approx((4 * np.log(2) + 2 * np.log(12)) / 6)  # plain
    assert found["val_loss"] == pytest.approx(float(array(loss(np.eye(7, dtype=np.float32)[y], logits)).mean()))
    assert math.isnan(phases.measure(logits[:3], y[:3], loss)["val_melanoma_recall"])


def test_the_time_of_preparing_a_phase_counts_into_the_first_epoch_that_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, fitted = 0.0, 0

    def taking(seconds: float, name: str) -> None:
        def slow(*arguments: Any, **options: Any) -> Any:
            nonlocal now
            now += seconds
            return original(*arguments, **options)

        original = getattr(phases, name)
        monkeypatch.setattr(phases, name, slow)

    def interrupted(*arguments: Any) -> Any:
        nonlocal fitted
        fitted += 1
        if fitted == 2:
            raise KeyboardInterrupt
        return fit_epoch(*arguments)

    fit_epoch = phases.fit_epoch
    monkeypatch.setattr(phases, "fit_epoch", interrupted)
    monkeypatch.setattr(phases, "time", SimpleNamespace(monotonic=lambda: now))
    for seconds, name in ((10, "load_images"), (100, "cache_view"), (1000, "fit_epoch"), (10_000, "announce")):
        taking(seconds, name)
    rows = fake_ham10000.write(tmp_path / "data")
    cached = Phase(3, 1e-3, unfreeze=1, size=16, cached_views=2)
    settings = replace(config(), phases=(cached, replace(cached, epochs=1, cached_views=0)))
    task = phases.Task(settings, tmp_path, tmp_path / "data", rows, "as-is")
    (tmp_path / "checkpoints").mkdir()
    state = fresh(0)
    with contextlib.closing(runs.open_events(tmp_path / "events")) as events:
        with pytest.raises(KeyboardInterrupt):
            phases.train_phase(task, build("baseline_cnn", 16), state, {}, events)
        arrays, state = runs.load_state(tmp_path / "checkpoints" / "last.npz")
        phases.train_phase(task, build("baseline_cnn", 16), state, arrays, events)
        phases.train_phase(task, build("baseline_cnn", 16), state, {}, events)
    # Two splits are loaded and two views cached; what is saved and told after an epoch counts into the next.
    assert [row["seconds"] for row in state["history"]] == [1220, 1220, 11_000, 1020]


def test_forward_answers_all_images_in_order_in_inference_mode() -> None:
    model, n = small(), phases.EVAL_BATCH + 3
    x = np.random.default_rng(0).integers(0, 255, (n, 4, 4, 3)).astype(np.uint8)
    found = phases.forward(model, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, array(model(x.astype(np.float32), training=False)), rtol=1e-4, atol=1e-4)


def test_an_epoch_reports_its_mean_and_stops_when_the_loss_is_not_finite() -> None:
    model, tally = small(), ClassHits()
    model.compile(keras.optimizers.SGD(0.1), make_loss(config(), np.ones(7, int)), metrics=[tally])
    x, y = np.random.default_rng(0).normal(size=(3, 5, 4, 4, 3)).astype(np.float32), np.eye(7, dtype=np.float32)[:5]
    logits = [array(model(x[0], training=True))]  # before the first step
    found = phases.fit_epoch(model, tally, [(x[0], y)], [0.0], [], 0.0, "epoch 1")
    expected = float(array(make_loss(config(), np.ones(7, int))(y, logits[0])).mean())
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    hits = logits[0].argmax(1) == np.arange(5)
    assert found["accuracy"] == pytest.approx(hits.mean())
    assert found["balanced_accuracy"] == pytest.approx(hits.mean())
    assert found["learning_rate"] == 0.0
    twice = phases.fit_epoch(model, tally, [(x[0], y), (x[1], y)], [0.0, 0.25], [], 0.0, "epoch 2")
    assert twice["learning_rate"] == 0.25
    with pytest.raises(DermlensError, match=r"epoch 3: the loss is nan at step 1\. Lower the learning rate"):
        phases.fit_epoch(model, tally, [(x[0] * np.nan, y)], [0.1], [], 0.0, "epoch 3")


def test_cached_views_are_what_the_frozen_stages_make_of_changed_images() -> None:
    from training.augmentation import augmenter
    from training.config import Augment

    image = keras.Input((8, 8, 3))
    trunk = keras.Model(image, keras.layers.AveragePooling2D(8)(image))
    pixels = np.random.default_rng(0).integers(0, 255, (phases.EVAL_BATCH + 2, 8, 11, 3)).astype(np.uint8)
    labels = np.eye(7, dtype=np.float32)[np.arange(len(pixels)) % 7]

    def cached(settings: Augment, count: int) -> list[np.ndarray]:
        augment = augmenter(settings, 8)
        prepare, seeded = phases.augmented(augment), phases.views_of(augment, count, 1)
        found = [phases.cache_view(trunk, prepare, pixels, labels) for _ in seeded]
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
    from training.artefact import load_model
    from training.augmentation import augmenter
    from training.config import Augment

    monkeypatch.setenv("DERMLENS_MODELS", str(published))
    teacher = load_model(published / "toy" / "model.keras")
    side = teacher.input_shape[1]
    pixels = np.random.default_rng(0).integers(0, 255, (5, side, round(side * 4 / 3), 3)).astype(np.uint8)
    labels = np.eye(7, dtype=np.float32)[:5]
    teach = phases.teaching(config(teacher="toy", teacher_share=0.25), side)
    squares, taught = phases.augmented(augmenter(Augment(), side), teach)(pixels, labels)
    answers = array(keras.ops.softmax(teacher.predict_on_batch(array(squares))))
    np.testing.assert_allclose(taught, 0.75 * labels + 0.25 * answers, atol=1e-5)
    assert (taught.argmax(1) == labels.argmax(1)).all()
    assert phases.teaching(config(), side) is None
    larger = phases.teaching(config(teacher="toy"), 2 * side)
    shown = np.repeat(np.repeat(array(squares), 2, 1), 2, 2)
    np.testing.assert_allclose(larger(shown, labels)[1], 0.5 * labels + 0.5 * answers, atol=0.05)
    with pytest.raises(ModelError, match="no model 'absent'"):
        phases.teaching(config(teacher="absent"), side)


def test_the_best_weights_take_their_place_with_the_checkpoint_of_their_epoch_and_not_without(tmp_path: Path) -> None:
    best = tmp_path / "best.weights.h5"
    best.write_text("epoch 2")
    (tmp_path / ".best-3.weights.h5").write_text("epoch 3")
    phases.settle_best(tmp_path, 2)  # killed before epoch 3 was in the checkpoint
    assert best.read_text() == "epoch 2"
    (tmp_path / ".best-3.weights.h5").write_text("epoch 3")
    phases.settle_best(tmp_path, 3)
    assert best.read_text() == "epoch 3"
    phases.settle_best(tmp_path, 4)  # a worse epoch
    assert best.read_text() == "epoch 3"
    assert [f.name for f in tmp_path.iterdir()] == ["best.weights.h5"]
