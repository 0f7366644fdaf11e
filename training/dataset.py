"""The images of each split as uint8 arrays, and the batches of a training epoch."""

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens.dataset import ham10000, isic2019
from dermlens.errors import DataError, ImageError
from dermlens.image.preprocess import Geometry, fit, resize
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES, INDEX, N_CLASSES
from training.config import Config

CANVAS_ASPECT = 4 / 3
HAM10000 = "HAM10000"
"""Source of the images of the split table, beside those of isic2019."""


@dataclass(frozen=True)
class Images:
    """Images of one split: n pictures (h, w, 3) uint8 RGB, y (n,) int64 class indices, ids (n,) str."""

    pixels: list[np.ndarray]
    y: np.ndarray
    ids: np.ndarray


def canvas(image: np.ndarray, size: int) -> np.ndarray:
    """Fit an image to the (size, 4/3 size) canvas that augmentation turns and crops.

    Wider than the network's square, so that a turned crop shows skin and not padding. A portrait is laid on its
    side; what is narrower than 4:3 is mirrored at its edges, what is wider is cut.

    Args:
        image: (h, w, 3) uint8 RGB at true aspect.

    Returns:
        (size, round(4/3 size), 3) uint8.
    """
    if image.shape[0] > image.shape[1]:
        image = image.transpose(1, 0, 2)
    width = round(size * image.shape[1] / image.shape[0])
    wanted = round(size * CANVAS_ASPECT)
    image = resize(image, size, width)
    if width < wanted:
        left = (wanted - width) // 2
        return cv2.copyMakeBorder(image, 0, 0, left, wanted - width - left, cv2.BORDER_REFLECT_101)
    left = (width - wanted) // 2
    return image[:, left : left + wanted]


def located(rows: pd.DataFrame, data: Path, stored_aspect: str, external: Path | None = None) -> pd.DataFrame:
    """Return rows with the columns file and stored_aspect: where each image is, and the aspect it had.

    Args:
        rows: column image_id, and source where some are of other archives.
        data: HAM10000 folder. stored_aspect: of its images, see `dermlens.image.preprocess.true_aspect`.
        external: folder of ISIC 2019's training set.

    Raises:
        DataError: an image is missing, or other archives are wanted and no folder is given.
    """
    own = rows.get("source", pd.Series(HAM10000, rows.index)) == HAM10000
    if external is None and not own.all():
        raise DataError("This run trains on other archives as well: pass --external DIR (see data.external).")
    files = [
        ham10000.image_path(data, name) if is_own else isic2019.image_path(external or data, name)
        for name, is_own in zip(rows["image_id"], own, strict=True)
    ]
    aspects = rows.get("stored_aspect", pd.Series("", rows.index)).where(~own, stored_aspect)
    return rows.assign(file=files, stored_aspect=aspects)


def load_images(rows: pd.DataFrame, size: int, for_training: bool) -> Images:
    """Decode images through the same door as the app.

    Args:
        rows: columns image_id and dx, and those of `located`.
        size: side of the network's square.
        for_training: canvases for augmentation, small pictures at their own resolution; otherwise the exact squares
            that serving sees.

    Raises:
        DataError: for a missing or unreadable image.
    """
    geometry = Geometry(size)

    def decode(name: str, file: Path, stored_aspect: str) -> np.ndarray:
        try:
            image = read_file(file, stored_aspect=stored_aspect).pixels
        except ImageError as e:
            raise DataError(f"Image {name}: {e}") from e
        return canvas(image, min(size, *image.shape[:2])) if for_training else fit(image, geometry)

    columns = [rows[name] for name in ("image_id", "file", "stored_aspect")]
    hidden = not sys.stderr.isatty()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(decode, *columns)
        pixels = list(tqdm(jobs, total=len(rows), desc=f"images at {size} px", unit="image", disable=hidden))
    return Images(pixels, class_indices(rows), rows["image_id"].to_numpy())


def data_hash(rows: pd.DataFrame) -> str:
    """Return a SHA-256 over image ids, diagnoses and splits: the identity of what a run was trained on."""
    text = rows[["image_id", "dx", "split"]].to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sampling_weights(rows: pd.DataFrame, config: Config) -> np.ndarray | None:
    """Return how often each training image is to be drawn, (n,) adding up to 1; None where each comes once an epoch.

    Without shares and power all are drawn alike, if an epoch is to have a number of images of its own. Inside an
    archive an image's weight is its class size there to the power of minus `sampling_power`.

    Args:
        rows: columns dx and source.
    """
    shares = external_shares(config)
    if not (config.sampling_power or shares or config.epoch_images):
        return None
    y, source = class_indices(rows), rows["source"].to_numpy()
    weight = np.zeros(len(rows))
    for name, share in {HAM10000: 1 - sum(shares.values()), **shares}.items():
        own = source == name
        drawn = class_counts(y[own]).clip(1)[y[own]] ** -float(config.sampling_power)
        weight[own] = share * drawn / drawn.sum()
    return weight


def external_shares(config: Config) -> dict[str, float]:
    """Return the share of an epoch that comes from each other archive, those with none left out."""
    shares = {isic2019.ISIC_2017: config.isic2017_share, isic2019.BCN20000: config.bcn20000_share}
    return {source: share for source, share in shares.items() if share}


def epoch_order(n: int, weight: np.ndarray | None, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of one epoch.

    Args:
        n: number of images. weight: (n,) adding up to 1; None visits each image once.
        count: of images drawn by weight.
    """
    if weight is None:
        return rng.permutation(n)
    # Systematic sampling: an image with expected count e comes floor(e) or ceil(e) times.
    edges = np.cumsum(weight) / weight.sum() * count
    drawn = np.searchsorted(edges, np.arange(count) + rng.random(), side="right").clip(max=n - 1)
    return rng.permutation(drawn)


def class_indices(rows: pd.DataFrame) -> np.ndarray:
    """Return the class indices (n,) int64 of rows of the split table."""
    return rows["dx"].map(INDEX).to_numpy(np.int64)


def class_counts(y: np.ndarray) -> np.ndarray:
    """Return the number of images of each of the seven classes, (7,) int64."""
    return np.bincount(y, minlength=N_CLASSES)


def one_hot(y: np.ndarray) -> np.ndarray:
    """Return labels (n, 7) float32 of classes (n,)."""
    return np.eye(N_CLASSES, dtype=np.float32)[y]


def select_rows(table: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return the rows this run uses: training and validation only, less what the config leaves out.

    No test split is ever loaded here. Images of other archives come with the splits "train" and "external_validation".

    Args:
        table: the split table of HAM10000.

    Returns:
        The columns of `table`, source, and stored_aspect of the other archives' images; sorted by image_id.
    """
    rows = table[table["split"].isin(["train", "validation"])].assign(source=HAM10000)
    if config.leave_out:
        rows = rows[rows["dx"] != config.leave_out]
    if config.max_images:
        rows = pd.concat(
            part.groupby("dx", group_keys=False).head(max(1, config.max_images // N_CLASSES))
            for _, part in rows.groupby("split")
        )
    sources = list(external_shares(config))
    if sources:
        other = isic2019.load_external()
        usable = (
            other["split"].isin(["train", "validation"]) & other["dx"].isin(CLASSES) & other["source"].isin(sources)
        )
        renamed = other[usable].replace({"split": {"validation": "external_validation"}})
        rows = pd.concat([rows, renamed[renamed["dx"] != config.leave_out]])
    return rows.sort_values("image_id", ignore_index=True)
