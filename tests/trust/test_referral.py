import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from dermlens.errors import ModelError
from dermlens.estimate import Estimate
from dermlens.evaluation.predictions import make_predictions
from dermlens.labels import CLASSES, INDEX
from dermlens.trust.conformal import PredictionSets
from dermlens.trust.referral import (
    Measured,
    Referral,
    RuleMeasured,
    any_of,
    coverage_curve,
    coverage_intervals,
    read,
    what_is_missed,
)
from dermlens.trust.referral_rules import RULES, Inputs
from dermlens.trust.thresholds import SENSITIVITIES
from training.fits.conformal import LEVELS
from training.fits.referral import Answers, choose, cross_fitted, measure

AKIEC, BCC, BKL, MEL, NV = (INDEX[c] for c in ("akiec", "bcc", "bkl", "mel", "nv"))


def estimate(value: float, n: int) -> Estimate:
    return Estimate(value, value / 2, min(1.0, value * 2), n, n)


def shares(**parts: float) -> np.ndarray:
    """Probabilities of the named classes; the rest is nevus."""
    found = np.zeros(7)
    for code, share in parts.items():
        found[INDEX[code]] = share
    found[NV] += 1 - found.sum()
    return found


@pytest.fixture
def referral() -> Referral:
    missed = {"mel": estimate(0.1, 50), "akiec": estimate(0.25, 8), "bcc": estimate(0.0, 20)}
    rules = {"melanoma": RuleMeasured(estimate(0.2, 500), estimate(0.05, 500))}
    measured = Measured(estimate(0.3, 500), estimate(0.2, 422), missed, rules)
    return Referral({"own": 0.95}, {"own": {"melanoma": 0.08, "malignant": 0.2}}, 0.4, {"test": measured})


def alone(p: np.ndarray, **more: np.ndarray) -> Inputs:
    return Inputs({"own": np.atleast_2d(p)}, **more)


def test_a_rule_fires_at_its_threshold_and_not_below(referral: Referral) -> None:
    p = np.stack([shares(mel=0.08), shares(mel=0.079), shares(mel=0.05, bcc=0.1, akiec=0.05), shares(bkl=0.9)])
    fired = referral.fired(alone(p))
    assert fired["melanoma"].tolist() == [True, False, False, False]
    assert fired["malignant"].tolist() == [False, False, True, False]
    assert any_of(fired).tolist() == [True, False, True, False]


def test_one_member_over_its_own_threshold_is_enough_and_models_outside_have_no_say(referral: Referral) -> None:
    both = replace(
        referral,
        sensitivity={"own": 0.98, "member": 0.9},
        thresholds={**referral.thresholds, "member": {"melanoma": 0.3, "malignant": 0.5}},
    )
    quiet, loud = shares(mel=0.01)[None], shares(mel=0.3)[None]
    assert both.models == ("own", "member")
    assert any_of(both.fired(Inputs({"own": quiet, "member": loud})))[0]
    assert not any_of(both.fired(Inputs({"own": quiet, "member": shares(mel=0.29)[None]})))[0]
    assert not any_of(both.fired(Inputs({"own": quiet, "member": quiet, "stranger": loud})))[0]
    melanoma = next(rule for rule in RULES if rule.key == "melanoma")
    assert {m: bool(hit[0]) for m, hit in both.reached(melanoma, {"own": quiet, "member": loud}).items()} == {
        "own": False,
        "member": True,
    }
    assert any_of(both.fired(Inputs({"own": loud})))[0], "a member that has not answered is left out"


def test_rules_without_their_input_are_left_out_and_keep_their_order(referral: Referral) -> None:
    p = shares()[None]
    assert list(referral.fired(alone(p))) == ["melanoma", "malignant"]
    second = replace(referral, thresholds={**referral.thresholds, "b": referral.thresholds["own"]})
    every = second.fired(Inputs({"own": p, "b": p}, np.ones((1, 7), bool), np.array([False])))
    assert list(every) == [rule.key for rule in RULES]


@pytest.mark.parametrize(("size", "fires"), [(0, True), (1, False), (4, False), (5, True), (7, True)])
def test_an_empty_set_and_one_that_rules_hardly_anything_out_are_undecided(
    referral: Referral, size: int, fires: bool
) -> None:
    kept = np.arange(7)[None] < size
    assert referral.fired(alone(shares(), sets=kept))["undecided"].tolist() == [fires]


def test_models_disagree_when_their_groups_differ_not_their_diagnoses(referral: Referral) -> None:
    second = replace(referral, thresholds={**referral.thresholds, "b": referral.thresholds["own"]})
    calls = np.array([[NV, BKL], [MEL, BCC], [NV, MEL], [MEL, AKIEC]])
    fired = second.fired(Inputs({"own": np.eye(7)[calls[:, 0]], "b": np.eye(7)[calls[:, 1]]}))
    assert fired["disagree"].tolist() == [False, False, True, True]


def test_what_is_missed_is_counted_and_on_validation_said_to_be_cross_fitted(referral: Referral) -> None:
    counts = (
        "missed 5 of 50 melanoma images, 2 of 8 images of actinic keratosis or Bowen's disease and 0 of 20 basal cell "
        "carcinoma images."
    )
    assert what_is_missed(referral) == f"on the test split these rules {counts}"
    elsewhere = replace(referral, measured={"validation": referral.measured["test"]})
    assert what_is_missed(elsewhere) == f"on the validation split these rules, fitted on other lesions of it, {counts}"


def test_the_fewest_missed_under_the_cap_are_chosen_and_then_the_strictest() -> None:
    """Melanomas and nevi in even steps of probability: what a wanted sensitivity finds and refers is known."""
    y = np.r_[np.full(100, MEL), np.full(300, NV)]
    mel = np.r_[np.linspace(0.2, 0.99, 100), np.linspace(0, 0.4, 300)]
    p = np.stack([shares(mel=share) for share in mel])
    for wanted in SENSITIVITIES:
        limit = np.sort(mel[:100])[::-1][int(np.ceil(wanted * 100 - 1e-9)) - 1]
        cap = float((mel >= limit).mean())
        chosen = choose(y, alone(p), cap)
        assert chosen.sensitivity == {"own": wanted}
        assert chosen.thresholds["own"]["melanoma"] == pytest.approx(limit, abs=1e-8)
        assert any_of(chosen.fired(alone(p))).mean() <= cap
        assert any_of(chosen.fired(alone(p))).mean() == chosen.referred
        assert chosen.cap_broken == ""
    over = choose(y, alone(p), 0.01)
    assert over.sensitivity == {"own": min(SENSITIVITIES)}
    referred = any_of(over.fired(alone(p))).mean()
    assert over.referred == referred > 0.01
    assert over.cap_broken == f" No choice kept to 1 %: this one refers the fewest, {100 * referred:.0f} %."
    same = Inputs({"own": p, "member": p})
    assert choose(y, same, 1.0).sensitivity == {"own": max(SENSITIVITIES), "member": max(SENSITIVITIES)}
    noise = np.stack([shares(mel=share) for share in np.random.default_rng(0).uniform(0, 1, 400)])
    found = choose(y, Inputs({"own": p, "member": noise}), 0.9)
    assert found.sensitivity["member"] < found.sensitivity["own"], "what costs more than it finds is held back"


def test_misses_are_counted_on_lesions_that_the_rules_were_not_fitted_on() -> None:
    """With thresholds at the lowest melanoma, each fold's own lowest one is missed where it is lower than the rest."""
    rng = np.random.default_rng(1)
    y = np.r_[np.full(60, MEL), np.full(400, NV)]
    mel = np.r_[rng.uniform(0.3, 0.9, 60), rng.uniform(0, 0.2, 400)]
    p = np.stack([shares(mel=share) for share in mel])
    ids = [f"I{i:03}" for i in range(len(y))]
    predictions = make_predictions(ids, ids, "validation", y, np.log(p + 1e-9))
    sets = PredictionSets(LEVELS, np.zeros((len(LEVELS), 7)), np.ones((len(LEVELS), 7), bool), (60,) * 7, {}, {})
    answers = Answers(predictions, alone(p))
    own = any_of(choose(y, answers.inputs).fired(answers.inputs))
    crossed = any_of({k: v for k, v in cross_fitted(answers, sets).items() if k != "undecided"})
    assert 1 - own[:60].mean() == pytest.approx(1 / 60)
    assert (~crossed[:60]).sum() >= (~own[:60]).sum()
    moved = mel.copy()
    moved[int(mel[:60].argmin())] = 0.0
    p[:] = np.stack([shares(mel=share) for share in moved])
    again = any_of({k: v for k, v in cross_fitted(answers, sets).items() if k != "undecided"})
    assert not again[int(mel[:60].argmin())], "a melanoma unlike all others is missed out of fold"


def test_what_is_referred_and_missed_is_counted_by_class_and_rule() -> None:
    y = np.array([MEL, MEL, MEL, MEL, NV, NV, NV, NV, NV, BCC])
    ids = [f"I{i}" for i in range(10)]
    p = make_predictions(ids, ids, "test", y, np.zeros((10, 7)))
    one = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 1], bool)
    two = np.array([0, 0, 1, 0, 1, 1, 0, 0, 0, 0], bool)
    found = measure(p, {"melanoma": one, "malignant": two})
    assert found.referred.value == pytest.approx(0.6)
    assert found.benign_referred.value == pytest.approx(0.4)
    assert found.missed["mel"].value == pytest.approx(0.25)
    assert found.missed["bcc"].value == 0
    assert found.to_dict()["missed"]["akiec"]["value"] is None
    assert found.rules["melanoma"].alone.value == pytest.approx(0.3)
    assert found.rules["malignant"].alone.value == pytest.approx(0.1)


def test_coverage_and_accuracy_by_hand() -> None:
    coverage, accuracy = coverage_curve(np.array([0.9, 0.5, 0.5, 0.2]), np.array([True, True, False, False]))
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert accuracy.tolist() == pytest.approx([1, 2 / 3, 0.5])


def test_the_coverage_curve_has_wilsons_intervals_where_few_lesions_are_kept_and_those_of_a_share_at_its_end() -> None:
    n = 400
    confidence = np.linspace(1, 0.2, n)
    right = np.arange(n) % 5 != 4  # every fifth call is wrong: 80 %
    found = coverage_intervals(confidence, right, np.arange(n))
    assert list(found) == pytest.approx(np.arange(1, 101) / 100)
    assert set(found) <= set(coverage_curve(confidence, right)[0]), "places of the curve itself"
    # Wilson (1927) for 4 of 4: n / (n + z²). For 16 of 20 SciPy has it; ours takes the variance from n - 1.
    assert (found[0.01].low, found[0.01].high) == pytest.approx((4 / (4 + 1.959964**2), 1))
    assert (found[0.05].value, found[0.05].n_lesions) == (0.8, 20)
    assert (found[0.05].low, found[0.05].high) == pytest.approx(
        binomtest(16, 20).proportion_ci(method="wilson"), abs=0.007
    )
    half = 1.96 * np.sqrt(0.8 * 0.2 / n)
    assert (found[1].low, found[1].high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.006)


def test_ten_photographs_of_each_lesion_say_no_more_than_one() -> None:
    rng = np.random.default_rng(1)
    hit, confidence = rng.random(300) < 0.8, rng.random(300)
    once = coverage_intervals(confidence, hit, np.arange(300))[1]
    tenfold = coverage_intervals(confidence.repeat(10), hit.repeat(10), np.arange(300).repeat(10))[1]
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_the_file_is_read_back_and_a_damaged_one_is_refused(referral: Referral, tmp_path: Path) -> None:
    file = tmp_path / "referral.json"
    good = referral.to_dict()
    file.write_text(json.dumps(good))
    assert read(file) == referral
    file.write_text(json.dumps({**good, "referred": 0.3}))
    assert read(file).referred == 0.3
    one = good["measured"]["test"]
    high = {"own": {"sensitivity": 0.95, "melanoma": 2, "malignant": 0.1}}
    damaged: list[dict] = [{"models": high}, {"models": {}}, {"models": {"own": {}}}, {"measured": {}}, {"cap": "x"}]
    damaged += [{"referred": 40}]
    damaged += [{"measured": {"test": {k: v for k, v in one.items() if k != lost}}} for lost in one]
    for wrong in damaged:
        file.write_text(json.dumps({**good, **wrong}))
        with pytest.raises(ModelError, match=r"referral\.json"):
            read(file)
    assert set(one["missed"]) == {CLASSES[i] for i in (MEL, BCC, AKIEC)}


def test_every_rule_says_when_it_fires_and_why_it_did(referral: Referral) -> None:
    for rule in RULES:
        assert rule.description[0].isupper()
        assert rule.description.endswith(".")
        assert rule.reason[0].islower()
        assert not rule.reason.endswith(".")
        assert (rule.key in referral.thresholds["own"]) == (rule.target is not None) == (rule.fires is None)
