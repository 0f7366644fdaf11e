"""Prediction sets: the diagnoses that an image does not rule out, chosen so that the true one is seldom left out.

A diagnosis is ruled out if its calibrated probability is lower than a threshold of its own. The thresholds are
class-conditional (Mondrian) conformal ones: of new lesions of a diagnosis, at least the wanted share keeps it in the
set, whatever the network, as long as they are drawn as the validation lesions were (Vovk, Gammerman & Shafer,
Algorithmic Learning in a Random World, 2005; Sadinle, Lei & Wasserman, "Least ambiguous set-valued classifiers with
bounded error levels", JASA 114:223, 2019). They are fitted by `training.fits.conformal`.

The promise is an average over lesions of one diagnosis, not a probability for any single lesion. It needs enough
lesions of the diagnosis: where there are too few, the diagnosis takes the threshold that holds for all diagnoses
together and has no promise of its own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dermlens.errors import ConfigError, DataError, ModelError
from dermlens.estimate import Estimate
from dermlens.evaluation.predictions import SPLITS
from dermlens.files.documents import File, read_object, shown
from dermlens.labels import CLASSES, DIAGNOSES, GROUPS, N_CLASSES, members
from dermlens.trust.fit_command import FIT
from dermlens.wording import short_percent

CASE_LEVEL = 0.9
"""The level used on a case."""
NO_GUARANTEE = "no class guarantee"
CHOSEN_BY = (
    "The same validation images also chose the network's best epoch and its calibration, so that its probabilities may "
    "suit them a little better than new ones and the guarantee is not exact; what the sets reach on test says by how "
    "much."
)
"""Said beside the guarantee."""
_OVERALL = ("coverage", "size", "single", "empty")
_ORDER = [i for group in reversed(GROUPS) for i in members(group)]


@dataclass(frozen=True)
class OfClass:
    """How the sets of the images of one true class did."""

    coverage: Estimate
    """share of the sets that hold the true class"""
    size: Estimate
    """mean number of classes in a set"""


@dataclass(frozen=True)
class Measured:
    """How the sets of one level did on one split."""

    coverage: Estimate
    size: Estimate
    single: Estimate
    """share of the sets that hold one class"""
    empty: Estimate
    """share of the sets that hold none"""
    per_class: dict[str, OfClass]
    """by class code; coverage and size have no value for a class without images"""

    def to_dict(self) -> dict[str, Any]:
        """Return what conformal.json holds of one level on one split."""
        overall = {name: getattr(self, name).to_dict() for name in _OVERALL}
        per_class = {
            code: {"coverage": found.coverage.to_dict(), "size": found.size.to_dict()}
            for code, found in self.per_class.items()
        }
        return {**overall, "per_class": per_class}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "Measured":
        """Return what `to_dict` wrote; raises KeyError, TypeError or DataError if it is not that."""
        of_class = {code: stored["per_class"][code] for code in CLASSES}
        per_class = {
            code: OfClass(Estimate.from_dict(found["coverage"]), Estimate.from_dict(found["size"]))
            for code, found in of_class.items()
        }
        return cls(**{name: Estimate.from_dict(stored[name]) for name in _OVERALL}, per_class=per_class)


@dataclass(frozen=True, eq=False)
class PredictionSets:
    """Fitted thresholds and how they did; classes are in the order of labels.CLASSES."""

    levels: tuple[float, ...]
    """wanted coverage, 0..1, rising"""
    thresholds: np.ndarray
    """(levels, 7) float64, 0..1: the lowest probability that keeps a class in the set; 0 always keeps it"""
    own: np.ndarray
    """(levels, 7) bool: whether the threshold is the class's own, so that the promise holds for the class"""
    lesions: tuple[int, ...]
    """(7,) lesions of each class that the thresholds rest on"""
    measured: dict[str, tuple[Measured, ...]]
    """split -> how the sets of every level did"""
    fitted_on: dict[str, Any]

    def sets(self, probabilities: np.ndarray, level: float = CASE_LEVEL) -> np.ndarray:
        """Return which classes are not ruled out, (..., 7) bool.

        Args:
            probabilities: (..., 7) of the same kind as the thresholds were fitted on. level: one of `levels`.

        Raises:
            ConfigError: there are no thresholds for that level.
        """
        return np.asarray(probabilities) >= self.thresholds[self.row(level)]

    def codes(self, probabilities: np.ndarray) -> list[str]:
        """Return the codes of the classes that `sets` does not rule out of one answer (7,), in the order of CLASSES."""
        return [code for code, kept in zip(CLASSES, self.sets(probabilities), strict=True) if kept]

    def row(self, level: float) -> int:
        """Return the position of a level; raises ConfigError if there is no such level."""
        found = np.flatnonzero(np.isclose(self.levels, level, rtol=0, atol=1e-9))
        if len(found) == 0:
            known = ", ".join(short_percent(x) for x in self.levels)
            raise ConfigError(f"There are prediction sets for the levels {known}; got {short_percent(level)}.")
        return int(found[0])

    def sentence(self, kept: np.ndarray, level: float = CASE_LEVEL, promise: bool = True) -> str:
        """Say in words what a set leaves open.

        Args:
            kept: (7,) bool, as `sets` gives it. level: the level it is for. promise: whether to mark a class without a
                promise of its own.
        """
        if not kept.any():
            return (
                "Every diagnosis is ruled out: none of the seven is as probable here as it nearly always is where it "
                "is true. That is not an all-clear: the image may show something else, or be unlike those the model "
                "knows."
            )
        if kept.all():
            return "Nothing is ruled out: the model cannot narrow down the seven diagnoses on this image."
        own = self.own[self.row(level)] if promise else np.ones(N_CLASSES, bool)
        names = [DIAGNOSES[i].name + ("" if own[i] else f" ({NO_GUARANTEE})") for i in _ORDER if kept[i]]
        return f"Not ruled out: {', '.join(names)}."

    def unguaranteed(self, level: float = CASE_LEVEL) -> tuple[str, ...]:
        """Return the codes of the classes with too few lesions for a promise of their own at a level."""
        return tuple(CLASSES[i] for i in _ORDER if not self.own[self.row(level), i])

    def caveat(self, level: float = CASE_LEVEL) -> str:
        """Say which classes have no promise of their own at a level; empty if all have one."""
        codes = self.unguaranteed(level)
        if not codes:
            return ""
        few = ", ".join(f"{DIAGNOSES[i].name} ({self.lesions[i]})" for i in map(CLASSES.index, codes))
        return (
            f"No class guarantee at {short_percent(level)}, for want of validation lesions (their number in brackets): "
            f"{few}. Whether such a diagnosis is ruled out is decided by the threshold for all diagnoses together."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return conformal.json."""
        return {
            "fitted_on": self.fitted_on,
            "lesions": dict(zip(CLASSES, self.lesions, strict=True)),
            "levels": list(self.levels),
            "thresholds": {code: self.thresholds[:, i].tolist() for i, code in enumerate(CLASSES)},
            "own": {code: self.own[:, i].tolist() for i, code in enumerate(CLASSES)},
            "measured": {split: [found.to_dict() for found in rows] for split, rows in self.measured.items()},
        }


def read(file: File) -> PredictionSets:
    """Read conformal.json.

    Raises:
        ModelError: the file is missing or not what training.fits.conformal writes.
    """
    where, stored = shown(file), read_object(file, ModelError)
    try:
        levels = tuple(float(x) for x in stored["levels"])
        found = PredictionSets(
            levels=levels,
            thresholds=np.array([stored["thresholds"][code] for code in CLASSES], np.float64).T,
            own=np.array([stored["own"][code] for code in CLASSES]).T,
            lesions=tuple(int(stored["lesions"][code]) for code in CLASSES),
            measured={
                s: tuple(map(Measured.from_dict, stored["measured"][s])) for s in SPLITS if s in stored["measured"]
            },
            fitted_on=dict(stored["fitted_on"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as e:
        raise ModelError(f"{where} cannot be used ({type(e).__name__}: {e}). Make it with {FIT}.") from e
    shape = (len(levels), N_CLASSES)
    if not levels or list(levels) != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] < 1:
        raise ModelError(f"{where}: levels must rise between 0 and 1, got {list(levels)}.")
    if found.thresholds.shape != shape or found.own.shape != shape or found.own.dtype != bool:
        raise ModelError(f"{where}: every class needs one threshold and one true or false in 'own' for every level.")
    if not ((found.thresholds >= 0) & (found.thresholds <= 1)).all() or (np.diff(found.thresholds, axis=0) > 0).any():
        raise ModelError(f"{where}: thresholds must lie in 0..1 and never rise with the level.")
    if any(len(rows) != len(levels) for rows in found.measured.values()):
        raise ModelError(f"{where}: every split must be measured at every level.")
    found.thresholds.setflags(write=False)
    found.own.setflags(write=False)
    return found
