"""What a run's predictions were made from: asked.json beside them, so that those of two networks are never compared."""

import hashlib
from pathlib import Path

import keras
import numpy as np

from dermlens.errors import DataError
from dermlens.evaluation.predictions import EXTERNAL_FILE
from dermlens.files.documents import read_object, write_object
from dermlens.files.hashes import sha256

FILE = "asked.json"
PREDICTIONS = ("predictions.csv", EXTERNAL_FILE)


def asked(model: keras.Model, views: int) -> dict[str, object]:
    """Return what answers come from: the SHA-256 of a network's weights, the side of its square and the views."""
    digest = hashlib.sha256()
    for values in model.get_weights():
        digest.update(repr((values.shape, values.dtype.str)).encode() + np.ascontiguousarray(values).tobytes())
    return {"weights_sha256": digest.hexdigest(), "size": int(model.input_shape[1]), "views": views}


def note(folder: Path, made_from: dict[str, object], names: list[str]) -> None:
    """Write down that some files of predictions of a run were made now; others of another network are removed.

    Raises:
        DataError: a file cannot be read or written.
    """
    known = read_object(folder / FILE) if (folder / FILE).is_file() else {}
    kept = {name: known[name] for name in PREDICTIONS if name not in names and _is(folder, known, name, made_from)}
    for name in PREDICTIONS:
        if name not in names and name not in kept:
            (folder / name).unlink(missing_ok=True)
    made = {name: {"sha256": sha256(folder / name), **made_from} for name in names}
    write_object(folder / FILE, {**kept, **made})


def check(folder: Path) -> None:
    """Raise DataError unless a run's two files of predictions are known to be of one network, asked in one way."""
    known = read_object(folder / FILE) if (folder / FILE).is_file() else {}
    first = known.get(PREDICTIONS[0])
    made_from = {k: v for k, v in first.items() if k != "sha256"} if isinstance(first, dict) else {}
    if not made_from or not all(_is(folder, known, name, made_from) for name in PREDICTIONS):
        raise DataError(
            f"{folder.name}: {' and '.join(PREDICTIONS)} are not known to be of one network, asked in one way. Measure "
            f"both again: python -m training.evaluate {folder.name} --external DIR."
        )


def _is(folder: Path, known: dict[str, object], name: str, made_from: dict[str, object]) -> bool:
    """Return whether a file is the one that was noted, and made from that."""
    return (folder / name).is_file() and known.get(name) == {"sha256": sha256(folder / name), **made_from}
