"""The rules for referral, each with what fires it, how it is said, and which threshold is fitted for it.

Adding a rule is adding one entry to RULES, and making referral.json again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dermlens.labels import DIAGNOSES, GROUPS
from dermlens.trust.conformal import CASE_LEVEL
from dermlens.wording import short_percent

MANY = 5
"""A prediction set of so many of the seven diagnoses rules next to nothing out."""
_GROUP = np.array([GROUPS.index(d.group) for d in DIAGNOSES])


@dataclass(frozen=True, eq=False)
class Inputs:
    """What rules look at, of n images; None is not known."""

    probabilities: Mapping[str, np.ndarray]
    """model id -> (n, 7), calibrated, at the class mix that its thresholds were fitted for"""
    sets: np.ndarray | None = None
    """(n, 7) bool, the prediction sets at CASE_LEVEL of the model that the rules belong to"""
    unfamiliar: np.ndarray | None = None
    """(n,) bool, not recognised as a dermoscopic image"""


@dataclass(frozen=True)
class Rule:
    """One rule for referral. It has a threshold if it has a target."""

    key: str
    """its name in referral.json"""
    description: str
    """when it fires, as a sentence"""
    reason: str
    """why it fired on an image, in a few words; of a rule with a target, what the thresholds are for"""
    fires: Callable[[Inputs], np.ndarray | None] | None = None
    """on which of n images it fires, (n,) bool, or None if its input is not known; itself None for a rule with a
    target"""
    target: str | None = None
    """key of thresholds.TARGETS: it fires where at least one model reaches its threshold for that target"""
    unreliable: bool = False
    """where it fires, the numbers cannot be relied on, and no other reason counts"""


def _disagree(inputs: Inputs) -> np.ndarray | None:
    if len(inputs.probabilities) < 2:
        return None
    calls = np.stack([p.argmax(1) for p in inputs.probabilities.values()], 1)
    return np.ptp(_GROUP[calls], axis=1) > 0


def _undecided(inputs: Inputs) -> np.ndarray | None:
    if inputs.sets is None:
        return None
    size = inputs.sets.sum(1)
    return (size == 0) | (size >= MANY)


RULES: tuple[Rule, ...] = (
    Rule(
        "unfamiliar",
        "The image does not look like the dermoscopic images that the models were trained on.",
        "it does not look like the dermoscopic images that the models were trained on",
        lambda inputs: inputs.unfamiliar,
        unreliable=True,
    ),
    Rule(
        "melanoma",
        "The probability of melanoma reaches a model's threshold.",
        "melanoma",
        target="melanoma",
    ),
    Rule(
        "malignant",
        "The probability of malignant and pre-malignant diagnoses reaches a model's threshold.",
        "malignant and pre-malignant diagnoses together",
        target="malignant",
    ),
    Rule(
        "disagree",
        "The models' calls fall into different groups (benign, pre-malignant, malignant).",
        "the models' calls fall into different groups",
        _disagree,
    ),
    Rule(
        "undecided",
        f"The {short_percent(CASE_LEVEL)} prediction set is empty or holds {MANY} or more of the seven diagnoses.",
        f"the {short_percent(CASE_LEVEL)} prediction set is empty, or rules out hardly any diagnosis",
        _undecided,
    ),
)
"""In the order they are said. An image is referred if at least one fires."""
