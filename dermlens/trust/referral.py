"""Refer or not: a few fixed rules over what is known of a case, which a clinician can read and check.

A rule that fires is a reason to refer. That none fires is never an all-clear: what the rules miss is measured on the
test split and said with every answer. The rules themselves are in `trust.referral_rules`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dermlens.errors import DataError, ModelError
from dermlens.estimate import Estimate
from dermlens.evaluation.intervals import REPLICATES, lesion_weights, proportion
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
    """One set of rules over a model, or over an ensemble and its members, and what it was measured to do."""

    sensitivity: dict[str, float]
    """model id -> what its thresholds were chosen for on validation, 0..1; the model that the rules belong to first"""
    thresholds: dict[str, dict[str, float]]
    """model id -> key of a rule with a target -> the threshold on its calibrated probability of that target, 0..1"""
    cap: float
    """the largest share of validation images that may be referred; the sensitivities are the highest that keep it"""
    measured: dict[str, Measured]
    """by split; validation by rules fitted on other lesions"""
    referred: float | None = None
    """share of the validation images, on which they were chosen, that these rules refer; None where it is not above the
    cap, or not known"""

    @property
    def cap_broken(self) -> str:
        """One sentence, with a space before it, where no choice kept the cap; empty where one did."""
        if self.referred is None or self.referred <= self.cap:
            return ""
        return f" No choice kept to {short_percent(self.cap)}: this one refers the fewest, {percent(self.referred)}."

    @property
    def models(self) -> tuple[str, ...]:
        """The ids of the models that the rules look at, the one that they belong to first."""
        return tuple(self.thresholds)

    def reached(self, rule: Rule, probabilities: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return on which of n images each model reaches its threshold of a rule with a target, (n,) bool by model.

        Args:
            rule: one with a target. probabilities: as `referral_rules.Inputs` has them; of other models too.
        """
        assert rule.target is not None
        score = TARGETS[rule.target].score
        return {m: score(probabilities[m]) >= own[rule.key] for m, own in self.thresholds.items() if m in probabilities}

    def fired(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """Say which rules fire on n images; a rule whose input is missing is left out.

        Args:
            inputs: with the probabilities of `models`, or of those that have answered.

        Returns:
            key of a rule -> (n,) bool, in the order of RULES.
        """
        own = replace(
            inputs, probabilities={m: inputs.probabilities[m] for m in self.models if m in inputs.probabilities}
        )
        found = {}
        for rule in RULES:
            if rule.target is not None:
                found[rule.key] = np.logical_or.reduce(list(self.reached(rule, own.probabilities).values()))
            elif rule.fires is not None and (fires := rule.fires(own)) is not None:
                found[rule.key] = fires
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return what referral.json holds of the rules."""
        models = {m: {"sensitivity": self.sensitivity[m], **own} for m, own in self.thresholds.items()}
        measured = {split: found.to_dict() for split, found in self.measured.items()}
        over = {"referred": self.referred} if self.cap_broken else {}
        return {"models": models, "cap": self.cap, **over, "measured": measured}


def any_of(fired: dict[str, np.ndarray]) -> np.ndarray:
    """Return (n,) bool: whether at least one rule fires."""
    return np.logical_or.reduce(list(fired.values()))


def what_is_missed(referral: Referral) -> str:
    """Say what the rules missed on the test split; on validation, and so said, if test was not measured."""
    split = "test" if "test" in referral.measured else "validation"
    shares = referral.measured[split].missed.items()
    missed = [f"{_count(share)} of {share.n_images} {_PLURALS[code]}" for code, share in shares]
    how = "" if split == "test" else ", fitted on other lesions of it,"
    return f"on the {split} split these rules{how} missed {', '.join(missed[:-1])} and {missed[-1]}."


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
            {m: float(own["sensitivity"]) for m, own in stored["models"].items()},
            {m: {r.key: float(own[r.key]) for r in RULES if r.target} for m, own in stored["models"].items()},
            float(stored["cap"]),
            {split: Measured.from_dict(values) for split, values in stored["measured"].items()},
            None if stored.get("referred") is None else float(stored["referred"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as e:
        raise ModelError(f"{file.parent.name}/{file.name} cannot be used ({e!r}). Make it by {FIT}.") from e
    thresholds = [value for own in found.thresholds.values() for value in own.values()]
    if not (
        thresholds
        and found.measured
        and all(0 <= n <= 1 for n in (*found.sensitivity.values(), *thresholds, found.cap, found.referred or 0))
    ):
        raise ModelError(f"{file.parent.name}/{file.name}: models, numbers from 0 to 1 and measured splits expected.")
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


def coverage_intervals(
    confidence: np.ndarray, right: np.ndarray, lesion: np.ndarray, *, places: int = 100, replicates: int = REPLICATES
) -> dict[float, Estimate]:
    """Return the accuracy of `coverage_curve` with 95 % intervals over lesions, at places evenly spread along it.

    Args:
        confidence, right: as there. lesion: (n,) int.

    Returns:
        coverage, of those of the curve -> estimate; each place is the first one with at least that share of the images.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, hit = confidence[order], right[order]
    group = np.unique(lesion[order], return_inverse=True)[1]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    wanted = np.arange(1, places + 1) / places - 1e-9
    draws = []
    for weights in lesion_weights(group.max() + 1, replicates):
        of_images = weights[group].T.astype(np.float64)
        images, hits = of_images.cumsum(1)[:, last], (of_images * hit).cumsum(1)[:, last]
        at = [np.searchsorted(row / row[-1], wanted) for row in images]
        draws.append(np.take_along_axis(hits, np.array(at), 1) / np.take_along_axis(images, np.array(at), 1))
    drawn, n = np.concatenate(draws), len(ranked)
    found = {}
    for i, place in enumerate(np.searchsorted((last + 1) / n, wanted)):
        k = int(last[place]) + 1
        found[k / n] = proportion(hit[:k], group[:k], drawn[:, i])
    return found
