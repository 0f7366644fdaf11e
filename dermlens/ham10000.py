"""Read HAM10000 in its official layout, at any resolution, and check all of it before a long run starts."""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dermlens.errors import DataError
from dermlens.labels import CLASSES

METADATA = "HAM10000_metadata.csv"
IMAGE_FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
MASK_FOLDER = "HAM10000_segmentations_lesion_tschandl"
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
REQUIRED = ("lesion_id", "image_id", "dx", "dx_type")
SPLITS = ("train", "validation", "test")
SPLIT_TABLE = Path(__file__).parent.parent / "data" / "splits" / "ham10000.csv"


def data_root() -> Path | None:
    """Return the folder named by HAM10000_DIR, or None where it is not set."""
    value = os.environ.get("HAM10000_DIR")
    return Path(value) if value else None


def image_path(root: Path, image_id: str) -> Path:
    """Return the path of an image; raises DataError if neither image folder holds it."""
    for folder in IMAGE_FOLDERS:
        path = root / folder / f"{image_id}.jpg"
        if path.is_file():
            return path
    raise DataError(f"Image {image_id} is in neither {' nor '.join(IMAGE_FOLDERS)} under {root}.")


def mask_path(root: Path, image_id: str) -> Path | None:
    """Return the path of the lesion mask (0 or 255, any resolution, stored aspect), or None without one."""
    path = root / MASK_FOLDER / f"{image_id}_segmentation.png"
    return path if path.is_file() else None


def load_table(root: Path, decode: bool = False) -> pd.DataFrame:
    """Read and check the metadata and the presence of every image.

    Args:
        root: folder with HAM10000_metadata.csv and both image folders.
        decode: also decode every image (about a minute), so that a long run cannot stop at a damaged file.

    Returns:
        One row an image, sorted by image_id: lesion_id, image_id, dx, dx_type, sex, localization (str, "" or
        "unknown" where not recorded), age (float years, NaN where not recorded).

    Raises:
        DataError: naming the first offenders of each kind and how many there are.
    """
    file = root / METADATA
    if not file.is_file():
        raise DataError(f"No {METADATA} in {root}. Pass --data DIR or set HAM10000_DIR (see data.download).")
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as e:
        raise DataError(f"{file} is not a CSV table: {e}.") from e
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise DataError(f"{file}: missing columns {', '.join(missing)}; received {', '.join(table.columns)}.")
    present = {p.stem for folder in IMAGE_FOLDERS for p in (root / folder).glob("*.jpg")}
    age = pd.to_numeric(table["age"], errors="coerce")
    ids = table["image_id"]
    dx_counts = table.groupby("lesion_id")["dx"].transform("nunique")
    problems = {
        **{f"empty {c}": ids[table[c].str.strip() == ""] for c in REQUIRED},
        "duplicate image_id": ids[ids.duplicated()],
        "unknown dx": ids[~table["dx"].isin(CLASSES)] + "=" + table["dx"],
        "lesion with more than one dx": table["lesion_id"][dx_counts > 1],
        "age that is not a number": ids[age.isna() & (table["age"].str.strip() != "")],
        "missing image": ids[~ids.isin(present)],
    }
    if decode:
        problems["unreadable image"] = ids[[i in present and not _readable(image_path(root, i)) for i in ids]]
    raise_problems(str(root), {k: v.dropna().tolist() for k, v in problems.items()})
    if table.empty:
        raise DataError(f"{file} has no rows.")
    return table[list(COLUMNS)].assign(age=age).sort_values("image_id", ignore_index=True)


def load_split(file: Path = SPLIT_TABLE) -> pd.DataFrame:
    """Read the committed split table.

    Returns:
        Columns image_id, lesion_id, dx, dx_type, age (float), sex, localization, split (train, validation or test).

    Raises:
        DataError: if a column is missing, a value unknown, an image listed twice or a lesion in two splits.
    """
    if not file.is_file():
        raise DataError(f"No split table at {file}. Make it with python -m data.split.")
    table = pd.read_csv(file, keep_default_na=False, dtype=str)
    missing = [c for c in (*COLUMNS, "split") if c not in table.columns]
    if missing:
        raise DataError(f"{file}: missing columns {', '.join(missing)}; received {', '.join(table.columns)}.")
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


def read_mask(root: Path, image_id: str) -> np.ndarray | None:
    """Return the lesion mask as (h, w) bool in the aspect it is stored in, or None without one."""
    path = mask_path(root, image_id)
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path else None
    return None if mask is None else mask > 127


def raise_problems(where: str, problems: dict[str, list[str]]) -> None:
    """Raise one DataError that names the first offenders of every kind and their number; nothing if there are none."""
    lines = [
        f"{len(found)} x {kind}: {', '.join(map(str, found[:5]))}{', ...' if len(found) > 5 else ''}"
        for kind, found in problems.items()
        if found
    ]
    if lines:
        raise DataError(f"{where} cannot be used as it is.\n  " + "\n  ".join(lines))


def _readable(path: Path) -> bool:
    return cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_8) is not None
