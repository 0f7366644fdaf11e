import json
from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import ModelError
from dermlens.estimate import Estimate
from dermlens.evaluation.predictions import make_predictions
from dermlens.labels import CLASSES, INDEX
from dermlens.trust.referral import (
    Measured,
    Referral,
    RuleMeasured,
    any_of,
    coverage_curve,
    n_missed,
    read,
    reasons,
    sentence,
)
from dermlens.trust.referral_rules import RULES
from dermlens.trust.thresholds import SENSITIVITIES, Point, Thresholds
from training.fits.referral import choose, measure

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
    return Referral(0.95, {"melanoma": 0.08, "malignant": 0.2}, 0.4, {"test": measured})


def test_a_rule_fires_at_its_threshold_and_not_below(referral: Referral) -> None:
    p = np.stack([shares(mel=0.08), shares(mel=0.079), shares(mel=0.05, bcc=0.1, akiec=0.05), shares(bkl=0.9)])
    fired = referral.fired(p)
    assert fired["melanoma"].tolist() == [True, False, False, False]
    assert fired["malignant"].tolist() == [False, False, True, False]
    assert any_of(fired).tolist() == [True, False, True, False]


def test_missed_images_are_counted_over_what_must_not_be_missed(referral: Referral) -> None:
    assert n_missed(referral, "test") == 5 + 0 + 2


def test_rules_without_their_input_are_left_out_and_keep_their_order(referral: Referral) -> None:
    p = shares()[None]
    assert list(referral.fired(p)) == ["melanoma", "malignant"]
    every = referral.fired(p, np.ones((1, 7), bool), np.array([[NV, NV]]), np.array([False]))
    assert list(every) == [rule.key for rule in RULES]


@pytest.mark.parametrize(("size", "fires"), [(0, True), (1, False), (4, False), (5, True), (7, True)])
def test_an_empty_set_and_one_that_rules_hardly_anything_out_are_undecided(
    referral: Referral, size: int, fires: bool
) -> None:
    kept = np.arange(7)[None] < size
    assert referral.fired(shares()[None], sets=kept)["undecided"].tolist() == [fires]


def test_models_disagree_when_their_groups_differ_not_their_diagnoses(referral: Referral) -> None:
    calls = np.array([[NV, BKL], [MEL, BCC], [NV, MEL], [MEL, AKIEC]])
    fired = referral.fired(np.stack([shares()] * 4), calls=calls)
    assert fired["disagree"].tolist() == [False, False, True, True]


def test_the_sentence_gives_the_reasons_with_their_numbers(referral: Referral) -> None:
    p = shares(mel=0.3)
    said = sentence(referral, p, referral.fired(p[None], calls=np.array([[MEL, NV]])))
    assert said.startswith(
        "Refer: melanoma has 30.0 %, at or above the threshold of 8.0 %, chosen on validation to find 95 % of "
        "melanomas;"
    )
    assert "together have 30.0 %" in said
    assert "different groups" in said
    assert len(reasons(referral, p, referral.fired(p[None]))) == 2


def test_silence_is_no_all_clear_and_says_what_is_missed(referral: Referral) -> None:
    p = shares(mel=0.01)
    said = sentence(referral, p, referral.fired(p[None]))
    assert said == (
        "No rule for referral fires. That is not an all-clear: on the test split these rules missed 5 of 50 melanoma "
        "images, 2 of 8 images of actinic keratosis or Bowen's disease and 0 of 20 basal cell carcinoma images."
    )


def test_an_unfamiliar_image_comes_before_every_number(referral: Referral) -> None:
    p = shares(mel=0.9)
    said = sentence(referral, p, referral.fired(p[None], unfamiliar=np.array([True])))
    assert said.startswith("Do not rely on these numbers")


def test_the_highest_sensitivity_under_the_cap_is_chosen() -> None:
    p = np.stack([shares(mel=share) for share in np.linspace(0, 0.99, 100)])

    def points(*thresholds: float) -> tuple[Point, ...]:
        pairs = zip(SENSITIVITIES, thresholds, strict=True)
        return tuple(Point(wanted, threshold, {}) for wanted, threshold in pairs)

    thresholds = Thresholds(
        {
            "melanoma": points(0.9, 0.8, 0.75, 0.7, 0.5, 0.3, 0.2),
            "malignant": points(0.95, 0.9, 0.75, 0.65, 0.6, 0.2, 0.1),
        },
        {},
    )
    chosen = choose(thresholds, lambda r: r.fired(p), cap=0.4)
    assert (chosen.sensitivity, *chosen.thresholds.values()) == (0.95, 0.7, 0.65)  # refers 35, the next 50
    assert choose(thresholds, lambda r: r.fired(p), cap=0.01).sensitivity == min(SENSITIVITIES)


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


def test_the_file_is_read_back_and_a_damaged_one_is_refused(referral: Referral, tmp_path: Path) -> None:
    file = tmp_path / "referral.json"
    good = referral.to_dict()
    file.write_text(json.dumps(good))
    assert read(file) == referral
    one = good["measured"]["test"]
    damaged: list[dict] = [{"melanoma": 2}, {"measured": {}}, {"cap": "x"}]
    damaged += [{"measured": {"test": {k: v for k, v in one.items() if k != lost}}} for lost in one]
    for wrong in damaged:
        file.write_text(json.dumps({**good, **wrong}))
        with pytest.raises(ModelError, match=r"referral\.json"):
            read(file)
    assert set(one["missed"]) == {CLASSES[i] for i in (MEL, BCC, AKIEC)}


def test_every_rule_says_when_it_fires_and_why_it_did(referral: Referral) -> None:
    p = shares(mel=0.9)
    for rule in RULES:
        assert rule.description[0].isupper()
        assert rule.description.endswith(".")
        (why,) = reasons(referral, p, {rule.key: np.array([True])})
        assert "{" not in why
        assert (rule.key in referral.thresholds) == (rule.target is not None) == bool(rule.subject)
