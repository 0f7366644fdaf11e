"""Intervals: they cover as often as they say, respect lesions, and depend on nothing they should not."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.evaluation import intervals, metrics
from dermlens.evaluation.intervals import (
    FEW_LESIONS,
    Z,
    auc_interval,
    bootstrap,
    effective_size,
    interval_of_mean,
    lesion_weights,
    mean,
    percentile_interval,
    proportion,
    rank_metrics,
    rank_table,
    resampled_mean,
    share,
    summarise,
    wilson_interval,
)
from dermlens.evaluation.metrics import OVERALL, PER_CLASS
from dermlens.evaluation.predictions import Predictions, make_predictions
from dermlens.labels import CLASSES


def draw(seed: int = 0, n: int = 400, lesions: int = 300, classes: int = 7, decimals: int = 6) -> Predictions:
    rng = np.random.default_rng(seed)
    lesion = rng.integers(0, lesions, n)
    y = rng.integers(0, classes, lesions)[lesion]
    logits = rng.normal(0, 1.5, (n, 7)) + rng.normal(0, 1, (lesions, 7))[lesion]
    logits[np.arange(n), y] += 2
    ids = [f"I{i:05}" for i in range(n)]
    return make_predictions(ids, [f"L{i:04}" for i in lesion], "test", y, logits.round(decimals))


def test_each_replicate_draws_as_many_lesions_as_there_are() -> None:
    blocks = list(lesion_weights(50, 70))
    weights = np.concatenate(blocks, 1)
    assert weights.shape == (50, 70)
    assert (weights.sum(0) == 50).all()
    assert np.array_equal(weights, np.concatenate(list(lesion_weights(50, 70)), 1))
    assert not np.array_equal(weights[:, 0], weights[:, 1])
    assert not np.array_equal(weights, np.concatenate(list(lesion_weights(50, 70, seed=1)), 1))


@pytest.mark.parametrize("decimals", [0, 6])
def test_a_replicate_is_what_measuring_the_repeated_rows_gives(decimals: int) -> None:
    p = draw(decimals=decimals, n=200, lesions=120)  # 0: with many ties
    draws = bootstrap(p, replicates=3)
    weights = np.concatenate(list(lesion_weights(p.n_lesions, 3)), 1).astype(int)
    for r in range(3):
        rows = np.repeat(np.arange(len(p)), weights[p.lesion, r])
        direct = metrics.measure(p.y_true[rows], p.logits[rows])
        assert direct.keys() == draws.keys()
        for name, value in direct.items():
            np.testing.assert_allclose(draws[name][r], value, rtol=1e-5, err_msg=name)


def test_a_replicate_without_a_class_leaves_it_out() -> None:
    p = draw(n=40, lesions=25)
    draws = bootstrap(p, replicates=400)
    gone = np.isnan(draws["recall"])
    assert gone.any()
    assert (np.isnan(draws["auc"]) == gone).all()
    assert not np.isnan(draws["balanced_accuracy"]).any()


def test_leaving_out_rank_metrics_changes_no_other() -> None:
    p = draw()
    every, some, auc = (bootstrap(p, replicates=20, ranks=r) for r in ("all", "none", "auc"))
    assert set(every) - set(some) == {"auc", "average_precision", "macro_auc"}
    assert set(every) - set(auc) == {"average_precision"}
    for name, value in {**some, **auc}.items():
        np.testing.assert_allclose(value, every[name], rtol=1e-5, err_msg=name)


def test_auc_from_the_smaller_side_is_the_same() -> None:
    p = draw(classes=2)  # one class has more than half
    many = p.select(np.flatnonzero((p.y_true == 0) | (np.arange(len(p)) % 4 == 0)))
    assert (many.y_true == 0).mean() > 0.5
    a, b = bootstrap(many, replicates=10, ranks="auc"), bootstrap(many, replicates=10)
    np.testing.assert_allclose(a["auc"], b["auc"], rtol=1e-5)


def test_rank_metrics_of_unit_weights_are_the_plain_ones() -> None:
    p = draw(3, decimals=1)
    positive, scores = p.y_true == 1, p.logits[:, 1]
    auc, ap = rank_metrics(rank_table(positive, scores, p.lesion), np.ones((p.n_lesions, 1), np.float32))
    assert auc[0] == pytest.approx(metrics.roc_auc(positive, scores), rel=1e-6)
    assert ap[0] == pytest.approx(metrics.average_precision(positive, scores), rel=1e-5)


def test_percentiles_leave_out_what_is_not_a_number() -> None:
    draws = np.stack([np.arange(101.0), np.full(101, np.nan)], 1)
    draws[:1, 0] = np.nan
    low, high = percentile_interval(draws)
    assert (low[0], high[0]) == pytest.approx((1 + 0.025 * 99, 1 + 0.975 * 99))
    assert np.isnan([low[1], high[1]]).all()


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (7, 23), (23, 23), (540, 1000)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson_interval(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_needs_cases() -> None:
    assert np.isnan(wilson_interval(0.5, 0)).all()


def test_effective_size_counts_copies_once_and_independent_images_fully() -> None:
    rng = np.random.default_rng(0)
    hit = rng.random(400) < 0.7
    assert effective_size(hit, np.arange(400)) == pytest.approx(400, rel=0.01)
    assert effective_size(np.repeat(hit, 3), np.repeat(np.arange(400), 3)) == pytest.approx(400, rel=0.01)
    assert effective_size(np.ones(12, bool), np.repeat(np.arange(4), 3)) == 4
    assert effective_size(np.array([], bool), np.array([], int)) == 0


def test_a_perfect_small_class_gets_an_interval_with_width() -> None:
    found = proportion(np.ones(11, bool), np.arange(11), np.ones(1000))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(11 / (11 + 1.959963984540054**2))


@pytest.mark.parametrize(("k", "high"), [(0, 0.048), (1, 0.071), (2, 0.091), (3, 0.110)])
def test_one_more_of_a_rare_event_raises_the_upper_limit(k: int, high: float) -> None:
    hit = np.arange(76) < k
    found = share(hit, np.arange(76))
    assert found.high == pytest.approx(binomtest(k, 76).proportion_ci(method="wilson").high, abs=0.005)
    assert found.high == pytest.approx(high, abs=0.005)
    assert share(~hit, np.arange(76)).low == pytest.approx(1 - found.high)
    assert found.low > 0 or k == 0


def test_rare_events_are_covered_as_often_as_promised() -> None:
    """By enumeration: of 76 independent lesions each is missed with 4 %; the percentile bootstrap covers 85 %."""
    covered = 0.0
    for k in range(77):
        found = share(np.arange(76) < k, np.arange(76)) if k < 15 else None
        if found is not None and found.low <= 0.04 <= found.high:
            covered += binom.pmf(k, 76, 0.04)
    assert covered >= 0.94


def test_a_mean_of_shares_by_hand() -> None:
    shares = [Estimate(1.0, 0.5, 1.0, 4, 4), Estimate(0.8, 0.5, 0.9, 9, 9), Estimate(np.nan, np.nan, np.nan, 0, 0)]
    low, high = interval_of_mean(shares)
    assert low == pytest.approx(0.9 - np.sqrt(0.5**2 + 0.3**2) / 2)
    assert high == pytest.approx(0.9 + 0.1 / 2)
    assert np.isnan(interval_of_mean(shares[2:])).all()


def test_classes_of_one_lesion_that_are_all_right_leave_the_balanced_accuracy_uncertain() -> None:
    y = np.array([0, 1, 2, 3, 4, 4, 5, 5, 6])
    logits = np.where(np.eye(7)[y] == 1, 5.0, 0.0)
    p = make_predictions([f"I{i}" for i in range(9)], [f"L{i}" for i in range(9)], "test", y, logits)
    s = summarise(p, replicates=100)
    alone, pair = wilson_interval(1, 1)[0], wilson_interval(1, 2)[0]
    expected = 1 - np.sqrt(5 * (1 - alone) ** 2 + 2 * (1 - pair) ** 2) / 7
    for name in ("balanced_accuracy", "macro_f1"):
        assert (s.overall[name].value, s.overall[name].high) == (1, 1)
        assert s.overall[name].low == pytest.approx(expected)
    assert s.overall["macro_auc"].low < 1


def test_nothing_to_count_has_no_estimate() -> None:
    found = proportion(np.array([], bool), np.array([], int), np.full(10, np.nan))
    assert found.to_dict() == {"value": None, "low": None, "high": None, "n_images": 0, "n_lesions": 0}


def test_summary_has_every_figure_inside_its_interval_and_counts_what_it_rests_on() -> None:
    p = draw()
    s = summarise(p, replicates=200)
    assert tuple(s.overall) == tuple(OVERALL)
    assert tuple(s.per_class) == CLASSES
    assert all(tuple(estimates) == tuple(PER_CLASS) for estimates in s.per_class.values())
    value = metrics.measure(p.y_true, p.logits)
    for name, estimate in s.overall.items():
        assert estimate.value == pytest.approx(value[name])
        assert estimate.low < estimate.value < estimate.high
    for i, (code, estimates) in enumerate(s.per_class.items()):
        for name, estimate in estimates.items():
            assert estimate.value == pytest.approx(np.asarray(value[name])[i]), (code, name)
            assert estimate.low <= estimate.value <= estimate.high
        assert estimates["recall"].n_images == (p.y_true == i).sum()
        assert estimates["recall"].n_lesions == len(set(p.lesion_id[p.y_true == i]))
        assert estimates["precision"].n_images == (p.y_pred == i).sum()
        assert estimates["specificity"].n_images == (p.y_true != i).sum()
    assert (s.overall["accuracy"].n_images, s.overall["accuracy"].n_lesions) == (len(p), p.n_lesions)
    assert s.overall["melanoma_recall"] == s.per_class["mel"]["recall"]


def test_summary_with_a_class_absent_says_so() -> None:
    s = summarise(draw(classes=6), replicates=100)
    absent = s.per_class["vasc"]["recall"]
    assert absent.to_dict() == {"value": None, "low": None, "high": None, "n_images": 0, "n_lesions": 0}
    assert np.isnan(s.per_class["vasc"]["auc"].low)
    assert s.overall["balanced_accuracy"].low < s.overall["balanced_accuracy"].value
    assert s.to_dict()["per_class"]["vasc"]["auc"]["value"] is None


def test_perfect_ranks_have_an_interval_with_width() -> None:
    p = draw(n=100, lesions=80)
    perfect = make_predictions(p.image_id, p.lesion_id, "test", p.y_true, np.eye(7)[p.y_true] * 9)
    for estimates in summarise(perfect, replicates=50).per_class.values():
        for estimate in estimates.values():
            assert estimate.value == estimate.high == 1
            assert 0.5 < estimate.low < 1


def test_order_of_rows_changes_no_interval() -> None:
    p = draw()
    shuffled = p.select(np.random.default_rng(1).permutation(len(p)))
    a, b = (summarise(x, replicates=100) for x in (p, shuffled))
    for name in OVERALL:
        assert b.overall[name].to_dict() == pytest.approx(a.overall[name].to_dict(), abs=2e-6)
    for code in CLASSES:
        for name in PER_CLASS:
            x, y = a.per_class[code][name].to_dict(), b.per_class[code][name].to_dict()
            assert y == pytest.approx(x, abs=2e-6)


def test_copies_inside_lesions_add_images_and_no_certainty() -> None:
    p = draw()
    rows = np.repeat(np.arange(len(p)), 3)
    ids = [f"I{i:06}" for i in range(len(rows))]
    copied = make_predictions(ids, p.lesion_id[rows], "test", p.y_true[rows], p.logits[rows])
    once, thrice = summarise(p, replicates=100), summarise(copied, replicates=100)
    for name in OVERALL:
        a, b = once.overall[name], thrice.overall[name]
        # Wilson's interval counts degrees of freedom, so it is not exactly the same.
        assert (b.low, b.high) == pytest.approx(
            (a.low, a.high), rel=0.01 if name.startswith(("melanoma", "balanced")) else 1e-4
        )
        assert (b.n_images, b.n_lesions) == (3 * a.n_images, a.n_lesions)


def test_copies_as_new_lesions_narrow_the_interval_by_the_root_of_their_number() -> None:
    p = draw()
    rows = np.repeat(np.arange(len(p)), 4)
    lesions = [f"{p.lesion_id[r]}-{i % 4}" for i, r in enumerate(rows)]
    more = make_predictions([f"I{i:06}" for i in range(len(rows))], lesions, "test", p.y_true[rows], p.logits[rows])
    for name in ("accuracy", "macro_auc", "cross_entropy"):
        a, b = (summarise(x, replicates=1000).overall[name] for x in (p, more))
        assert (b.high - b.low) / (a.high - a.low) == pytest.approx(0.5, abs=0.07), name


def alike(seed: int) -> Predictions:
    """One small data set of a law under which images of one lesion are alike."""
    rng = np.random.default_rng(seed)
    lesion = np.repeat(np.arange(120), rng.choice([1, 2, 4], 120, p=[0.6, 0.25, 0.15]))
    y = rng.choice([1, 4, 5], 120, p=[0.25, 0.25, 0.5])[lesion]
    n = len(lesion)
    logits = np.full((n, 7), -9.0)
    logits[:, [1, 4, 5]] = rng.normal(0, 0.5, (n, 3)) + rng.normal(0, 1.2, (120, 3))[lesion]
    logits[np.arange(n), y] += 1.2
    return make_predictions([f"I{i:04}" for i in range(n)], [f"L{i:03}" for i in lesion], "test", y, logits)


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    names = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "cross_entropy")
    measured = [metrics.measure(p.y_true, p.logits) for p in map(alike, range(1000, 1400))]
    truth = {name: np.mean([m[name] for m in measured]) for name in names}
    inside = dict.fromkeys(names, 0)
    for seed in range(200):
        draws = bootstrap(alike(seed), replicates=200, ranks="auc")
        for name in names:
            low, high = percentile_interval(draws[name])
            inside[name] += bool(low <= truth[name] <= high)
    assert all(0.90 <= count / 200 <= 0.99 for count in inside.values()), inside


def test_small_classes_are_covered_by_wilson_at_the_effective_size() -> None:
    rng = np.random.default_rng(5)
    clustered, by_image, n = 0, 0, 600
    for _ in range(n):
        lesion = np.repeat(np.arange(20), rng.choice([1, 3, 6], 20))
        hit = rng.random(len(lesion)) < rng.beta(1.6, 0.4, 20)[lesion]
        found = proportion(hit, lesion)
        clustered += found.low <= 0.8 <= found.high
        low, high = wilson_interval(hit.mean(), len(hit))
        by_image += low <= 0.8 <= high
    assert clustered / n >= 0.92
    assert by_image / n < 0.87  # what counting images as independent would give


def test_a_share_and_a_mean_have_the_intervals_of_resampled_rows() -> None:
    p = draw(n=200, lesions=120)
    values = np.stack([p.logits[:, 0], p.logits[:, 1] > 0], 1)
    replicates = resampled_mean(values, p.lesion, 3)
    weights = np.concatenate(list(lesion_weights(p.n_lesions, 3)), 1).astype(int)
    for r in range(3):
        rows = np.repeat(np.arange(len(p)), weights[p.lesion, r])
        np.testing.assert_allclose(replicates[r], values[rows].mean(0))
    hit = p.y_pred == p.y_true
    draws = resampled_mean(hit, p.lesion)
    assert share(hit, p.lesion) == proportion(hit, p.lesion, draws)
    assert not hit.all()
    few = p.lesion < FEW_LESIONS - 1
    assert share(hit[few], p.lesion[few]) == proportion(hit[few], p.lesion[few])
    found = mean(values[:, 0], p.lesion)
    assert (found.value, found.n_images, found.n_lesions) == (values[:, 0].mean(), 200, p.n_lesions)
    assert found.low == pytest.approx(np.percentile(resampled_mean(values[:, 0], p.lesion), 2.5))


def test_a_mean_of_nothing_is_not_a_number() -> None:
    assert mean(np.array([]), np.array([], int)).to_dict()["value"] is None
    assert np.isnan(resampled_mean(np.zeros((0, 2)), np.array([], int), 5)).all()


def test_a_figure_survives_being_written_and_read() -> None:
    estimate = Estimate(0.25, np.nan, 0.5, 12, 9)
    assert Estimate.from_dict(estimate.to_dict()).to_dict() == estimate.to_dict()
    for broken in (None, [1], {"value": 1}, {**estimate.to_dict(), "low": "x"}):
        with pytest.raises(DataError, match="value, low, high"):
            Estimate.from_dict(broken)


@pytest.mark.parametrize(
    ("auc", "m", "n"), [(0.7, 30, 60), (0.9, 20, 20), (0.99, 12, 400), (1.0, 30, 1000), (0.0, 5, 5)]
)
def test_the_ends_of_an_auc_are_where_it_is_just_no_surprise(auc: float, m: int, n: int) -> None:
    low, high = auc_interval(auc, m, n)
    assert 0 <= low <= auc <= high <= 1
    assert high > low

    def variance(true: float) -> float:
        more = (m + n) / 2 - 1
        return true * (1 - true) * (1 + more * ((1 - true) / (2 - true) + true / (1 + true))) / (m * n)

    for end in (low, high):
        if 0 < end < 1:
            assert abs(auc - end) == pytest.approx(Z * np.sqrt(variance(end)), rel=1e-6)
    mirrored = auc_interval(1 - auc, m, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6), "which class is called positive does not matter"


def test_an_auc_without_one_of_its_sides_has_no_interval() -> None:
    assert np.isnan(auc_interval(1.0, 0, 5)).all()
    assert np.isnan(auc_interval(np.nan, 5, 5)).all()


def test_classes_told_apart_nearly_or_wholly_get_like_intervals() -> None:
    """The lower end must not fall because one more pair is in order."""
    rng = np.random.default_rng(0)
    y = np.r_[np.full(20, 6), np.full(300, 5)]
    ids = [f"I{i}" for i in range(len(y))]
    ends = []
    for mistakes in (0, 1):
        logits = np.zeros((len(y), 7))
        logits[:, 6] = np.r_[rng.uniform(2, 3, 20), rng.uniform(0, 1, 300)]
        logits[20 : 20 + mistakes, 6] = 2.5
        found = summarise(make_predictions(ids, ids, "test", y, logits), replicates=200).per_class["vasc"]["auc"]
        ends.append((found.low, found.high))
    assert ends[0][1] == 1
    assert ends[1][0] <= ends[0][0] < 0.99
    assert ends[0][0] - ends[1][0] < 0.02


def test_the_bands_of_curves_hold_the_curves_and_grow_narrow_with_lesions() -> None:
    rng = np.random.default_rng(3)

    def bands(n: int) -> tuple[intervals.CurveBands, metrics.Sweep]:
        positive = rng.random(n) < 0.4
        scores = rng.normal(positive * 1.5, 1)
        found = intervals.curve_bands(positive, scores, np.arange(n) // 2, replicates=100)
        assert found is not None
        return found, metrics.sweep(positive, scores)

    few, sweep = bands(120)
    rate = np.searchsorted(sweep.false_positive_rate, few.at + 1e-12, "right") - 1
    inside = (few.sensitivity_low <= sweep.sensitivity[rate]) & (sweep.sensitivity[rate] <= few.sensitivity_high)
    assert inside.mean() > 0.95
    reached = np.searchsorted(sweep.sensitivity, few.at.clip(1e-12) - 1e-12)
    precision = sweep.precision[reached]
    assert ((few.precision_low <= precision) & (precision <= few.precision_high)).mean() > 0.95
    many, _ = bands(4000)
    assert width(many.sensitivity_low, many.sensitivity_high) < width(few.sensitivity_low, few.sensitivity_high) / 2
    assert width(many.precision_low, many.precision_high) < width(few.precision_low, few.precision_high) / 2


def width(low: np.ndarray, high: np.ndarray) -> float:
    return float((high - low).mean())


def test_a_perfect_score_has_bands_without_width_and_few_lesions_have_none() -> None:
    positive = np.arange(60) < 30
    found = intervals.curve_bands(positive, positive * 1.0, np.arange(60), replicates=20)
    assert found is not None
    assert (found.sensitivity_low == 1).all()
    assert (found.precision_low == 1).all()
    assert intervals.curve_bands(positive, positive * 1.0, np.arange(60) // 10, replicates=20) is None
