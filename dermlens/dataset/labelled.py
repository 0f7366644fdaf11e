"""Further images with labels of one's own: a folder with labels.csv and pictures/, as the record writes it."""

from pathlib import Path

import pandas as pd

from dermlens.errors import DataError
from dermlens.files.documents import shown
from dermlens.files.tables import read_csv, refuse
from dermlens.labels import CLASSES

LABELS = "labels.csv"
PICTURES = "pictures"
COLUMNS = ("image", "lesion", "dx")
NONE_OF_THEM = "other"
"""In the place of a diagnosis: the image shows none of the seven, and no network here can learn from it."""


def read_labelled(folder: Path) -> pd.DataFrame:
    """Read the images that somebody has labelled; rows without a diagnosis, or with "other", are passed over.

    Returns:
        image_id, lesion_id, dx (str), and file, the path of each picture.

    Raises:
        DataError: labels.csv is missing or damaged, names an image twice, a diagnosis that is none, or no picture.
    """
    file = folder / LABELS
    table = read_csv(file, dict.fromkeys(COLUMNS, str))
    for name in ("image", "lesion"):
        refuse(file, table, name, table[name].str.strip() == "", "is empty; every row needs one")
    refuse(file, table, "image", table["image"].duplicated(), "appears a second time; every image has one row")
    refuse(file, table, "image", table["image"].str.contains(r"[/\\]|^\."), "is no plain name")
    known = table["dx"].isin(("", NONE_OF_THEM, *CLASSES))
    refuse(file, table, "dx", ~known, f"must be one of {', '.join(CLASSES)}, {NONE_OF_THEM}, or empty")
    used = table[table["dx"].isin(CLASSES)]
    paths = [folder / PICTURES / f"{name}.png" for name in used["image"]]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{shown(missing[0])} is missing ({len(missing)} such pictures): put it there, or empty its dx."
        )
    return pd.DataFrame(
        {"image_id": used["image"], "lesion_id": used["lesion"], "dx": used["dx"], "file": paths}
    ).reset_index(drop=True)
