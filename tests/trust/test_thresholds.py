"""Operating points: thresholds, what they find and cost, net benefit; by hand and on constructed data."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from dermlens.dataset.ham10000 import load_split
from dermlens.errors import ConfigError, DataError, ModelError
from dermlens.estimate import Estimate
from dermlens.evaluation.predictions import concatenate, write_predictions
from dermlens.labels import CLASSES, INDEX, MELANOMA
from dermlens.trust import calibration, thresholds
from dermlens.trust.calibration import folds
from dermlens.trust.thresholds import (
    SENSITIVITIES,
    TARGETS,
    Measured,
    Point,
    Thresholds,
    at_prevalence,
    decision_curve,
    expected,
    net_benefit,
    per_thousand,
    read,
    threshold_for,
)
from tests.trust.test_conformal import population
from training.fits import thresholds as fits
from training.fits.subject import Subject

SHARE = st.floats(0, 1)


def points(*pairs: tuple[float, float], **measured: Measured) -> Thresholds:
    made = tuple(Point(wanted, threshold, measured) for wanted, threshold in pairs)
    return Thresholds(dict.fromkeys(TARGETS, made), {"split": "validation"})


def answer(**shares: float) -> np.ndarray:
    found = np.zeros(7)
    for code, share in shares.items():
        found[INDEX[code]] = share
    found[INDEX["nv"]] += 1 - found.sum()
    return found


def test_targets_add_up_what_belongs_together() -> None:
    shown = answer(mel=0.2, bcc=0.1, akiec=0.05, bkl=0.3)
    assert TARGETS["melanoma"].score(shown) == pytest.approx(0.2)
    assert TARGETS["malignant"].score(shown) == pytest.approx(0.35)
    y = np.array([INDEX[code] for code in CLASSES])
    assert [CLASSES[i] for i in y[TARGETS["malignant"].positive(y)]] == ["akiec", "bcc", "mel"]
    assert [CLASSES[i] for i in y[TARGETS["melanoma"].positive(y)]] == ["mel"]


def test_a_threshold_finds_the_wanted_share_and_no_higher_one_does() -> None:
    positive = np.array([True] * 10 + [False] * 3)
    scores = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 0.5, 0.0])
    assert threshold_for(positive, scores, 0.8) == 0.2
    assert threshold_for(positive, scores, 0.85) == 0.1
    assert threshold_for(positive, scores, 0.9) == 0.1
    assert threshold_for(positive, scores, 0.95) == 0.05
    assert threshold_for(positive, scores, 1.0) == 0.05
    with pytest.raises(DataError, match="at least one positive"):
        threshold_for(np.zeros(13, bool), scores, 0.9)


@pytest.mark.parametrize("wanted", SENSITIVITIES)
def test_a_threshold_is_the_one_on_scikit_learns_curve(wanted: float) -> None:
    p, probabilities = population((40,) * 7)
    positive, score = TARGETS["malignant"].positive(p.y_true), TARGETS["malignant"].score(probabilities)
    _, sensitivity, thresholds = roc_curve(positive, score, drop_intermediate=False)
    assert threshold_for(positive, score, wanted) == thresholds[np.argmax(sensitivity >= wanted - 1e-12)]


def test_a_thousand_lesions_by_hand() -> None:
    found = per_thousand(0.95, 0.8, 0.1)
    assert found.missed == pytest.approx(5)
    assert found.unnecessary == pytest.approx(180)
    assert found.referred == pytest.approx(275)
    everyone = per_thousand(1.0, 0.0, 0.1)
    assert (everyone.missed, everyone.referred, everyone.unnecessary) == (0, 1000, 900)


def test_intervals_of_a_thousand_lesions_by_hand() -> None:
    measured = Measured(Estimate(0.95, 0.9, 0.98, 100, 90), Estimate(0.8, 0.77, 0.84, 900, 800))
    found = expected(measured, 0.1)
    ends = {name: (e.low, e.value, e.high) for name, e in found.items()}
    assert ends["missed"] == pytest.approx((2, 5, 10))
    assert ends["unnecessary"] == pytest.approx((144, 180, 207))
    # 95 found (90 to 98) and 180 needless: 275 - √(5² + 36²) to 275 + √(3² + 27²).
    assert ends["referred"] == pytest.approx((275 - 1321**0.5, 275, 275 + 738**0.5))
    assert (found["referred"].n_images, found["referred"].n_lesions) == (1000, 890)


def test_the_interval_of_those_referred_is_that_of_two_independent_shares() -> None:
    """Against a simulation: sensitivity and specificity drawn anew, each from images of its own."""
    rng = np.random.default_rng(0)
    positives, negatives, prevalence = 200, 1000, 0.12
    drawn = 1000 * (
        prevalence * rng.binomial(positives, 0.9, 100_000) / positives
        + (1 - prevalence) * (1 - rng.binomial(negatives, 0.75, 100_000) / negatives)
    )
    s, c = (1.96 * (p * (1 - p) / n) ** 0.5 for p, n in ((0.9, positives), (0.75, negatives)))
    measured = Measured(Estimate(0.9, 0.9 - s, 0.9 + s, 200, 200), Estimate(0.75, 0.75 - c, 0.75 + c, 1000, 1000))
    found = expected(measured, prevalence)["referred"]
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.7)


@given(SHARE, SHARE, SHARE)
def test_a_thousand_lesions_are_a_thousand(sensitivity: float, specificity: float, prevalence: float) -> None:
    found = per_thousand(sensitivity, specificity, prevalence)
    assert found.missed + found.referred - found.unnecessary == pytest.approx(1000 * prevalence)
    assert -1e-9 <= found.missed <= 1000
    assert -1e-9 <= found.unnecessary <= found.referred + 1e-9 <= 1000 + 1e-6


def test_net_benefit_by_hand() -> None:
    # 1,000 cases, 200 positive, 180 found, 240 false alarms; at a risk of 20 % a false alarm weighs a quarter.
    assert net_benefit(0.9, 0.7, 0.2, 0.2) == pytest.approx((180 - 240 / 4) / 1000)
    assert net_benefit(1.0, 0.0, 0.2, 0.2) == pytest.approx(0), (
        "at a risk of the prevalence, referring all gains nothing"
    )
    assert net_benefit(0.0, 1.0, 0.2, np.array([0.1, 0.5])).tolist() == [0, 0]


def test_a_probability_moves_with_the_odds_of_the_prevalence() -> None:
    assert at_prevalence(0.5, 0.5, 0.1) == pytest.approx(0.1)
    assert at_prevalence(at_prevalence(0.3, 0.2, 0.05), 0.05, 0.2) == pytest.approx(0.3)
    assert at_prevalence(0.3, 0.2, 0.2) == pytest.approx(0.3)


def test_a_decision_curve_counts_the_cases() -> None:
    positive = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool)
    scores = np.array([0.9, 0.6, 0.15, 0.7, 0.3, 0.12, 0.05, 0.04, 0.02, 0.01])
    risk = np.array([0.1, 0.2, 0.5])
    found = decision_curve(positive, scores, np.arange(10), 0.3, risk)
    by_hand = [(3 - 3 / 9) / 10, (2 - 2 / 4) / 10, (2 - 1) / 10]
    assert found.model == pytest.approx(by_hand)
    assert found.refer_all == pytest.approx([0.3 - 0.7 * t / (1 - t) for t in risk])
    assert ((found.low <= found.model) & (found.model <= found.high)).all()


def test_a_decision_curve_at_another_prevalence_is_that_of_a_sample_with_it() -> None:
    # Twice as many benign cases, and probabilities recalibrated to them.
    p, probabilities = population((60,) * 7)
    positive, score = TARGETS["malignant"].positive(p.y_true), TARGETS["malignant"].score(probabilities)
    rows = np.concatenate([np.flatnonzero(positive), np.repeat(np.flatnonzero(~positive), 2)])
    own, other = positive.mean(), positive[rows].mean()
    risk = np.linspace(0.05, 0.9, 18)
    moved = decision_curve(positive, score, p.lesion, other, risk)
    direct = decision_curve(positive[rows], at_prevalence(score[rows], own, other), p.lesion[rows], other, risk)
    assert moved.model == pytest.approx(direct.model)
    assert other < own


def test_a_calibrated_model_is_never_clearly_worse_than_both_defaults() -> None:
    rng = np.random.default_rng(0)
    score = rng.beta(0.5, 2, 4000)
    positive = rng.random(4000) < score
    found = decision_curve(positive, score, np.arange(4000), float(positive.mean()), np.linspace(0.02, 0.9, 23))
    assert (found.high >= np.maximum(found.refer_all, 0)).all()
    assert (found.model > np.maximum(found.refer_all, 0)).mean() > 0.9
    wrong = decision_curve(positive, 1 - score, np.arange(4000), float(positive.mean()), np.array([0.3]))
    assert wrong.high[0] < 0


def test_a_decision_curve_needs_both_sides_and_a_prevalence() -> None:
    arrays = np.array([0.2, 0.4]), np.arange(2)
    with pytest.raises(DataError, match="both positive and negative"):
        decision_curve(np.ones(2, bool), *arrays, 0.2, np.array([0.1]))
    with pytest.raises(ConfigError, match=r"between 0 and 1, got 1\.0"):
        decision_curve(np.array([True, False]), *arrays, 1.0, np.array([0.1]))


def test_a_case_is_told_the_highest_threshold_it_reaches() -> None:
    measured = Measured(Estimate(0.921, 0.877, 0.96, 165, 116), Estimate(0.78, 0.75, 0.8, 1306, 1241))
    found = points((0.8, 0.2), (0.9, 0.1), (0.95, 0.05), test=measured)
    melanoma, malignant = found.above(answer(mel=0.12, bcc=0.3))
    assert melanoma == (
        "Melanoma: above the threshold that found 90 % of melanomas on validation (on test it found 92.1 %, "
        "95 % interval 87.7 to 96.0 %)."
    )
    assert "found 80 % of malignant and pre-malignant lesions on validation" in malignant
    below = found.above(answer(mel=0.04))[0]
    assert "below every threshold, even the one that found 95 % of melanomas" in below
    assert "not an all-clear" in below
    assert found.strictest(answer(mel=0.05), "melanoma") == found.points["melanoma"][2], "at the threshold counts"
    assert found.reached("melanoma", answer(mel=0.06))
    assert not found.reached("melanoma", answer(mel=0.06), 0.9)
    assert found.named("melanoma", 0.9) == (
        "the 90 %-sensitivity threshold for melanomas (on test it found 92.1 %, 95 % interval 87.7 to 96.0 %)."
    )
    assert "not measured on test" in points((0.9, 0.1)).above(answer(mel=0.2))[0]
    with pytest.raises(ConfigError, match="got melanoma 50 %"):
        found.point("melanoma", 0.5)


def test_what_is_called_is_measured() -> None:
    p, _ = population((10,) * 7)
    called = np.zeros(len(p), bool)
    called[p.y_true == MELANOMA] = np.arange(10) < 7
    called[p.y_true == INDEX["bcc"]] = True
    melanoma, malignant = fits.measure("melanoma", p, called), fits.measure("malignant", p, called)
    assert (melanoma.sensitivity.value, melanoma.specificity.value) == (0.7, 50 / 60)
    assert (malignant.sensitivity.value, malignant.specificity.value) == (17 / 30, 1)
    assert malignant.specificity.low < 1


def test_no_image_has_a_part_in_its_own_threshold() -> None:
    p, probabilities = population((40,) * 7)
    positive, score, fold = p.y_true == MELANOMA, probabilities[:, MELANOMA], folds(p)
    called = fits.cross_fitted(positive, score, fold, 0.9)
    for i in range(5):
        rest = fold != i
        expected = score[~rest] >= np.floor(threshold_for(positive[rest], score[rest], 0.9) * 1e9) / 1e9
        assert np.array_equal(called[~rest], expected)


def test_the_file_of_a_model_holds_what_its_predictions_give(tmp_path: Path) -> None:
    sizes = (40, 50, 60, 14, 60, 120, 25)
    parts = [population(sizes, seed=s, split=name)[0] for s, name in enumerate(("validation", "test"))]
    write_predictions(tmp_path / "predictions.csv", concatenate(parts))
    plain = {"method": "temperature", "classes": CLASSES, "scale": [0.8] * 7, "bias": [0] * 7, "class_mix": [1] * 7}
    (tmp_path / "calibration.json").write_text(json.dumps(plain))
    made = fits.make(Subject(tmp_path, load_split()))["thresholds.json"]
    (tmp_path / "thresholds.json").write_bytes(made)
    found = read(tmp_path / "thresholds.json")
    assert found.to_dict() == json.loads(made)
    assert found.splits == ("validation", "test")
    assert [p.wanted for p in found.points["melanoma"]] == list(SENSITIVITIES)
    subject = Subject(tmp_path, load_split())
    test = subject.predictions.of_split("test")
    answers = calibration.read(tmp_path / "calibration.json").apply(test.logits)
    for name, target in TARGETS.items():
        positive, score = target.positive(test.y_true), target.score(answers)
        for point in found.points[name]:
            measured = point.measured["test"]
            assert measured.sensitivity.value == pytest.approx((score[positive] >= point.threshold).mean(), abs=1e-6)
            assert measured.specificity.value == pytest.approx((score[~positive] < point.threshold).mean(), abs=1e-6)
            assert measured.sensitivity.n_images == positive.sum()
            assert point.measured["validation"].sensitivity.value == pytest.approx(point.wanted, abs=0.08)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"thresholds": {}}, "KeyError"),
        ({"thresholds": {t: [] for t in TARGETS}}, "must rise between 0 and 1"),
        ({"thresholds": {t: [{"wanted": 0.9, "threshold": 2}] for t in TARGETS}, "measured": {}}, "lie in 0..1"),
        (
            {
                "thresholds": {t: [{"wanted": w, "threshold": w} for w in (0.8, 0.9)] for t in TARGETS},
                "measured": {},
            },
            "never rise",
        ),
        ({"measured": {"test": {}}}, "KeyError"),
        ({"fitted_on": 3}, "cannot be used"),
    ],
)
def test_a_file_that_is_not_one_is_refused(tmp_path: Path, change: dict, why: str) -> None:
    measured = Measured(Estimate(0.9, 0.8, 0.95, 10, 9), Estimate(0.5, 0.4, 0.6, 10, 9))
    file = tmp_path / "thresholds.json"
    good = points((0.8, 0.2), (0.9, 0.1), test=measured).to_dict()
    file.write_text(json.dumps(good))
    assert read(file).to_dict() == good
    file.write_text(json.dumps({**good, **change}))
    with pytest.raises(ModelError, match=why):
        read(file)


def test_every_sensitivity_of_a_case_is_one_that_is_fitted() -> None:
    assert thresholds.CASE_SENSITIVITY in SENSITIVITIES
