"""The class mix: re-weighting by hand, that it turns back, and that calls and figures follow it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.errors import DataError
from dermlens.evaluation.class_mix import EVEN, mix_at, reweight
from dermlens.evaluation.compare import compare
from dermlens.evaluation.intervals import summarise
from dermlens.evaluation.metrics import log_softmax
from dermlens.evaluation.predictions import Predictions, make_predictions
from dermlens.labels import INDEX, N_CLASSES, SUSPECT
from dermlens.trust.calibration import Calibration, calibrate
from tests.trust.test_calibration import MIX, true_model

MEL, NV = INDEX["mel"], INDEX["nv"]
FITTED = (1, 1, 1, 1, 1, 4, 1)
"""Four nevi for each of the other diagnoses."""


def test_another_prevalence_by_hand() -> None:
    mix = np.array([1, 1, 1, 1, 1, 2, 1]) / 8
    to = mix_at(mix, 0.75)
    np.testing.assert_allclose(to, [0.25, 0.25, 0.05, 0.05, 0.25, 0.1, 0.05])
    probabilities = np.array([0, 0, 0, 0, 0.5, 0.5, 0])
    # melanoma twice as frequent as before, nevus 0.4 times: odds of 1 become 5
    np.testing.assert_allclose(reweight(probabilities, mix, to), [0, 0, 0, 0, 5 / 6, 1 / 6, 0])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.floats(0.001, 0.999))
def test_reweighting_adds_up_turns_back_and_follows_the_prevalence(seed: int, prevalence: float) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(N_CLASSES), 5)
    to = mix_at(MIX, prevalence)
    assert to[list(SUSPECT)].sum() == pytest.approx(prevalence)
    there = reweight(probabilities, MIX, to)
    np.testing.assert_allclose(there.sum(1), 1)
    np.testing.assert_allclose(reweight(there, to, MIX), probabilities, atol=1e-9)
    suspect = [p[:, list(SUSPECT)].sum(1) for p in (probabilities, there)]
    assert ((suspect[1] > suspect[0]) == (prevalence > MIX[list(SUSPECT)].sum() / MIX.sum())).all()


def test_a_reweighted_model_is_calibrated_where_the_mix_is_another() -> None:
    logits, y = true_model(60_000, seed=8)
    probabilities = np.exp(log_softmax(logits))
    rare = mix_at(np.bincount(y, minlength=N_CLASSES), 0.05)
    keep = np.random.default_rng(0).random(len(y)) < (rare / np.bincount(y) * len(y) / 4)[y]
    found = reweight(probabilities[keep], np.bincount(y), rare)
    np.testing.assert_allclose(found.mean(0), np.bincount(y[keep]) / keep.sum(), atol=0.01)


def test_a_diagnosis_that_calibration_never_saw_counts_as_one_image() -> None:
    own = np.array([0, 1, 1, 1, 1, 1, 1])
    found = reweight(np.array([0.1, 0.9, 0, 0, 0, 0, 0]), own, EVEN)
    np.testing.assert_allclose(found, [0.1, 0.9, 0, 0, 0, 0, 0])


def four() -> Predictions:
    """Four calibrated images at the mix FITTED: mel 0.3 beside nv 0.6, twice mel and once nv; and a certain bkl."""
    shares = np.full((4, N_CLASSES), 0.02)
    shares[:3, [MEL, NV]] = 0.3, 0.6
    shares[3, INDEX["bkl"]] = 0.88
    y = np.array([MEL, MEL, NV, INDEX["bkl"]])
    raw = make_predictions("abcd", "wxyz", "test", y, np.log(shares))
    return calibrate(raw, Calibration("temperature", (1.0,) * 7, (0.0,) * 7, FITTED))


def test_the_call_follows_the_mix_by_hand() -> None:
    p = four()
    assert p.y_pred.tolist() == [NV, NV, NV, INDEX["bkl"]]
    # Nevus four times rarer against the rest: 0.3 beside 0.15.
    equal = p.at_equal_mix
    assert equal.y_pred.tolist() == [MEL, MEL, MEL, INDEX["bkl"]]
    np.testing.assert_allclose(equal.probabilities[0, [MEL, NV]], np.array([0.3, 0.15]) / 0.55)
    np.testing.assert_allclose(equal.probabilities, reweight(p.probabilities, np.array(FITTED), EVEN))
    np.testing.assert_allclose(equal.at_mix(np.array(FITTED)).probabilities, p.probabilities)
    assert p.select(np.array([2, 0])).at_equal_mix.y_pred.tolist() == [MEL, MEL]


def test_each_metric_is_measured_at_its_mix_by_hand() -> None:
    found = summarise(four(), replicates=20)
    overall = {key: estimate.value for key, estimate in found.overall.items()}
    assert overall["accuracy"] == 2 / 4
    assert overall["melanoma_recall"] == 0
    assert overall["melanoma_recall_equal"] == 1
    assert overall["balanced_accuracy"] == pytest.approx((1 + 0 + 1) / 3)
    assert found.per_class["nv"]["recall"].value == 1
    assert found.per_class["nv"]["recall_equal"].value == 0
    assert overall["cross_entropy"] == pytest.approx(-np.log([0.3, 0.3, 0.6, 0.88]).mean())
    assert found.confusion[MEL, NV] == 2
    assert found.to_dict()["class_mix"] == list(FITTED)


def test_two_models_are_compared_at_the_mixes() -> None:
    p = four()
    other = p.at_mix(EVEN)
    same = Predictions(p.image_id, p.lesion_id, p.split, p.y_true, other.logits, other.class_mix)
    found = compare(p, same, replicates=20)
    assert found.overall["accuracy"].difference == pytest.approx(2 / 4 - 3 / 4)
    assert found.overall["melanoma_recall"].difference == -1
    assert found.overall["melanoma_recall_equal"].difference == 0
    assert found.overall["balanced_accuracy"].difference == 0


def test_scores_without_a_mix_stay_as_they_are_and_say_so() -> None:
    raw = make_predictions("ab", "wx", "test", np.array([MEL, NV]), np.eye(N_CLASSES)[[MEL, NV]])
    assert raw.at_equal_mix is raw
    with pytest.raises(DataError, match="not calibrated"):
        raw.at_mix(EVEN)
    assert summarise(raw, replicates=20).to_dict()["class_mix"] is None
