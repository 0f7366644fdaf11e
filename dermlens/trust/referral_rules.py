"""The rules for referral, each with what fires it, how it is said, and which threshold is fitted for it.

Adding a rule is adding one entry to RULES, and making referral.json again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dermlens.labels import DIAGNOSES, GROUPS
from dermlens.trust.conformal import CASE_LEVEL
from dermlens.trust.thresholds import TARGETS
from dermlens.wording import short_percent

MANY = 5
"""A prediction set of so many of the seven diagnoses rules next to nothing out."""
_GROUP = np.array([GROUPS.index(d.group) for d in DIAGNOSES])


@dataclass(frozen=True, eq=False)
class Inputs:
    """What rules look at, of n images; None is not known."""

    probabilities: np.ndarray
    """(n, 7) calibrated, of the model the rules belong to"""
    sets: np.ndarray | None = None
    """(n, 7) bool, its prediction sets at CASE_LEVEL"""
    calls: np.ndarray | None = None
    """(n, m) int, the class that each of m >= 2 models calls"""
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
    """why it fired on an image, in a few words; {subject}, {share}, {threshold} and {wanted} stand for those of a rule
    with a threshold"""
    value: Callable[[Inputs], np.ndarray | None]
    """what it goes by, of n images: (n,) bool, or of a target (n,) float; None if its input is not known"""
    target: str | None = None
    """key of thresholds.TARGETS: it fires from the threshold for the wanted sensitivity for that target on"""
    subject: str = ""
    """what that threshold is for, in words"""
    unreliable: bool = False
    """where it fires, the numbers cannot be relied on, and no other reason counts"""

    def fires(self, inputs: Inputs, threshold: float | None) -> np.ndarray | None:
        """Return on which of n images the rule fires, (n,) bool; None if its input is not known.

        Args:
            inputs: of the images. threshold: 0..1, None for a rule without one.
        """
        value = self.value(inputs)
        if value is None:
            return None
        return np.asarray(value, bool) if threshold is None else value >= threshold


def _probability(target: str) -> Callable[[Inputs], np.ndarray]:
    return lambda inputs: TARGETS[target].score(inputs.probabilities)


def _disagree(inputs: Inputs) -> np.ndarray | None:
    return None if inputs.calls is None else np.ptp(_GROUP[inputs.calls], axis=1) > 0


def _undecided(inputs: Inputs) -> np.ndarray | None:
    if inputs.sets is None:
        return None
    size = inputs.sets.sum(1)
    return (size == 0) | (size >= MANY)


_FROM_THRESHOLD = "at or above the threshold of {threshold}, chosen on validation to find {wanted} of"

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
        "The probability of melanoma reaches the threshold for it.",
        f"{{subject}} has {{share}}, {_FROM_THRESHOLD} melanomas",
        _probability("melanoma"),
        target="melanoma",
        subject="melanoma",
    ),
    Rule(
        "malignant",
        "The probability of a malignant or pre-malignant lesion reaches the threshold for it.",
        f"{{subject}} have {{share}}, {_FROM_THRESHOLD} them",
        _probability("malignant"),
        target="malignant",
        subject="malignant and pre-malignant diagnoses together",
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
