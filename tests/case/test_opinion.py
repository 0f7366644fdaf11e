"""What the models make of an image is worked out once: who calls, who refuses, whose voice counts, who agrees."""

from dataclasses import replace

import numpy as np
import pytest

from dermlens.case.image import examine
from dermlens.case.opinion import form
from dermlens.models import registry
from dermlens.models.model import Ensemble, Model
from dermlens.trust.calibration import Calibration
from dermlens.trust.fitted import Fitted
from tests.conftest import encode


@pytest.fixture
def three(pair, lesion: np.ndarray):  # type: ignore[no-untyped-def]
    """An ensemble of two toys, the toys, and their answers to one image."""
    one, two = (registry.load(registry.find(pair, name)) for name in ("toy", "toy2"))
    both = Ensemble("both", "Both", (one, two), (0.5, 0.5), (0.0,) * 7, {}, pair, Fitted())
    models = [both, one, two]
    return models, examine(encode(lesion), "a.png", models).answers


def test_an_ensemble_is_no_voice_beside_its_members_and_speaks_alone(three) -> None:
    (both, one, two), answers = three
    assert form([both, one, two], answers).voices == (one, two)
    assert form([both], answers).voices == (both,)


def test_a_model_without_an_answer_is_shown_but_not_asked(three) -> None:
    (both, one, two), answers = three
    opinion = form([both, one, two], {one.id: answers[one.id]})
    assert (opinion.models, opinion.asked, opinion.calling) == ((both, one, two), (one,), (one,))


def test_one_call_is_agreement_and_two_are_not(three) -> None:
    (_, one, two), answers = three
    opinion = form([one, two], answers)
    assert opinion.agree == (opinion.call(one) == opinion.call(two))
    assert form([one], answers).agree


def test_a_refusing_model_calls_nothing_and_silences_no_other(three, monkeypatch: pytest.MonkeyPatch) -> None:
    (both, one, two), answers = three
    monkeypatch.setattr("dermlens.case.ood_gate.accepted", lambda models, answers: {one.id: False})
    everyone = form([both, one, two], answers)
    assert everyone.refused == {one.id}
    assert everyone.calling == (both, two)
    assert not everyone.withheld
    assert everyone.among([one]).withheld
    assert form([one, two], answers, synthetic=True).calling == (one, two), "the project's own drawings"


def test_where_the_ensemble_refuses_all_are_silent_also_where_it_is_not_shown(three, monkeypatch) -> None:
    (both, one, two), answers = three
    monkeypatch.setattr("dermlens.case.ood_gate.accepted", lambda models, answers: {both.id: False, two.id: True})
    everyone = form([both, one, two], answers)
    assert everyone.refused == {both.id, one.id, two.id}
    assert everyone.withheld
    assert everyone.among([two]).calling == ()


def test_another_class_mix_moves_what_is_shown_and_called_and_nothing_that_was_fitted(
    toy: Model, lesion: np.ndarray
) -> None:
    answers = examine(encode(lesion), "a.png", [toy]).answers
    own, wanted = (1, 2, 1, 1, 1, 4, 1), np.array([1.0, 1, 1, 1, 8, 1, 1])
    raw = form([toy], answers).at_mix(wanted, "said")
    assert raw.shown["toy"] is answers["toy"], "an uncalibrated score holds for no class mix"
    fitted = replace(toy, fitted=Fitted(calibration=Calibration("temperature", (1.0,) * 7, (0.0,) * 7, own)))
    shares = np.array([0.02, 0.02, 0.02, 0.02, 0.3, 0.6, 0.02], np.float32)
    answers["toy"] = replace(answers["toy"], probabilities=shares, calibrated=True)
    opinion = form([fitted], answers)
    moved = opinion.at_mix(wanted, "said")
    expected = shares * wanted / own
    np.testing.assert_allclose(moved.shown["toy"].probabilities, expected / expected.sum(), rtol=1e-5)
    assert (opinion.call(fitted).code, moved.call(fitted).code) == ("nv", "mel")
    assert moved.answers is answers
    assert answers["toy"].probabilities is shares
    assert moved.class_mix == "said"
