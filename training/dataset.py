"""The images of each split as uint8 arrays, and the batches of a training epoch."""

import hashlib
import os
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens.dataset.ham10000 import image_path
from dermlens.errors import DataError, ImageError
from dermlens.image.preprocess import Geometry, fit, resize
from dermlens.ingest.read import read_file
from dermlens.labels import INDEX, N_CLASSES
from training.config import Config

CANVAS_ASPECT = 4 / 3


@dataclass(frozen=True)
class Images:
    """Images of one split: pixels (n, h, w, 3) uint8 RGB, y (n,) int64 class indices, ids (n,) str."""

    pixels: np.ndarray
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


def load_images(root: Path, rows: pd.DataFrame, size: int, stored_aspect: str, for_training: bool) -> Images:
    """Decode images through the same door as the app.

    Args:
        root: HAM10000 folder.
        rows: columns image_id and dx.
        size: side of the network's square.
        stored_aspect: see `dermlens.image.preprocess.true_aspect`.
        for_training: canvases for augmentation; otherwise the exact squares that serving sees.

    Raises:
        DataError: for a missing or unreadable image.
    """
    geometry = Geometry(size)
    shape = (size, round(size * CANVAS_ASPECT)) if for_training else (size, size)
    pixels = np.empty((len(rows), *shape, 3), np.uint8)

    def decode(i: int) -> None:
        try:
            image = read_file(image_path(root, ids[i]), stored_aspect=stored_aspect).pixels
        except ImageError as e:
            raise DataError(f"Image {ids[i]}: {e}") from e
        pixels[i] = canvas(image, size) if for_training else fit(image, geometry)

    ids = rows["image_id"].to_numpy()
    hidden = not sys.stderr.isatty()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(decode, range(len(ids)))
        deque(tqdm(jobs, total=len(ids), desc=f"images at {size} px", unit="image", disable=hidden), maxlen=0)
    return Images(pixels, class_indices(rows), ids)


def data_hash(rows: pd.DataFrame) -> str:
    """Return a SHA-256 over image ids, diagnoses and splits: the identity of what a run was trained on."""
    text = rows[["image_id", "dx", "split"]].to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()


def epoch_order(y: np.ndarray, sampling_power: float, rng: np.random.Generator) -> np.ndarray:
    """Return the indices of one epoch, as many as there are images.

    With power 0 every image comes once. Otherwise images are drawn with replacement, each with a weight of its
    class size to the power of minus `sampling_power`.
    """
    if not sampling_power:
        return rng.permutation(len(y))
    weight = class_counts(y).clip(1)[y] ** -float(sampling_power)
    # Systematic sampling: an image with expected count e comes floor(e) or ceil(e) times.
    edges = np.cumsum(weight / weight.sum()) * len(y)
    drawn = np.searchsorted(edges, np.arange(len(y)) + rng.random(), side="right").clip(max=len(y) - 1)
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


def batches(x: np.ndarray, labels: np.ndarray, order: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (x (b, ...), labels (b, 7)) in an order; an incomplete last batch is dropped unless it is alone."""
    whole = max(len(order) - len(order) % size, min(len(order), size))
    for start in range(0, whole, size):
        index = order[start : start + size]
        yield x[index], labels[index]


def select_rows(table: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return the rows of the split table this run uses: training and validation only, less what the config leaves out.

    The test split is never loaded here.
    """
    rows = table[table["split"].isin(["train", "validation"])]
    if config.leave_out:
        rows = rows[rows["dx"] != config.leave_out]
    if config.max_images:
        rows = pd.concat(
            part.groupby("dx", group_keys=False).head(max(1, config.max_images // N_CLASSES))
            for _, part in rows.groupby("split")
        )
    return rows.sort_values("image_id", ignore_index=True)
