"""Write small archives beside HAM10000 in the official layout of ISIC 2019's training set, drawn by code."""

from pathlib import Path

import numpy as np
import pandas as pd

from data.external import assign
from dermlens.dataset.isic2019 import BCN20000, COLUMNS, DIAGNOSES, GROUND_TRUTH, IMAGE_FOLDER, ISIC_2017, METADATA
from dermlens.image.synthetic import draw_lesion
from tests.conftest import encode

NO_HAM10000 = pd.DataFrame(columns=["image_id", "lesion_id", "split"], dtype=str)
NO_PAIRS = pd.DataFrame(columns=["image_a", "image_b", "agreeing", "same"], dtype=str)


def table(lesions: int = 8) -> pd.DataFrame:
    """Return a table of external images: so many lesions a source and diagnosis, every second of them with two images.

    Lesions of ISIC 2017 go by the image's own id, as most do there, and have one image each.
    """
    rows = []
    for source in (ISIC_2017, BCN20000):
        for dx in DIAGNOSES.values():
            for lesion in range(lesions):
                for _ in range(1 + lesion % 2 if source == BCN20000 else 1):
                    image = f"ISIC_{len(rows):07}"
                    own = f"BCN_{dx}{lesion:03}" if source == BCN20000 else image
                    rows.append((image, source, own, dx, "", "as-is"))
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    return found.assign(split=assign(found, NO_HAM10000, NO_PAIRS))


def write(root: Path, rows: pd.DataFrame, height: int = 36, width: int = 48) -> None:
    """Write the two CSV files and the images of `rows`, as `table` gives them; resolutions differ, as they do there."""
    (root / IMAGE_FOLDER).mkdir(parents=True)
    rng = np.random.default_rng(4)
    for i, name in enumerate(rows["image_id"]):
        more = 4 * (i % 3)
        image = draw_lesion(rng, height + more, width + more)
        (root / IMAGE_FOLDER / f"{name}.jpg").write_bytes(encode(image, ".jpg"))
    marks = {column: (rows["dx"] == dx).map({True: "1.0", False: "0.0"}) for column, dx in DIAGNOSES.items()}
    pd.DataFrame({"image": rows["image_id"], **marks, "UNK": "0.0"}).to_csv(root / GROUND_TRUTH, index=False)
    facts = pd.DataFrame(
        {
            "image": rows["image_id"],
            "age_approx": ["" if i % 5 == 0 else "45.0" for i in range(len(rows))],
            "anatom_site_general": "anterior torso",
            "lesion_id": rows["lesion_id"].where(rows["lesion_id"] != rows["image_id"], ""),
            "sex": "female",
        }
    )
    facts.to_csv(root / METADATA, index=False)
