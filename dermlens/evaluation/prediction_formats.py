"""The three forms that predictions may come in: logits, probabilities, or an ISIC 2018 submission beside its truth.

Logits and probabilities are columns `logit_akiec`, … or `p_akiec`, … beside image_id, lesion_id, split and y_true. A
submission (challenge.isic-archive.com, task 3 of 2018) has image, MEL, NV, …, and a second file says the truth, a
column a diagnosis, 1 for the true one. lesion_id and split may be missing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from dermlens.errors import DataError
from dermlens.files.documents import Document, File, shown
from dermlens.files.tables import header, read_csv, refuse
from dermlens.labels import CLASSES

LOGITS: tuple[str, ...] = tuple(f"logit_{code}" for code in CLASSES)
PROBABILITIES: tuple[str, ...] = tuple(f"p_{code}" for code in CLASSES)
ISIC: tuple[str, ...] = tuple(code.upper() for code in CLASSES)
IDS = ("image_id", "lesion_id", "split", "y_true")
MOST = 1e6
"""Largest logit that is believed, either way."""
LEAST = 1e-12
"""What a probability below it is taken for, so that it has a logarithm."""
ROUNDING = 0.02
"""How far the probabilities of an image may be from adding up to 1, as each is rounded."""
TRUTH_FILE = "truth.csv"
"""Beside a predictions.csv that is a submission: the truth."""
FIRST_SPLIT = "validation"
LESIONS, SPLIT, SUMS = "lesion_id", "split", "sums"
ASSUMED = {
    LESIONS: "No lesion ids are given, so each image counts as a lesion of its own: where lesions have several images, "
    "intervals are too narrow.",
    SPLIT: "No split is given, so all images count as validation.",
    SUMS: "The scores of an image do not add up to 1; they were divided by their sum.",
}
"""What was taken to be so where a file does not say -> the sentence for people."""


class Columns(NamedTuple):
    """What read_csv is asked for, and which of its columns hold the seven scores."""

    types: dict[str, type]
    scores: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """A file of predictions, read: a table with the columns IDS as text, and logits (n, 7) float64."""

    table: pd.DataFrame
    logits: np.ndarray
    assumed: tuple[str, ...]
    """keys of ASSUMED"""


def is_submission(names: list[str]) -> bool:
    """Whether the header of a file is that of an ISIC 2018 submission."""
    return "image" in names and "image_id" not in names and any(name in names for name in ISIC)


def read_rows(file: Document, truth: File | None, most: int) -> Rows:
    """Read predictions in any of the three forms; y_true, split and the ids are not checked yet.

    Args:
        file: the predictions. truth: for a submission, the file that says the truth.
        most: bytes that either may have.

    Raises:
        DataError: as `files.tables.read_csv`; a score is not a number in its range; of a submission, there is no
            truth, it is not one diagnosis an image, or the two files are of different images.
    """
    names = header(file, most)
    if is_submission(names):
        return _submission(file, truth, most)
    scores = PROBABILITIES if set(PROBABILITIES) & set(names) and not set(LOGITS) & set(names) else LOGITS
    wanted, assumed = _known(names, IDS)
    table = read_csv(file, {**dict.fromkeys(wanted, str), **dict.fromkeys(scores, float)}, most=most)
    values = table[list(scores)].to_numpy(np.float64)
    if scores == LOGITS:
        for i, name in enumerate(scores):
            bad = ~(np.abs(values[:, i]) <= MOST)
            refuse(file, table, name, bad, "must be a finite number (for a probability of 0 write log(1e-12), -27.6)")
    else:
        _check_shares(file, table, scores)
        total = table.assign(sum=values.sum(1))
        refuse(file, total, "sum", np.abs(total["sum"] - 1) > ROUNDING, "is what the row's p_ add up to; it must be 1")
        values = np.log(values.clip(LEAST))
    return Rows(_filled(table, assumed), values, assumed)


def _submission(file: Document, truth: File | None, most: int) -> Rows:
    if truth is None:
        raise DataError(
            f"{shown(file)} is an ISIC 2018 submission, which does not say the truth: put the truth in the same form "
            f"beside it as {TRUTH_FILE}, with 1 for the true diagnosis of each image and 0 for the others."
        )
    table = read_csv(file, {"image": str, **dict.fromkeys(ISIC, float)}, most=most)
    _check_shares(file, table, ISIC)
    scores = table[list(ISIC)].to_numpy(np.float64)
    refuse(file, table, "image", scores.sum(1) == 0, "has a score of 0 for every diagnosis")
    extra, assumed = _known(header(truth, most), (LESIONS, SPLIT))
    true = read_csv(truth, {"image": str, **dict.fromkeys(extra, str), **dict.fromkeys(ISIC, float)}, most=most)
    marks = true[list(ISIC)].to_numpy(np.float64)
    wrong = ~np.isin(marks, (0, 1)).all(1) | (marks.sum(1) != 1)
    refuse(truth, true, "image", wrong, "must have a 1 for its true diagnosis and a 0 for each of the others")
    for source, rows in ((file, table), (truth, true)):
        twice = rows["image"].duplicated()
        refuse(source, rows, "image", twice, "appears a second time; every image has one row")
    refuse(file, table, "image", ~table["image"].isin(true["image"]), f"is not in {shown(truth)}")
    refuse(truth, true, "image", ~true["image"].isin(table["image"]), f"is not in {shown(file)}")
    true = true.assign(y_true=np.array(CLASSES, object)[marks.argmax(1)]).set_index("image")
    found = true.loc[table["image"], ["y_true", *extra]].set_axis(table.index)
    if (np.abs(scores.sum(1) - 1) > ROUNDING).any():
        assumed = (*assumed, SUMS)
    known = pd.DataFrame({"image_id": table["image"], **{name: found[name] for name in found}})
    return Rows(_filled(known, assumed), np.log(scores.clip(LEAST)), assumed)


def _known(names: list[str], wanted: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Return the columns to read and those of LESIONS and SPLIT that a file lacks."""
    assumed = tuple(name for name in (LESIONS, SPLIT) if name not in names)
    return [name for name in wanted if name not in assumed], assumed


def _filled(table: pd.DataFrame, assumed: tuple[str, ...]) -> pd.DataFrame:
    values = {LESIONS: table["image_id"], SPLIT: FIRST_SPLIT}
    return table.assign(**{name: values[name] for name in assumed if name in values})[list(IDS)]


def _check_shares(file: File, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    for name in columns:
        refuse(file, table, name, ~table[name].between(0, 1), "must be a number from 0 to 1")
