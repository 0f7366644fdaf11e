"""Metrics of a seven-class classifier: pure functions of arrays.

Classes are indices into labels.CLASSES. A metric that the data cannot give is NaN, never 0 or 1: the recall, F1, AUC
and average precision of a class with no true image, the precision of a class that is never predicted, the AUC and
specificity of a class that is the only one present. Balanced accuracy, macro F1 and macro AUC are means over the
classes for which the metric exists, as in scikit-learn's `balanced_accuracy_score`; where they are shown, the
number of these classes is given.

Functions of a confusion matrix take any leading axes, so that a thousand bootstrap replicates are one call.

OVERALL, PER_CLASS and CALIBRATION say which metrics there are, in the order in which they are shown, what people read
for their names, and at which of the two class mixes of `evaluation.class_mix` each is measured: what weighs images
alike at HAM10000's, what weighs diagnoses alike at the equal one. A metric of the confusion matrix is one entry there
and one function.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.evaluation.bins import calibration_error
from dermlens.evaluation.class_mix import AT, EQUAL, HAM10000
from dermlens.labels import MELANOMA, N_CLASSES
from dermlens.wording import number_with_interval, percent_with_interval


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log probabilities (..., n_classes) float64 of logits (..., n_classes)."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """Count images by true and predicted class.

    Args:
        y_true, y_pred: (n,) int, 0..6.

    Returns:
        (7, 7) int64, rows are true, columns predicted.

    Raises:
        DataError: the lengths differ or a class is out of range.
    """
    if len(y_true) != len(y_pred):
        raise DataError(f"There must be as many predictions as true classes; got {len(y_pred)} and {len(y_true)}.")
    for name, y in (("true", y_true), ("predicted", y_pred)):
        if len(y) and not 0 <= y.min() <= y.max() < N_CLASSES:
            raise DataError(f"A {name} class must be 0..{N_CLASSES - 1}; got values from {y.min()} to {y.max()}.")
    cells = np.bincount(y_true * N_CLASSES + y_pred, minlength=N_CLASSES**2)
    return cells.reshape(N_CLASSES, N_CLASSES)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of images called right, (...,) float64 from (..., 7, 7)."""
    return _ratio(_diagonal(confusion).sum(-1), confusion.sum((-2, -1)))


def recall(confusion: np.ndarray) -> np.ndarray:
    """Share of each class's images called that class (sensitivity), (..., 7); NaN for a class with no true image."""
    return _ratio(_diagonal(confusion), confusion.sum(-1))


def precision(confusion: np.ndarray) -> np.ndarray:
    """Share of the calls of each class that are right, (..., 7); NaN for a class never called."""
    return _ratio(_diagonal(confusion), confusion.sum(-2))


def specificity(confusion: np.ndarray) -> np.ndarray:
    """Share of the other classes' images not called this class, (..., 7); NaN if there are no other images."""
    others = confusion.sum((-2, -1))[..., None] - confusion.sum(-1)
    return _ratio(others - (confusion.sum(-2) - _diagonal(confusion)), others)


def f1(confusion: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), (..., 7); NaN for a class with no true image.

    A class that is present but never called has F1 0, which is the value of the formula.
    """
    support = confusion.sum(-1)
    score = _ratio(2 * _diagonal(confusion), support + confusion.sum(-2))
    return np.where(support > 0, score, np.nan)


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that have true images, (...,)."""
    return mean_defined(recall(confusion))


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that have true images, (...,)."""
    return mean_defined(f1(confusion))


def melanoma_recall(confusion: np.ndarray) -> np.ndarray:
    """Share of the melanomas called melanoma, (...,); NaN without a melanoma."""
    return recall(confusion)[..., MELANOMA]


def cross_entropy(y_true: np.ndarray, logits: np.ndarray) -> float:
    """Mean of -log p(true class) in nats; plain, whatever loss was trained with; NaN for no images.

    Args:
        y_true: (n,) int. logits: (n, 7) float.
    """
    return float(losses(y_true, logits).mean()) if len(y_true) else np.nan


def losses(y_true: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """-log p(true class) of each image, (n,) float64 in nats."""
    return -np.take_along_axis(log_softmax(logits), y_true[:, None], 1)[:, 0]


def roc_auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Probability that a positive image scores above a negative one, ties counting half; NaN if either is missing.

    Hanley & McNeil, Radiology 143:29, 1982 (the Mann-Whitney statistic).

    Args:
        positive: (n,) bool. scores: (n,) float, higher means more likely positive.
    """
    high, low = np.sort(scores[positive]), np.sort(scores[~positive])
    if len(high) == 0 or len(low) == 0:
        return np.nan
    below = np.searchsorted(low, high, "left").sum() + np.searchsorted(low, high, "right").sum()
    return float(below / 2 / len(high) / len(low))


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Area under the precision-recall steps, sum of (R_k - R_k-1) P_k without interpolation; NaN without a positive.

    Args: as `roc_auc`.
    """
    if not positive.any():
        return np.nan
    levels, counts = np.unique(scores[positive], return_counts=True)
    true_positives = counts[::-1].cumsum()[::-1]
    negatives = np.sort(scores[~positive])
    false_positives = len(negatives) - np.searchsorted(negatives, levels, "left")
    return float((counts * true_positives / (true_positives + false_positives)).sum() / positive.sum())


def one_vs_rest(
    metric: Callable[[np.ndarray, np.ndarray], float], y_true: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Apply `roc_auc` or `average_precision` to each class against the rest: (7,) from (n,) and (n, 7)."""
    return np.array([metric(y_true == i, scores[:, i]) for i in range(N_CLASSES)])


def measure(y_true: np.ndarray, logits: np.ndarray, equal: np.ndarray | None = None) -> dict[str, float | np.ndarray]:
    """All metrics of one set of images.

    Args:
        y_true: (n,) int. logits: (n, 7) float, at HAM10000's mix.
        equal: (n, 7) the same at the equal mix; by default `logits`, as for scores that hold for no mix.

    Returns:
        key of OVERALL -> float, and key of PER_CLASS -> (7,) float64.
    """
    logp = log_softmax(logits)
    at_mixes = {HAM10000: logits, EQUAL: logits if equal is None else equal}
    found: dict[str, Any] = from_confusion({mix: confusion_matrix(y_true, x.argmax(1)) for mix, x in at_mixes.items()})
    found["auc"] = one_vs_rest(roc_auc, y_true, logp)
    found["average_precision"] = one_vs_rest(average_precision, y_true, logp)
    found["macro_auc"] = mean_defined(found["auc"])
    found["cross_entropy"] = cross_entropy(y_true, logits)
    found["ece"] = calibration_error(np.exp(logp.max(1)), logits.argmax(1) == y_true)
    return {name: float(v) if np.ndim(v) == 0 else v for name, v in found.items()}


def from_confusion(confusions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The metrics of `measure` that confusion matrices give: (...,) or (..., 7) each.

    Args:
        confusions: class mix -> (..., 7, 7) of the calls at that mix.
    """
    both = {**OVERALL, **PER_CLASS}
    return {key: metric.of_confusion(confusions[metric.mix]) for key, metric in both.items() if metric.of_confusion}


@dataclass(frozen=True)
class Confusion:
    """`count` of the `support` images of one class were called class `predicted`."""

    predicted: int
    count: int
    support: int


def most_common_confusion(confusion: np.ndarray) -> tuple[Confusion | None, ...]:
    """For each class the wrong class its images are called most often; None if it has no images or no errors.

    Args:
        confusion: (7, 7) int. Of equally frequent errors the first in class order is named.
    """
    wrong = confusion * ~np.eye(N_CLASSES, dtype=bool)
    return tuple(
        Confusion(int(row.argmax()), int(row.max()), int(support)) if row.any() else None
        for row, support in zip(wrong, confusion.sum(1), strict=True)
    )


@dataclass(frozen=True, eq=False)
class Sweep:
    """Counts at every threshold of one class against the rest: an image is called positive if score >= threshold.

    Arrays (k,), thresholds falling from +inf (nothing called): true_positives and false_positives rise from 0.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    positives: int
    negatives: int

    @property
    def sensitivity(self) -> np.ndarray:
        """True positive rate, the recall (k,); NaN without positives."""
        return _ratio(self.true_positives, np.array(self.positives))

    @property
    def false_positive_rate(self) -> np.ndarray:
        """1 - specificity (k,); NaN without negatives."""
        return _ratio(self.false_positives, np.array(self.negatives))

    @property
    def precision(self) -> np.ndarray:
        """Share of the calls that are right (k,); NaN where nothing is called."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)


def sweep(positive: np.ndarray, scores: np.ndarray) -> Sweep:
    """Count at every distinct score, for ROC and precision-recall curves and their operating points.

    Args:
        positive: (n,) bool. scores: (n,) float.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.array([], int)
    tp = positive[order].cumsum()[last]
    return Sweep(
        thresholds=np.append(np.inf, ranked[last]),
        true_positives=np.append(0, tp),
        false_positives=np.append(0, last + 1 - tp),
        positives=int(positive.sum()),
        negatives=int((~positive).sum()),
    )


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN if nothing is left."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(-1), defined.sum(-1))


def _diagonal(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole as float64, NaN where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


@dataclass(frozen=True)
class Metric:
    """What people read for a metric's name, and what gives it.

    Attributes:
        name: the same on every page and in every model card.
        of_confusion: its function of confusion matrices; None for a metric that goes by scores.
        is_share: from 0 to 1, better when higher and written in percent; the others are 0 or more, better when lower
            and in the unit that the name says.
        mix: key of class_mix.AT, the class mix at which images are called and scored for it.
    """

    name: str
    of_confusion: Callable[[np.ndarray], np.ndarray] | None = None
    is_share: bool = True
    mix: str = HAM10000

    @property
    def label(self) -> str:
        """The name with the class mix: "Accuracy at HAM10000's mix"."""
        return f"{self.name} {AT[self.mix]}"

    def text(self, estimate: Estimate) -> str:
        """Return a value of it with its interval as a person reads it."""
        return percent_with_interval(estimate) if self.is_share else number_with_interval(estimate)

    @property
    def column(self) -> str:
        """The name, with the class mix only where that is the equal one: for a table that says so."""
        return self.name if self.mix == HAM10000 else self.label


OVERALL = {
    "accuracy": Metric("Accuracy", accuracy),
    "melanoma_recall": Metric("Melanoma recall", melanoma_recall),
    "macro_f1": Metric("Macro F1", macro_f1),
    "macro_auc": Metric("Macro AUC"),
    "cross_entropy": Metric("Cross-entropy (nats)", is_share=False),
    "ece": Metric("ECE, 15 bins", is_share=False),
    "balanced_accuracy": Metric("Balanced accuracy", balanced_accuracy, mix=EQUAL),
    "melanoma_recall_equal": Metric("Melanoma recall", melanoma_recall, mix=EQUAL),
}
"""One value for a set of images; the keys are those of metrics.json."""
PER_CLASS = {
    "recall_equal": Metric("Recall (sensitivity)", recall, mix=EQUAL),
    "recall": Metric("Recall (sensitivity)", recall),
    "precision": Metric("Precision", precision),
    "specificity": Metric("Specificity", specificity),
    "f1": Metric("F1", f1),
    "auc": Metric("AUC"),
    "average_precision": Metric("Average precision"),
}
"""One value for a class."""
MEANS = {"balanced_accuracy": "recall_equal", "macro_f1": "f1", "macro_auc": "auc"}
"""Key of OVERALL -> that of PER_CLASS of which it is the mean, over the classes with images."""
CALIBRATION = {
    "ece": OVERALL["ece"],
    "adaptive_ece": Metric("ECE, 15 bins of as many images each"),
    "classwise_ece": Metric("ECE, mean over the seven diagnoses"),
    "brier": Metric("Brier score", is_share=False),
    "nll": OVERALL["cross_entropy"],
}
"""What `calibration_error.measure` gives, by the keys of calibration.json; lower is better for all."""
UNLESS_SAID = f"{AT[HAM10000][0].upper()}{AT[HAM10000][1:]}, unless it says otherwise."
"""Said of a table whose heads are `Metric.column`."""
HEADLINE = {key: metric for key, metric in OVERALL.items() if metric.is_share}
"""What is shown first of a set of images."""
IN_BRIEF = (
    *("balanced_accuracy", "melanoma_recall_equal", "accuracy", "melanoma_recall"),
    *("macro_auc", "cross_entropy", "ece"),
)
"""The few of OVERALL that fit where a model is only introduced, the most telling one first, a share."""
ELSEWHERE = ("balanced_accuracy", "melanoma_recall_equal", "macro_auc")
"""Of OVERALL, what can be said of images of another archive: it does not go by how frequent a diagnosis is there."""
