import numpy as np
import pytest
from scipy import stats

from dermlens.errors import DataError
from dermlens.evaluation.drift import BINS, FEW, LARGE, SMALL, Drift, of_kinds, of_numbers, stability_index


def test_the_index_by_hand() -> None:
    # p = (0.5, 0.5), q = (0.75, 0.25): 0.25 ln 1.5 - 0.25 ln 0.5
    assert stability_index([50, 50], [75, 25]) == pytest.approx(0.25 * np.log(1.5) - 0.25 * np.log(0.5))
    assert stability_index([10, 30], [20, 60]) == 0
    assert stability_index([3, 7], [6, 4]) == pytest.approx(stability_index([6, 4], [3, 7])), "it is symmetric"
    # an empty bin counts as half an image: q = (0.5, 20) / 20.5
    q = np.array([0.5, 20]) / 20.5
    assert stability_index([20, 20], [0, 20]) == pytest.approx(((q - 0.5) * np.log(q / 0.5)).sum())


def test_without_drift_the_index_stays_below_what_chance_gives_in_19_of_20_samples() -> None:
    rng = np.random.default_rng(0)
    found = [of_numbers(rng.normal(size=400), rng.normal(size=300)) for _ in range(400)]
    below = np.mean([drift.index <= drift.by_chance for drift in found])
    assert 0.91 < below < 0.98
    assert 0.02 < np.mean([drift.p_value < 0.05 for drift in found]) < 0.09
    assert found[0].by_chance == pytest.approx(stats.chi2.ppf(0.95, BINS - 1) * (1 / 300 + 1 / 400))


def test_a_shift_is_seen_and_named() -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(size=2000)
    small, middle, large = (of_numbers(reference, rng.normal(shift, size=2000)) for shift in (0.0, 0.4, 1.0))
    assert (small.verdict, middle.verdict, large.verdict) == ("like validation", "some drift", "drift")
    assert SMALL < middle.index < LARGE < large.index
    assert large.p_value < 1e-10
    assert large.statistic == pytest.approx(stats.ks_2samp(reference, rng.normal(1, size=2000)).statistic, abs=0.05)


def test_a_shift_of_a_normal_distribution_gives_the_divergence_that_theory_says() -> None:
    rng = np.random.default_rng(0)
    found = of_numbers(rng.normal(size=200_000), rng.normal(0.5, size=200_000))
    edges = stats.norm.ppf(np.linspace(0, 1, BINS + 1))
    q = np.diff(stats.norm.cdf(edges - 0.5))
    assert found.index == pytest.approx(((q - 0.1) * np.log(q / 0.1)).sum(), rel=0.03)


def test_kinds() -> None:
    same, other = (
        of_kinds(np.array([50, 30, 20]), np.array([100, 60, 40])),
        of_kinds(np.array([50, 50]), np.array([90, 10])),
    )
    assert same.index == same.statistic == 0
    assert same.p_value == pytest.approx(1)
    # chi-squared of (50, 50) against (90, 10) by hand: expected 70 and 30, 4 cells: 2 * 400/70 + 2 * 400/30
    assert other.statistic == pytest.approx(np.sqrt((2 * 400 / 70 + 2 * 400 / 30) / 200))
    assert other.verdict == "drift"
    assert of_kinds(np.array([40, 0]), np.array([50, 0])).p_value == 1


def test_ties_missing_values_and_too_few_of_them() -> None:
    zeros = of_numbers(np.zeros(50), np.r_[np.zeros(40), np.full(5, np.nan)])
    assert (zeros.index, zeros.n, zeros.m) == (0, 40, 50)
    assert of_numbers(np.zeros(50), np.ones(50)).verdict == "drift"
    with pytest.raises(DataError, match=f"{FEW} are needed on both sides, there are 5 here and 50 there"):
        of_numbers(np.zeros(50), np.zeros(5))
    with pytest.raises(DataError, match="there are 3 here and 0 there"):
        of_kinds(np.zeros(3), np.ones(3))
    assert Drift(0.3, 0.5, 0.1, 0.1, 40, 40).verdict == "too few to tell", "chance alone gives as much"
