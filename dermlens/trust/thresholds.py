"""Operating points: from which probability on a case counts as positive, what that finds and what it costs.

Two targets: melanoma, and any malignant or pre-malignant diagnosis (the probabilities of melanoma, basal cell carcinoma
and actinic keratosis or Bowen's disease added up) against the benign ones. A threshold is the highest probability at
which a wanted share of the positive validation images is found; `training.fits.thresholds` fits and measures it.

The net benefit of referring, in true positives per case, is TP / n - FP / n * t / (1 - t): a person who would refer
from a risk of t on weighs one needless referral t / (1 - t) times as heavily as one missed cancer (Vickers & Elkin,
"Decision curve analysis", Med Decis Making 26:565, 2006). At another prevalence than the images' own, sensitivity and
specificity stay, and a probability's odds move with the odds of the prevalence.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dermlens.errors import ConfigError, DataError, ModelError
from dermlens.estimate import Estimate
from dermlens.evaluation.intervals import percentile_interval, resampled_mean
from dermlens.evaluation.predictions import SPLITS
from dermlens.files.documents import File, read_object, shown
from dermlens.labels import MELANOMA, SUSPECT
from dermlens.trust.fit_command import FIT
from dermlens.wording import interval, percent, short_percent

SENSITIVITIES = (0.8, 0.85, 0.9, 0.95, 0.96, 0.97, 0.98)
CASE_SENSITIVITY = 0.95
"""The wanted sensitivity used on a case unless a person chooses another."""


@dataclass(frozen=True)
class Target:
    """What is to be found: its classes, and how it is written."""

    classes: tuple[int, ...]
    title: str
    plural: str
    others: str
    """what the lesions are that do not show it"""

    def score(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the probability of the target, (...,) from (..., 7)."""
        return np.asarray(probabilities)[..., list(self.classes)].sum(-1)

    def positive(self, y_true: np.ndarray) -> np.ndarray:
        """Return which images show the target, (n,) bool from (n,) int."""
        return np.isin(y_true, self.classes)


TARGETS: dict[str, Target] = {
    "melanoma": Target((MELANOMA,), "Melanoma", "melanomas", "not melanoma"),
    "malignant": Target(
        tuple(sorted(SUSPECT)),
        "Malignant or pre-malignant",
        "malignant and pre-malignant lesions",
        "benign",
    ),
}


@dataclass(frozen=True)
class Measured:
    """How one threshold did on one split."""

    sensitivity: Estimate
    specificity: Estimate


@dataclass(frozen=True)
class Point:
    """A threshold chosen for a wanted sensitivity: positive is what has at least this probability."""

    wanted: float
    threshold: float
    measured: dict[str, Measured]
    """by split; validation is cross-fitted: with thresholds chosen on other lesions"""


@dataclass(frozen=True)
class Thresholds:
    """The operating points of a model by target, the wanted sensitivity rising."""

    points: dict[str, tuple[Point, ...]]
    fitted_on: dict[str, Any]

    def point(self, target: str, wanted: float = CASE_SENSITIVITY) -> Point:
        """Return one operating point; raises ConfigError if there is none for that target and sensitivity."""
        for point in self.points.get(target, ()):
            if abs(point.wanted - wanted) < 1e-9:
                return point
        known = ", ".join(f"{t} {short_percent(p.wanted)}" for t, points in self.points.items() for p in points)
        raise ConfigError(f"There are thresholds for {known}; got {target} {short_percent(wanted)}.")

    def strictest(self, probabilities: np.ndarray, target: str) -> Point | None:
        """Return the highest threshold that (7,) probabilities reach, None if they reach none."""
        score = TARGETS[target].score(probabilities)
        reached = [p for p in self.points[target] if score >= p.threshold]
        return max(reached, key=lambda p: (p.threshold, -p.wanted), default=None)

    def above(self, probabilities: np.ndarray) -> tuple[str, ...]:
        """Say for each target which thresholds (7,) probabilities reach, and how that threshold did on test."""
        return tuple(self._sentence(target, probabilities) for target in self.points)

    def _sentence(self, target: str, probabilities: np.ndarray) -> str:
        name, found = TARGETS[target], self.strictest(probabilities, target)
        if found is not None:
            return (
                f"{name.title}: above the threshold that found {short_percent(found.wanted)} of {name.plural} on "
                f"validation{_on_test(found)}."
            )
        lowest = min(self.points[target], key=lambda p: p.threshold)
        return (
            f"{name.title}: below every threshold, even the one that found {short_percent(lowest.wanted)} of "
            f"{name.plural} on validation{_on_test(lowest)}. Those it missed lie below it, so this is not an all-clear."
        )

    def reached(self, target: str, probabilities: np.ndarray, wanted: float = CASE_SENSITIVITY) -> bool:
        """Return whether (7,) probabilities reach the threshold for one wanted sensitivity."""
        return bool(TARGETS[target].score(probabilities) >= self.point(target, wanted).threshold)

    def named(self, target: str, wanted: float = CASE_SENSITIVITY) -> str:
        """Say which threshold that is, and how it did on test."""
        point = self.point(target, wanted)
        return f"the {short_percent(wanted)}-sensitivity threshold for {TARGETS[target].plural}{_on_test(point)}."

    def to_dict(self) -> dict[str, Any]:
        """Return thresholds.json."""
        return {
            "fitted_on": self.fitted_on,
            "thresholds": {
                target: [{"wanted": p.wanted, "threshold": p.threshold} for p in points]
                for target, points in self.points.items()
            },
            "measured": {
                split: {target: [_written(p.measured[split]) for p in points] for target, points in self.points.items()}
                for split in self.splits
            },
        }

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that every threshold was measured on."""
        every = [p.measured for points in self.points.values() for p in points]
        return tuple(s for s in SPLITS if every and all(s in m for m in every))


def read(file: File) -> Thresholds:
    """Read thresholds.json.

    Raises:
        ModelError: the file is missing or not what training.fits.thresholds writes.
    """
    where, stored = shown(file), read_object(file, ModelError)
    try:
        measured = {split: stored["measured"][split] for split in SPLITS if split in stored["measured"]}
        points = {
            target: tuple(
                Point(
                    float(p["wanted"]),
                    float(p["threshold"]),
                    {split: _measured(found[target][i]) for split, found in measured.items()},
                )
                for i, p in enumerate(stored["thresholds"][target])
            )
            for target in TARGETS
        }
        found = Thresholds(points, dict(stored["fitted_on"]))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, DataError) as e:
        raise ModelError(f"{where} cannot be used ({type(e).__name__}: {e}). Make it with {FIT}.") from e
    for target, of_target in found.points.items():
        wanted, thresholds = [p.wanted for p in of_target], [p.threshold for p in of_target]
        if not wanted or wanted != sorted(set(wanted)) or not 0 < wanted[0] <= wanted[-1] <= 1:
            raise ModelError(f"{where}, {target}: the wanted sensitivities must rise between 0 and 1, got {wanted}.")
        if thresholds != sorted(thresholds, reverse=True) or not 0 <= thresholds[-1] <= thresholds[0] <= 1:
            raise ModelError(f"{where}, {target}: thresholds must lie in 0..1 and never rise, got {thresholds}.")
    return found


def threshold_for(positive: np.ndarray, scores: np.ndarray, wanted: float) -> float:
    """Return the highest score that at least the wanted share of the positive images reaches.

    Args:
        positive: (n,) bool. scores: (n,) float. wanted: sensitivity, > 0 and at most 1.

    Raises:
        DataError: there is no positive image.
    """
    ranked = np.sort(scores[positive])[::-1]
    if len(ranked) == 0:
        raise DataError("A threshold needs at least one positive image, got none.")
    return float(ranked[int(np.ceil(wanted * len(ranked) - 1e-9)) - 1])


@dataclass(frozen=True)
class Outcome:
    """What becomes of 1,000 images, on average."""

    missed: float
    """images that show the target and are not referred"""
    referred: float
    unnecessary: float
    """images that do not show it and are referred"""


def per_thousand(sensitivity: float, specificity: float, prevalence: float) -> Outcome:
    """Return what an operating point means for 1,000 images.

    Args:
        sensitivity, specificity: 0..1, shares of images. prevalence: share of images that show the target, 0..1.
    """
    found, alarms = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    return Outcome(1000 * (prevalence - found), 1000 * (found + alarms), 1000 * alarms)


def expected(measured: Measured, prevalence: float) -> dict[str, Estimate]:
    """Return `per_thousand` of an operating point with 95 % intervals, by field of Outcome.

    Who is missed follows the sensitivity alone, who is referred needlessly the specificity. Who is referred is the sum
    of the found and the needless, which are different lesions: its limits lie as far from it as the root of their
    squared distances (Zou & Donner, "Construction of confidence limits about effect measures", Stat Med 27:1693, 2008).
    """
    s, c = measured.sensitivity, measured.specificity
    at, best, worst = (per_thousand(getattr(s, e), getattr(c, e), prevalence) for e in ("value", "high", "low"))
    found = 1000 * prevalence - at.missed, 1000 * prevalence - worst.missed, 1000 * prevalence - best.missed
    below = np.hypot(found[0] - found[1], at.unnecessary - best.unnecessary)
    above = np.hypot(found[2] - found[0], worst.unnecessary - at.unnecessary)
    n_images, n_lesions = s.n_images + c.n_images, s.n_lesions + c.n_lesions
    return {
        "missed": Estimate(at.missed, best.missed, worst.missed, s.n_images, s.n_lesions),
        "referred": Estimate(at.referred, at.referred - below, at.referred + above, n_images, n_lesions),
        "unnecessary": Estimate(at.unnecessary, best.unnecessary, worst.unnecessary, c.n_images, c.n_lesions),
    }


def net_benefit(
    sensitivity: np.ndarray | float, specificity: np.ndarray | float, prevalence: float, risk: np.ndarray | float
) -> np.ndarray:
    """Return the net benefit in true positives per case; referring all has sensitivity 1 and specificity 0.

    Args:
        sensitivity, specificity, risk: 0..1, broadcast against each other; risk is the threshold probability t < 1.
        prevalence: 0..1.
    """
    weight = np.asarray(risk) / (1 - np.asarray(risk))
    return prevalence * np.asarray(sensitivity) - (1 - prevalence) * (1 - np.asarray(specificity)) * weight


def at_prevalence(probability: np.ndarray | float, own: float, other: float) -> np.ndarray:
    """Return what a probability that holds at one prevalence is at another (Bayes; both in 0..1, not 0 or 1)."""
    odds = np.asarray(probability) / (1 - np.asarray(probability)) * other / (1 - other) / (own / (1 - own))
    return odds / (1 + odds)


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """Net benefit of referring by a model's probability, against referring all; referring none has 0.

    Arrays (k,): `risk` rises; `model` has a 95 % interval `low` to `high` over lesions.
    """

    risk: np.ndarray
    model: np.ndarray
    low: np.ndarray
    high: np.ndarray
    refer_all: np.ndarray
    prevalence: float


def decision_curve(
    positive: np.ndarray, scores: np.ndarray, lesion: np.ndarray, prevalence: float, risk: np.ndarray
) -> DecisionCurve:
    """Measure the net benefit of referring whoever has at least a risk, for a range of risks.

    Args:
        positive: (n,) bool. scores: (n,) calibrated probabilities of the target, which hold for these images' own
            prevalence; they are brought to the wanted one first. lesion: (n,) int.
        prevalence: share of positive images where the model is to be used, 0..1, not 0 or 1.
        risk: (k,) threshold probabilities, 0..1, not 0 or 1.

    Raises:
        DataError: positive or negative images are missing. ConfigError: the prevalence is out of range.
    """
    if not positive.any() or positive.all():
        raise DataError("A decision curve needs both positive and negative images.")
    if not 0 < prevalence < 1:
        raise ConfigError(f"A prevalence must lie between 0 and 1, got {prevalence}.")
    referred = scores[:, None] >= at_prevalence(risk, prevalence, float(positive.mean()))
    columns = np.column_stack([positive, referred & positive[:, None], referred & ~positive[:, None]])
    means = np.vstack([columns.mean(0), resampled_mean(columns, lesion)])
    share, k = means[:, :1], len(risk)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, alarms = means[:, 1 : k + 1] / share, means[:, k + 1 :] / (1 - share)
    benefit = net_benefit(sensitivity, 1 - alarms, prevalence, risk)
    low, high = percentile_interval(benefit[1:])
    everyone = net_benefit(1.0, 0.0, prevalence, risk)
    return DecisionCurve(np.asarray(risk), benefit[0], low, high, everyone, prevalence)


def _on_test(point: Point) -> str:
    if "test" not in point.measured:
        return " (not measured on test)"
    found = point.measured["test"].sensitivity
    if np.isnan(found.value):
        return " (test has none)"
    return f" (on test it found {percent(found.value, 1)}, 95 % interval {interval(found)})"


def _measured(stored: dict[str, Any]) -> Measured:
    return Measured(Estimate.from_dict(stored["sensitivity"]), Estimate.from_dict(stored["specificity"]))


def _written(measured: Measured) -> dict[str, Any]:
    return {"sensitivity": measured.sensitivity.to_dict(), "specificity": measured.specificity.to_dict()}
