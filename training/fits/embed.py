"""Embeddings of many images through the serving path, kept as they come so that a long run can be interrupted."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dermlens.case.predict import forward
from dermlens.image.preprocess import fit
from dermlens.models.model import Model

CHUNK = 250
FOLDER = "build/embeddings"
"""In the model's folder; what is there may be deleted at any time."""


def embed(model: Model, names: Iterable[str], load: Callable[[int], np.ndarray], what: str) -> np.ndarray:
    """Return the embeddings of images, averaged over the model's views.

    Chunks that an earlier run with the same model, views and names has left in FOLDER are not made again.

    Args:
        model: as loaded by registry.load.
        names: n names that tell the images from any others.
        load: gives the i-th image, (h, w, 3) uint8 RGB at its true aspect; called by several threads at once.
        what: is shown with the progress.

    Returns:
        (n, C) float32.
    """
    names = list(names)
    folder = _folder(model, names)
    parts = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(names), desc=f"{model.name}, {what}", unit="image", disable=not sys.stderr.isatty()) as bar,
    ):
        for start in range(0, len(names), CHUNK):
            rows = range(start, min(start + CHUNK, len(names)))
            file = folder / f"{start:05}.npy"
            chunk = _stored(file, (len(rows), len(model.head_kernel)))
            if chunk is None:
                made = []
                for pixels in pool.map(load, rows):
                    made.append(forward(model, fit(pixels, model.geometry))[2])
                    bar.update()
                chunk = np.stack(made)
                _store(file, chunk)
            else:
                bar.update(len(rows))
            parts.append(chunk)
    return np.concatenate(parts)


def keep(model: Model, names: list[str], embeddings: np.ndarray) -> None:
    """Store embeddings (n, C) float32 that were made elsewhere, for `embed` to find; arguments as there."""
    for start in range(0, len(names), CHUNK):
        _store(_folder(model, names) / f"{start:05}.npy", embeddings[start : start + CHUNK])


def _folder(model: Model, names: list[str]) -> Path:
    identity = "\n".join([model.identity, str(model.views), *names])
    folder = model.folder / FOLDER / hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _stored(file: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Return a chunk, None if there is none that can be used."""
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def _store(file: Path, chunk: np.ndarray) -> None:
    partial = file.with_name(f"{file.stem}.{os.getpid()}.part.npy")
    np.save(partial, chunk)
    partial.replace(file)
