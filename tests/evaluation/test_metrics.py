"""Metrics against fractions worked by hand, scikit-learn and what must not change them."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from dermlens.errors import DataError
from dermlens.evaluation import metrics
from dermlens.labels import MELANOMA, N_CLASSES

# Three classes present: 0 (4 images: 3 right, 1 called 1), 1 (2 images: 1 right, 1 called 4), 4 (4 images: 2 right,
# 1 called 0, 1 called 1). Nothing else is true; class 2 is called never.
TRUE = np.array([0, 0, 0, 0, 1, 1, 4, 4, 4, 4])
CALLED = np.array([0, 0, 0, 1, 1, 4, 4, 4, 0, 1])


def draw(seed: int, n: int = 300, classes: int = N_CLASSES) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    logits = rng.normal(0, 1.5, (n, N_CLASSES))
    logits[np.arange(n), y] += 1
    return y, logits


def one_hot(y: np.ndarray) -> np.ndarray:
    return np.eye(N_CLASSES)[y] * 3


def test_confusion_matrix_has_true_classes_in_rows() -> None:
    found = metrics.confusion_matrix(TRUE, CALLED)
    assert found[0].tolist() == [3, 1, 0, 0, 0, 0, 0]
    assert found[1].tolist() == [0, 1, 0, 0, 1, 0, 0]
    assert found[4].tolist() == [1, 1, 0, 0, 2, 0, 0]
    assert found.sum() == 10


def test_hand_worked_fractions() -> None:
    m = metrics.measure(TRUE, one_hot(CALLED))
    nan = np.nan
    assert m["accuracy"] == pytest.approx(6 / 10)
    np.testing.assert_allclose(m["recall"], [3 / 4, 1 / 2, nan, nan, 2 / 4, nan, nan])
    np.testing.assert_allclose(m["precision"], [3 / 4, 1 / 3, nan, nan, 2 / 3, nan, nan])
    np.testing.assert_allclose(m["specificity"], [5 / 6, 6 / 8, 1, 1, 5 / 6, 1, 1])
    np.testing.assert_allclose(m["f1"], [6 / 8, 2 / 5, nan, nan, 4 / 7, nan, nan])
    assert m["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 2 / 4) / 3)
    assert m["macro_f1"] == pytest.approx((6 / 8 + 2 / 5 + 4 / 7) / 3)
    assert m["melanoma_recall"] == pytest.approx(2 / 4)
    right, wrong = -np.log(np.e**3 / (np.e**3 + 6)), -np.log(1 / (np.e**3 + 6))
    assert m["cross_entropy"] == pytest.approx(0.6 * right + 0.4 * wrong)


def test_hand_worked_auc_and_average_precision_with_a_tie() -> None:
    positive = np.array([True, False, True, False, False])
    scores = np.array([0.9, 0.8, 0.5, 0.5, 0.1])
    # Of the 2 x 3 pairs: 0.9 beats all three; 0.5 loses to 0.8, ties with 0.5, beats 0.1.
    assert metrics.roc_auc(positive, scores) == pytest.approx((3 + 0 + 0.5 + 1) / 6)
    # At 0.9: precision 1/1, recall 1/2; at 0.5: 2 of the 4 called are right, recall 1.
    assert metrics.average_precision(positive, scores) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 4)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed: int) -> None:
    y, logits = draw(seed)
    p = np.exp(metrics.log_softmax(logits))
    called = logits.argmax(1)
    m = metrics.measure(y, logits)
    np.testing.assert_array_equal(metrics.confusion_matrix(y, called), oracle.confusion_matrix(y, called))
    np.testing.assert_allclose(m["accuracy"], oracle.accuracy_score(y, called))
    np.testing.assert_allclose(m["balanced_accuracy"], oracle.balanced_accuracy_score(y, called))
    np.testing.assert_allclose(m["macro_f1"], oracle.f1_score(y, called, average="macro"))
    for name in ("precision", "recall", "f1"):
        np.testing.assert_allclose(m[name], getattr(oracle, f"{name}_score")(y, called, average=None))
    np.testing.assert_allclose(m["cross_entropy"], oracle.log_loss(y, p, labels=range(7)))
    np.testing.assert_allclose(m["macro_auc"], oracle.roc_auc_score(y, p, multi_class="ovr", average="macro"))
    one = np.eye(7)[y]
    np.testing.assert_allclose(m["auc"], oracle.roc_auc_score(one, p, average=None))
    np.testing.assert_allclose(m["average_precision"], oracle.average_precision_score(one, p, average=None))


@pytest.mark.parametrize("decimals", [0, 1])
def test_ties_are_counted_as_in_scikit_learn(decimals: int) -> None:
    y, logits = draw(9)
    positive, scores = y == 3, logits[:, 3].round(decimals)
    assert metrics.roc_auc(positive, scores) == pytest.approx(oracle.roc_auc_score(positive, scores))
    assert metrics.average_precision(positive, scores) == pytest.approx(
        oracle.average_precision_score(positive, scores)
    )


@pytest.mark.parametrize("seed", range(3))
def test_curves_agree_with_scikit_learn(seed: int) -> None:
    y, logits = draw(seed)
    positive, scores = y == 2, logits[:, 2].round(1)
    found = metrics.sweep(positive, scores)
    fpr, tpr, thresholds = oracle.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.false_positive_rate, fpr)
    np.testing.assert_allclose(found.sensitivity, tpr)
    np.testing.assert_allclose(found.thresholds, thresholds)
    precision, recall, _ = oracle.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(found.precision[1:], precision[:-1][::-1])
    np.testing.assert_allclose(found.sensitivity[1:], recall[:-1][::-1])
    assert np.trapezoid(tpr, fpr) == pytest.approx(metrics.roc_auc(positive, scores))


def test_absent_class_is_not_a_number_and_leaves_the_means() -> None:
    y, logits = draw(0, classes=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        m = metrics.measure(y, logits)
    for name in ("recall", "f1", "auc", "average_precision"):
        assert np.isnan(m[name][6])  # type: ignore[index]
        assert not np.isnan(m[name][:6]).any()  # type: ignore[index]
    assert m["macro_auc"] == pytest.approx(np.mean(m["auc"][:6]))  # type: ignore[index]
    assert m["balanced_accuracy"] == pytest.approx(np.mean(m["recall"][:6]))  # type: ignore[index]
    without_melanoma = metrics.measure(y[y != MELANOMA], logits[y != MELANOMA])
    assert np.isnan(without_melanoma["melanoma_recall"])


def test_one_class_alone_has_no_auc_and_no_specificity() -> None:
    m = metrics.measure(np.full(5, 5), draw(1, 5)[1])
    assert np.isnan(m["auc"]).all()
    assert np.isnan(m["macro_auc"])
    assert np.isnan(m["specificity"][5])  # type: ignore[index]


def test_no_images_give_no_metric() -> None:
    m = metrics.measure(np.array([], int), np.empty((0, 7)))
    assert all(np.isnan(v).all() for v in m.values())


def test_classes_out_of_range_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(DataError, match=r"true class must be 0\.\.6; got values from 0 to 7"):
        metrics.confusion_matrix(np.array([0, 7]), np.array([0, 1]))
    with pytest.raises(DataError, match="got 1 and 2"):
        metrics.confusion_matrix(np.array([0, 1]), np.array([1]))


def test_extreme_logits_stay_finite() -> None:
    logits = np.array([[1000.0, 0, 0, 0, 0, 0, -1000.0]])
    assert metrics.cross_entropy(np.array([6]), logits) == pytest.approx(2000)
    assert metrics.cross_entropy(np.array([0]), logits) == 0


def test_most_common_confusion_names_the_largest_error() -> None:
    found = metrics.most_common_confusion(metrics.confusion_matrix(TRUE, CALLED))
    assert found[0] == metrics.Confusion(predicted=1, count=1, support=4)
    assert found[4] == metrics.Confusion(predicted=0, count=1, support=4)  # a tie: the first in class order
    assert found[2] is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(N_CLASSES)))
def test_relabelling_permutes_per_class_metrics_and_keeps_the_means(seed: int, order: list[int]) -> None:
    y, logits = draw(seed, n=60)
    new = np.argsort(order)  # class c becomes new[c]; column j of the new logits is the old class order[j]
    before, after = metrics.measure(y, logits), metrics.measure(new[y], logits[:, order])
    for name in ("recall", "precision", "specificity", "f1", "auc", "average_precision"):
        np.testing.assert_allclose(after[name], np.asarray(before[name])[order], err_msg=name)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "cross_entropy"):
        np.testing.assert_allclose(after[name], before[name], err_msg=name)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_order_and_repetition_of_rows_change_nothing(seed: int, times: int) -> None:
    y, logits = draw(seed, n=50, classes=5)
    rows = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(y)), times))
    before, after = metrics.measure(y, logits), metrics.measure(y[rows], logits[rows])
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, err_msg=name)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_auc_ignores_any_rising_change_of_scores_and_turns_with_the_labels(seed: int) -> None:
    y, logits = draw(seed, n=40)
    positive, scores = y < 3, logits[:, 0].round(1)
    auc = metrics.roc_auc(positive, scores)
    assert metrics.roc_auc(positive, np.exp(scores) + 7) == auc
    assert metrics.roc_auc(~positive, scores) == pytest.approx(1 - auc)


def test_a_million_rows_are_counted_quickly() -> None:
    rng = np.random.default_rng(0)
    y, called = rng.integers(0, 7, (2, 1_000_000))
    assert metrics.confusion_matrix(y, called).sum() == 1_000_000
