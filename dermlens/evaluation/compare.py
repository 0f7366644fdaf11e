"""Do two trained networks really differ on the same images? Paired differences, tests, and the cases that decide it.

A difference is always A minus B, each metric at its class mix (`evaluation.class_mix`). Everything is paired: the
bootstrap draws the same lesions for both, the permutation test swaps the two answers of whole lesions, McNemar's test
looks at one image per lesion.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import bdtr

from dermlens.errors import DataError
from dermlens.evaluation import metrics
from dermlens.evaluation.intervals import SEED, bootstrap, effective_size, percentile_interval, wilson_interval
from dermlens.evaluation.prediction_formats import LESIONS
from dermlens.evaluation.predictions import Predictions
from dermlens.labels import CLASSES, MELANOMA, N_CLASSES

PERMUTATIONS = 4999
_BLOCK = 2_000_000
_SHARES = ("accuracy", "melanoma_recall", "melanoma_recall_equal")
"""Metrics that are the share of some images that is called rightly."""


@dataclass(frozen=True)
class Difference:
    """A metric of both models and of A minus B with its 95 % interval; NaN where the data cannot give it."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    """two-sided permutation test over lesions; NaN for a metric that is not tested (F1, AUC)"""
    p_holm: float
    """per class: p with Holm's correction for the classes tested; otherwise p"""
    n_images: int
    n_lesions: int


@dataclass(frozen=True)
class McNemar:
    """One image of each lesion: how many only A and only B gets right, and the exact two-sided p."""

    only_a: int
    only_b: int
    n_lesions: int
    p: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on the images both have answered."""

    a: Predictions
    b: Predictions
    """both (n), the same image in the same row"""
    left_out: int
    """images that only one of the two has answered"""
    overall: dict[str, Difference]
    """by key of OVERALL, without the calibration error"""
    recall: dict[str, Difference]
    """by class code, at the equal mix: their mean is that of balanced accuracy"""
    mcnemar: McNemar
    confusion: np.ndarray
    """(7, 7) int64, A's confusion matrix minus B's, rows true"""
    only_a: np.ndarray
    """(k,) int64 rows that only A gets right"""
    only_b: np.ndarray


def align(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions, int]:
    """Bring two models' predictions onto their common images, in A's order.

    Where one of the two files names no lesions, the other's hold for both.

    Returns:
        A's and B's rows, and the number of images that only one of them has.

    Raises:
        DataError: there is no common image, or the two files disagree on an image's true class, lesion or split.
    """
    order = {image: row for row, image in enumerate(b.image_id)}
    rows_a = np.array([row for row, image in enumerate(a.image_id) if image in order], int)
    if len(rows_a) == 0:
        raise DataError("The two models share no image: nothing can be compared. Choose models of the same data.")
    rows_b = np.array([order[image] for image in a.image_id[rows_a]], int)
    left, right = a.select(rows_a), b.select(rows_b)
    if LESIONS in left.assumed and LESIONS not in right.assumed:
        left = _with_lesions_of(right, left)
    elif LESIONS in right.assumed and LESIONS not in left.assumed:
        right = _with_lesions_of(left, right)
    for name, what in (("y_true", "true class"), ("lesion_id", "lesion"), ("split", "split")):
        wrong = np.flatnonzero(getattr(left, name) != getattr(right, name))
        if len(wrong):
            raise DataError(
                f"The two predictions files name another {what} for {len(wrong)} of their common images, the first "
                f"is {left.image_id[wrong[0]]}: they cannot be compared."
            )
    return left, right, len(a) + len(b) - 2 * len(left)


def _with_lesions_of(known: Predictions, other: Predictions) -> Predictions:
    assumed = tuple(name for name in other.assumed if name != LESIONS)
    return replace(other, lesion_id=known.lesion_id, assumed=assumed)


def compare(a: Predictions, b: Predictions, *, replicates: int | None = None, seed: int = SEED) -> Comparison:
    """Compare two models on one split (or any selection of images).

    Args:
        a, b: predictions of both models, restricted to the split; images that one of them lacks are left out.
        replicates: of the bootstrap, see `intervals.bootstrap`.

    Raises:
        DataError: as `align`.
    """
    a, b, left_out = align(a, b)
    value_a, value_b = (metrics.measure(x.y_true, x.logits, x.at_equal_mix.logits) for x in (a, b))
    draws_a, draws_b = (bootstrap(x, replicates=replicates, seed=seed, ranks="auc") for x in (a, b))
    p_values = permutation_tests(a, b, seed=seed)
    p_holm = holm(p_values["recall"])

    def difference(name: str, p: float, p_holm: float, rests_on: np.ndarray, i: int | None = None) -> Difference:
        of_class = () if i is None else i
        x, y = (float(np.asarray(value[name])[of_class]) for value in (value_a, value_b))
        draws = draws_a[name] - draws_b[name]
        low, high = percentile_interval(draws if i is None else draws[:, i])
        one = np.array_equal(a.logits[rests_on], b.logits[rests_on])
        if (
            low == high == 0 and (i is not None or name in _SHARES) and not one
        ):  # right on the same images; on others they need not be
            high = wilson_interval(0.0, effective_size(np.zeros(int(rests_on.sum()), bool), a.lesion[rests_on]))[1]
            low = -high
        lesions = len(np.unique(a.lesion[rests_on]))
        return Difference(x, y, x - y, float(low), float(high), p, p_holm, int(rests_on.sum()), lesions)

    overall = {}
    for name in (n for n in metrics.OVERALL if n != "ece"):  # an error is never 0 by chance alone: no difference
        rests_on = a.y_true == MELANOMA if name.startswith("melanoma_recall") else np.ones(len(a), bool)
        p = float(p_values.get(name, np.nan))
        overall[name] = difference(name, p, p, rests_on)
    recall = {
        code: difference("recall_equal", float(p_values["recall"][i]), float(p_holm[i]), a.y_true == i, i)
        for i, code in enumerate(CLASSES)
    }
    right_a, right_b = a.y_pred == a.y_true, b.y_pred == b.y_true
    return Comparison(
        a=a,
        b=b,
        left_out=left_out,
        overall=overall,
        recall=recall,
        mcnemar=mcnemar(right_a, right_b, a),
        confusion=metrics.confusion_matrix(a.y_true, a.y_pred) - metrics.confusion_matrix(b.y_true, b.y_pred),
        only_a=np.flatnonzero(right_a & ~right_b),
        only_b=np.flatnonzero(right_b & ~right_a),
    )


def disagreement(probabilities: np.ndarray) -> np.ndarray:
    """Return how far m models' answers to each of n images lie apart: the mean total variation distance of two of them.

    Args:
        probabilities: (m, n, 7), m >= 2.

    Returns:
        (n,) float64, 0 where all say the same to 1 where no two share any probability.
    """
    pairs = [(i, j) for i in range(len(probabilities)) for j in range(i)]
    return np.mean([np.abs(probabilities[i] - probabilities[j]).sum(1) / 2 for i, j in pairs], axis=0)


def hardness(probabilities: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Return how hard each of n images is for m models: the mean of -log p(true class), (n,) float64 in nats.

    Args:
        probabilities: (m, n, 7). y_true: (n,) int.
    """
    return -np.log(probabilities[:, np.arange(len(y_true)), y_true].clip(1e-12)).mean(0)


def mcnemar(right_a: np.ndarray, right_b: np.ndarray, predictions: Predictions) -> McNemar:
    """McNemar's exact test (Psychometrika 12:153, 1947) on the first image, by id, of every lesion.

    Args:
        right_a, right_b: (n,) bool. predictions: of the same images, for their lesions.
    """
    order = np.lexsort((predictions.image_id.astype(str), predictions.lesion))
    first = order[np.append(True, np.diff(predictions.lesion[order]) > 0)]
    only_a = int((right_a & ~right_b)[first].sum())
    only_b = int((right_b & ~right_a)[first].sum())
    n = only_a + only_b
    p = min(1.0, 2 * float(bdtr(min(only_a, only_b), n, 0.5))) if n else 1.0
    return McNemar(only_a, only_b, len(first), p)


def permutation_tests(
    a: Predictions, b: Predictions, *, permutations: int = PERMUTATIONS, seed: int = SEED
) -> dict[str, np.ndarray]:
    """Two-sided p of the differences that are sums over images, if A and B were the same.

    Args:
        a, b: aligned predictions.

    Returns:
        accuracy, balanced_accuracy, melanoma_recall, melanoma_recall_equal, cross_entropy: () float64; recall, at the
        equal mix: (7,). NaN without images.
    """
    gain, equal_gain = _gain(a, b), _gain(a.at_equal_mix, b.at_equal_mix)
    support = np.bincount(a.y_true, minlength=N_CLASSES)
    of_class = equal_gain[:, None] * np.eye(N_CLASSES)[a.y_true]
    loss = metrics.losses(a.y_true, a.logits) - metrics.losses(b.y_true, b.logits)
    melanoma = gain * (a.y_true == MELANOMA)
    columns = np.column_stack([gain, equal_gain / support[a.y_true], loss, melanoma, of_class])
    by_lesion = np.stack([np.bincount(a.lesion, column, a.n_lesions) for column in columns.T], 1)
    p = swap_test(by_lesion, permutations, seed)
    recall = np.where(support > 0, p[4:], np.nan)
    return {
        "accuracy": p[0],
        "balanced_accuracy": p[1],
        "cross_entropy": p[2],
        "melanoma_recall": p[3] if support[MELANOMA] else np.float64(np.nan),
        "melanoma_recall_equal": recall[MELANOMA],
        "recall": recall,
    }


def _gain(a: Predictions, b: Predictions) -> np.ndarray:
    """Return 1 for an image that only A gets right, -1 for one that only B does, 0 for any other, (n,) float64."""
    return (a.y_pred == a.y_true).astype(float) - (b.y_pred == b.y_true)


def swap_test(differences: np.ndarray, permutations: int = PERMUTATIONS, seed: int = SEED) -> np.ndarray:
    """Two-sided p of each column's sum when the sign of every row may as well be the other.

    The observed arrangement counts as one of the permutations, so p is never 0 (Phipson & Smyth, Stat Appl Genet Mol
    Biol 9:39, 2010).

    Args:
        differences: (n_lesions, k) float, A minus B summed over each lesion.

    Returns:
        (k,) float64; 1 where nothing differs.
    """
    rows = differences[(differences != 0).any(1)]
    total = rows.sum(0)
    # Rounding must not turn an arrangement as extreme as the observed one into a less extreme one.
    limit = np.abs(total) - 1e-6 * np.abs(rows).sum(0)
    rng = np.random.default_rng(seed)
    extreme = np.ones(differences.shape[1])
    step = max(1, _BLOCK // max(1, len(rows)))
    for start in range(0, permutations, step):
        size = (min(step, permutations - start), len(rows))
        swapped = rng.integers(0, 2, size, dtype=np.int8).astype(np.float32)
        sums = total - 2 * (swapped @ rows.astype(np.float32)).astype(np.float64)
        extreme += (np.abs(sums) >= limit).sum(0)
    return extreme / (permutations + 1)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction (Scand J Stat 6:65, 1979) of (k,) p values; NaN stays NaN and is not counted."""
    corrected = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return corrected
