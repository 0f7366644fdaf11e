"""Calibration: what was distorted is recovered, folds keep lesions together, and prevalence follows Bayes."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from dermlens.errors import DataError, ModelError
from dermlens.evaluation.metrics import log_softmax
from dermlens.evaluation.predictions import Predictions, make_predictions
from dermlens.labels import CLASSES, N_CLASSES
from dermlens.trust import calibration
from dermlens.trust.calibration import (
    METHODS,
    PRIORS,
    Calibration,
    calibrate,
    choose,
    choose_prior,
    fit_bias,
    fit_temperature,
    fit_vector,
    folds,
    out_of_fold,
    try_all,
)

MIX = np.array([0.03, 0.05, 0.11, 0.01, 0.11, 0.67, 0.02])


def true_model(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (n, 7) of a perfectly calibrated model and classes (n,) drawn from its probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, N_CLASSES)) + np.log(MIX)
    uniform = rng.random((n, 1))
    y = (np.exp(log_softmax(logits)).cumsum(1) < uniform).sum(1).clip(max=N_CLASSES - 1)
    return logits, y


def predictions_of(logits: np.ndarray, y: np.ndarray, images_a_lesion: int = 1) -> Predictions:
    lesions = [f"L{i // images_a_lesion:05}" for i in range(len(y))]
    return make_predictions([f"I{i:05}" for i in range(len(y))], lesions, "validation", y, logits)


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_a_temperature_is_recovered(temperature: float) -> None:
    logits, y = true_model(20_000)
    found = fit_temperature(logits * temperature, y)
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    assert found.bias == (0,) * N_CLASSES


def test_the_temperature_is_the_one_of_the_lowest_log_loss() -> None:
    logits, y = true_model(400, seed=3)

    def loss(scale: float) -> float:
        return float(log_loss(y, np.exp(log_softmax(logits * scale)), labels=range(N_CLASSES)))

    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-8}).x
    assert fit_temperature(logits, y).scale[0] == pytest.approx(best, abs=1e-3)


def test_scikit_learns_temperature_is_the_same() -> None:
    sklearn_calibration = pytest.importorskip("sklearn.calibration")
    logits, y = true_model(2000, seed=4)
    oracle = sklearn_calibration._TemperatureScaling().fit(3 * logits, y)
    assert fit_temperature(3 * logits, y).scale[0] == pytest.approx(oracle.beta_, rel=1e-2)


def test_scales_and_biases_are_recovered() -> None:
    logits, y = true_model(60_000, seed=1)
    scale = np.array([0.5, 0.8, 1.2, 1.0, 2.0, 0.7, 1.5])
    bias = np.array([1.0, 0.5, -0.5, 2.0, -1.0, -1.5, -0.5])
    by_bias = fit_bias((logits - bias) / 0.5, y)
    np.testing.assert_allclose(by_bias.scale, 0.5, rtol=0.05)
    np.testing.assert_allclose(by_bias.bias, bias - bias.mean(), atol=0.15)
    by_vector = fit_vector((logits - bias) / scale, y)
    np.testing.assert_allclose(by_vector.scale, scale, rtol=0.15)
    np.testing.assert_allclose(by_vector.apply((logits - bias) / scale), np.exp(log_softmax(logits)), atol=0.05)


def test_a_richer_method_never_fits_worse_and_the_prior_keeps_an_absent_class_finite() -> None:
    logits, y = true_model(600, seed=2)
    present = y != CLASSES.index("df")
    logits, y = logits[present], y[present]
    fits = [METHODS[m](logits, y) for m in METHODS]
    losses = [log_loss(y, f.apply(logits), labels=range(N_CLASSES)) for f in fits]
    assert losses[0] >= losses[1] >= losses[2] - 1e-3
    assert np.abs(fits[2].bias).max() < 20


def test_calibrating_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="at least one image"):
        fit_vector(np.zeros((0, N_CLASSES)), np.zeros(0, int))
    with pytest.raises(DataError, match="at least 5 lesions, got 2"):
        out_of_fold(predictions_of(np.zeros((2, N_CLASSES)), np.array([0, 1])), "temperature")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_a_temperature_changes_no_call_and_probabilities_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 5, (20, N_CLASSES))
    found = fit_temperature(logits, rng.integers(0, N_CLASSES, 20))
    probabilities = found.apply(logits)
    assert (probabilities.argmax(1) == logits.argmax(1)).all()
    np.testing.assert_allclose(probabilities.sum(1), 1)


def test_folds_keep_lesions_together_spread_classes_and_ignore_row_order() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(rng.choice(N_CLASSES, 300, p=MIX / MIX.sum()), 2)
    p = predictions_of(np.zeros((600, N_CLASSES)), y, images_a_lesion=2)
    fold = folds(p)
    assert all(len(set(fold[p.lesion == i])) == 1 for i in range(p.n_lesions))
    for c in range(N_CLASSES):
        counts = np.bincount(fold[y == c], minlength=5)
        assert counts.max() - counts.min() <= 2, "one lesion of two images"
    shuffled = rng.permutation(600)
    assert (folds(p.select(shuffled)) == fold[shuffled]).all()


def test_out_of_fold_calibrates_without_the_lesion_itself() -> None:
    logits, y = true_model(500, seed=5)
    p = predictions_of(logits, y)
    found = out_of_fold(p, "vector")
    here = folds(p) == 3
    np.testing.assert_array_equal(found[here], fit_vector(logits[~here], y[~here]).apply(logits[here]))
    np.testing.assert_array_equal(found, out_of_fold(p, "vector"))


def test_the_simplest_method_that_nothing_clearly_beats_is_chosen() -> None:
    logits, y = true_model(1500, seed=8)
    for expected, distorted in (
        ("temperature", 2 * logits),
        ("bias", 2 * logits - 1.4 * np.log(MIX)),
        ("vector", logits / np.array([0.2, 1, 3, 1, 0.3, 1, 1])),
    ):
        p = predictions_of(distorted, y)
        assert choose(p, try_all(p))[0] == expected


def test_the_prior_is_the_narrowest_within_one_standard_error_of_the_best() -> None:
    logits, y = true_model(1500, seed=6)
    p = predictions_of(logits / np.array([0.4, 1, 2, 1, 0.5, 1, 1]), y)
    tried = try_all(p)["vector"]
    found = choose_prior(p, tried)
    losses = {}
    for sd in PRIORS:
        q = out_of_fold(p, "vector", sd)
        losses[sd] = -np.log(q[np.arange(len(y)), y])
        np.testing.assert_allclose(tried[sd], losses[sd])
    best = min(losses.values(), key=np.mean)
    for sd in PRIORS:
        more = losses[sd] - best
        within = more.mean() <= more.std() / np.sqrt(len(more))  # a lesion an image
        assert not within or sd >= found
    assert losses[found].mean() - best.mean() <= (losses[found] - best).std() / np.sqrt(len(y))
    narrower = [sd for sd in PRIORS if sd < found]
    assert all((losses[sd] - best).mean() > (losses[sd] - best).std() / np.sqrt(len(y)) for sd in narrower)
    assert narrower, "scales this unequal are not held to their mean"
    even = predictions_of(logits, y)
    assert choose_prior(even, try_all(even)["vector"]) == PRIORS[0], "where all scales are one, none loses"


def test_a_narrow_prior_holds_a_class_with_few_images_to_the_others() -> None:
    logits, y = true_model(400, seed=3)
    spread = [np.std(np.log(fit_vector(logits, y, sd).scale)) for sd in PRIORS]
    assert spread == sorted(spread)
    assert spread[0] < 0.5 * spread[-1]


def test_calibrated_predictions_call_the_most_probable_class_and_know_their_mix() -> None:
    logits, y = true_model(300, seed=7)
    p = predictions_of(logits - np.log(MIX), y)
    found = calibrate(p, fit_bias(p.logits, y))
    assert (found.y_pred == found.probabilities.argmax(1)).all()
    assert (found.y_pred != p.y_pred).any()
    assert found.class_mix is not None
    assert found.class_mix.tolist() == np.bincount(y, minlength=N_CLASSES).tolist()
    assert p.class_mix is None


def test_a_sampling_that_shifts_the_prior_is_undone() -> None:
    """A network that saw rare classes more often (sampling_power) has the logits of another prior; a bias undoes it."""
    logits, y = true_model(20_000, seed=9)
    shifted = predictions_of(logits - 0.5 * np.log(MIX), y)
    undone = calibrate(shifted, fit_bias(shifted.logits, y))
    assert (shifted.y_pred != logits.argmax(1)).mean() > 0.1
    assert (undone.y_pred == logits.argmax(1)).mean() > 0.98


def write(folder: Path, **values: object) -> Path:
    stored = {"method": "vector", "classes": list(CLASSES), "scale": [1.5] * 7, "bias": [0.0] * 7}
    stored["class_mix"] = [4, 5, 6, 0, 7, 8, 9]
    path = folder / "calibration.json"
    path.write_text(json.dumps({**stored, **values}))
    return path


def test_a_file_is_read_back(tmp_path: Path) -> None:
    assert calibration.read(write(tmp_path)) == Calibration("vector", (1.5,) * 7, (0.0,) * 7, (4, 5, 6, 0, 7, 8, 9))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"classes": list(reversed(CLASSES))}, "expected"),
        ({"method": "isotonic"}, "isotonic"),
        ({"scale": [1.0] * 6}, "seven"),
        ({"scale": [1.0] * 6 + [0.0]}, "> 0"),
        ({"bias": [float("nan")] * 7}, "finite"),
        ({"bias": None}, "not a calibration"),
        ({"scale": ["a"] * 7}, "not a calibration"),
        ({"class_mix": None}, "fit it again"),
        ({"class_mix": [1] * 6}, "fit it again"),
        ({"class_mix": [0.5] * 7}, "fit it again"),
        ({"class_mix": [-1, 8, 1, 1, 1, 1, 1]}, "fit it again"),
        ({"class_mix": [0] * 7}, "fit it again"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, values: dict, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        calibration.read(write(tmp_path, **values))
