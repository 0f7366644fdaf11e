"""Each month of the record against the validation images of the model: calls, suspect share, unlikeness, pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.dataset.ham10000 import SPLIT_TABLE
from dermlens.errors import DataError, DermlensError
from dermlens.evaluation.drift import Drift, of_kinds, of_numbers
from dermlens.files.tables import read_csv
from dermlens.labels import CLASSES, SUSPECT
from dermlens.models.registry import Entry
from dermlens.trust.fitted import read_calibrated
from dermlens.trust.ood import REAL, read_scores

QUALITY = SPLIT_TABLE.with_name("quality.csv")
"""The quality of the validation images, made by data.quality."""
QUANTITIES = {
    "called": "Calls",
    "suspect": "Suspect probability",
    "ood_score": "Unlikeness",
    "sharpness": "Sharpness",
    "brightness": "Brightness",
    "glare": "Glare",
}
"""Column of `months.answered` -> what it is called."""


@dataclass(frozen=True)
class Compared:
    """One quantity of one month, compared."""

    month: str
    quantity: str
    """a value of QUANTITIES"""
    drift: Drift | None
    """None where it cannot be compared"""
    sentence: str = ""
    """why not"""


def references(entry: Entry, quality: Path = QUALITY) -> dict[str, np.ndarray]:
    """Return the validation images of a model: key of QUANTITIES -> (m,) values, of calls (7,) counts.

    What is not there, such as the unlikeness of an ensemble, is left out.

    Args:
        entry: the model. quality: table of the quality of the validation images.
    """

    def predictions() -> np.ndarray:
        return read_calibrated(entry.folder, entry.card).of_split("validation").probabilities

    def unlikeness() -> np.ndarray:
        scores, _ = read_scores(entry.folder, entry.card)
        return scores[(scores["kind"] == REAL) & (scores["part"] == "validation")]["score"].to_numpy(float)

    def measured(name: str) -> np.ndarray:
        return read_csv(quality, {"image_id": str, name: float})[name].to_numpy(float)

    makers: dict[str, Callable[[], np.ndarray]] = {
        "called": lambda: np.bincount(predictions().argmax(1), minlength=len(CLASSES)),
        "suspect": lambda: predictions()[:, list(SUSPECT)].sum(1),
        "ood_score": unlikeness,
        **{name: lambda name=name: measured(name) for name in ("sharpness", "brightness", "glare")},  # type: ignore[misc]
    }
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except DermlensError:
            continue
    return found


def by_month(table: pd.DataFrame, known: Mapping[str, np.ndarray], version: str) -> list[Compared]:
    """Compare every month with the validation images, oldest first.

    Args:
        table: as `months.answered` gives it. known: as `references` gives it, of one version of the model.
        version: that one; what others answered under its name is left out.
    """
    found = []
    for month, rows in table[table["version"] == version].groupby("month", sort=True):
        for name, reference in known.items():
            try:
                found.append(Compared(str(month), QUANTITIES[name], _compare(name, reference, rows)))
            except DataError as e:
                found.append(Compared(str(month), QUANTITIES[name], None, str(e)))
    return found


def _compare(name: str, reference: np.ndarray, rows: pd.DataFrame) -> Drift:
    if name == "called":
        return of_kinds(reference, np.array([(rows["called"] == code).sum() for code in CLASSES]))
    return of_numbers(reference, rows[name].to_numpy(float))
