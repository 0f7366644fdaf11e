"""Answers to many images through the serving path, kept as they come so that a long run can be interrupted."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dermlens.case.predict import forward
from dermlens.errors import DataError
from dermlens.image.preprocess import fit
from dermlens.models.model import Model

CHUNK = 250
FOLDER = "build/embeddings"
"""In the model's folder; what is there may be deleted at any time."""


def named(file: Path, stored_aspect: str) -> str:
    """Return the name of an image for `ask`: another one when its file is changed, or is that of another folder.

    Raises:
        DataError: there is no such file.
    """
    try:
        known = file.stat()
    except OSError as e:
        raise DataError(f"{file} cannot be read: {e.strerror}.") from e
    return f"{stored_aspect} {file.stem} {known.st_size} {known.st_mtime_ns}"


def embed(model: Model, names: Iterable[str], load: Callable[[int], np.ndarray], what: str) -> np.ndarray:
    """Return the embeddings of images, (n, C) float32, averaged over the model's views; arguments as for `ask`."""
    return ask(model, names, load, what)[1]


def ask(
    model: Model, names: Iterable[str], load: Callable[[int], np.ndarray], what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits and embeddings of images, averaged over the model's views.

    Chunks that an earlier run with the same model, views and names has left in FOLDER are not made again.

    Args:
        model: as loaded by registry.load.
        names: n names that tell the images from any others, such as `named` gives.
        load: gives the i-th image, (h, w, 3) uint8 RGB at its true aspect; called by several threads at once.
        what: is shown with the progress.

    Returns:
        (n, 7) and (n, C) float32.
    """
    names = list(names)
    folder = _folder(model, names)
    channels, classes = model.head_kernel.shape
    parts = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(names), desc=f"{model.name}, {what}", unit="image", disable=not sys.stderr.isatty()) as bar,
    ):
        for start in range(0, len(names), CHUNK):
            rows = range(start, min(start + CHUNK, len(names)))
            file = folder / f"{start:05}.npy"
            chunk = _stored(file, (len(rows), classes + channels))
            if chunk is None:
                made = []
                for pixels in pool.map(load, rows):
                    logits, _, embedding = forward(model, fit(pixels, model.geometry))
                    made.append(np.concatenate([logits, embedding]))
                    bar.update()
                chunk = np.stack(made)
                _store(file, chunk)
            else:
                bar.update(len(rows))
            parts.append(chunk)
    logits, embeddings = np.split(np.concatenate(parts), [classes], axis=1)
    return logits, embeddings


def keep(model: Model, names: list[str], logits: np.ndarray, embeddings: np.ndarray) -> None:
    """Store answers that were made elsewhere, (n, 7) and (n, C), for `ask` to find; arguments as there."""
    answers = np.concatenate([logits, embeddings], axis=1).astype(np.float32)
    for start in range(0, len(names), CHUNK):
        _store(_folder(model, names) / f"{start:05}.npy", answers[start : start + CHUNK])


def _folder(model: Model, names: list[str]) -> Path:
    identity = "\n".join([model.weights_sha256, str(model.views), *names])
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
