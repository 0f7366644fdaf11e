"""A small data set drawn by code, in the official layout of HAM10000, to try the pipeline without the real one."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dermlens.dataset.ham10000 import COLUMNS, IMAGE_FOLDERS, METADATA
from dermlens.errors import DataError
from dermlens.image.synthetic import draw_lesion
from dermlens.labels import CLASSES

HEIGHT, WIDTH = 96, 128
LESIONS = 6
"""Of each class in each split, of one image each."""


def draw(root: Path) -> Path:
    """Write metadata, images and a split table into a folder; the same ones every time.

    Returns:
        The split table, with images of train and validation.

    Raises:
        DataError: an image cannot be written.
    """
    rows: list[tuple[str, ...]] = []
    random = np.random.default_rng(0)
    for folder in IMAGE_FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for dx in CLASSES:
        for split in ("train", "validation"):
            for _ in range(LESIONS):
                image_id = f"drawn_{len(rows):04}"
                rows.append((f"lesion_{len(rows):04}", image_id, dx, "histo", "50", "unknown", "back", split))
                file = root / IMAGE_FOLDERS[len(rows) % 2] / f"{image_id}.jpg"
                if not cv2.imwrite(str(file), draw_lesion(random, HEIGHT, WIDTH)[..., ::-1]):
                    raise DataError(f"{file} cannot be written. Make room, and run the same command again.")
    table = pd.DataFrame(rows, columns=[*COLUMNS, "split"])
    table[list(COLUMNS)].to_csv(root / METADATA, index=False)
    table.to_csv(root / "split.csv", index=False)
    return root / "split.csv"
