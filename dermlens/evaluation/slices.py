"""How well a model does on parts of a split: by age, sex, site and way of confirmation.

Slices differ in their mix of diagnoses (what was confirmed by follow-up alone is nevus by construction), so each comes
with its class mix and per-class recall, and a slice of one class has no single estimate at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermlens.errors import ConfigError
from dermlens.estimate import Estimate
from dermlens.evaluation import metrics
from dermlens.evaluation.intervals import FEW_LESIONS, SEED, bootstrap, interval_of_mean, proportion
from dermlens.evaluation.predictions import CASE_COLUMNS, Predictions
from dermlens.labels import CLASSES, CONFIRMED, N_CLASSES

AGE_BANDS: tuple[tuple[str, float], ...] = (
    ("under 30", 30),
    ("30 to 44", 45),
    ("45 to 59", 60),
    ("60 to 74", 75),
    ("75 and over", np.inf),
)
"""name and first age, in years, that no longer belongs to it"""
UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Slice:
    """One part of a split."""

    name: str
    rows: np.ndarray
    """(n_images,) int64 rows of the predictions"""
    n_images: int
    n_lesions: int
    class_mix: np.ndarray
    """(7,) int64 images of each true class"""
    recall: dict[str, Estimate]
    """by class code, at the equal class mix; NaN for a class the slice does not hold"""
    accuracy: Estimate | None
    """at HAM10000's class mix"""
    balanced_accuracy: Estimate | None
    """over the classes it holds, at the equal class mix; None, like accuracy, for a slice of one class"""
    small: bool
    """fewer than FEW_LESIONS lesions: its estimates say little"""


def group_names(cases: pd.DataFrame, by: str) -> np.ndarray:
    """Return (n,) str: the name of the slice each image belongs to.

    Args:
        cases: as `predictions.cases_of` gives it. by: age, sex, localization or dx_type.

    Raises:
        ConfigError: `by` is something else.
    """
    if by not in CASE_COLUMNS:
        raise ConfigError(f"Slices are made by {', '.join(CASE_COLUMNS)}; got {by!r}.")
    if by == "dx_type":
        return cases[by].replace(CONFIRMED).to_numpy(object)
    if by != "age":
        return cases[by].to_numpy(object)
    age = cases["age"].to_numpy(float)
    band = np.searchsorted([limit for _, limit in AGE_BANDS], age, side="right")
    names = np.array([*(name for name, _ in AGE_BANDS), UNKNOWN], object)
    return names[np.where(np.isnan(age), len(AGE_BANDS), np.minimum(band, len(AGE_BANDS) - 1))]


def slices(
    predictions: Predictions, cases: pd.DataFrame, by: str, *, replicates: int | None = None, seed: int = SEED
) -> tuple[Slice, ...]:
    """Measure every slice that has images.

    Args:
        predictions: n images of one split. cases: their rows, as `predictions.cases_of` gives them. by: as in
            `group_names`. replicates: of the bootstrap, see `intervals.bootstrap`.

    Returns:
        Age bands in their order, other slices from the largest to the smallest; unknown last.
    """
    names = group_names(cases, by)
    found = [measure_slice(name, predictions, np.flatnonzero(names == name), replicates, seed) for name in set(names)]
    by_name = {s.name: s for s in found}
    return tuple(by_name[name] for name in in_order({s.name: s.n_images for s in found}))


def in_order(sizes: Mapping[str, int]) -> list[str]:
    """Return the names of groups as people read them: age bands in their order, others from the largest to the
    smallest; unknown last. sizes: group -> number of its images."""
    bands = [name for name, _ in AGE_BANDS]

    def place(name: str) -> tuple:
        return name == UNKNOWN, bands.index(name) if name in bands else -sizes[name], name

    return sorted(sizes, key=place)


def measure_slice(
    name: str, predictions: Predictions, rows: np.ndarray, replicates: int | None = None, seed: int = SEED
) -> Slice:
    """Measure the images in `rows`, (k,) int, k > 0."""
    p = predictions.select(rows)
    draws = bootstrap(p, replicates=replicates, seed=seed, ranks="none")
    right, equal = p.y_true == p.y_pred, p.at_equal_mix
    mix = np.bincount(p.y_true, minlength=N_CLASSES)
    recall = {}
    for i, code in enumerate(CLASSES):
        own = p.y_true == i
        recall[code] = proportion(equal.y_pred[own] == i, p.lesion[own], draws["recall_equal"][:, i])
    accuracy = None
    balanced = None
    if np.count_nonzero(mix) > 1:
        accuracy = proportion(right, p.lesion, draws["accuracy"])
        value = float(metrics.balanced_accuracy(metrics.confusion_matrix(p.y_true, equal.y_pred)))
        low, high = interval_of_mean(recall.values())
        balanced = Estimate(value, float(low), float(high), len(p), p.n_lesions)
    return Slice(
        name=name,
        rows=rows,
        n_images=len(p),
        n_lesions=p.n_lesions,
        class_mix=mix,
        recall=recall,
        accuracy=accuracy,
        balanced_accuracy=balanced,
        small=p.n_lesions < FEW_LESIONS,
    )
