"""Write a small data set in the official layout of HAM10000, drawn by code."""

from pathlib import Path

import numpy as np
import pandas as pd

from data.split import assign
from dermlens.dataset.ham10000 import COLUMNS, IMAGE_FOLDERS, METADATA
from dermlens.image.synthetic import draw_lesion
from dermlens.labels import CLASSES
from tests.conftest import encode


def table(lesions: int = 10, classes: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    """Return metadata: so many lesions a class, every second of them with two images."""
    rows = []
    for dx in classes:
        for lesion in range(lesions):
            for _ in range(1 + lesion % 2):
                number = 24306 + len(rows)
                facts = ("histo", "" if number % 5 == 0 else "45.0", "female", "back")
                rows.append((f"HAM_{CLASSES.index(dx)}{lesion:05}", f"ISIC_{number:07}", dx, *facts))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write(root: Path, lesions: int = 10, height: int = 36, width: int = 48) -> pd.DataFrame:
    """Write metadata, images and `split.csv` into `root`; returns the split table."""
    rows, rng = table(lesions), np.random.default_rng(3)
    for folder in IMAGE_FOLDERS:
        (root / folder).mkdir(parents=True)
    for i, image_id in enumerate(rows["image_id"]):
        image = root / IMAGE_FOLDERS[i % 2] / f"{image_id}.jpg"
        image.write_bytes(encode(draw_lesion(rng, height, width), ".jpg"))
    rows.to_csv(root / METADATA, index=False)
    rows["split"] = assign(rows)
    rows.to_csv(root / "split.csv", index=False)
    return rows
