"""What can be said in words about one case: the call of each model, the groups, the agreement, the limits."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from dermlens.labels import DIAGNOSES, GROUPS, Diagnosis, Group, members
from dermlens.wording import CALIBRATED, UNCALIBRATED, joined, percent

DISCLAIMER = "Decision support for research; not a diagnosis and not a medical device."
CANNOT_NAME = (
    "These models know seven diagnoses and always choose one of them. They cannot name squamous cell carcinoma, "
    "Spitz nevus or any other diagnosis, and they were not tested on nails, mucous membranes, or skin types that are "
    "rare in HAM10000."
)


class Answer(Protocol):
    """Anything that carries what one model said about one image; arrays in the order of labels.CLASSES."""

    @property
    def probabilities(self) -> np.ndarray:
        """(7,), calibrated if `calibrated`."""

    @property
    def calibrated(self) -> bool:
        """Whether the probabilities may be read as such."""


def called(answer: Answer) -> Diagnosis:
    """Return the diagnosis a model calls: the most probable one, of equal ones the first in class order."""
    return DIAGNOSES[int(np.argmax(answer.probabilities))]


def share_called(answer: Answer) -> float:
    """Return the probability that the model gives the diagnosis it calls."""
    return float(np.max(answer.probabilities))


def quantity(calibrated: Mapping[str, bool]) -> str:
    """Return what the numbers of some models are: calibrated probabilities, uncalibrated scores, or some of each.

    Args:
        calibrated: model name -> whether its probabilities are calibrated.
    """
    raw = [name for name, is_calibrated in calibrated.items() if not is_calibrated]
    if len(raw) == len(calibrated):
        return UNCALIBRATED
    return f"{CALIBRATED} ({', '.join(raw)}: {UNCALIBRATED})" if raw else CALIBRATED


def group_totals(probabilities: np.ndarray) -> dict[Group, float]:
    """Add (7,) probabilities up by clinical group, kept apart: malignant and pre-malignant are never one number."""
    return {group: float(probabilities[list(members(group))].sum()) for group in GROUPS}


def agreement(answers: Mapping[str, Answer]) -> str:
    """Say in one sentence whether the models agree, and on what.

    Args:
        answers: model name -> its answer; at least one.
    """
    calls = {name: called(a) for name, a in answers.items()}
    if len(calls) == 1:
        return "Only one model calls a diagnosis by itself, so there is no second opinion."
    if len({d.code for d in calls.values()}) == 1:
        only = next(iter(calls.values()))
        return f"{joined(list(calls))} call it {only.name} ({only.group})."
    each = "; ".join(f"{name}: {d.name} ({d.group})" for name, d in calls.items())
    groups = {d.group for d in calls.values()}
    what = "the diagnosis, though not on the group" if len(groups) == 1 else "the diagnosis and on its group"
    return f"The models disagree on {what}. {each}."


def largest_gap(shares: Mapping[str, np.ndarray]) -> str:
    """Say in one sentence for which diagnosis the scores of models lie furthest apart.

    Args:
        shares: model name -> (7,) probabilities; at least two.
    """
    table = np.stack(list(shares.values()))
    i = int(np.argmax(np.ptp(table, axis=0)))
    names = list(shares)
    high, low = int(table[:, i].argmax()), int(table[:, i].argmin())
    points = 100 * (table[high, i] - table[low, i])
    if points < 0.5:
        return "Their scores are the same within half a percentage point."
    return (
        f"They differ most on {DIAGNOSES[i].name}: {names[high]} gives it {percent(table[high, i])}, "
        f"{names[low]} {percent(table[low, i])}."
    )
