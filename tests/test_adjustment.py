"""Logit adjustment: worked by hand on two classes of the seven, and folded into a real head."""

import numpy as np
import pytest

from dermlens.labels import INDEX, N_CLASSES
from training.adjustment import TAUS, choose, fold, shift
from training.architectures import build

COUNTS = np.array([1, 1, 1, 1, 1, 94, 1])
MEL, NV = INDEX["mel"], INDEX["nv"]


def test_the_shift_is_minus_tau_times_the_log_of_the_prior():
    assert shift(COUNTS, 0.0) == pytest.approx(np.zeros(N_CLASSES))
    moved = shift(COUNTS, 0.5)
    assert moved[MEL] == pytest.approx(0.5 * np.log(100))
    assert moved[NV] == pytest.approx(0.5 * np.log(100 / 94))


def test_a_class_without_images_gets_a_finite_shift():
    assert np.isfinite(shift(np.array([0, 5, 5, 5, 5, 5, 5]), 1.0)).all()


def test_the_smallest_tau_that_finds_the_rare_class_is_chosen():
    # Melanoma trails the nevus logit by 1 nat, and the shift brings tau * log(94) = 4.54 tau nats: 0.3 is the first.
    logits = np.full((4, N_CLASSES), -9.0)
    logits[:2, NV], logits[:2, MEL] = 1.0, 0.0
    logits[2:, NV], logits[2:, MEL] = 9.0, 0.0
    y = np.array([MEL, MEL, NV, NV])
    assert choose(logits, y, COUNTS) == 0.3
    assert choose(logits[2:], y[2:], COUNTS) == TAUS[0]


def test_finding_a_melanoma_outweighs_two_nevi_called_melanoma():
    # From 0.3 on, the second melanoma is found and two of four nevi are lost: accuracy 5/6 -> 4/6, balanced accuracy
    # 3/4 both times, melanoma recall 1/2 -> 1.
    logits = np.full((6, N_CLASSES), -9.0)
    logits[:, MEL] = 0.0
    logits[:, NV] = [-9.0, 1.0, 1.2, 1.2, 9.0, 9.0]
    y = np.array([MEL, MEL, NV, NV, NV, NV])
    assert choose(logits, y, COUNTS) == 0.3


def test_without_a_melanoma_the_other_figures_choose():
    logits = np.full((2, N_CLASSES), -9.0)
    logits[:, NV], logits[:, MEL] = [9.0, 1.0], 0.0
    assert choose(logits, np.array([NV, NV]), COUNTS) == 0.0


def test_folding_moves_the_logits_of_the_network_by_exactly_the_shift():
    model = build("baseline_cnn", 32)
    image = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    before = model.predict_on_batch(image)
    fold(model, COUNTS, 0.4)
    assert model.predict_on_batch(image) - before == pytest.approx(np.tile(shift(COUNTS, 0.4), (2, 1)), abs=1e-5)
