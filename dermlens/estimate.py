"""A measured number with its 95 % interval and what it rests on."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dermlens.errors import DataError


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % interval and the number of images and lesions it rests on.

    `value`, `low` and `high` are NaN where the data cannot give them.
    """

    value: float
    low: float
    high: float
    n_images: int
    n_lesions: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the estimate as it is written into metrics.json: six decimals, None for NaN."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high")}
        rounded = {name: None if np.isnan(x) else round(float(x), 6) for name, x in numbers.items()}
        return {**rounded, "n_images": self.n_images, "n_lesions": self.n_lesions}

    @classmethod
    def from_dict(cls, stored: Any) -> "Estimate":
        """Return the estimate that `to_dict` wrote; raises DataError if it is not one."""
        try:
            numbers = {k: np.nan if v is None else v for k, v in stored.items()}
            value, low, high = (float(numbers[k]) for k in ("value", "low", "high"))
            return cls(value, low, high, int(numbers["n_images"]), int(numbers["n_lesions"]))
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise DataError(f"value, low, high, n_images and n_lesions expected, received {stored!r}.") from e
