import contextlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from tests import fake_ham10000
from tests.training.loop.toys import config, small
from training import run as runs
from training.architectures import build
from training.config import Phase
from training.loop import phase as phases
from training.loop.state import State

array = keras.ops.convert_to_numpy


def test_learning_rate_by_hand() -> None:
    cosine = Phase(epochs=5, learning_rate=0.1, warmup_epochs=1)
    rates = [phases.learning_rate(cosine, epoch) for epoch in (0.5, 1, 3, 5)]
    assert rates == pytest.approx([0.1 * 0.501, 0.1, 0.1 * (0.01 + 0.99 / 2), 0.001])
    assert 0 < phases.learning_rate(cosine, 0) < 0.001
    assert phases.learning_rate(Phase(5, 0.1, schedule="constant"), 4.9, 0.3) == 0.1
    assert phases.learning_rate(Phase(5, 0.1, schedule="plateau"), 4.9, 0.3) == pytest.approx(0.03)
    assert phases.learning_rate(Phase(5, 0.1, schedule="plateau", warmup_epochs=1), 0.5, 0.3) == pytest.approx(0.0501)


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
    state = State()
    with contextlib.closing(runs.open_events(tmp_path / "events")) as events:
        with pytest.raises(KeyboardInterrupt):
            phases.train_phase(task, build("baseline_cnn", 16), state, {}, events)
        arrays, state = runs.load_state(tmp_path / "checkpoints" / "last.npz")
        phases.train_phase(task, build("baseline_cnn", 16), state, arrays, events)
        phases.train_phase(task, build("baseline_cnn", 16), state, {}, events)
    # Two splits are loaded and two views cached; what is saved and told after an epoch counts into the next.
    assert [row["seconds"] for row in state.history] == [1220, 1220, 11_000, 1020]
