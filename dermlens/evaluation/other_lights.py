"""What a model loses where the light is another: its calls of the validation images under fixed changes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.evaluation import metrics
from dermlens.evaluation.intervals import bootstrap, interval_of_mean, percentile_interval, share
from dermlens.evaluation.predictions import Predictions
from dermlens.files.documents import MAX_DOCUMENT, read_object
from dermlens.files.hashes import listed
from dermlens.files.tables import MAX_BYTES, read_csv, refuse
from dermlens.image.other_light import Change
from dermlens.labels import CLASSES, N_CLASSES

FILE = "other_lights.json"
CALLS_FILE = "other_lights.csv"
UNCHANGED = "unchanged"
_MADE_WITH = {"predictions_sha256": "predictions.csv", "calibration_sha256": "calibration.json"}
"""Field of `fitted_on` -> the file of the model whose hash it holds, None where there was none."""


@dataclass(frozen=True)
class UnderChange:
    """One change, and balanced accuracy at the equal mix under it."""

    change: Change
    balanced_accuracy: Estimate
    lost: Estimate
    """that of the unchanged images less this one, -1..1, paired: the interval draws the same lesions for both"""


@dataclass(frozen=True)
class OtherLights:
    """What a model loses under every change, and on average."""

    views: int
    """flips and turns averaged over, with and without a change"""
    unchanged: Estimate
    changes: tuple[UnderChange, ...]
    lost: Estimate
    """mean over the changes"""

    def to_dict(self) -> dict[str, Any]:
        """Return what other_lights.json holds of it."""
        changes = [
            {**c.change.to_dict(), "balanced_accuracy": c.balanced_accuracy.to_dict(), "lost": c.lost.to_dict()}
            for c in self.changes
        ]
        return {
            "views": self.views,
            UNCHANGED: self.unchanged.to_dict(),
            "changes": changes,
            "lost": self.lost.to_dict(),
        }


def measure(p: Predictions, calls: Mapping[str, np.ndarray], changes: tuple[Change, ...], views: int) -> OtherLights:
    """Measure calls under changes, with 95 % intervals over lesions; see `dermlens.evaluation.intervals`.

    What is lost is bootstrapped; a class that is recalled in full with and without a change adds no width to it.

    Args:
        p: of n images, for their lesions and true classes.
        calls: UNCHANGED and the name of each change -> (n,) int, the class called at the equal class mix.
        changes: in the order they are shown. views: that the calls were averaged over.
    """
    value, draws = {}, {}
    for name, called in calls.items():
        own = replace(p, logits=np.eye(N_CLASSES)[called], class_mix=None)
        value[name] = float(metrics.balanced_accuracy(metrics.confusion_matrix(p.y_true, called)))
        draws[name] = bootstrap(own, ranks="none")["balanced_accuracy"]

    def estimate(value: float, draws: np.ndarray) -> Estimate:
        low, high = percentile_interval(draws)
        return Estimate(value, float(low), float(high), len(p), p.n_lesions)

    def level(name: str) -> Estimate:
        of_class = [p.y_true == i for i in range(N_CLASSES)]
        recalls = [share(calls[name][own] == i, p.lesion[own]) for i, own in enumerate(of_class) if own.any()]
        return Estimate(value[name], *interval_of_mean(recalls), len(p), p.n_lesions)

    names = [c.name for c in changes]
    lost = {name: (value[UNCHANGED] - value[name], draws[UNCHANGED] - draws[name]) for name in names}
    return OtherLights(
        views,
        level(UNCHANGED),
        tuple(UnderChange(c, level(c.name), estimate(*lost[c.name])) for c in changes),
        estimate(float(np.mean([v for v, _ in lost.values()])), np.mean([d for _, d in lost.values()], axis=0)),
    )


def read_calls(folder: Path, card: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Read other_lights.csv of a model folder.

    Returns:
        Columns image_id, UNCHANGED and the name of each change of other_lights.json: the code of the class called at
        the equal class mix.

    Raises:
        DataError: as `read`, of either file.
    """
    names = [UNCHANGED, *(c.change.name for c in read(folder, card).changes)]
    file = folder / CALLS_FILE
    table = read_csv(listed(file, card, MAX_BYTES), dict.fromkeys(["image_id", *names], str)).reset_index(drop=True)
    refuse(file, table, "image_id", table["image_id"].duplicated(), "appears a second time; every image has one row")
    for name in names:
        refuse(file, table, name, ~table[name].isin(CLASSES), f"must be one of {', '.join(CLASSES)}")
    return table


def read(folder: Path, card: Mapping[str, Any] | None = None) -> OtherLights:
    """Read other_lights.json of a model folder.

    Args:
        folder: models/ID. card: its card.json, if the file must be the one that it lists.

    Raises:
        DataError: it is missing, not the one that the card lists, measured with other files than those that the card
            lists, or not what training.other_lights writes.
    """
    stored = read_object(listed(folder / FILE, card, MAX_DOCUMENT))
    try:
        sources, hashes = dict(stored.get("fitted_on", {})), (card or {}).get("files") or {}
        own = {name: sources[key] for key, name in _MADE_WITH.items() if key in sources}
        changed = [name for name, sha256 in own.items() if hashes.get(name, sha256) != sha256]
        changes = tuple(
            UnderChange(Change.from_dict(c), *(Estimate.from_dict(c[k]) for k in ("balanced_accuracy", "lost")))
            for c in stored["changes"]
        )
        unchanged, lost = (Estimate.from_dict(stored[name]) for name in (UNCHANGED, "lost"))
        found = OtherLights(int(stored["views"]), unchanged, changes, lost)
    except (DataError, KeyError, TypeError, ValueError) as e:
        raise DataError(f"{folder.name}/{FILE} is not what training.other_lights writes ({e}).") from e
    if changed:
        raise DataError(
            f"{folder.name}/{FILE} was measured with another {changed[0]} than the one in the folder. Measure again by "
            f"python -m training.other_lights {folder.name}."
        )
    return found
