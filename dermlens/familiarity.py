"""How much an image looks, to a network, like those it was trained on; and the training cases it looks most like.

A network answers every picture, a cat too, with one of seven diagnoses. Its embedding of the picture tells more: three
scores from the literature say how far that is from the embeddings of the training images, and training.fits.embeddings
chooses among them and sets the limit. Familiar is no word on whether the answer is right.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from dermlens.errors import DataError, ModelError
from dermlens.files import read_bytes, read_object
from dermlens.ham10000 import load_split
from dermlens.labels import CLASSES, N_CLASSES

EMBEDDINGS_FILE, FAMILIARITY_FILE, SCORES_FILE = "embeddings.npz", "familiarity.json", "familiarity.csv"
MEMBERS = "members"
"""In the place of a method: an ensemble has no embedding, its members must all accept an image."""
REAL = "dermoscopic"
"""In familiarity.csv, the kind of the data set's own images."""
NEIGHBOUR = 10
"""The kNN score is the distance to this neighbour."""
_MOST_BYTES = 64 * 2**20
_AGAIN = "Fit the step embeddings again (python -m training.fit)."
_SCORE_COLUMNS = ("name", "group", "kind", "part", "score")


@dataclass(frozen=True, eq=False)
class Bank:
    """The embeddings of the training images, projected on their principal axes: embeddings.npz.

    n images, C values an embedding, d axes.
    """

    image_id: np.ndarray
    """(n,) str"""
    points: np.ndarray
    """(n, d) float16: embedding less `centre`, on `axes`"""
    centre: np.ndarray
    """(C,) float32"""
    axes: np.ndarray
    """(C, d) float16, nearly orthonormal"""
    means: np.ndarray
    """(7, d) float32, the mean point of each class; NaN for a class without images"""
    precision: np.ndarray
    """(d, d) float32, inverse of the covariance of points about the mean of their class"""
    rest_variance: float
    """mean variance along the C - d directions that the axes leave out; infinity if they leave out none"""
    head_kernel: np.ndarray
    """(C, 7) float32"""
    head_bias: np.ndarray
    """(7,) float32"""

    def project(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (m, d) float32 points of (m, C) embeddings."""
        return (embeddings - self.centre) @ self.axes.astype(np.float32)

    @cached_property
    def directions(self) -> np.ndarray:
        """(n, d) float32, the points at length 1."""
        return unit(self.points.astype(np.float32))


def make_bank(
    image_id: np.ndarray, embeddings: np.ndarray, y: np.ndarray, axes: int, head: tuple[np.ndarray, np.ndarray]
) -> Bank:
    """Fit axes, class means and the shared covariance to the training images.

    Args:
        image_id: (n,) str. embeddings: (n, C) float. y: (n,) int, 0..6. axes: most axes to keep.
        head: kernel (C, 7) and bias (7,) of the network's last layer.

    Raises:
        DataError: there are too few images for a covariance.
    """
    n, channels = embeddings.shape
    axes = min(axes, channels)
    if n < axes + N_CLASSES + 1:
        raise DataError(f"{axes} axes need more than {axes + N_CLASSES} training images, got {n}.")
    centre = embeddings.mean(0).astype(np.float32)
    off = embeddings.astype(np.float64) - centre
    _, vectors = np.linalg.eigh(off.T @ off)
    kept = vectors[:, ::-1][:, :axes].astype(np.float16)
    # From here on with the rounded values that are stored, so that fitting and serving see the same.
    points = (off @ kept.astype(np.float64)).astype(np.float16)
    exact = points.astype(np.float64)
    means = np.full((N_CLASSES, axes), np.nan)
    for i in np.unique(y):
        means[i] = exact[y == i].mean(0)
    within = exact - means[y]
    covariance = within.T @ within / (n - len(np.unique(y)))
    covariance += np.eye(axes) * 1e-6 * max(np.trace(covariance) / axes, 1e-12)  # a dead unit has no variance
    rest = float(((off**2).sum(1) - (exact**2).sum(1)).clip(0).mean())
    return Bank(
        np.asarray(image_id, str),
        points,
        centre,
        kept,
        means.astype(np.float32),
        np.linalg.inv(covariance).astype(np.float32),
        rest / (channels - axes) if channels > axes and rest > 0 else float("inf"),
        np.asarray(head[0], np.float32),
        np.asarray(head[1], np.float32),
    )


def mahalanobis(bank: Bank, embeddings: np.ndarray) -> np.ndarray:
    """Squared distance to the nearest class mean under one covariance for all classes (Lee et al., NeurIPS 2018).

    What lies outside the axes counts by its mean variance there, as in probabilistic principal component analysis
    (Tipping & Bishop, J R Stat Soc B 61:611, 1999).

    Args:
        embeddings: (m, C) float.

    Returns:
        (m,) float64, >= 0.
    """
    points = bank.project(embeddings).astype(np.float64)
    rest = ((embeddings - bank.centre).astype(np.float64) ** 2).sum(1) - (points**2).sum(1)
    off = points[:, None] - bank.means[~np.isnan(bank.means[:, 0])].astype(np.float64)
    inside = np.einsum("mki,ij,mkj->mk", off, bank.precision.astype(np.float64), off, optimize=True).min(1)
    return inside + rest.clip(0) / bank.rest_variance


def nearest(bank: Bank, embeddings: np.ndarray) -> np.ndarray:
    """Distance to the NEIGHBOUR-th nearest of all training embeddings, each at length 1 (Sun et al., ICML 2022).

    Arguments and result as for `mahalanobis`.
    """
    points = bank.points.astype(np.float32)
    shift = bank.centre @ bank.axes.astype(np.float32)
    lengths = np.sqrt((bank.centre**2).sum() + 2 * points @ shift + (points**2).sum(1))
    along = embeddings @ bank.axes.astype(np.float32)
    cosine = ((embeddings @ bank.centre)[:, None] + along @ points.T) / lengths
    cosine /= np.linalg.norm(embeddings, axis=1, keepdims=True).clip(1e-12)
    k = min(NEIGHBOUR, len(points))
    kth = -np.partition(-cosine, k - 1, axis=1)[:, k - 1]
    return np.sqrt((2 - 2 * kth.astype(np.float64)).clip(0))


def energy(bank: Bank, embeddings: np.ndarray) -> np.ndarray:
    """Free energy of the logits, high where no class is claimed (Liu et al., NeurIPS 2020).

    Arguments as for `mahalanobis`; (m,) float64 of any sign.
    """
    logits = (embeddings @ bank.head_kernel + bank.head_bias).astype(np.float64)
    return -np.logaddexp.reduce(logits, axis=1)


METHODS: dict[str, Callable[[Bank, np.ndarray], np.ndarray]] = {
    "mahalanobis": mahalanobis,
    "knn": nearest,
    "energy": energy,
}
"""Scores: the higher, the less familiar."""


@dataclass(frozen=True)
class Neighbour:
    """A training case that looks like the image at hand, and what is known of it."""

    image_id: str
    lesion_id: str
    dx: str
    """its diagnosis, a code of labels.CLASSES"""
    dx_type: str
    """how that was confirmed: histo, follow_up, consensus or confocal"""
    age: float
    """years, NaN if not recorded"""
    sex: str
    site: str
    distance: float
    """0 (the same direction from the mean training image) to 2 (the opposite one): one less the cosine"""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What a model's training images tell of a new one."""

    bank: Bank
    method: str
    """one of METHODS"""
    threshold: float
    """the highest score that is accepted"""
    cases: pd.DataFrame
    """the rows of the split table that belong to `bank`, in its order"""
    measured: dict[str, Any]
    """as in familiarity.json: how many real images are accepted, and how many others are told from them"""

    def score(self, embedding: np.ndarray) -> float:
        """Return how unfamiliar an image is: any unit, the higher the less familiar.

        Args:
            embedding: (C,) float, averaged over the model's views as in predict.Prediction.
        """
        return float(METHODS[self.method](self.bank, _checked(self.bank, embedding))[0])

    def accepted(self, embedding: np.ndarray) -> bool:
        """Return whether an image looks like those the model was trained on; the argument is that of `score`."""
        return bool(self.score(embedding) <= self.threshold)

    def similar(self, embedding: np.ndarray, k: int = 5, exclude_lesion: str | None = None) -> list[Neighbour]:
        """Return the k lesions of the training images that look most like an image, by their nearest image each.

        Exact search by cosine: under 20 ms for 10,000 images.

        Args:
            embedding: as for `score`.
            k: how many.
            exclude_lesion: the image's own lesion, where it is known to be one of the data set.
        """
        (direction,) = unit(self.bank.project(_checked(self.bank, embedding)))
        distance = 1 - self.bank.directions @ direction
        found: dict[str, Neighbour] = {}
        lesions = self.cases["lesion_id"].to_numpy()
        for i in np.argsort(distance, kind="stable"):
            lesion = str(lesions[i])
            if lesion == exclude_lesion or lesion in found:
                continue
            found[lesion] = self._neighbour(int(i), float(distance[i]))
            if len(found) == k:
                break
        return list(found.values())

    def _neighbour(self, i: int, distance: float) -> Neighbour:
        case = self.cases.iloc[i]
        facts = {name: str(case[name]) or "unknown" for name in ("dx_type", "sex", "localization")}
        return Neighbour(
            image_id=str(case["image_id"]),
            lesion_id=str(case["lesion_id"]),
            dx=str(case["dx"]),
            dx_type=facts["dx_type"],
            age=float(case["age"]),
            sex=facts["sex"],
            site=facts["localization"],
            distance=min(max(distance, 0.0), 2.0),
        )


@dataclass(frozen=True)
class Joint:
    """The familiarity of an ensemble: its members must all accept an image."""

    members: tuple[str, ...]
    """their ids"""
    measured: dict[str, Any]
    """as in Familiarity"""


def encode_bank(bank: Bank) -> bytes:
    """Return embeddings.npz; the same bank gives the same bytes."""
    arrays: dict[str, Any] = {field.name: np.asarray(getattr(bank, field.name)) for field in fields(bank)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def decode_bank(data: bytes, where: str = EMBEDDINGS_FILE) -> Bank:
    """Read embeddings.npz; raises ModelError if anything in it is missing, misshapen or not finite."""
    shapes: dict[str, tuple[str | int, ...]] = {
        "image_id": ("n",),
        "points": ("n", "d"),
        "centre": ("C",),
        "axes": ("C", "d"),
        "means": (N_CLASSES, "d"),
        "precision": ("d", "d"),
        "rest_variance": (),
        "head_kernel": ("C", N_CLASSES),
        "head_bias": (N_CLASSES,),
    }
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            found = {name: stored[name] for name in shapes}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as e:
        raise ModelError(f"{where} cannot be read ({e}). {_AGAIN}") from e
    sizes: dict[str | int, int] = {N_CLASSES: N_CLASSES}
    for name, shape in shapes.items():
        value = found[name]
        if value.ndim != len(shape) or any(
            sizes.setdefault(k, n) != n for k, n in zip(shape, value.shape, strict=True)
        ):
            raise ModelError(f"{where}: {name} must have the shape {shape}, it has {value.shape}. {_AGAIN}")
        if value.dtype.kind != ("U" if name == "image_id" else "f"):
            raise ModelError(f"{where}: {name} has the wrong type, {value.dtype}. {_AGAIN}")
        if name not in ("image_id", "means", "rest_variance") and not np.isfinite(value).all():
            raise ModelError(f"{where}: {name} has values that are not finite. {_AGAIN}")
    if sizes["n"] == 0 or not found["rest_variance"] > 0 or np.isinf(found["means"]).any():
        raise ModelError(f"{where} is empty, or a mean or variance in it is no number. {_AGAIN}")
    return Bank(**{**found, "rest_variance": float(found["rest_variance"])})


def read(file: Path, table: pd.DataFrame | None = None) -> Familiarity | Joint:
    """Read familiarity.json and, unless it is an ensemble's, the embeddings.npz beside it.

    Args:
        file: models/ID/familiarity.json.
        table: the split table; the committed one by default.

    Raises:
        ModelError: a file is missing, damaged or not the one that belongs to the other, the method is unknown, or an
            image is no training image of the table.
    """
    values = read_object(file, ModelError)
    where = f"{file.parent.name}/{file.name}"
    method, threshold, measured = (values.get(name) for name in ("method", "threshold", "measured"))
    if not isinstance(measured, dict):
        raise ModelError(f"{where}: 'measured' must be an object, got {measured!r}.")
    if method == MEMBERS:
        members = values.get("members")
        if not isinstance(members, list) or not members or not all(isinstance(m, str) for m in members):
            raise ModelError(f"{where}: 'members' must be a list of model ids, got {members!r}.")
        return Joint(tuple(members), measured)
    if method not in METHODS:
        raise ModelError(f"{where}: 'method' must be one of {', '.join(METHODS)}, got {method!r}.")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not np.isfinite(threshold):
        raise ModelError(f"{where}: 'threshold' must be a number, got {threshold!r}.")
    data = read_bytes(file.parent / EMBEDDINGS_FILE, _MOST_BYTES, ModelError)
    if hashlib.sha256(data).hexdigest() != values.get("embeddings_sha256"):
        raise ModelError(f"{where} was fitted with other embeddings than those of {EMBEDDINGS_FILE}. {_AGAIN}")
    bank = decode_bank(data, f"{file.parent.name}/{EMBEDDINGS_FILE}")
    try:
        known = (load_split() if table is None else table).set_index("image_id", drop=False)
    except DataError as e:
        raise ModelError(f"{where}: the split table cannot be read: {e}") from e
    cases = known.reindex(bank.image_id)
    stray = bank.image_id[(cases["split"] != "train").to_numpy()]
    if len(stray):
        raise ModelError(
            f"{where}: {len(stray)} images are not training images of the split table, such as {stray[0]}."
        )
    for i, code in enumerate(CLASSES):
        if np.isnan(bank.means[i]).any() == (cases["dx"] == code).any():
            raise ModelError(
                f"{where}: {EMBEDDINGS_FILE} and the split table differ on whether there are images of {code}."
            )
    return Familiarity(bank, method, float(threshold), cases.reset_index(drop=True), measured)


def read_scores(folder: Path) -> tuple[pd.DataFrame, float]:
    """Read familiarity.csv of a model folder, and the threshold.

    Returns:
        Columns name, group (lesion or source), kind (REAL or what else), part (validation, test, first half, second
        half) and score; and the highest score that is accepted.

    Raises:
        ModelError: a file is missing or damaged.
    """
    values = read_object(folder / FAMILIARITY_FILE, ModelError)
    file = folder / SCORES_FILE
    try:
        table = pd.read_csv(file, dtype={**dict.fromkeys(_SCORE_COLUMNS, str), "score": float}, keep_default_na=False)
        scores, threshold = table["score"].to_numpy(float), float(values["threshold"])
        table = table[[*_SCORE_COLUMNS]]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ModelError(f"{folder.name}/{SCORES_FILE} cannot be read ({e}). {_AGAIN}") from e
    if not np.isfinite([threshold, *scores]).all() or table["name"].duplicated().any():
        raise ModelError(f"{folder.name}/{SCORES_FILE} has a score that is no number, or an image twice. {_AGAIN}")
    return table, threshold


def refused(folder: Path, image_ids: np.ndarray) -> np.ndarray:
    """Return which images of the data set a model (or any member of an ensemble) does not accept.

    Args:
        folder: models/ID. image_ids: (n,) str, of validation or test.

    Returns:
        (n,) bool.

    Raises:
        ModelError: as `read_scores`, or an image is not in the file.
    """
    table, threshold = read_scores(folder)
    real = table[table["kind"] == REAL].set_index("name")["score"].reindex(image_ids)
    if real.isna().any():
        raise ModelError(f"{folder.name}/{SCORES_FILE} lacks images that there are predictions of. {_AGAIN}")
    return (real > threshold).to_numpy()


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., d) at length 1; a zero vector stays zero."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)


def _checked(bank: Bank, embedding: np.ndarray) -> np.ndarray:
    if embedding.shape != bank.centre.shape:
        raise ModelError(f"The embedding must have {len(bank.centre)} values, got the shape {embedding.shape}.")
    return embedding[None].astype(np.float32)
