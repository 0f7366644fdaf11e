"""Files that are used only if they are the ones whose SHA-256 was recorded, and the checks of what they hold."""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dermlens.errors import DataError, DermlensError, ModelError
from dermlens.files.documents import Document, File, read_document, shown
from dermlens.labels import CLASSES

MAX_SERVING = 2**30
MAX_HEAD = 2**24
"""Most bytes of the serving file and of the head; ConvNeXt-Base's are 350 MB and 29 kB."""
_AGAIN = "Restore it, or build it again with python -m training.export."


def sha256(path: Path, most: int = MAX_SERVING) -> str:
    """Return the SHA-256 of a file of a model, in hexadecimal.

    Raises:
        ModelError: it has more than `most` bytes, even if it is a sparse one that takes no room on the disk.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ModelError(f"{shown(path)} is larger than {most / 2**20:,.0f} MiB, the most that is read of a model.")
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, expected: object, what: str) -> None:
    """Raise ModelError if a file is missing, a link out of its folder, or not the one whose SHA-256 is `expected`."""
    if not path.is_file():
        raise ModelError(f"{what} is missing. {_AGAIN}")
    if path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve()):
        raise ModelError(f"{what} is a link that leads out of its folder. Put the file itself there.")
    try:
        _compare(sha256(path), expected, what)
    except OSError as e:
        raise ModelError(f"{what} cannot be read: {e.strerror}.") from e


def read(path: Path, expected: object, what: str, most: int) -> bytes:
    """Return the content of a file, once it is known to be the one whose SHA-256 is `expected`.

    What was checked is what is used, whatever happens to the file afterwards.

    Raises:
        ModelError: as `check`, or it is larger than `most` bytes.
    """
    if not path.is_file():
        raise ModelError(f"{what} is missing. {_AGAIN}")
    found = read_document(path, most, ModelError)
    _compare(found.sha256, expected, what)
    return found.data


def listed(file: File, card: Mapping[str, Any] | None, most: int, error: type[DermlensError] = DataError) -> Document:
    """Read a file of a model that is not a program: its predictions, metrics or history.

    Args:
        file: in models/ID.
        card: card.json of that folder. A file that it lists must be the one it lists; one that it does not list, or
            where there is no card, is somebody's own and is taken as it is.
        most, error: as for `read_bytes`.

    Raises:
        DermlensError: as `read_bytes`, or the file was changed after the model was published.
    """
    found = read_document(file, most, error)
    hashes = (card or {}).get("files")
    if isinstance(hashes, dict) and hashes.get(file.name) not in (None, found.sha256):
        raise error(
            f"{shown(file)} was changed after the model was published: its SHA-256 is not the one in card.json. "
            "Nothing of it is shown. Restore the file, or publish the model again."
        )
    return found


def read_arrays(data: bytes, names: Iterable[str], where: str, most: int, again: str = _AGAIN) -> dict[str, np.ndarray]:
    """Return some arrays of an .npz file from its bytes; it is looked at before it is unpacked, and none of it is run.

    Args:
        data: content of the file.
        names: of the arrays, which must be there.
        where: what to call the file.
        most: bytes that all its arrays may have together.
        again: what to do about a damaged one.

    Raises:
        ModelError: it is damaged, lacks an array, holds one of Python objects, or would unpack to more than `most`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > most:
            raise ModelError(f"{where} would unpack to {unpacked / 2**20:,.0f} MiB; the limit is {most / 2**20:.0f}.")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except ModelError:
        raise
    except Exception as e:  # zipfile and NumPy raise almost anything on damaged bytes
        raise ModelError(f"{where} cannot be read ({type(e).__name__}: {e}). {again}") from e


def read_head(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel (C, 7) and bias (7,), float32, from the bytes of head.npz.

    Raises:
        ModelError: as `read_arrays`, or the arrays have another form or numbers that are not finite.
    """
    kernel, bias = read_arrays(data, ("kernel", "bias"), where, MAX_HEAD).values()
    if kernel.dtype != np.float32 or bias.dtype != np.float32:
        raise ModelError(f"{where}: the arrays must be float32, got {kernel.dtype} and {bias.dtype}. {_AGAIN}")
    if kernel.ndim != 2 or kernel.shape[1] != len(CLASSES) or bias.shape != (len(CLASSES),):
        raise ModelError(f"{where}: kernel (C, 7) and bias (7,) expected, got {kernel.shape} and {bias.shape}.")
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise ModelError(f"{where} holds numbers that are not finite. {_AGAIN}")
    return kernel, bias


def _compare(found: str, expected: object, what: str) -> None:
    if found != expected:
        raise ModelError(
            f"{what} is damaged or was changed: its SHA-256 is {found[:12]}..., {str(expected)[:12]}... was recorded. "
            f"{_AGAIN}"
        )
