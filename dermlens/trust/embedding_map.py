"""embedding_map.csv: where a network puts the validation and test images on the first two principal axes.

The axes are those of the training images' embeddings (principal component analysis, Pearson, Phil Mag 2:559, 1901), as
the reference set has them; they are made when a model is fitted, and nothing is fitted to the images on the map.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.files.documents import File
from dermlens.files.hashes import listed
from dermlens.files.tables import MAX_BYTES, read_csv, refuse
from dermlens.trust.reference_set import ReferenceSet

FILE = "embedding_map.csv"
AXES = ("first", "second")


def place(reference: ReferenceSet, embeddings: np.ndarray) -> np.ndarray:
    """Return where embeddings (m, C) lie on the first two axes, (m, 2) float32."""
    return reference.own.project(embeddings)[:, :2]


def share_on_axes(reference: ReferenceSet) -> float:
    """Return the share of the variance of the training embeddings that lies along the first two axes, 0..1."""
    variances = reference.points.astype(np.float64).var(0)
    channels, axes = reference.own.axes.shape
    rest = reference.own.rest_variance * (channels - axes) if channels > axes else 0.0
    return float(variances[:2].sum() / (variances.sum() + rest))


def read_map(folder: Path, card: Mapping[str, Any] | None) -> pd.DataFrame:
    """Read the map of a published model.

    Args:
        folder: models/ID. card: its card.json, whose hash the file must have where it lists one.

    Returns:
        Columns of AXES, float64, indexed by image_id.

    Raises:
        DataError: the file is missing, was changed or is damaged.
    """
    file: File = listed(folder / FILE, card, MAX_BYTES)
    table = read_csv(file, {"image_id": str, **dict.fromkeys(AXES, float)})
    refuse(file, table, "image_id", table["image_id"].duplicated(), "appears a second time; every image has one row")
    for name in AXES:
        refuse(file, table, name, ~np.isfinite(table[name]), "must be a finite number")
    return table.set_index("image_id")
