"""Calibration errors and scores: by hand, against scikit-learn, and on models that are right about themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from dermlens.evaluation.bins import calibration_error, equal_mass, equal_width
from dermlens.evaluation.calibration_error import (
    brier,
    by_chance,
    diagram,
    log_loss,
    measure,
)
from dermlens.evaluation.metrics import CALIBRATION, log_softmax
from dermlens.labels import N_CLASSES


def drawn(n: int, seed: int = 0, temperature: float = 1.0, images_a_lesion: int = 1) -> tuple[np.ndarray, ...]:
    """Return what a model says (n, 7), true classes drawn from its own logits, and the lesions."""
    rng = np.random.default_rng(seed)
    logits = np.repeat(rng.normal(0, 2, (n // images_a_lesion, N_CLASSES)), images_a_lesion, 0)
    uniform = np.repeat(rng.random((n // images_a_lesion, 1)), images_a_lesion, 0)
    y = (np.exp(log_softmax(logits)).cumsum(1) < uniform).sum(1).clip(max=6)
    lesion = np.arange(n) // images_a_lesion
    return np.exp(log_softmax(logits / temperature)), y, lesion


def test_the_error_by_hand() -> None:
    confidence = np.array([0.99, 0.97, 0.61, 0.63, 0.65])
    hit = np.array([True, False, True, True, False])
    # two bins: |0.98 - 0.5| of 2 images, |0.63 - 2/3| of 3
    assert calibration_error(confidence, hit) == pytest.approx((2 * 0.48 + 3 * (2 / 3 - 0.63)) / 5)
    assert np.isnan(calibration_error(np.zeros(0), np.zeros(0, bool)))


def test_bins_are_closed_above_and_hold_0_and_1() -> None:
    assert equal_width(np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 0.5, 1.0])).tolist() == [0, 0, 1, 7, 14]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(30, 400))
def test_bins_of_equal_mass_are_about_equal_and_keep_order_and_ties(seed: int, n: int) -> None:
    confidence = np.random.default_rng(seed).permutation(np.linspace(0.2, 1, n))
    bins = equal_mass(confidence)
    counts = np.bincount(bins, minlength=15)
    assert counts.max() - counts.min() <= 2
    assert (np.diff(bins[np.argsort(confidence)]) >= 0).all()
    assert len(set(equal_mass(np.full(n, 0.7)))) == 1


def test_scikit_learn_finds_the_same_bins_and_scores() -> None:
    p, y, lesion = drawn(900)
    top = p.argmax(1)
    confidence, hit = p.max(1), top == y
    for binning, strategy in ((equal_width, "uniform"), (equal_mass, "quantile")):
        right, stated = calibration_curve(hit, confidence, n_bins=15, strategy=strategy)
        found = diagram(confidence, hit, lesion, binning)
        np.testing.assert_allclose([b.right.value for b in found], right)
        np.testing.assert_allclose([b.confidence for b in found], stated)
    assert log_loss(p, y).mean() == pytest.approx(sklearn_log_loss(y, p, labels=range(7)))
    assert brier(p, y).mean() == pytest.approx(brier_score_loss(y, p, labels=range(7), scale_by_half=False))


def test_a_diagram_counts_every_image_once_and_its_gaps_are_the_error() -> None:
    p, y, lesion = drawn(600, images_a_lesion=2)
    confidence, hit = p.max(1), p.argmax(1) == y
    bins = diagram(confidence, hit, lesion)
    assert sum(b.right.n_images for b in bins) == 600
    gaps = sum(b.right.n_images * abs(b.confidence - b.right.value) for b in bins) / 600
    assert gaps == pytest.approx(calibration_error(confidence, hit))
    assert all(b.low < b.confidence <= b.high and b.right.low <= b.right.value <= b.right.high for b in bins)


def test_a_calibrated_model_is_as_far_off_as_chance_and_a_sharpened_one_is_not() -> None:
    found = measure(*drawn(3000))
    p, _, lesion = drawn(3000)
    chance = by_chance(p, lesion)
    assert found["ece"].value < 0.03
    for name, estimate in chance.items():
        assert estimate.low <= found[name].value <= estimate.high, name
    sharpened = measure(*drawn(3000, temperature=0.5))
    for name in CALIBRATION:
        assert sharpened[name].low > found[name].high, name


def test_chance_shrinks_with_the_number_of_lesions_not_of_images() -> None:
    p, _, lesion = drawn(800)
    alone = by_chance(p, lesion)["ece"].value
    copied = by_chance(np.repeat(p, 3, 0), np.repeat(lesion, 3))["ece"].value
    more = by_chance(*(drawn(3200)[i] for i in (0, 2)))["ece"].value
    assert copied == pytest.approx(alone, rel=0.1)
    assert more == pytest.approx(alone / 2, rel=0.25)


def test_intervals_hold_the_error_that_sets_of_this_size_show() -> None:
    expected = np.mean(
        [calibration_error(p.max(1), p.argmax(1) == y) for p, y, *_ in (drawn(400, s) for s in range(200))]
    )
    inside = []
    for seed in range(1000, 1025):
        estimate = measure(*drawn(400, seed))["ece"]
        inside.append(estimate.low <= expected <= estimate.high)
    assert np.mean(inside) >= 0.8


def test_nothing_measured_is_nothing_known() -> None:
    nothing = np.zeros(0, int)
    assert np.isnan(measure(np.zeros((0, 7)), nothing, nothing)["ece"].value)
    assert by_chance(np.zeros((0, 7)), nothing)["ece"].n_images == 0
