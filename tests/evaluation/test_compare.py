"""Comparing two models: hand-worked tests, what must be symmetric, and false alarms as rare as promised."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from dermlens.errors import DataError
from dermlens.evaluation import metrics
from dermlens.evaluation.compare import (
    align,
    compare,
    disagreement,
    hardness,
    holm,
    mcnemar,
    permutation_tests,
    swap_test,
)
from dermlens.evaluation.predictions import Predictions, make_predictions
from dermlens.labels import CLASSES, INDEX

FACTS = np.random.default_rng(0)
LESION = FACTS.integers(0, 220, 300)
TRUE = FACTS.integers(0, 7, 220)[LESION]


def model(seed: int, skill: float = 1.5, true: np.ndarray = TRUE) -> Predictions:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (len(true), 7)) + rng.normal(0, 1, (220, 7))[LESION]
    logits[np.arange(len(true)), true] += skill
    return make_predictions([f"I{i}" for i in range(len(true))], [f"L{i}" for i in LESION], "test", true, logits)


def calls(text: str, lesions: str, true: str) -> Predictions:
    """Predictions from words: one letter an image, n for nevus, m for melanoma."""
    index = {"n": INDEX["nv"], "m": INDEX["mel"]}
    called = np.array([index[c] for c in text])
    y = np.array([index[c] for c in true])
    return make_predictions([f"I{i:02}" for i in range(len(y))], lesions, "test", y, np.eye(7)[called] * 4)


def test_differences_are_those_of_the_estimates_and_lie_in_their_intervals() -> None:
    a, b = model(1, 2.0), model(2, 1.0)
    found = compare(a, b, replicates=200)
    x, y = metrics.measure(a.y_true, a.logits), metrics.measure(b.y_true, b.logits)
    for name, d in found.overall.items():
        assert (d.a, d.b, d.difference) == pytest.approx((x[name], y[name], x[name] - y[name]))
        assert d.low <= d.difference <= d.high, name
    for i, code in enumerate(CLASSES):
        d = found.recall[code]
        assert d.difference == pytest.approx(np.asarray(x["recall"])[i] - np.asarray(y["recall"])[i])
        assert d.n_images == np.bincount(TRUE)[i]
        assert d.p <= d.p_holm
    assert found.overall["accuracy"].low > 0
    assert found.overall["accuracy"].p < 0.01
    assert found.mcnemar.p < 0.01
    assert found.overall["melanoma_recall"].p == found.recall["mel"].p
    assert np.isnan(found.overall["macro_auc"].p)


def test_swapping_the_models_turns_every_sign() -> None:
    a, b = model(1), model(2)
    ab, ba = compare(a, b, replicates=100), compare(b, a, replicates=100)
    for name, d in ab.overall.items():
        e = ba.overall[name]
        assert (e.a, e.b, e.difference) == (d.b, d.a, -d.difference)
        assert (e.low, e.high) == pytest.approx((-d.high, -d.low))
        assert e.p == pytest.approx(d.p, nan_ok=True)
    assert np.array_equal(ba.confusion, -ab.confusion)
    assert np.array_equal(ba.only_a, ab.only_b)
    assert (ba.mcnemar.only_a, ba.mcnemar.p) == (ab.mcnemar.only_b, ab.mcnemar.p)


def test_a_model_does_not_differ_from_itself() -> None:
    found = compare(model(1), model(1), replicates=50)
    for d in (*found.overall.values(), *found.recall.values()):
        assert (d.difference, d.low, d.high) == (0, 0, 0)
        assert np.isnan(d.p) or d.p == 1
    assert found.mcnemar.p == 1
    assert not found.confusion.any()
    assert len(found.only_a) == len(found.only_b) == 0


def test_where_both_find_the_same_cases_of_a_class_the_difference_has_a_width_still() -> None:
    """13 lesions of which both find all: on as many others, a fifth could tell them apart."""
    y = np.repeat([INDEX["nv"], INDEX["df"]], [40, 13])
    both = []
    for seed in (1, 2):
        logits = np.random.default_rng(seed).normal(0, 2, (53, 7))
        logits[40:, INDEX["df"]] = 20
        names = [f"I{i}" for i in range(53)], [f"L{i}" for i in range(53)]
        both.append(make_predictions(*names, "test", y, logits))
    found = compare(*both, replicates=100).recall["df"]
    assert found.difference == 0
    assert (found.low, found.high) == pytest.approx((-0.228, 0.228), abs=0.001)


def test_where_both_find_the_same_melanomas_every_line_on_them_has_one_width() -> None:
    y = np.repeat([INDEX["nv"], INDEX["mel"]], [40, 12])
    both = []
    for seed in (1, 2):
        logits = np.random.default_rng(seed).normal(0, 2, (52, 7))
        logits[40:, INDEX["mel"]] = 20
        both.append(make_predictions([f"I{i}" for i in range(52)], [f"L{i}" for i in range(52)], "test", y, logits))
    found = compare(*both, replicates=100)
    for line in (found.recall["mel"], found.overall["melanoma_recall"], found.overall["melanoma_recall_equal"]):
        assert (line.difference, line.low, line.high) == pytest.approx((0, -0.242, 0.242), abs=0.001)


def test_rows_that_only_one_gets_right_and_the_confusion_difference() -> None:
    #                  both A  B  neither
    a = calls("nnmmnm", "aabcde", "nnmmmn")
    b = calls("nmmnnm", "aabcde", "nnmmmn")
    found = compare(a, b, replicates=10)
    assert found.only_a.tolist() == [1, 3]
    assert found.only_b.tolist() == []
    mel, nv = INDEX["mel"], INDEX["nv"]
    assert found.confusion[nv, nv] == 1
    assert found.confusion[nv, mel] == -1
    assert found.confusion[mel, mel] == 1
    assert found.confusion[mel, nv] == -1
    assert found.confusion.sum() == 0


def test_mcnemar_looks_at_the_first_image_of_each_lesion_and_is_exact() -> None:
    lesions = "aab" + "cdefghij"
    p = calls("n" * 11, lesions, "n" * 11)
    right_a = np.array([True, False, False] + [True] * 8)
    right_b = np.array([False, True, True] + [False] * 8)
    found = mcnemar(right_a, right_b, p)
    assert (found.only_a, found.only_b, found.n_lesions) == (9, 1, 10)
    assert found.p == pytest.approx(2 * (1 + 10) / 2**10)
    assert found.p == pytest.approx(binomtest(1, 10).pvalue)
    backwards = p.select(np.arange(11)[::-1])
    assert mcnemar(right_a[::-1], right_b[::-1], backwards) == found


def test_swap_test_agrees_with_all_arrangements() -> None:
    rng = np.random.default_rng(3)
    differences = np.column_stack([rng.integers(-2, 3, 10), rng.normal(0.4, 1, 10), np.zeros(10)])
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    exact = (np.abs(signs @ differences) >= np.abs(differences.sum(0)) - 1e-9).mean(0)
    found = swap_test(differences, permutations=20_000)
    assert found == pytest.approx(exact, abs=0.015)
    assert found[2] == 1


def test_swap_test_is_never_zero() -> None:
    assert swap_test(np.ones((100, 1)), permutations=99)[0] == pytest.approx(1 / 100)


def test_equal_models_are_told_apart_no_more_often_than_promised() -> None:
    alarms = 0
    for seed in range(150):
        p = permutation_tests(model(2 * seed), model(2 * seed + 1), permutations=199, seed=seed)
        alarms += float(p["accuracy"]) <= 0.05
    assert alarms / 150 <= 0.10


def test_holm_by_hand() -> None:
    found = holm(np.array([0.01, np.nan, 0.04, 0.03, 0.005]))
    assert found[[0, 2, 3, 4]] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(found[1])
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert holm(np.array([])).tolist() == []


def test_absent_class_is_not_tested_and_not_counted() -> None:
    true = np.where(TRUE == 6, 5, TRUE)
    found = compare(model(1, true=true), model(2, true=true), replicates=50)
    vasc = found.recall["vasc"]
    assert np.isnan([vasc.difference, vasc.low, vasc.high, vasc.p, vasc.p_holm]).all()
    assert vasc.n_images == 0
    assert not np.isnan(found.recall["nv"].p_holm)


def test_only_common_images_are_compared_in_the_same_order() -> None:
    a, b = model(1), model(2)
    some_a, some_b = a.select(np.arange(10, 300)), b.select(np.arange(250)[::-1])
    left, right, left_out = align(some_a, some_b)
    assert left.image_id.tolist() == right.image_id.tolist() == [f"I{i}" for i in range(10, 250)]
    assert left_out == 60
    assert np.array_equal(right.logits, b.logits[10:250])


def test_files_that_do_not_belong_together_are_refused() -> None:
    a, b = model(1), model(2)
    with pytest.raises(DataError, match="share no image"):
        align(a.select(np.arange(5)), b.select(np.arange(5, 9)))
    other = make_predictions(b.image_id, b.lesion_id, "test", (b.y_true + 1) % 7, b.logits)
    with pytest.raises(DataError, match="another true class for 300 of their common images, the first is I0"):
        align(a, other)
    with pytest.raises(DataError, match="another split"):
        align(a, make_predictions(b.image_id, b.lesion_id, "validation", b.y_true, b.logits))


def test_disagreement_and_hardness_by_hand() -> None:
    sure, other, even = np.eye(7)[0], np.eye(7)[1], np.full(7, 1 / 7)
    probabilities = np.array([[sure, sure, even], [sure, other, even], [sure, other, even]])
    assert disagreement(probabilities) == pytest.approx([0, 2 / 3, 0])
    hard = hardness(probabilities, np.array([0, 1, 5]))
    assert hard == pytest.approx([0, -np.log(1e-12) / 3, np.log(7)])
