"""When a case is withheld: which of an ensemble's networks must find that an image is none that they know, and how far.

A network's score (`trust.ood`) is compared with the limit that it has for itself, in standard deviations of its scores
on validation. One network that refuses an image is silent itself. All are where all refuse it, or where one rule over
their scores says so, which is chosen and measured by `training.fits.withholding`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dermlens.errors import ModelError
from dermlens.labels import CLASSES

COMBINED = {
    "any": "the network that knows the image least",
    "mean": "the mean of the networks",
    "all": "the network that knows the image best",
}
"""What a rule may go by, besides one network alone, and how it is said."""


@dataclass(frozen=True)
class TradeOff:
    """What one rule withholds, in counts of images and shares of pictures."""

    by: str
    """key of COMBINED, or the id of a network"""
    limit: float
    """the highest value of it that is not withheld, in standard deviations beyond the networks' own limits"""
    withheld: Mapping[str, tuple[int, int]]
    """class code -> images of validation withheld, and all of them"""
    photographs: tuple[int, int]
    """of the measuring half: refused, and all of them"""
    others: float
    """mean share refused of the other kinds of pictures of the measuring half, 0..1"""

    @property
    def share(self) -> float:
        """Share of the dermoscopic images of validation that is withheld, 0..1."""
        return sum(n for n, _ in self.withheld.values()) / sum(n for _, n in self.withheld.values())

    @property
    def worst_diagnosis(self) -> str:
        """The code of the diagnosis that loses the largest share of its images."""
        return max(self.withheld, key=lambda code: self.withheld[code][0] / max(self.withheld[code][1], 1))

    @property
    def worst(self) -> float:
        """That share, 0..1."""
        withheld, images = self.withheld[self.worst_diagnosis]
        return withheld / max(images, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return what familiarity.json holds of it."""
        counts = {code: list(pair) for code, pair in self.withheld.items()}
        return {
            "by": self.by,
            "limit": self.limit,
            "withheld": counts,
            "photographs": list(self.photographs),
            "others": self.others,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "TradeOff":
        """Return what `to_dict` wrote; raises KeyError, TypeError or ValueError if it is not that."""
        withheld = {code: _pair(stored["withheld"][code]) for code in CLASSES if code in stored["withheld"]}
        return cls(
            str(stored["by"]), float(stored["limit"]), withheld, _pair(stored["photographs"]), float(stored["others"])
        )


@dataclass(frozen=True)
class Withholding:
    """The rule of an ensemble, and what the other rules would have done."""

    by: str
    """key of COMBINED, or the id of a member"""
    limit: float
    """the highest value of it that is not withheld"""
    spread: Mapping[str, float]
    """member -> standard deviation of its scores on validation, > 0; in the order of the members"""
    curve: tuple[TradeOff, ...]
    """of all rules that it was chosen among"""

    @property
    def chosen(self) -> TradeOff | None:
        """Its own point of the curve."""
        return next((p for p in self.curve if p.by == self.by and p.limit == self.limit), None)

    def score(self, excess: np.ndarray | Sequence[float]) -> np.ndarray:
        """Return how far images are beyond the rule, (...,) in standard deviations; more than 0 is withheld.

        Args:
            excess: (..., members), score less the network's own limit.
        """
        return beyond(
            np.asarray(excess) / np.array(list(self.spread.values())), self.by, self.limit, tuple(self.spread)
        )

    def withholds(self, excess: np.ndarray | Sequence[float]) -> bool:
        """Return whether one image is withheld; excess: (members,)."""
        return bool(self.score(excess) > 0)

    def sentence(self, names: Mapping[str, str]) -> str:
        """Say when a case is withheld; names: member -> its name."""
        what = COMBINED.get(self.by) or f"{names.get(self.by, self.by)} alone"
        return (
            f"A case is withheld if all networks refuse the image, or {what} puts it more than {self.limit:.2f} "
            "standard deviations beyond its own limit."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what familiarity.json holds of it."""
        curve = [point.to_dict() for point in self.curve]
        return {"by": self.by, "limit": self.limit, "spread": dict(self.spread), "curve": curve}


def beyond(excess: np.ndarray, by: str, limit: float, members: Sequence[str]) -> np.ndarray:
    """Return how far images are beyond a rule, (...,) from (..., members); arguments as `combine` and `TradeOff`."""
    return np.maximum(combine(excess, by, members) - limit, combine(excess, "all", members))


def combine(excess: np.ndarray, by: str, members: Sequence[str]) -> np.ndarray:
    """Return the score that a rule goes by, (...,) from (..., members).

    Args:
        excess: in standard deviations. by: key of COMBINED, or one of `members`. members: their ids, in order.
    """
    if by == "any":
        return excess.max(-1)
    if by == "mean":
        return excess.mean(-1)
    return excess.min(-1) if by == "all" else excess[..., list(members).index(by)]


def from_dict(stored: Any, members: Sequence[str], where: str) -> Withholding:
    """Return what `Withholding.to_dict` wrote; raises ModelError, naming `where`, if it is not that."""
    try:
        found = Withholding(
            str(stored["by"]),
            float(stored["limit"]),
            {m: float(stored["spread"][m]) for m in members},
            tuple(TradeOff.from_dict(point) for point in stored["curve"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise ModelError(f"{where}: 'withholding' is not a rule over the members ({e!r}).") from e
    numbers = [found.limit, *found.spread.values()]
    if not np.isfinite(numbers).all() or min(found.spread.values()) <= 0 or found.by not in (*COMBINED, *members):
        raise ModelError(f"{where}: 'withholding' must name one of {', '.join((*COMBINED, *members))} and a limit.")
    return found


def _pair(stored: Any) -> tuple[int, int]:
    part, whole = stored
    return int(part), int(whole)
