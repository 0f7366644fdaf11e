"""Refer or not: a few fixed rules over what is known of a case, which a clinician can read and check.

A rule that fires is a reason to refer. That none fires is never an all-clear: what the rules miss is measured on the
test split and said with every answer. The rules themselves are in `trust.referral_rules`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dermlens.errors import DataError, ModelError
from dermlens.estimate import Estimate
from dermlens.files.documents import File, read_object
from dermlens.labels import CLASSES, SUSPECT
from dermlens.trust.fit_command import FIT
from dermlens.trust.referral_rules import RULES, Inputs, Rule
from dermlens.trust.thresholds import TARGETS
from dermlens.wording import percent, short_percent


@dataclass(frozen=True)
class RuleMeasured:
    """How often one rule fires, as shares of the images of a split."""

    fired: Estimate
    alone: Estimate
    """it fires and no other rule does"""


@dataclass(frozen=True)
class Measured:
    """What the rules did on one split."""

    referred: Estimate
    benign_referred: Estimate
    """share of the benign images that is referred"""
    missed: dict[str, Estimate]
    """code of each class of labels.SUSPECT -> share of its images that is not referred"""
    rules: dict[str, RuleMeasured]
    """key of a rule -> how often it fires, in the order of RULES; without rules whose input the split lacks"""

    def to_dict(self) -> dict[str, Any]:
        """Return what referral.json holds of one split."""
        return {
            "referred": self.referred.to_dict(),
            "benign_referred": self.benign_referred.to_dict(),
            "missed": {code: share.to_dict() for code, share in self.missed.items()},
            "rules": {
                key: {"fired": found.fired.to_dict(), "alone": found.alone.to_dict()}
                for key, found in self.rules.items()
            },
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Measured":
        """Return what `to_dict` wrote; raises KeyError, TypeError or DataError if it is not that."""
        rules = {rule.key: stored["rules"][rule.key] for rule in RULES if rule.key in stored["rules"]}
        return cls(
            Estimate.from_dict(stored["referred"]),
            Estimate.from_dict(stored["benign_referred"]),
            {CLASSES[i]: Estimate.from_dict(stored["missed"][CLASSES[i]]) for i in SUSPECT},
            {
                key: RuleMeasured(Estimate.from_dict(found["fired"]), Estimate.from_dict(found["alone"]))
                for key, found in rules.items()
            },
        )


@dataclass(frozen=True)
class Referral:
    """The rules of one model, as fitted on validation, and what they were measured to do."""

    sensitivity: float
    """what every threshold was chosen for on validation, 0..1"""
    thresholds: dict[str, float]
    """key of a rule with a target -> its threshold on the calibrated probability of that target, 0..1"""
    cap: float
    """the largest share of validation images that may be referred; the sensitivity is the highest that keeps it"""
    measured: dict[str, Measured]
    """by split"""

    def fired(
        self,
        probabilities: np.ndarray,
        sets: np.ndarray | None = None,
        calls: np.ndarray | None = None,
        unfamiliar: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Say which rules fire on n images; a rule whose input is missing is left out.

        Args:
            probabilities, sets, calls, unfamiliar: as `referral_rules.Inputs` has them.

        Returns:
            key of a rule -> (n,) bool, in the order of RULES.
        """
        inputs = Inputs(probabilities, sets, calls, unfamiliar)
        found = {rule.key: rule.fires(inputs, self.thresholds[rule.key] if rule.target else None) for rule in RULES}
        return {key: fires for key, fires in found.items() if fires is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return what referral.json holds of the rules."""
        measured = {split: found.to_dict() for split, found in self.measured.items()}
        return {"sensitivity": self.sensitivity, **self.thresholds, "cap": self.cap, "measured": measured}


def any_of(fired: dict[str, np.ndarray]) -> np.ndarray:
    """Return (n,) bool: whether at least one rule fires."""
    return np.logical_or.reduce(list(fired.values()))


def reasons(referral: Referral, probabilities: np.ndarray, fired: dict[str, np.ndarray]) -> list[str]:
    """Say for one image, in a few words each, why the rules that fired did.

    Args:
        referral: the rules.
        probabilities: (7,) calibrated.
        fired: as `Referral.fired` gives it for this one image.
    """
    return [_reason(rule, referral, probabilities) for rule in _firing(fired)]


def sentence(referral: Referral, probabilities: np.ndarray, fired: dict[str, np.ndarray]) -> str:
    """Return the one sentence at the top of a case; arguments as `reasons`."""
    for rule in _firing(fired):
        if rule.unreliable:
            reason = _reason(rule, referral, probabilities)
            return f"Do not rely on these numbers, and refer or take another picture: {reason}."
    why = reasons(referral, probabilities, fired)
    if why:
        return "Refer: " + "; ".join(why) + "."
    return "No rule for referral fires. That is not an all-clear: " + what_is_missed(referral)


def _firing(fired: dict[str, np.ndarray]) -> list[Rule]:
    return [rule for rule in RULES if rule.key in fired and fired[rule.key][0]]


def _reason(rule: Rule, referral: Referral, probabilities: np.ndarray) -> str:
    if rule.target is None:
        return rule.reason
    return rule.reason.format(
        subject=rule.subject,
        share=percent(float(TARGETS[rule.target].score(probabilities)), 1),
        threshold=percent(referral.thresholds[rule.key], 1),
        wanted=short_percent(referral.sensitivity),
    )


def n_missed(referral: Referral, split: str) -> int:
    """Return how many malignant and pre-malignant images of a split the rules missed."""
    return sum(_count(share) for share in referral.measured[split].missed.values())


def what_is_missed(referral: Referral) -> str:
    """Say what the rules missed on the test split; on validation, and so said, if test was not measured."""
    split = "test" if "test" in referral.measured else "validation"
    shares = referral.measured[split].missed.items()
    missed = [f"{_count(share)} of {share.n_images} {_PLURALS[code]}" for code, share in shares]
    return f"on the {split} split these rules missed {', '.join(missed[:-1])} and {missed[-1]}."


def _count(share: Estimate) -> int:
    return round(share.value * share.n_images) if share.n_images else 0


def read(file: File) -> Referral:
    """Read referral.json.

    Raises:
        ModelError: it is missing or not what training.fit writes.
    """
    stored = read_object(file, ModelError)
    try:
        found = Referral(
            float(stored["sensitivity"]),
            {rule.key: float(stored[rule.key]) for rule in RULES if rule.target},
            float(stored["cap"]),
            {split: Measured.from_dict(values) for split, values in stored["measured"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as e:
        raise ModelError(f"{file.parent.name}/{file.name} cannot be used ({e!r}). Make it by {FIT}.") from e
    numbers = (found.sensitivity, *found.thresholds.values(), found.cap)
    if not (found.measured and all(0 <= n <= 1 for n in numbers)):
        raise ModelError(f"{file.parent.name}/{file.name}: numbers from 0 to 1 and measured splits expected.")
    return found


_PLURALS = {
    "mel": "melanoma images",
    "bcc": "basal cell carcinoma images",
    "akiec": "images of actinic keratosis or Bowen's disease",
}


def coverage_curve(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how accurate a model is on the share of images it is surest of (El-Yaniv & Wiener, JMLR 11:1605, 2010).

    Args:
        confidence: (n,) float, images with the same one are kept or left together. right: (n,) bool.

    Returns:
        coverage (k,), rising to 1, and the accuracy (k,) on that share of the images.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return (last + 1) / len(ranked), right[order].cumsum()[last] / (last + 1)
