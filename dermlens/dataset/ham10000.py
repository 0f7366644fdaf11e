"""Read HAM10000 in its official layout, at any resolution, and check all of it before a long run starts."""

import os
import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dermlens.errors import DataError, ImageError
from dermlens.files.documents import shortened
from dermlens.files.tables import read_csv
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES

METADATA = "HAM10000_metadata.csv"
IMAGE_FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
MASK_FOLDER = "HAM10000_segmentations_lesion_tschandl"
REQUIRED = ("lesion_id", "image_id", "dx", "dx_type")
OPTIONAL = ("age", "sex", "localization")
"""Not recorded of every image."""
COLUMNS = (*REQUIRED, *OPTIONAL)
SPLITS = ("train", "validation", "test")
_ID = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
SPLIT_TABLE = Path(__file__).parents[2] / "data" / "splits" / "ham10000.csv"


def data_root() -> Path | None:
    """Return the folder named by HAM10000_DIR, or None where it is not set."""
    value = os.environ.get("HAM10000_DIR")
    return Path(value) if value else None


def image_path(root: Path, image_id: str) -> Path:
    """Return the path of an image; raises DataError if neither image folder holds it, or the id is not valid."""
    if not _ID.fullmatch(image_id):  # it may come from a table of someone else
        raise DataError(f"{shortened(repr(image_id))} is not the id of an image.")
    for folder in IMAGE_FOLDERS:
        path = root / folder / f"{image_id}.jpg"
        if path.is_file():
            return path
    raise DataError(f"Image {image_id} is in neither {' nor '.join(IMAGE_FOLDERS)} under {root}.")


def mask_path(root: Path, image_id: str) -> Path | None:
    """Return the path of the lesion mask (0 or 255, any resolution, stored aspect), or None without one."""
    if not _ID.fullmatch(image_id):
        return None
    path = root / MASK_FOLDER / f"{image_id}_segmentation.png"
    return path if path.is_file() else None


def load_table(root: Path, decode: bool = False, images: Collection[str] | None = None) -> pd.DataFrame:
    """Read and check the metadata and the presence of the images.

    Args:
        root: folder with HAM10000_metadata.csv and both image folders.
        decode: also decode the images (about a minute), so that a long run cannot stop at a damaged file.
        images: ids of the images whose files are needed; all by default.

    Returns:
        One row per image, sorted by image_id: lesion_id, image_id, dx, dx_type, sex, localization (str, "" or
        "unknown" where not recorded), age (float years, NaN where not recorded).

    Raises:
        DataError: naming the first offenders of each kind and how many there are.
    """
    file = root / METADATA
    if not file.is_file():
        raise DataError(f"No {METADATA} in {root}. Pass --data DIR or set HAM10000_DIR (see data.download).")
    table = read_csv(file, dict.fromkeys(COLUMNS, str)).reset_index(drop=True)
    present = {p.stem for folder in IMAGE_FOLDERS for p in (root / folder).glob("*.jpg")}
    age = pd.to_numeric(table["age"], errors="coerce")
    ids = table["image_id"]
    needed = ids if images is None else ids[ids.isin(images)]
    dx_counts = table.groupby("lesion_id")["dx"].transform("nunique")
    problems = {
        **{f"empty {c}": ids[table[c].str.strip() == ""] for c in REQUIRED},
        "column without a value": pd.Series([c for c in OPTIONAL if not table[c].str.strip().any()]),
        "duplicate image_id": ids[ids.duplicated()],
        "unknown dx": (ids + "=" + table["dx"])[~table["dx"].isin(["", *CLASSES])],
        "lesion with more than one dx": table["lesion_id"][dx_counts > 1].drop_duplicates(),
        "age that is not a number": ids[age.isna() & (table["age"].str.strip() != "")],
        "missing image": needed[~needed.isin(present)],
    }
    if decode:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = needed[needed.isin(present)]
            problems["unreadable image"] = found[[not ok for ok in pool.map(lambda i: _readable(root, i), found)]]
    damaged = len(problems.get("unreadable image", ()))
    advice = " Fetch it again with python -m data.download." if damaged else ""
    raise_problems(str(root), {k: v.tolist() for k, v in problems.items()}, advice)
    return table[list(COLUMNS)].assign(age=age).sort_values("image_id", ignore_index=True)


def check_rows(root: Path, rows: pd.DataFrame, decode: bool = False) -> None:
    """Check that a data set holds the images of some rows of the split table, under the same lesion and diagnosis.

    Args:
        root, decode: as for `load_table`.
        rows: columns image_id, lesion_id and dx. The files of other images are not looked at.

    Raises:
        DataError: as `load_table`, or the data set lacks an image or disagrees with the split table.
    """
    known = load_table(root, decode, images=set(rows["image_id"])).set_index("image_id")
    absent = ~rows["image_id"].isin(known.index)
    facts = ["lesion_id", "dx"]
    other = (known.reindex(rows["image_id"])[facts].to_numpy() != rows[facts].to_numpy()).any(1)
    raise_problems(
        str(root),
        {
            "image of the split table that the data set lacks": rows["image_id"][absent].tolist(),
            "image with another lesion_id or dx than in the split table": rows["image_id"][other & ~absent].tolist(),
        },
    )


def load_split(file: Path = SPLIT_TABLE) -> pd.DataFrame:
    """Read the committed split table.

    Returns:
        Columns image_id, lesion_id, dx, dx_type, age (float), sex, localization, split (train, validation or test).

    Raises:
        DataError: if a column is missing, a value unknown, an image listed twice or a lesion in two splits.
    """
    if not file.is_file():
        raise DataError(f"No split table at {file}. Make it with python -m data.split.")
    table = read_csv(file, dict.fromkeys((*COLUMNS, "split"), str)).reset_index(drop=True)
    spread = table.groupby("lesion_id")["split"].transform("nunique")
    raise_problems(
        str(file),
        {
            "duplicate image_id": table["image_id"][table["image_id"].duplicated()].tolist(),
            "unknown split": table["image_id"][~table["split"].isin(SPLITS)].tolist(),
            "unknown dx": table["image_id"][~table["dx"].isin(CLASSES)].tolist(),
            "lesion in more than one split": table["lesion_id"][spread > 1].drop_duplicates().tolist(),
        },
    )
    return table.assign(age=pd.to_numeric(table["age"], errors="coerce"))


def moved(image_id: np.ndarray, split: np.ndarray, table: pd.DataFrame) -> int:
    """Return how many images that were measured are to be trained on by the split table now.

    Args:
        image_id, split: (n,) str each, of images that somebody measured. table: as of `load_split`.
    """
    now = table.set_index("image_id")["split"].reindex(image_id)
    return int(((now.to_numpy() == "train") & (np.asarray(split) != "train")).sum())


def read_mask(root: Path, image_id: str) -> np.ndarray | None:
    """Return the lesion mask as (h, w) bool in the aspect it is stored in, or None without one.

    Raises:
        DataError: the file is there but cannot be read.
    """
    path = mask_path(root, image_id)
    if path is None:
        return None
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DataError(f"The mask {path} cannot be read. Fetch it again (see data.download).")
    return mask > 127


def raise_problems(where: str, problems: dict[str, list[str]], advice: str = "") -> None:
    """Raise one DataError that names the first offenders of every kind and their number; nothing if there are none."""
    lines = [
        f"{len(found)} x {kind}: {', '.join(map(str, found[:5]))}{', ...' if len(found) > 5 else ''}"
        for kind, found in problems.items()
        if found
    ]
    if lines:
        raise DataError(f"{where} cannot be used as it is.{advice}\n  " + "\n  ".join(lines))


def _readable(root: Path, image_id: str) -> bool:
    try:
        read_file(image_path(root, image_id))
    except ImageError:
        return False
    return True
