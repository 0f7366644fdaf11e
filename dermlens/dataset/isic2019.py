"""Read the training set of ISIC 2019 in its official layout, at any resolution, and which of it serves for what.

HAM10000 is a part of ISIC 2019; the table `data/splits/external.csv` names the images of its other archives alone.
"""

import os
from pathlib import Path

import pandas as pd

from dermlens.dataset.ham10000 import raise_problems
from dermlens.errors import DataError
from dermlens.files.tables import read_csv

IMAGE_FOLDER = "ISIC_2019_Training_Input"
GROUND_TRUTH = "ISIC_2019_Training_GroundTruth.csv"
METADATA = "ISIC_2019_Training_Metadata.csv"
REDUCED = "_downsampled"
"""What the official files add to the name of an image that was larger before."""
DIAGNOSES = {
    "MEL": "mel",
    "NV": "nv",
    "BCC": "bcc",
    "AK": "akiec",
    "BKL": "bkl",
    "DF": "df",
    "VASC": "vasc",
    "SCC": "scc",
}
"""Column of the ground truth -> our code; "scc", invasive squamous cell carcinoma, is none of the seven."""
EXTERNAL_TABLE = Path(__file__).parents[2] / "data" / "splits" / "external.csv"
EXTERNAL_SPLITS = ("train", "validation", "isic2017", "bcn20000", "left_out")
"""What an image serves for: training; choosing data, augmentation and refusal; two test sets; nothing."""
TEST_SETS = ("isic2017", "bcn20000")
VALIDATION_SETS = ("isic2017_validation", "bcn20000_validation")
"""The validation parts of ISIC 2017 and BCN20000, as splits of their own."""
CARCINOMAS = "scc"
"""All invasive squamous cell carcinomas, as a split of their own: none of the seven, so no network trains on them."""
TITLES = {"isic2017": "ISIC 2017", "bcn20000": "BCN20000"}
"""The test sets, as people read them."""
HELD_BACK = (*VALIDATION_SETS, *TEST_SETS, CARCINOMAS)
"""The splits of `held_back`."""
ISIC_2017 = "ISIC 2017 train"
BCN20000 = "BCN20000"
COLUMNS = ("image_id", "source", "lesion_id", "dx", "split", "stored_aspect")


def data_root() -> Path | None:
    """Return the folder named by ISIC2019_DIR, or None where it is not set."""
    value = os.environ.get("ISIC2019_DIR")
    return Path(value) if value else None


def image_path(root: Path, image_id: str) -> Path:
    """Return the path of an image; raises DataError if the folder does not hold it."""
    for name in (image_id, f"{image_id}{REDUCED}"):
        path = root / IMAGE_FOLDER / f"{name}.jpg"
        if path.is_file():
            return path
    raise DataError(f"Image {image_id} is not in {IMAGE_FOLDER} under {root}.")


def load_truth(root: Path) -> pd.DataFrame:
    """Read the diagnoses and what is known of the people.

    Args:
        root: folder with the image folder and the two CSV files of ISIC 2019.

    Returns:
        One row an image, sorted by image_id: image_id, dx (a code of DIAGNOSES), lesion_id ("" where the archive has
        none), age (float years, NaN where not recorded), sex, localization (str, "" where not recorded).

    Raises:
        DataError: a file is missing or damaged, or an image has not exactly one diagnosis.
    """
    truth = read_csv(root / GROUND_TRUTH, {"image": str, **dict.fromkeys(DIAGNOSES, float)}).reset_index(drop=True)
    columns = ("image", "age_approx", "anatom_site_general", "lesion_id", "sex")
    known = read_csv(root / METADATA, dict.fromkeys(columns, str))
    truth["image"], known["image"] = (table["image"].str.removesuffix(REDUCED) for table in (truth, known))
    known = known.set_index("image")
    marks = truth[list(DIAGNOSES)].to_numpy() == 1
    raise_problems(
        str(root),
        {
            "duplicate image": truth["image"][truth["image"].duplicated()].tolist(),
            "image without exactly one diagnosis": truth["image"][marks.sum(1) != 1].tolist(),
            "duplicate image in the metadata": known.index[known.index.duplicated()].tolist(),
            "image without metadata": truth["image"][~truth["image"].isin(known.index)].tolist(),
        },
    )
    facts = known.reindex(truth["image"])
    table = pd.DataFrame(
        {
            "image_id": truth["image"],
            "dx": [list(DIAGNOSES.values())[i] for i in marks.argmax(1)],
            "lesion_id": facts["lesion_id"].to_numpy(),
            "age": pd.to_numeric(facts["age_approx"], errors="coerce").to_numpy(float),
            "sex": facts["sex"].to_numpy(),
            "localization": facts["anatom_site_general"].to_numpy(),
        }
    )
    return table.sort_values("image_id", ignore_index=True)


def load_external(file: Path = EXTERNAL_TABLE) -> pd.DataFrame:
    """Read the committed table of the images that are not of HAM10000.

    Returns:
        Columns COLUMNS, all str; lesion_id is the image's own id where the archive has none.

    Raises:
        DataError: a column is missing, a value unknown, an image listed twice or a lesion in training and elsewhere.
    """
    table = read_csv(file, dict.fromkeys(COLUMNS, str)).reset_index(drop=True)
    used = table[table["split"] != "left_out"]
    spread = used.groupby("lesion_id")["split"].transform("nunique")
    raise_problems(
        str(file),
        {
            "duplicate image_id": table["image_id"][table["image_id"].duplicated()].tolist(),
            "unknown split": table["image_id"][~table["split"].isin(EXTERNAL_SPLITS)].tolist(),
            "unknown dx": table["image_id"][~table["dx"].isin(DIAGNOSES.values())].tolist(),
            "lesion in more than one split": used["lesion_id"][spread > 1].drop_duplicates().tolist(),
        },
    )
    return table


def held_back(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that no network trains on, with one of HELD_BACK as their split, sorted by it and by image.

    Args:
        table: as `load_external` gives it.
    """
    parts = dict(zip((ISIC_2017, BCN20000), VALIDATION_SETS, strict=True))
    split = table["split"].where(table["split"] != "validation", table["source"].map(parts))
    split = split.mask((table["dx"] == CARCINOMAS) & (table["split"] != "left_out"), CARCINOMAS)
    rows = table.assign(split=split)[split.isin(HELD_BACK)]
    return rows.sort_values(["split", "image_id"], key=_in_order, ignore_index=True)


def uses(table: pd.DataFrame) -> pd.DataFrame:
    """Return the number of images by archive (rows) and by what they serve for (columns).

    Args:
        table: as `load_external` gives it.
    """
    archive = table["source"].str.replace(r" (train|val|test)$", "", regex=True)
    use = table["split"].replace(dict.fromkeys(TEST_SETS, "test")).replace("left_out", "left out")
    use = use.mask((table["dx"] == CARCINOMAS) & (use != "left out"), "squamous cell carcinoma")
    columns = [*EXTERNAL_SPLITS[:2], "test", "squamous cell carcinoma", "left out"]
    counted = pd.crosstab(archive.rename("archive"), use.rename(""))
    return counted.reindex(columns=columns, fill_value=0)


def _in_order(column: pd.Series) -> pd.Series:
    return column.map(HELD_BACK.index) if column.name == "split" else column
