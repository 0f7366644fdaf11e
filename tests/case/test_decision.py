"""Whether to refer: one decision over all models shown for diagnosis, at the class mix that its rules hold for."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.case.decision import Decision, decide
from dermlens.case.opinion import Opinion, form
from dermlens.case.predict import Prediction
from dermlens.estimate import Estimate
from dermlens.labels import INDEX, SUSPECT
from dermlens.trust.calibration import Calibration
from dermlens.trust.fitted import Fitted
from dermlens.trust.referral import Measured, Referral

FITTED = (1, 1, 1, 1, 1, 4, 1)
"""Four nevi for each of the other diagnoses."""
MISSED = Measured(
    Estimate(0.3, 0.2, 0.4, 100, 90),
    Estimate(0.2, 0.1, 0.3, 80, 75),
    {code: Estimate(0.1, 0.0, 0.2, 10, 10) for code in ("mel", "bcc", "akiec")},
    {},
)
NOTHING = np.zeros(0, np.float32)


def answer(model_id: str, **shares: float) -> Prediction:
    p = np.zeros(7, np.float32)
    for code, share in shares.items():
        p[INDEX[code]] = share
    p[INDEX["nv"]] += 1 - p.sum()
    return Prediction(model_id, np.zeros(7, np.float32), p, NOTHING, NOTHING, 9, 9, 1.0, calibrated=True)


def rules(**sensitivity: float) -> Referral:
    """Thresholds for melanoma and for all suspect diagnoses: 0.3 and 0.4, of every model alike."""
    limits = {model: {"melanoma": 0.3, "malignant": 0.4} for model in sensitivity}
    return Referral(sensitivity, limits, 0.4, {"test": MISSED})


def model(model_id: str, referral: Referral | None = None, role: str = "diagnosis") -> SimpleNamespace:
    fitted = Fitted(calibration=Calibration("temperature", (1.0,) * 7, (0.0,) * 7, FITTED), referral=referral)
    return SimpleNamespace(id=model_id, name=model_id.upper(), role=role, fitted=fitted)


def opinion(*models: SimpleNamespace, **answers: dict[str, float]) -> Opinion:
    return form(models, {name: answer(name, **shares) for name, shares in answers.items()})  # type: ignore[arg-type]


def decided(*models: SimpleNamespace, **answers: dict[str, float]) -> Decision:
    found = decide(opinion(*models, **answers))
    assert found is not None
    return found


both = model("both", rules(both=0.98, a=0.95, b=0.95))
a, b = model("a", rules(a=0.9)), model("b", rules(b=0.9))
light = model("light", rules(light=0.97), "comparison")


def test_the_rules_of_the_ensemble_speak_for_all_and_a_model_alone_for_itself() -> None:
    assert decided(a, b, both, a={}, b={}, both={}).model.id == "both"
    assert decided(a, a={}).model.id == "a"
    assert decide(opinion(model("bare"), bare={})) is None


def test_a_member_over_its_threshold_refers_though_the_ensemble_is_not() -> None:
    found = decided(both, a, b, both={"mel": 0.1}, a={"mel": 0.2, "bcc": 0.36}, b={})
    assert found.refer
    assert found.sentence == (
        "Refer: malignant and pre-malignant diagnoses together: A reaches its threshold for 95 % sensitivity (40.0 %)."
    )
    quiet = decided(both, a, b, both={"mel": 0.1}, a={"mel": 0.2}, b={})
    assert not quiet.refer
    assert quiet.sentence.startswith("No rule for referral applies. That is not an all-clear: on the test split")


@given(st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7).filter(lambda p: sum(p) > 0.1))
def test_no_model_shown_is_over_a_limit_without_the_first_line_saying_so(weights: list[float]) -> None:
    p = np.array(weights, np.float32) / np.float32(sum(weights))
    loud = dict(zip(INDEX, p.tolist(), strict=True))
    suspect = float(sum(p[i] for i in SUSPECT))
    for who in ("both", "a", "b"):
        found = decided(both, a, b, **{name: loud if name == who else {} for name in ("both", "a", "b")})
        if suspect > 0.401 or p[INDEX["mel"]] > 0.301:
            assert found.refer
            assert f"{who.upper()} reaches its threshold" in found.sentence
    found = decided(both, a, b, light, both={}, a={}, b={}, light=loud)
    if suspect > 0.401 or p[INDEX["mel"]] > 0.301:
        assert not found.refer, "a model for comparison has no say"
        assert found.beside
        assert "LIGHT, shown for comparison, would refer" in found.sentence
        assert "No rule for referral applies." not in found.sentence


def test_a_model_for_comparison_that_is_not_shown_says_nothing() -> None:
    shown = opinion(both, a, b, light, both={}, a={}, b={}, light={"mel": 0.9}).among((both, a, b))  # type: ignore[arg-type]
    found = decide(shown)
    assert found is not None
    assert found.beside == ()
    assert decided(light, light={"mel": 0.9}).refer, "alone it has rules of its own"


@given(
    st.lists(st.floats(0.001, 1.0), min_size=7, max_size=7),
    st.lists(st.floats(0.001, 1.0), min_size=7, max_size=7),
    st.lists(st.floats(0.01, 100.0), min_size=7, max_size=7),
)
def test_no_class_mix_changes_a_referral(first: list[float], second: list[float], mix: list[float]) -> None:
    shares = [dict(zip(INDEX, (np.array(p) / sum(p)).tolist(), strict=True)) for p in (first, second)]
    here = opinion(both, a, b, light, both=shares[0], a=shares[0], b=shares[1], light=shares[1])
    there = here.at_mix(np.array(mix), "said")
    one, two = decide(here), decide(there)
    assert one is not None
    assert two is not None
    assert (one.fired, one.reasons, one.sentence, one.model) == (two.fired, two.reasons, two.sentence, two.model)
    assert "%" not in re.sub(r"threshold for 9[58] % sensitivity \([34]0\.0 %\)", "", "".join(one.reasons))


def test_calls_that_disagree_are_those_at_the_fitted_mix() -> None:
    here = opinion(both, a, b, both={"mel": 0.1}, a={"mel": 0.29, "bkl": 0.2}, b={"mel": 0.29, "bkl": 0.2})
    there = here.at_mix(np.array([1, 1, 1, 1, 30, 1, 1]), "said")
    assert {there.call(m).code for m in (a, b)} == {"mel"}  # type: ignore[arg-type]
    found = decide(there)
    assert found is not None
    assert found.fired == {"melanoma": False, "malignant": False, "disagree": False}


@pytest.mark.parametrize("accepts", [True, False])
def test_a_withheld_case_says_so_before_any_number(accepts: bool) -> None:
    here = opinion(both, a, b, both={"mel": 0.9}, a={}, b={})
    refused = frozenset() if accepts else frozenset({"both", "a", "b"})
    judged = Opinion(here.models, here.answers, here.shown, {"both": accepts}, refused)
    found = decide(judged)
    assert found is not None
    assert found.unreliable is not accepts
    assert judged.withheld is not accepts
    assert found.refer
    if not accepts:
        assert found.sentence.startswith("Do not rely on these numbers")
        assert "threshold" not in found.sentence
        assert [rule.key for rule in found.said] == ["unfamiliar"], "melanoma is above its threshold too"
        assert found.fired["melanoma"]


def test_a_model_that_cannot_tell_and_is_silenced_by_another_does_not_speak_by_its_numbers() -> None:
    here = opinion(a, a={"mel": 0.9})
    found = decide(Opinion(here.models, here.answers, here.shown, {}, frozenset({"a"})))
    assert found is not None
    assert found.unreliable
    assert [rule.key for rule in found.said] == ["unfamiliar"]
