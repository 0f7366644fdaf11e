"""Whether images of another place or time are like those a model was measured on: how far, and whether by chance.

The population stability index says how far two distributions are apart: the sum over bins of (q - p) ln(q / p), with
the bins that cut the reference into ten equal parts (Siddiqi, Credit Risk Scorecards, 2006; it is the symmetrised
Kullback-Leibler divergence). It does not grow with the number of images, but chance alone gives about (bins - 1) times
(1 / n + 1 / m), distributed as chi-squared (Yurdakul & Naranjo, J Risk Model Validation 14:4, 2020). The test of
Kolmogorov and Smirnov for two samples, or chi-squared for kinds, says whether chance alone explains the difference;
with many images it finds differences that matter to nobody, and several images of one lesion make its p-value too
small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dermlens.errors import DataError

BINS = 10
SMALL, LARGE = 0.1, 0.25
"""The usual limits of the index: up to the first there is little drift, above the second too much."""
LEVEL = 0.05
FEW = 30
"""Fewer values of one side say too little."""
MEANING = (
    f"The population stability index says how far the images are from those of validation: up to {SMALL} little, above "
    f"{LARGE} so far that what was measured there need not hold here. “By chance” is what 19 of 20 samples of this "
    "size stay below without any drift. The p-value says how often chance alone would give so large a difference; with "
    "many images it is small for differences that matter to nobody, so the index counts."
)


@dataclass(frozen=True)
class Drift:
    """How far one quantity of n new images is from that of m reference images."""

    index: float
    """population stability index, >= 0"""
    by_chance: float
    """what the index stays below in 95 % of samples of this size without drift"""
    statistic: float
    """of the two-sample test, 0..1: the largest gap between the distribution functions; of kinds Cramér's V"""
    p_value: float
    n: int
    m: int

    @property
    def verdict(self) -> str:
        """One of "like validation", "too few to tell", "some drift", "drift"."""
        if self.index <= SMALL:
            return "like validation"
        if self.index <= self.by_chance:
            return "too few to tell"
        return "drift" if self.index > max(LARGE, self.by_chance) else "some drift"


def of_numbers(reference: np.ndarray, new: np.ndarray) -> Drift:
    """Compare a measured quantity.

    Args:
        reference: (m,) float. new: (n,) float. NaN is left out.

    Raises:
        DataError: one side has fewer than FEW values.
    """
    reference, new = (side[~np.isnan(side)] for side in (reference, new))
    _check(len(reference), len(new))
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, side), minlength=len(edges) + 1) for side in (reference, new)]
    test = stats.ks_2samp(reference, new, method="asymp")
    return _drift(counts[0], counts[1], float(test.statistic), float(test.pvalue))


def of_kinds(reference: np.ndarray, new: np.ndarray) -> Drift:
    """Compare how often each kind occurs, such as each call.

    Args:
        reference: (k,) counts. new: (k,) counts of the same kinds.

    Raises:
        DataError: as `of_numbers`.
    """
    reference, new = np.asarray(reference), np.asarray(new)
    _check(int(reference.sum()), int(new.sum()))
    table = np.stack([reference, new])
    table = table[:, table.sum(0) > 0]
    if table.shape[1] == 1:
        return _drift(table[0], table[1], 0.0, 1.0)
    test = stats.chi2_contingency(table, correction=False)
    return _drift(table[0], table[1], float(np.sqrt(test.statistic / table.sum())), float(test.pvalue))


def stability_index(reference: Sequence[float] | np.ndarray, new: Sequence[float] | np.ndarray) -> float:
    """Return the population stability index of two histograms over the same bins.

    A bin that is empty on one side counts as half an image there, as else its logarithm would not exist.

    Args:
        reference, new: (k,) counts.
    """
    both = np.array([reference, new], float)
    p, q = np.where(both > 0, both, 0.5)[:, both.sum(0) > 0]
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def _drift(reference: np.ndarray, new: np.ndarray, statistic: float, p_value: float) -> Drift:
    n, m = int(new.sum()), int(reference.sum())
    bins = max(1, len(reference) - 1)
    chance = float(stats.chi2.ppf(1 - LEVEL, bins) * (1 / n + 1 / m))
    return Drift(stability_index(reference, new), chance, statistic, p_value, n, m)


def _check(m: int, n: int) -> None:
    if min(m, n) < FEW:
        raise DataError(
            f"Too few images to compare: {FEW} are needed on both sides, there are {n:,} here and {m:,} there."
        )
