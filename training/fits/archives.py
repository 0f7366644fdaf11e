"""Images of other archives, asked about through the serving path."""

from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.dataset.isic2019 import BCN20000, ISIC_2017, image_path, load_external
from dermlens.errors import DataError, ImageError
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES
from dermlens.models.model import Model
from training.fits.embed import ask


def answers(model: Model, rows: pd.DataFrame, external: Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a model's logits (n, 7) and embeddings (n, C) of images of other archives, as served.

    Args:
        rows: columns image_id and stored_aspect. external: folder of ISIC 2019's training set.
        what: is shown with the progress.

    Raises:
        DataError: an image is missing or cannot be read.
    """
    ids, aspects = rows["image_id"].tolist(), rows["stored_aspect"].tolist()
    files = [image_path(external, name) for name in ids]

    def load(i: int) -> np.ndarray:
        try:
            return read_file(files[i], stored_aspect=aspects[i]).pixels
        except ImageError as e:
            raise DataError(f"Image {ids[i]}: {e}") from e

    return ask(model, [f"{aspect} {name}" for aspect, name in zip(aspects, ids, strict=True)], load, what)


def training_rows(left_out: str | None) -> pd.DataFrame:
    """Return the training images of the other archives, without those of a diagnosis that was left out of training."""
    table = load_external()
    usable = (table["split"] == "train") & table["source"].isin([ISIC_2017, BCN20000]) & table["dx"].isin(CLASSES)
    return table[usable & (table["dx"] != left_out)].sort_values("image_id", ignore_index=True)
