from types import SimpleNamespace

import numpy as np
import pytest

from dermlens.case.summary import (
    agreement,
    called,
    group_totals,
    largest_gap,
    quantity,
    share_called,
)
from dermlens.labels import CLASSES, INDEX


def probabilities(**shares: float) -> np.ndarray:
    """Return seven probabilities: those named, and the rest shared evenly by the others."""
    rest = (1 - sum(shares.values())) / (len(CLASSES) - len(shares))
    return np.array([shares.get(code, rest) for code in CLASSES])


def answer(**shares: float) -> SimpleNamespace:
    values = probabilities(**shares)
    return SimpleNamespace(logits=np.log(values), probabilities=values)


def test_the_most_probable_class_is_called_and_the_first_of_equals() -> None:
    assert called(answer(mel=0.5)).code == "mel"
    assert called(SimpleNamespace(probabilities=np.full(7, 1 / 7))).code == CLASSES[0]


def test_the_call_is_the_most_probable_diagnosis_whatever_the_logits_say() -> None:
    leaning = SimpleNamespace(logits=np.log(probabilities(mel=0.5)), probabilities=probabilities(mel=0.3, nv=0.6))
    assert called(leaning).code == "nv"
    assert share_called(leaning) == pytest.approx(0.6)


def test_numbers_are_named_for_what_they_are() -> None:
    assert quantity({"A": True, "B": True}) == "calibrated probability"
    assert quantity({"A": False}) == "uncalibrated score"
    assert quantity({"A": True, "B": False}) == "calibrated probability (B: uncalibrated score)"


def test_groups_are_added_up_apart() -> None:
    totals = group_totals(np.array([0.05, 0.1, 0.2, 0.05, 0.3, 0.25, 0.05]))  # akiec bcc bkl df mel nv vasc
    assert totals == pytest.approx({"benign": 0.55, "pre-malignant": 0.05, "malignant": 0.4})


def test_agreement_names_class_and_group() -> None:
    assert "Only one model" in agreement({"A": answer(mel=0.5)})
    assert agreement({"A": answer(mel=0.5), "B": answer(mel=0.9)}) == "A and B call it melanoma (malignant)."
    three = {name: answer(akiec=0.6) for name in "ABC"}
    assert agreement(three) == "A, B and C call it actinic keratosis or Bowen's disease (pre-malignant)."


def test_disagreement_says_whether_it_crosses_the_groups() -> None:
    within = agreement({"A": answer(nv=0.5), "B": answer(bkl=0.5)})
    assert "disagree on the diagnosis, though not on the group" in within
    across = agreement({"A": answer(nv=0.5), "B": answer(mel=0.5)})
    assert "disagree on the diagnosis and on its group" in across
    assert "A: melanocytic nevus (benign); B: melanoma (malignant)" in across


def test_the_largest_gap_names_class_and_both_ends() -> None:
    sentence = largest_gap({"A": probabilities(mel=0.7), "B": probabilities(mel=0.2)})
    assert sentence == "They differ most on melanoma: A gives it 70 %, B 20 %."
    same = probabilities(mel=0.7)
    assert "same" in largest_gap({"A": same, "B": same})
    assert INDEX["mel"] == int(np.argmax(same))
