"""predictions.csv: what one model said about every image of a split, read once and checked completely."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.dataset.ham10000 import SPLIT_TABLE, load_split
from dermlens.dataset.isic2019 import CARCINOMAS, HELD_BACK, TEST_SETS, TITLES
from dermlens.errors import DataError
from dermlens.evaluation.class_mix import EVEN, log_ratio
from dermlens.evaluation.metrics import log_softmax
from dermlens.evaluation.prediction_formats import IDS, LOGITS, TRUTH_FILE, read_rows
from dermlens.files.documents import File, write_whole
from dermlens.files.hashes import listed
from dermlens.files.tables import refuse
from dermlens.labels import CLASSES, INDEX

COLUMNS: tuple[str, ...] = (*IDS, *LOGITS)
SPLITS = ("validation", "test")
SHOWN_SPLITS = (*SPLITS, *TEST_SETS)
"""Those that people can look at; the validation parts of other archives only choose."""
SPLIT_TITLES = {"validation": "Validation split", "test": "Test split", **TITLES}
CHOSEN_ON = (
    "The epoch, the settings and any calibration were chosen on this split, so these estimates flatter the model."
)
"""Said wherever metrics of the validation split are shown."""
EXTERNAL_FILE = "external_predictions.csv"
"""Beside predictions.csv: what the model said about images of other archives, whose splits are HELD_BACK."""
MAX_BYTES = 128 * 2**20
"""Most bytes of a predictions file that are read: a million rows have some 75 MiB."""
CASES = SPLIT_TABLE
CASE_COLUMNS = ("age", "sex", "localization", "dx_type")
_LABELS = {**INDEX, **{str(i): i for i in range(len(CLASSES))}}
_NONE_OF_THEM = -1


@dataclass(frozen=True, eq=False)
class Predictions:
    """One model's logits for n images; row i of every array is the same image. The arrays are read-only.

    Attributes:
        image_id: (n,) str, unique.
        lesion_id: (n,) str; images of one lesion are not independent, so all intervals resample lesions.
        split: (n,) str, each one of SPLITS or of HELD_BACK.
        y_true: (n,) int64, indices into labels.CLASSES; -1 in the split of squamous cell carcinomas, which cannot be
            measured as the others are.
        logits: (n, 7) float64, columns in the order of labels.CLASSES; for a model that gives probabilities, their
            logarithms.
        class_mix: (7,) counts, the class mix that the logits hold for; None for those of a network, which are not
            calibrated (dermlens.trust.calibration) and hold for none.
        assumed: keys of prediction_formats.ASSUMED, what the file does not say.
    """

    image_id: np.ndarray
    lesion_id: np.ndarray
    split: np.ndarray
    y_true: np.ndarray
    logits: np.ndarray
    class_mix: np.ndarray | None = None
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in _OF_IMAGES:
            getattr(self, name).setflags(write=False)

    def __len__(self) -> int:
        return len(self.y_true)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(n, 7) float64, the softmax of the logits."""
        return np.exp(log_softmax(self.logits))

    @cached_property
    def y_pred(self) -> np.ndarray:
        """(n,) int64, the class called: the most probable one, of equal ones the first in class order."""
        return self.logits.argmax(1)

    @cached_property
    def at_equal_mix(self) -> "Predictions":
        """The predictions re-weighted for diagnoses of one frequency; as they are if they hold for no class mix."""
        return self if self.class_mix is None else self.at_mix(EVEN)

    def at_mix(self, wanted: np.ndarray) -> "Predictions":
        """Return the predictions re-weighted for another class mix.

        Args:
            wanted: (7,) as in `evaluation.class_mix`, > 0.

        Raises:
            DataError: they hold for no class mix.
        """
        if self.class_mix is None:
            raise DataError("Scores that are not calibrated hold for no class mix, so they cannot be re-weighted.")
        return replace(self, logits=log_softmax(self.logits) + log_ratio(self.class_mix, wanted), class_mix=wanted)

    @cached_property
    def lesion(self) -> np.ndarray:
        """(n,) int64, lesions numbered 0..n_lesions-1 by their sorted ids, so that row order changes no interval."""
        return pd.factorize(self.lesion_id, sort=True)[0]

    @property
    def n_lesions(self) -> int:
        """The number of different lesions."""
        return int(self.lesion.max()) + 1 if len(self) else 0

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have rows, in the order of SPLITS and HELD_BACK."""
        return tuple(s for s in (*SPLITS, *HELD_BACK) if (self.split == s).any())

    def select(self, rows: np.ndarray) -> "Predictions":
        """Return the rows of a boolean mask (n,) or of an index array, in that order."""
        arrays: dict[str, Any] = {name: getattr(self, name)[rows] for name in _OF_IMAGES}
        return replace(self, **arrays)

    def of_split(self, split: str) -> "Predictions":
        """Return the rows of one split; raises DataError if there are none."""
        if split not in self.splits:
            have = ", ".join(self.splits) or "none"
            raise DataError(f"There are no predictions for the split {split!r}; there are some for: {have}.")
        return self.select(self.split == split)


_OF_IMAGES = tuple(field.name for field in fields(Predictions) if field.name not in ("class_mix", "assumed"))


def make_predictions(
    image_id: Iterable[str], lesion_id: Iterable[str], split: str, y_true: np.ndarray, logits: np.ndarray
) -> Predictions:
    """Build the predictions of one split from a model's output; shapes as in `Predictions`."""
    ids = np.array(list(image_id), object)
    return Predictions(
        ids,
        np.array(list(lesion_id), object),
        np.full(len(ids), split, object),
        np.array(y_true, np.int64),
        np.array(logits, np.float64),
    )


def concatenate(parts: Iterable[Predictions]) -> Predictions:
    """Join predictions of several splits that hold for one class mix, in the given order."""
    parts = list(parts)
    arrays: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _OF_IMAGES}
    return replace(parts[0], **arrays)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions.csv: the columns of COLUMNS, `y_true` as class code, logits with five decimals.

    Raises:
        DataError: it cannot be written; what was there before is as it was.
    """
    table = pd.DataFrame({name: getattr(predictions, name) for name in IDS[:3]})
    table["y_true"] = np.array([*CLASSES, CARCINOMAS], object)[predictions.y_true]  # the last is that of -1
    table[list(LOGITS)] = predictions.logits
    write_whole(path, table.to_csv(index=False, float_format="%.5f", lineterminator="\n").encode())


def read_predictions(
    file: File, card: Mapping[str, Any] | None = None, splits: tuple[str, ...] = SPLITS, truth: File | None = None
) -> Predictions:
    """Read and check a predictions.csv in any of the forms of `prediction_formats`.

    `y_true` holds class codes, or indices into labels.CLASSES; "scc" in the split of that name, and nowhere else.
    Further columns are ignored. A class without any row is allowed.

    Args:
        file: predictions.csv, or external_predictions.csv.
        card: card.json of its folder, if the file must be the one that it lists.
        splits: which there may be: SPLITS, or HELD_BACK.
        truth: for an ISIC 2018 submission, the file that says the truth; by default TRUTH_FILE beside it.

    Raises:
        DataError: a file is missing, empty, not UTF-8 CSV, or not the one that the card lists; a column is missing;
            an id is empty or an image_id appears twice; a split, class or score is not valid; of a submission also as
            `prediction_formats.read_rows`. The message names file, line and column.
    """
    beside = file.parent / TRUTH_FILE
    if truth is None and isinstance(file, Path) and beside.exists():
        truth = listed(beside, card, MAX_BYTES)
    rows = read_rows(listed(file, card, MAX_BYTES), truth, MAX_BYTES)
    table = rows.table
    for name in ("image_id", "lesion_id"):
        refuse(file, table, name, table[name].str.strip() == "", "is empty; every row needs one")
    refuse(file, table, "image_id", table["image_id"].duplicated(), "appears a second time; every image has one row")
    refuse(file, table, "split", ~table["split"].isin(splits), f"must be one of {', '.join(splits)}")
    carcinoma = table["split"] == CARCINOMAS
    y_true = table["y_true"].map(_LABELS).mask(carcinoma & (table["y_true"] == CARCINOMAS), _NONE_OF_THEM)
    wrong = y_true.isna() | (carcinoma & (y_true != _NONE_OF_THEM))
    allowed = f"one of {', '.join(CLASSES)} or 0..{len(CLASSES) - 1}"
    refuse(file, table, "y_true", wrong, f'must be {allowed}; "{CARCINOMAS}" in the split of that name')
    image_id, lesion_id, split = (table[name].to_numpy(object) for name in IDS[:3])
    return Predictions(image_id, lesion_id, split, y_true.to_numpy(np.int64), rows.logits, assumed=rows.assumed)


def read_cases(path: Path = CASES) -> pd.DataFrame:
    """Read what is known of each image beside the picture.

    Returns:
        A table indexed by image_id (str): `age` (float years, NaN unknown); `sex`, `localization` and `dx_type`
        (str, "unknown" where empty).

    Raises:
        DataError: as `ham10000.load_split`.
    """
    return load_split(path).set_index("image_id")[list(CASE_COLUMNS)].replace("", "unknown")


def cases_of(predictions: Predictions, cases: pd.DataFrame) -> pd.DataFrame:
    """Look each predicted image up in the table of `read_cases`.

    Returns:
        (n, 4) table, row i is image i, columns as in `read_cases`; NaN and "unknown" where the image is not in the
        table (an external test set, say).
    """
    found = cases.reindex(predictions.image_id)
    text = [name for name in CASE_COLUMNS if name != "age"]
    found[text] = found[text].fillna("unknown")
    return found
