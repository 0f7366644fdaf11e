"""A cohort against the validation images of its model: calls, probabilities, familiarity to each network, pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from dermlens.cohort.answer import MEASURES as MEASURED
from dermlens.dataset.ham10000 import SPLIT_TABLE
from dermlens.errors import DataError, ModelError
from dermlens.evaluation.class_mix import EQUAL, EVEN, reweight
from dermlens.evaluation.drift import Drift, of_kinds, of_numbers
from dermlens.evaluation.predictions import Predictions
from dermlens.files.tables import read_csv
from dermlens.labels import CLASSES, SUSPECT
from dermlens.models.registry import Entry, inspect
from dermlens.trust.fitted import read_calibrated, read_fitted
from dermlens.trust.ood import REAL, read_scores

QUALITY = SPLIT_TABLE.with_name("quality.csv")
"""The quality of the validation images, made by data.quality."""
MEASURES = tuple(name for name in MEASURED if name != "short_side")
"""What is compared of a picture; its resolution tells of the copy of a data set, not of the pictures."""
_NAMES = {"sharpness": "Sharpness", "brightness": "Brightness", "glare": "Glare", "ink": "Ink", "ticks": "Ruler marks"}
_NAMES |= {"vignette": "Dark corners", "hair": "Hair"}


@dataclass(frozen=True)
class Compared:
    """One quantity of a cohort, compared."""

    name: str
    """as a person reads it"""
    drift: Drift | None
    """None where it cannot be compared"""
    sentence: str = ""
    """why not"""


def columns_needed(networks: tuple[str, ...]) -> list[str]:
    """Return the columns of a cohort that `compare` reads."""
    return [
        *(f"p_{code}" for code in CLASSES),
        "refused",
        *(f"unlikeness_{name}" for name in networks),
        *(f"quality_{name}" for name in MEASURES),
    ]


def compare(entry: Entry, class_mix: str, rows: pa.Table, quality: Path = QUALITY) -> list[Compared]:
    """Compare a cohort with the validation images; what cannot be compared says why.

    Args:
        entry: the model. class_mix: of the cohort's probabilities. rows: with `columns_needed`.
        quality: table of the quality of the validation images.
    """
    found = []
    for name, measure in _quantities(entry, class_mix, rows, quality):
        try:
            found.append(Compared(name, measure()))
        except (DataError, ModelError) as e:
            found.append(Compared(name, None, str(e)))
    return found


def networks_of(entry: Entry) -> tuple[str, ...]:
    """Return the ids of the networks behind a model."""
    return tuple((entry.card or {}).get("members", {})) or (entry.id,)


def _quantities(entry: Entry, class_mix: str, rows: pa.Table, quality: Path) -> Iterator:
    yield "Calls", lambda: _calls(entry, class_mix, rows)
    yield "Suspect probability", lambda: of_numbers(_suspect(_validation(entry, class_mix)), _suspect(_shares(rows)))
    for name in networks_of(entry):
        member = inspect(entry.folder.parent / name)
        yield f"Unlikeness to {member.name}", lambda member=member: _unlikeness(member, rows)
    for name in MEASURES:
        yield _NAMES[name], lambda name=name: of_numbers(_quality(quality, name), _numbers(rows, f"quality_{name}"))


def _calls(entry: Entry, class_mix: str, rows: pa.Table) -> Drift:
    counts = [
        np.bincount(shares.argmax(1), minlength=len(CLASSES))
        for shares in (_validation(entry, class_mix), _shares(rows))
    ]
    return of_kinds(*counts)


def _unlikeness(member: Entry, rows: pa.Table) -> Drift:
    scores, _ = read_scores(member.folder, member.card)
    own = scores[(scores["kind"] == REAL) & (scores["part"] == "validation")]["score"]
    return of_numbers(own.to_numpy(float), _numbers(rows, f"unlikeness_{member.id}"))


def _validation(entry: Entry, class_mix: str) -> np.ndarray:
    """Return the probabilities (m, 7) of the validation images at a class mix."""
    predictions: Predictions = read_calibrated(entry.folder, entry.card).of_split("validation")
    calibration = read_fitted(entry.folder, entry.card).calibration
    if class_mix == EQUAL and calibration is not None:
        return reweight(predictions.probabilities, np.array(calibration.class_mix), EVEN)
    return predictions.probabilities


def _shares(rows: pa.Table) -> np.ndarray:
    """Return the probabilities (n, 7) of the rows that have any; those of a refused image mean nothing."""
    found = np.stack([_numbers(rows, f"p_{code}") for code in CLASSES], 1)
    return found[_numbers(rows, "refused") == 0]


def _suspect(shares: np.ndarray) -> np.ndarray:
    return shares[:, list(SUSPECT)].sum(1)


def _quality(file: Path, name: str) -> np.ndarray:
    return read_csv(file, {"image_id": str, name: float})[name].to_numpy(float)


def _numbers(rows: pa.Table, name: str) -> np.ndarray:
    if name not in rows.column_names:
        raise DataError(f"The rows have no column {name}.")
    return rows[name].to_numpy().astype(float)
