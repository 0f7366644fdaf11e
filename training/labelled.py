"""Further images to train on, which somebody has labelled (`dermlens.dataset.labelled`); none to measure with."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from dermlens.dataset import isic2019
from dermlens.dataset.labelled import read_labelled
from dermlens.errors import DataError, ImageError
from dermlens.files.documents import shown
from dermlens.files.hashes import sha256
from dermlens.image.encode import pixels_sha256
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.ingest.read import read_file
from training.dataset import HAM10000, located

NOT_COMPARED = (
    "The labelled pictures were not compared with the images of other archives, with which models are measured: pass "
    "--external DIR to have them compared."
)


def held_out(table: pd.DataFrame, data: Path, stored_aspect: str, external: Path | None) -> pd.DataFrame:
    """Return the images to measure with, located; those of other archives where their folder is given.

    Args:
        table: the split table. data: HAM10000 folder. stored_aspect: of its images.
        external: folder of ISIC 2019's training set.

    Raises:
        DataError: an image is missing.
    """
    found = located(table[table["split"] != "train"], data, stored_aspect)
    if external is None:
        return found
    others = isic2019.held_back(isic2019.load_external())
    return pd.concat([found, located(others, data, stored_aspect, external)], ignore_index=True)


def labelled_rows(folder: Path, held_out: pd.DataFrame, leave_out: str = "") -> pd.DataFrame:
    """Return the images of a folder as `dataset.labelled` reads it, as further rows to train on, located already.

    They count as HAM10000's where archives are drawn by shares.

    Args:
        folder: with labels.csv. held_out: the images to measure with, located. leave_out: a diagnosis to pass over.

    Raises:
        DataError: as `read_labelled`; there is no label; or a picture is one of those to measure with.
    """
    found = read_labelled(folder)
    found = found[found["dx"] != leave_out].reset_index(drop=True)
    if found.empty:
        raise DataError(f"{folder} holds no image with a diagnosis to learn: fill in the column dx of labels.csv.")
    found = found.assign(split="train", source=HAM10000, stored_aspect="as-is")
    own = dict(zip(_pixel_hashes(found), found["image_id"], strict=True))
    every = pd.concat([held_out.assign(stored_aspect=aspect) for aspect in STORED_ASPECTS])  # as any of them was kept
    for digest, name in zip(_pixel_hashes(every), every["image_id"], strict=True):
        if digest in own:
            raise DataError(f"Image {own[digest]} of {folder} is {name}, with which models are measured. Empty its dx.")
    return found


def labelled_hash(rows: pd.DataFrame) -> str:
    """Return a SHA-256 over ids, diagnoses and the bytes of the pictures: the identity of what was labelled."""
    known = rows[["image_id", "dx"]].assign(sha256=[sha256(file) for file in rows["file"]])
    return hashlib.sha256(known.to_csv(index=False).encode()).hexdigest()


def _pixel_hashes(rows: pd.DataFrame) -> list[str]:
    def digest(file: Path, stored_aspect: str) -> str:
        try:
            return pixels_sha256(read_file(file, stored_aspect=stored_aspect).pixels)
        except ImageError as e:
            raise DataError(f"{shown(file)}: {e}") from e

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(digest, rows["file"], rows["stored_aspect"]))
