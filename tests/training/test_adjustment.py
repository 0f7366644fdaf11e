"""Logit adjustment: worked by hand on two classes of the seven, and folded into a real head."""

import numpy as np
import pytest

from dermlens.labels import INDEX, N_CLASSES
from training.adjustment import choose, fold, shift
from training.architectures import build

COUNTS = np.array([1, 1, 1, 1, 1, 94, 1])
MEL = INDEX["mel"]
NV = INDEX["nv"]


def test_the_shift_is_minus_tau_times_the_log_of_the_prior():
    assert shift(COUNTS, 0.0) == pytest.approx(np.zeros(N_CLASSES))
    moved = shift(COUNTS, 0.5)
    assert moved[MEL] == pytest.approx(0.5 * np.log(100))
    assert moved[NV] == pytest.approx(0.5 * np.log(100 / 94))


def test_a_class_without_images_gets_a_finite_shift():
    assert np.isfinite(shift(np.array([0, 5, 5, 5, 5, 5, 5]), 1.0)).all()


def test_the_melanoma_weight_adds_its_log_to_melanoma_alone():
    assert shift(COUNTS, 0.5, 2.0) - shift(COUNTS, 0.5) == pytest.approx(np.log(2) * (np.arange(N_CLASSES) == MEL))


def test_the_least_shift_that_finds_the_rare_class_is_chosen():
    # Melanoma trails the nevus logit by 1 nat; the shift brings tau * log(94) = 4.54 tau nats and the log of the
    # weight: at tau 0, a weight of 3 is the first above e.
    logits = np.full((4, N_CLASSES), -9.0)
    logits[:2, NV], logits[:2, MEL] = 1.0, 0.0
    logits[2:, NV], logits[2:, MEL] = 9.0, 0.0
    y = np.array([MEL, MEL, NV, NV])
    assert choose(logits, y, COUNTS) == (0.0, 3.0)
    assert choose(logits[2:], y[2:], COUNTS) == (0.0, 1.0)


def test_no_weight_reaches_what_only_tau_reaches():
    logits = np.full((4, N_CLASSES), -9.0)
    logits[:2, NV], logits[:2, INDEX["df"]] = 1.0, 0.0
    logits[2:, NV] = 9.0
    y = np.array([INDEX["df"]] * 2 + [NV] * 2)
    assert choose(logits, y, COUNTS) == (0.3, 1.0)


def test_the_figure_nearest_to_its_floor_decides():
    # One of two melanomas trails the nevus logit by log 1.2, as do some of the nevi; weight 1.25 finds it and loses
    # them. As it is melanoma recall is 1/2, under its floor. Two nevi of 100 are worth it: accuracy 101/102 -> 100/102,
    # all floors reached. Ten of ten are not: accuracy 11/12 -> 2/12.
    safe, close, found = np.full((3, N_CLASSES), -9.0)
    safe[[NV, MEL]], close[[NV, MEL]], found[MEL] = (9.0, 0.0), (np.log(1.2), 0.0), 0.0
    assert choose(np.array([found, close] + [close] * 2 + [safe] * 98), labels(2, 100), COUNTS) == (0.0, 1.25)
    assert choose(np.array([found, close] + [close] * 10), labels(2, 10), COUNTS) == (0.0, 1.0)


def test_few_melanomas_need_a_wider_margin_than_many_images():
    # 8 of 12 melanomas and all 988 nevi are found; weight 1.25 finds 2 melanomas more and loses 140 nevi. The least
    # distance to a floor falls, from 0.067 (melanoma recall) to 0.018 (accuracy 0.858). In standard errors it rises,
    # from 0.067 / sqrt(0.24 / 12) = 0.47 to 0.018 / sqrt(0.1344 / 1000) = 1.55.
    safe, close, found, lost = np.full((4, N_CLASSES), -9.0)
    safe[[NV, MEL]], close[[NV, MEL]], found[MEL], lost[[NV, MEL]] = (9.0, 0.0), (np.log(1.2), 0.0), 0.0, (9.0, 0.0)
    logits = np.array([found] * 8 + [close] * 2 + [lost] * 2 + [close] * 140 + [safe] * 848)
    assert choose(logits, labels(12, 988), COUNTS) == (0.0, 1.25)


def test_without_a_melanoma_the_other_figures_choose():
    logits = np.full((2, N_CLASSES), -9.0)
    logits[:, NV], logits[:, MEL] = [9.0, 1.0], 0.0
    assert choose(logits, np.array([NV, NV]), COUNTS) == (0.0, 1.0)


def labels(melanomas: int, nevi: int) -> np.ndarray:
    return np.array([MEL] * melanomas + [NV] * nevi)


def test_folding_moves_the_logits_of_the_network_by_exactly_the_shift():
    model = build("baseline_cnn", 32)
    image = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    before = model.predict_on_batch(image)
    fold(model, COUNTS, 0.4)
    fold(model, COUNTS, 0.0, 2.0)
    moved = np.tile(shift(COUNTS, 0.4, 2.0), (2, 1))
    assert model.predict_on_batch(image) - before == pytest.approx(moved, abs=1e-5)
    fold(model, COUNTS, -0.4, 1 / 2.0)
    assert model.predict_on_batch(image) == pytest.approx(before, abs=1e-5)
