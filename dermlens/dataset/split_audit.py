"""data/splits/audit.json: what was found when the committed split was checked on the images themselves."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermlens.dataset.ham10000 import SPLIT_TABLE
from dermlens.errors import DataError
from dermlens.files.documents import read_object

AUDIT = SPLIT_TABLE.with_name("audit.json")


@dataclass(frozen=True)
class Audit:
    """The leakage of this split, and of a naive one that deals the images at random. Shares are 0..1."""

    lesions_in_more_than_one_split: int
    naive_lesions_in_more_than_one_split: float
    test_seen: float
    """share of the test images whose lesion is in training too"""
    naive_test_seen: float
    melanomas_seen: float
    naive_melanomas_seen: float
    exact_across_splits: int
    near_across_splits: int
    naive_near_across_splits: int
    lesions_joined: int
    """lesions that the images show to be another one under a second id"""
    naive_draws: int
    fits_table: bool
    """whether the audit is of the split table it was read with"""

    def leaks(self) -> bool:
        """Whether anything of the test split was seen in training."""
        return bool(self.lesions_in_more_than_one_split or self.exact_across_splits or self.near_across_splits)


def read_audit(file: Path, table: pd.DataFrame) -> Audit:
    """Read audit.json, as `python -m data.audit` writes it.

    Args:
        file: path of audit.json.
        table: the split table it should be of, as ham10000.load_split gives it.

    Raises:
        DataError: the file is missing, damaged or of another form.
    """
    if not file.exists():
        raise DataError(f"There is no {file.name} yet. Make it with python -m data.audit --data DIR.")
    try:
        found = read_object(file)
        leaks, naive, near = found["leaks"], found["naive_split"], found["near_duplicates"]
        images, melanomas = "test_images_with_lesion_in_train", "test_melanomas_with_lesion_in_train"
        return Audit(
            lesions_in_more_than_one_split=int(leaks["lesions_in_more_than_one_split"]),
            naive_lesions_in_more_than_one_split=float(naive["lesions_in_more_than_one_split"]["mean"]),
            test_seen=float(leaks[images]["share"]),
            naive_test_seen=float(naive[images]["mean"]),
            melanomas_seen=float(leaks[melanomas]["share"]),
            naive_melanomas_seen=float(naive[melanomas]["mean"]),
            exact_across_splits=int(found["exact_duplicates"]["across_splits"]),
            near_across_splits=int(near["across_splits"]),
            naive_near_across_splits=int(naive["near_duplicates_across_splits_first_draw"]),
            lesions_joined=int(near["lesions_joined"]),
            naive_draws=int(naive["draws"]),
            fits_table=found["table_sha256"] == fingerprint(table),
        )
    except DataError as e:
        raise DataError(f"{e} Run it again: python -m data.audit --data DIR.") from e
    except (ValueError, OverflowError, KeyError, TypeError) as e:
        raise DataError(f"{file.name} is not what python -m data.audit writes ({e!r}). Run it again.") from e


def fingerprint(table: pd.DataFrame) -> str:
    """Return a hash of which image of which lesion is in which split; the order of rows does not matter."""
    ordered = table.sort_values("image_id")[["image_id", "lesion_id", "split"]]
    return hashlib.sha256(ordered.to_csv(index=False).encode()).hexdigest()
