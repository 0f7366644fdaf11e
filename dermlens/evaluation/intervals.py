"""95 % intervals that respect lesions: images of one lesion are resampled together.

Three methods, one rule (`summarise` applies it):

- the percentile bootstrap over lesions (Davison & Hinkley, Bootstrap Methods and their Application, 1997), for every
  metric;
- for a single proportion (recall, precision, specificity, accuracy) that rests on fewer than FEW_LESIONS lesions, or on
  fewer than RARE_LESIONS that are counted or that are not, the Wilson interval at the effective sample size that
  clustering leaves (Dean & Pagano, J Surv Stat Methodol 3:484, 2015): there the bootstrap is too narrow, or has no
  width at all. A class's F1 or average precision of exactly 0 or 1 gets the same bound from the class's own images;
- for a single AUC so near to 0 or 1 that the bootstrap reaches that bound, Newcombe's interval (`auc_interval`);
- for the balanced accuracy, whose classes may have a lesion or two, what the intervals of the recalls add up to
  (`interval_of_mean`); for the other means over classes, where the bootstrap has no width.

A replicate is a vector of weights, one a lesion: how often it was drawn. Metrics that come from a confusion matrix are
then one product of weights and per-lesion counts, and rank metrics use weighted ranks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array
from scipy.special import stdtrit

from dermlens.estimate import Estimate
from dermlens.evaluation import metrics
from dermlens.evaluation.bins import BINS, equal_width
from dermlens.evaluation.class_mix import EQUAL, HAM10000
from dermlens.evaluation.predictions import Predictions
from dermlens.labels import CLASSES, N_CLASSES

SEED = 20180815
REPLICATES = 1000
MANY_LESIONS = 50_000
FEW_LESIONS = 50
RARE_LESIONS = 10
FEW_ON_A_CURVE = 10
Z = 1.959963984540054
_BLOCK = 32
Ranks = Literal["all", "auc", "none"]


def lesion_weights(n_lesions: int, replicates: int, seed: int = SEED) -> Iterator[np.ndarray]:
    """Draw n_lesions lesions with replacement, `replicates` times.

    Yields:
        (n_lesions, r) float32 blocks, how often each lesion was drawn in each of r replicates; the r add up to
        `replicates`. Blocks are small enough to stay in the processor's cache.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, _BLOCK):
        r = min(_BLOCK, replicates - start)
        drawn = rng.integers(0, n_lesions, (r, n_lesions)) + n_lesions * np.arange(r)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=r * n_lesions).reshape(r, n_lesions)
        yield np.ascontiguousarray(counts.T, np.float32)


def bootstrap(
    predictions: Predictions, *, replicates: int | None = None, seed: int = SEED, ranks: Ranks = "all"
) -> dict[str, np.ndarray]:
    """Every metric of `metrics.measure` in every replicate.

    Two sets of predictions of the same images get the same draws, so their replicates may be subtracted.

    Args:
        replicates: default 1000; 200 beyond MANY_LESIONS lesions, where intervals are narrow whatever their noise.
        ranks: which rank metrics to compute, they take most of the time: "all", "auc" (auc and macro_auc) or "none".

    Returns:
        (replicates,) float64 for an overall metric, (replicates, 7) for a per-class one; NaN where a replicate has
        no image of the class.
    """
    p = predictions
    if replicates is None:
        replicates = REPLICATES if p.n_lesions <= MANY_LESIONS else REPLICATES // 5
    cells = {
        mix: _count(p.y_true * N_CLASSES + q.y_pred, p.lesion, (N_CLASSES**2, p.n_lesions))
        for mix, q in {HAM10000: p, EQUAL: p.at_equal_mix}.items()
    }
    probabilities = p.probabilities.max(1)
    gaps = np.zeros((BINS, p.n_lesions), np.float32)
    np.add.at(gaps, (equal_width(probabilities), p.lesion), probabilities - (p.y_pred == p.y_true))
    loss = np.bincount(p.lesion, metrics.losses(p.y_true, p.logits), p.n_lesions).astype(np.float32)
    tables = []
    for i, logp in enumerate(metrics.log_softmax(p.logits).T if ranks != "none" else ()):
        positive = p.y_true == i
        # Turned over, an AUC is the same and the table has as many rows as the smaller side has scores.
        turn = ranks == "auc" and positive.mean() > 0.5
        tables.append(rank_table(~positive, -logp, p.lesion) if turn else rank_table(positive, logp, p.lesion))
    blocks = []
    for weights in lesion_weights(p.n_lesions, replicates, seed):
        confusions = {mix: (own @ weights).T.reshape(-1, N_CLASSES, N_CLASSES) for mix, own in cells.items()}
        found = metrics.from_confusion(confusions)
        images = confusions[HAM10000].sum((1, 2), dtype=np.float64)
        found["cross_entropy"] = (loss @ weights) / images
        found["ece"] = np.abs(gaps @ weights).sum(0) / images
        if tables:
            both = [rank_metrics(table, weights, average_precision=ranks == "all") for table in tables]
            found["auc"] = np.stack([auc for auc, _ in both], -1)
            found["macro_auc"] = metrics.mean_defined(found["auc"])
            if ranks == "all":
                found["average_precision"] = np.stack([ap for _, ap in both], -1)
        blocks.append(found)
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


@dataclass(frozen=True, eq=False)
class RankTable:
    """Images by lesion, sorted once by score: sparse tables whose rows are the k distinct scores of the positives.

    `at` (k, n_lesions): positives with that score; `gap` (k + 1, n_lesions): negatives between the score before and
    this one, this one included; `tied` (k, n_lesions) the negatives with exactly that score, None if there are none.
    """

    at: csr_array
    gap: csr_array
    tied: csr_array | None


def rank_table(positive: np.ndarray, scores: np.ndarray, lesion: np.ndarray) -> RankTable:
    """Prepare `rank_metrics`. Args: positive (n,) bool, scores (n,) float, lesion (n,) int from 0."""
    n_lesions = int(lesion.max()) + 1 if len(lesion) else 0
    levels, level = np.unique(scores[positive], return_inverse=True)
    k, others, lesion_n = len(levels), scores[~positive], lesion[~positive]
    gap = np.searchsorted(levels, others, "left")
    tie = np.append(levels, np.nan)[gap] == others
    return RankTable(
        _count(level, lesion[positive], (k, n_lesions)),
        _count(gap, lesion_n, (k + 1, n_lesions)),
        _count(gap[tie], lesion_n[tie], (k, n_lesions)) if tie.any() else None,
    )


def rank_metrics(
    table: RankTable, weights: np.ndarray, *, average_precision: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """`metrics.roc_auc` and `metrics.average_precision` with every image counted as often as its lesion was drawn.

    Args:
        weights: (n_lesions, r) float32 counts.

    Returns:
        (r,) float64 each: AUC, NaN where positives or negatives have no weight, and average precision, NaN without
        positives (or everywhere, if it is not wanted).
    """
    at = table.at @ weights
    below = (table.gap @ weights).cumsum(0)
    positives, negatives = at.sum(0, dtype=np.float64), below[-1]
    below = below[:-1]
    tied = None if table.tied is None else table.tied @ weights
    with np.errstate(invalid="ignore"):
        better = below if tied is None else below - tied / 2
        auc = np.einsum("kr,kr->r", at, better, dtype=np.float64) / (positives * negatives)
        if not average_precision:
            return auc, np.full_like(auc, np.nan)
        true_positives = at[::-1].cumsum(0)[::-1]
        called = true_positives + (negatives - below) + (0 if tied is None else tied)
        steps = np.divide(true_positives, called, out=np.zeros_like(called), where=called > 0)
        return auc, np.einsum("kr,kr->r", at, steps, dtype=np.float64) / positives


@dataclass(frozen=True, eq=False)
class CurveBands:
    """95 % intervals of a ROC and a precision-recall curve at each of k places along them, from 0 to 1.

    Arrays (k,): of the sensitivity at that false positive rate, and of the precision at that recall.
    """

    at: np.ndarray
    sensitivity_low: np.ndarray
    sensitivity_high: np.ndarray
    precision_low: np.ndarray
    precision_high: np.ndarray


def curve_bands(
    positive: np.ndarray, scores: np.ndarray, lesion: np.ndarray, *, places: int = 101, replicates: int = 200
) -> CurveBands | None:
    """Bootstrap the curves of one class against the rest over lesions, place by place.

    Args:
        positive: (n,) bool. scores: (n,) float. lesion: (n,) int from 0.

    Returns:
        None with fewer than FEW_ON_A_CURVE lesions of either side, which say too little of a whole curve.
    """
    if min(len(np.unique(lesion[side])) for side in (positive, ~positive)) < FEW_ON_A_CURVE:
        return None
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    at = np.linspace(0, 1, places)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for weights in lesion_weights(int(lesion.max()) + 1, replicates):
        of_images = weights[lesion[order]].T.astype(np.float64)
        hits, alarms = ((of_images * side[order]).cumsum(1)[:, last] for side in (positive, ~positive))
        for tp, fp in zip(hits, alarms, strict=True):
            if tp[-1] and fp[-1]:
                rate, recall = np.append(0, fp / fp[-1]), np.append(0, tp / tp[-1])
                called = np.append(1, tp / np.maximum(tp + fp, 1))
                reached = np.searchsorted(recall, at.clip(1e-12) - 1e-12).clip(max=len(recall) - 1)
                found.append((recall[np.searchsorted(rate, at + 1e-12, "right") - 1], called[reached]))
    roc, precision = (percentile_interval(np.stack(side)) for side in zip(*found, strict=True))
    return CurveBands(at, *roc, *precision)


def percentile_interval(replicates: np.ndarray) -> np.ndarray:
    """Return (2, ...), the 2.5 % and 97.5 % percentiles over the first axis.

    NaN replicates are left out; NaN if none is left.
    """
    some = ~np.isnan(replicates).all(0)
    bounds = np.full((2, *replicates.shape[1:]), np.nan)
    bounds[:, some] = np.nanpercentile(replicates[:, some], (2.5, 97.5), axis=0)
    return bounds


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (JASA 22:209, 1927).

    Args:
        share: 0..1. n: the number of independent cases, or the effective number, > 0; NaN, NaN otherwise.
    """
    if not n > 0:
        return np.nan, np.nan
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At 0 and 1 the formula gives exactly that bound; rounding must not leave it.
    return (0.0 if share == 0 else float(middle - half)), (1.0 if share == 1 else float(middle + half))


def auc_interval(auc: float, positives: float, negatives: float) -> tuple[float, float]:
    """Newcombe's 95 % interval of an AUC, method 5 (Statistics in Medicine 25:559, 2006).

    As Wilson's it asks which true values make the measured one no surprise, by Hanley & McNeil's variance with both
    sample sizes replaced by their mean; it never leaves 0..1 and has a width at 0 and 1 too.

    Args:
        auc: 0..1. positives, negatives: independent cases, or their effective numbers, > 0; NaN, NaN otherwise.
    """
    if not (positives > 0 and negatives > 0 and 0 <= auc <= 1):
        return np.nan, np.nan
    from scipy.optimize import brentq  # a quarter of a second that the start of a server can do without

    more = (positives + negatives) / 2 - 1

    def surprise(true: float) -> float:
        spread = true * (1 - true) * (1 + more * ((1 - true) / (2 - true) + true / (1 + true)))
        return (auc - true) ** 2 - Z**2 * spread / (positives * negatives)

    # The bounds themselves never surprise an AUC that is one of them: the other root is looked for.
    low = 0.0 if auc == 0 else float(brentq(surprise, 0, min(auc, 1 - 1e-12)))
    high = 1.0 if auc == 1 else float(brentq(surprise, max(auc, 1e-12), 1))
    return low, high


def at_a_bound(low: float, high: float) -> bool:
    """Return whether a bootstrap interval of an AUC has reached 0 or 1, where it says too little."""
    return low <= 1e-9 or high >= 1 - 1e-9  # weights are counted in single precision


def effective_size(hit: np.ndarray, lesion: np.ndarray) -> float:
    """How many independent images carry as much information about a share as these clustered ones.

    n divided by the design effect, from the spread between lesions, less what Student's t allows for having few of
    them (Korn & Graubard, Survey Methodology 24:193, 1998); at a share of 0 or 1, where there is no spread, images of
    one lesion are taken for copies of each other (Kish, Survey Sampling, 1965). Never more than n.

    Args:
        hit: (n,) bool, what the share counts. lesion: (n,) int.
    """
    n = len(hit)
    if n == 0:
        return 0.0
    _, group = np.unique(lesion, return_inverse=True)
    sizes = np.bincount(group)
    share = hit.mean()
    if share in (0, 1) or len(sizes) == 1:
        return float(n**2 / (sizes**2).sum())
    residual = np.bincount(group, hit) - share * sizes
    variance = len(sizes) / (len(sizes) - 1) * (residual**2).sum() / n**2
    few = (stdtrit(n - 1, 0.975) / stdtrit(len(sizes) - 1, 0.975)) ** 2
    return float(min(n, few * share * (1 - share) / variance)) if variance > 0 else float(n)


def proportion(hit: np.ndarray, lesion: np.ndarray, replicates: np.ndarray | None = None) -> Estimate:
    """A share of images with its interval, by the rule in the head of this module.

    Args:
        hit: (n,) bool. lesion: (n,) int. replicates: the share in each bootstrap replicate; None always takes Wilson.
    """
    lesions = len(np.unique(lesion))
    if len(hit) == 0:
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    share = float(hit.mean())
    if replicates is None or _too_few(hit, lesion):
        low, high = wilson_interval(share, effective_size(hit, lesion))
    else:
        low, high = percentile_interval(replicates)
    return Estimate(share, float(low), float(high), len(hit), lesions)


def _too_few(hit: np.ndarray, lesion: np.ndarray) -> bool:
    """Return whether a bootstrap says too little of a share: few lesions, or few that are counted or are not."""
    sides = (len(np.unique(lesion[side])) for side in (hit, ~hit))
    return len(np.unique(lesion)) < FEW_LESIONS or min(sides) < RARE_LESIONS


def interval_of_mean(shares: Iterable[Estimate]) -> tuple[float, float]:
    """The 95 % interval of the mean of shares of different images, from their own intervals.

    Its limits lie as far from the mean as the root of the squared distances of theirs, over their number (Zou & Donner,
    "Construction of confidence limits about effect measures", Stat Med 27:1693, 2008). Shares that are NaN are left
    out; NaN, NaN without any.
    """
    known = np.array([(e.value, e.low, e.high) for e in shares if not np.isnan(e.value)])
    if not len(known):
        return np.nan, np.nan
    value, low, high = known.T
    below, above = (float(np.sqrt(((value - bound) ** 2).sum()) / len(known)) for bound in (low, high))
    return float(value.mean()) - below, float(value.mean()) + above


def resampled_mean(values: np.ndarray, lesion: np.ndarray, replicates: int = REPLICATES) -> np.ndarray:
    """The mean over images in every bootstrap replicate of their lesions.

    Args:
        values: (n,) or (n, k) float or bool. lesion: (n,) int.

    Returns:
        (replicates,) or (replicates, k) float64.
    """
    if len(values) == 0:
        return np.full((replicates, *values.shape[1:]), np.nan)
    _, group = np.unique(lesion, return_inverse=True)
    columns = values.reshape(len(values), -1).T
    sums = np.stack([np.bincount(group), *(np.bincount(group, column) for column in columns)], -1)
    draws = np.concatenate([w.T.astype(np.float64) @ sums for w in lesion_weights(len(sums), replicates)])
    return (draws[:, 1:] / draws[:, :1]).reshape(replicates, *values.shape[1:])


def share(hit: np.ndarray, lesion: np.ndarray) -> Estimate:
    """A share of images with its 95 % interval over lesions, by the rule in the head of this module.

    Args:
        hit: (n,) bool, what the share counts among these images. lesion: (n,) int.
    """
    return proportion(hit, lesion, None if _too_few(hit, lesion) else resampled_mean(hit, lesion))


def mean(values: np.ndarray, lesion: np.ndarray, replicates: np.ndarray | None = None) -> Estimate:
    """A mean over images with its 95 % interval, by bootstrap over lesions; NaN without an image.

    Args:
        values: (n,) float. lesion: (n,) int. replicates: as `resampled_mean` gives them, if they are known already.
    """
    if len(values) == 0:
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    low, high = percentile_interval(resampled_mean(values, lesion) if replicates is None else replicates)
    return Estimate(float(values.mean()), float(low), float(high), len(values), len(np.unique(lesion)))


@dataclass(frozen=True, eq=False)
class Summary:
    """The estimates of one split: `overall[key]`, `per_class[code][key]` and the confusion matrix (7, 7), rows true."""

    overall: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    confusion: np.ndarray
    """of the calls at HAM10000's mix"""
    class_mix: list[int] | None
    """(7,) counts, what HAM10000's mix is; None if the scores hold for no class mix and were not re-weighted"""

    def to_dict(self) -> dict:
        """Return the split's entry of metrics.json."""
        return {
            "class_mix": self.class_mix,
            **{name: estimate.to_dict() for name, estimate in self.overall.items()},
            "per_class": {
                code: {name: estimate.to_dict() for name, estimate in estimates.items()}
                for code, estimates in self.per_class.items()
            },
            "confusion": self.confusion.tolist(),
        }


def summarise(predictions: Predictions, *, replicates: int | None = None, seed: int = SEED) -> Summary:
    """Measure one split (or any selection of images) with 95 % intervals over its lesions.

    Args:
        predictions: at HAM10000's class mix. What is measured at the equal one re-weights them, if they can be.

    Returns:
        The metrics of OVERALL and PER_CLASS; n_images and n_lesions of recall, F1 and average precision count the
        class's own images, of precision the images called that class, of specificity the other classes' images.
    """
    p, equal = predictions, predictions.at_equal_mix
    value = metrics.measure(p.y_true, p.logits, equal.logits)
    draws = bootstrap(p, replicates=replicates, seed=seed)
    draws["ece"] = (draws["ece"] - draws["ece"].mean() + value["ece"]).clip(0)  # resampling adds to the gaps

    def percentile(name: str, rests_on: np.ndarray, i: int | None = None) -> Estimate:
        of_class = () if i is None else i
        low, high = percentile_interval(draws[name] if i is None else draws[name][:, i])
        v = float(np.asarray(value[name])[of_class])
        if name == "auc" and at_a_bound(low, high):
            sizes = (effective_size(side[side], p.lesion[side]) for side in (rests_on, ~rests_on))
            low, high = auc_interval(v, *sizes)
        elif v in (0, 1) and i is not None:
            low, high = wilson_interval(v, effective_size(rests_on[rests_on], p.lesion[rests_on]))
        lesions = len(np.unique(p.lesion[rests_on]))
        return Estimate(v, float(low), float(high), int(rests_on.sum()), lesions)

    right = p.y_true == p.y_pred
    everything = np.ones(len(p), bool)
    per_class = {}
    for i, code in enumerate(CLASSES):
        true, called = p.y_true == i, p.y_pred == i
        shares = {
            "recall_equal": (equal.y_pred == i, true),
            "recall": (called, true),
            "precision": (true, called),
            "specificity": (~called, ~true),
        }
        proportions = {
            name: proportion(hit[among], p.lesion[among], draws[name][:, i]) for name, (hit, among) in shares.items()
        }
        per_class[code] = {n: proportions[n] if n in shares else percentile(n, true, i) for n in metrics.PER_CLASS}
    overall = {name: percentile(name, everything) for name in metrics.OVERALL}
    overall["accuracy"] = proportion(right, p.lesion, draws["accuracy"])
    for name, of in metrics.MEANS.items():
        e = overall[name]
        if name == "balanced_accuracy" or e.low == e.high:
            low, high = interval_of_mean(found[of] for found in per_class.values() if found[of].n_images)
            overall[name] = Estimate(e.value, low, high, e.n_images, e.n_lesions)
    overall["melanoma_recall"] = per_class["mel"]["recall"]
    overall["melanoma_recall_equal"] = per_class["mel"]["recall_equal"]
    mix = None if p.class_mix is None else p.class_mix.tolist()
    return Summary(overall, per_class, metrics.confusion_matrix(p.y_true, p.y_pred), mix)


def _count(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Sparse float32 table of how often each (row, column) occurs."""
    return csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
