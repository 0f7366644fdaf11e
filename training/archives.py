"""Images of other archives, asked about through the serving path."""

from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.dataset.isic2019 import BCN20000, ISIC_2017, VALIDATION_SETS, held_back, image_path, load_external
from dermlens.errors import DataError, ImageError
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES, N_CLASSES
from dermlens.models.model import Model
from training.fits.embed import ask, named


def answers(model: Model, rows: pd.DataFrame, external: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a model's logits (n, 7) and embeddings (n, C) of images of other archives, as served.

    Args:
        rows: columns image_id, split and stored_aspect. external: folder of ISIC 2019's training set.

    Raises:
        DataError: an image is missing or cannot be read.
    """
    logits = np.empty((len(rows), N_CLASSES), np.float32)
    embeddings = np.empty((len(rows), len(model.head_kernel)), np.float32)
    for split in rows["split"].unique():
        own = (rows["split"] == split).to_numpy()
        logits[own], embeddings[own] = _of_split(model, rows[own], external, f"other archives, {split}")
    return logits, embeddings


def _of_split(model: Model, rows: pd.DataFrame, external: Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    ids, aspects = rows["image_id"].tolist(), rows["stored_aspect"].tolist()
    files = [image_path(external, name) for name in ids]

    def load(i: int) -> np.ndarray:
        try:
            return read_file(files[i], stored_aspect=aspects[i]).pixels
        except ImageError as e:
            raise DataError(f"Image {ids[i]}: {e}") from e

    return ask(model, list(map(named, files, aspects)), load, what)


def validation_rows() -> pd.DataFrame:
    """Return the validation images of the other archives, which choose data, augmentation and refusal."""
    rows = held_back(load_external())
    return rows[rows["split"].isin(VALIDATION_SETS)].reset_index(drop=True)


def training_rows(left_out: str | None) -> pd.DataFrame:
    """Return the training images of the other archives, without those of a diagnosis that was left out of training."""
    table = load_external()
    usable = (table["split"] == "train") & table["source"].isin([ISIC_2017, BCN20000]) & table["dx"].isin(CLASSES)
    return table[usable & (table["dx"] != left_out)].sort_values("image_id", ignore_index=True)
