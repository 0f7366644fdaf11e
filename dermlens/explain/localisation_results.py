"""attention.csv: where a model looked; read with every check, and summed up with intervals.

On test, for every image, by Grad-CAM. On validation, for a few images of each diagnosis, by every method: which methods
are offered for a model is decided there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.evaluation.intervals import FEW_LESIONS, percentile_interval, resampled_mean, share
from dermlens.explain.methods import METHODS as SLOW_METHODS
from dermlens.files.documents import File, read_document
from dermlens.files.tables import MAX_BYTES, numbers, read_csv, refuse
from dermlens.labels import CLASSES, INDEX
from dermlens.trust.fit_command import fit_command

FILE = "attention.csv"
METHODS = {"grad_cam": "Grad-CAM", **SLOW_METHODS}
WARNINGS = ("", "border", "corner")
IDS = ("image_id", "lesion_id", "split", "y_true", "called", "method", "warning")
SHARES = ("energy_share", "blob_share", "lesion_share", "usual_share", "hit", "centre_hit")
REMOVALS = ("deletion", "random_deletion", "insertion", "random_insertion")
COLUMNS = (*IDS, *SHARES, *REMOVALS)
"""One row per image and method.

split: test or validation.
y_true, called: class codes; the map is that of the called class.
warning: what localisation.where_it_sits says of the map, empty for nothing.
energy_share: of the map, inside the lesion; empty for a map without any heat.
blob_share: the same of localisation.centred, a blob in the middle as concentrated as the map.
lesion_share: of the seen part's area.
usual_share: energy inside the lesion of the mean map of all test images, which knows nothing of this one; Grad-CAM on
test only.
hit: 1 if the map's highest point is in the lesion, else 0; empty for a map without heat.
centre_hit: 1 if the centre of the seen part is in the lesion, else 0.
deletion, insertion: areas under localisation.removal_curves; random_: of a map of random numbers. All empty where not
measured."""
SPLITS = ("validation", "test")


def read_attention(file: File) -> pd.DataFrame:
    """Read and check an attention.csv.

    Returns:
        The columns of COLUMNS in the order of the file; y_true and called as int64 indices into labels.CLASSES, shares
        and areas as float64 with NaN for an empty cell.

    Raises:
        DataError: the file is missing or damaged, a row is there twice, or a value is not possible. The message names
            file, line and column.
    """
    table = read_csv(file, dict.fromkeys(COLUMNS, str))
    for name in ("image_id", "lesion_id"):
        refuse(file, table, name, table[name].str.strip() == "", "is empty; every row needs one")
    twice = table.duplicated(["image_id", "method"])
    refuse(file, table, "image_id", twice, "appears a second time with this method; an image has one row per method")
    for name in ("y_true", "called"):
        refuse(file, table, name, ~table[name].isin(CLASSES), f"must be one of {', '.join(CLASSES)}")
    refuse(file, table, "split", ~table["split"].isin(SPLITS), f"must be one of {', '.join(SPLITS)}")
    refuse(file, table, "method", ~table["method"].isin(METHODS), f"must be one of {', '.join(METHODS)}")
    refuse(file, table, "warning", ~table["warning"].isin(WARNINGS), "must be empty, border or corner")
    values = pd.DataFrame({name: numbers(table[name]) for name in (*SHARES, *REMOVALS)}, index=table.index)
    for name in values:
        possible = (table[name] == "") | values[name].between(0, 1)
        refuse(file, table, name, ~possible, "must be a number from 0 to 1, or empty")
    for name in ("lesion_share", "centre_hit"):
        refuse(file, table, name, values[name].isna(), "is empty; every row needs one")
    for name in ("hit", "centre_hit"):
        refuse(file, table, name, ~(values[name].isna() | values[name].isin((0, 1))), "must be 0 or 1")
    for name in ("hit", "blob_share"):
        refuse(file, table, name, values[name].isna() != values["energy_share"].isna(), "and energy_share go together")
    some = values[list(REMOVALS)].notna()
    refuse(file, table, "deletion", some.any(axis=1) & ~some.all(axis=1), f"and {', '.join(REMOVALS[1:])} go together")
    codes = {name: table[name].map(INDEX).astype(np.int64) for name in ("y_true", "called")}
    return table.assign(**codes, **{name: values[name] for name in values})


@dataclass(frozen=True)
class Where:
    """How much of the maps of some images lies inside the lesions; means over images, all of them shares 0..1."""

    energy: Estimate
    """of the maps' energy"""
    blob: Estimate
    """of the energy of a blob in the middle, as concentrated as the map"""
    blob_gain: Estimate
    """energy less blob: what the map is better at than the middle of the picture"""
    area: Estimate
    """of the seen area that the lesions take"""
    gain: Estimate
    """energy less area"""
    usual: Estimate
    """of the energy of the mean map of all images, so what a map would have that is always the same"""
    usual_gain: Estimate
    """energy less usual: what the map knows of this very image"""
    hits: Estimate
    """share of maps whose highest point is in the lesion"""
    centre: Estimate
    """share of images whose centre is in the lesion, so what always pointing to the centre would hit"""
    without: int
    """maps without any heat; they are in none of the estimates"""

    @property
    def worse(self) -> bool:
        """Whether the maps find the lesion less well than a blob in the middle does; the 95 % interval says so."""
        return self.blob_gain.high < 0


@dataclass(frozen=True)
class Removal:
    """What taking pixels away or putting them back does to the probability; means of areas under the curve, 0..1."""

    deletion: Estimate
    random_deletion: Estimate
    deletion_gain: Estimate
    """random less own: above 0 if what the map marks matters more than chance"""
    insertion: Estimate
    random_insertion: Estimate
    insertion_gain: Estimate
    """own less random"""


@dataclass(frozen=True)
class Warned:
    """How often localisation.where_it_sits would speak, and whether it means anything."""

    share: Estimate
    right_if_warned: Estimate
    right_if_not: Estimate


@dataclass(frozen=True)
class LocalisationResults:
    """The estimates of one attention.csv.

    Groups are "all", "right", "wrong" and the codes of the true classes that have images.
    """

    where: dict[str, Where]
    """group -> estimates of Grad-CAM"""
    removal: dict[str, Removal]
    """group -> estimates of Grad-CAM, for the images it was measured on"""
    warned: Warned
    methods: dict[str, tuple[Where, Removal]]
    """method -> estimates on validation, over the images that every method was measured on"""


def summarise(table: pd.DataFrame) -> LocalisationResults:
    """Sum a table of `read_attention` up, with 95 % intervals over lesions."""
    own = table[(table["method"] == "grad_cam") & (table["split"] == "test")]
    groups = {name: rows for name, rows in _groups(own).items() if len(rows)}
    removed = {name: rows.dropna(subset=list(REMOVALS)) for name, rows in groups.items()}
    return LocalisationResults(
        {name: where(rows) for name, rows in groups.items()},
        {name: removal(rows) for name, rows in removed.items() if len(rows)},
        _warned(own),
        {name: (where(rows), removal(rows)) for name, rows in _by_method(table).items()},
    )


def offered(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the methods that a table of `read_attention` leaves standing: all but those that are worse than a blob in
    the middle on validation. One that was not measured there is among them."""
    worse = {name for name, rows in _by_method(table).items() if where(rows).worse}
    return tuple(name for name in METHODS if name not in worse)


def _by_method(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the validation rows of each method, of the images that all of them were measured on."""
    chosen = table[table["split"] == "validation"]
    common = chosen[chosen.groupby("image_id")["method"].transform("nunique") == chosen["method"].nunique()]
    return {name: common[common["method"] == name] for name in METHODS if (common["method"] == name).any()}


def read_published(folder: Path, card: dict | None) -> pd.DataFrame:
    """Read the attention.csv of a published model, as `read_attention` does.

    Args:
        folder: models/ID. card: its card.json, None if there is none.

    Raises:
        DataError: as `read_attention`, or the file is not the one whose SHA-256 is in card.json.
    """
    path, command = folder / FILE, fit_command(folder.name, "attention", pictures=True)
    if not path.is_file():
        raise DataError(f"There is no {FILE} in {folder.name}. Make it: {command}.")
    found = read_document(path, MAX_BYTES)
    if found.sha256 != ((card or {}).get("files") or {}).get(FILE):
        raise DataError(
            f"{folder.name}/{FILE} is not the file whose SHA-256 is in card.json. Measure it with {command}."
        )
    return read_attention(found)


def where(rows: pd.DataFrame) -> Where:
    """Sum the shares of some rows up; an estimate without rows is NaN."""
    some = rows[rows["energy_share"].notna()]
    means = {
        "energy": some["energy_share"],
        "blob": some["blob_share"],
        "area": some["lesion_share"],
        "usual": some["usual_share"],
    }
    lesion = lesions(some)
    gains = {"gain": "area", "usual_gain": "usual", "blob_gain": "blob"}
    found = _means(means | {gain: means["energy"] - means[of] for gain, of in gains.items()}, lesion)
    hits, centre = (share(some[name].to_numpy() == 1, lesion) for name in ("hit", "centre_hit"))
    return Where(**found, hits=hits, centre=centre, without=len(rows) - len(some))


def removal(rows: pd.DataFrame) -> Removal:
    """Sum the areas of some rows up; an estimate without rows is NaN."""
    means: dict[str, pd.Series] = {name: rows[name] for name in REMOVALS}
    means["deletion_gain"] = rows["random_deletion"] - rows["deletion"]
    means["insertion_gain"] = rows["insertion"] - rows["random_insertion"]
    return Removal(**_means(means, lesions(rows)))


def lesions(rows: pd.DataFrame) -> np.ndarray:
    """Return (n,) int64, lesions numbered by their sorted ids."""
    return pd.factorize(rows["lesion_id"], sort=True)[0]


def _warned(rows: pd.DataFrame) -> Warned:
    warned, right = (rows["warning"] != "").to_numpy(), (rows["y_true"] == rows["called"]).to_numpy()
    lesion = lesions(rows)
    return Warned(share(warned, lesion), share(right[warned], lesion[warned]), share(right[~warned], lesion[~warned]))


def _groups(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    right = rows["y_true"] == rows["called"]
    groups = {"all": rows, "right": rows[right], "wrong": rows[~right]}
    return groups | {code: rows[rows["y_true"] == i] for i, code in enumerate(CLASSES)}


def _means(columns: Mapping[str, pd.Series], lesion: np.ndarray) -> dict[str, Estimate]:
    """Means of several columns with 95 % intervals over lesions from the same draws; NaN for a column with a gap.

    The percentile bootstrap is too narrow for few lesions: for fewer than FEW_LESIONS it is the bootstrap's standard
    error times Student's t (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 12).
    """
    values = np.stack([column.to_numpy(np.float64) for column in columns.values()], 1)
    n, m = len(values), len(np.unique(lesion))
    if not n:
        return dict.fromkeys(columns, Estimate(np.nan, np.nan, np.nan, 0, 0))
    means, replicates = values.mean(0), resampled_mean(values, lesion)
    if m >= FEW_LESIONS:
        low, high = percentile_interval(replicates)
    else:
        half = (
            stdtrit(m - 1, 0.975) * replicates.std(0) * np.sqrt(m / (m - 1)) if m > 1 else np.full(len(means), np.nan)
        )
        least = [-1.0 if "gain" in name else 0.0 for name in columns]
        low, high = np.maximum(means - half, least), np.minimum(means + half, 1.0)
    estimates = zip(columns, means.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(mean, lo, hi, n, m) for name, mean, lo, hi in estimates}
