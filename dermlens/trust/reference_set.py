"""The embeddings of the training images, and three scores of how far another one is from them."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dermlens.errors import DataError, ModelError
from dermlens.files.hashes import read_arrays
from dermlens.labels import N_CLASSES
from dermlens.trust.fit_command import FIT

NEIGHBOUR = 10
"""The kNN score is the distance to this neighbour."""
AGAIN = f"Fit the step embeddings again ({FIT})."
_OF_A_GAUSSIAN = ("centre", "axes", "means", "precision", "rest_variance")
MAX_UNPACKED = 2**29
"""Most bytes that embeddings.npz may unpack to; 10,000 images need 10 MB."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal distribution of embeddings about the mean of each class, on their principal axes.

    C values an embedding, d axes.
    """

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

    def project(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (m, d) float32 points of (m, C) embeddings."""
        return (embeddings - self.centre) @ self._axes

    @cached_property
    def _axes(self) -> np.ndarray:
        return self.axes.astype(np.float32)

    def off_means(self, points: np.ndarray) -> np.ndarray:
        """Return (m,) float64 squared distances of (m, d) points to the nearest mean, by the precision."""
        off = points[:, None] - self._means
        return np.einsum("mki,ij,mkj->mk", off, self._precision, off, optimize=True).min(1)

    @cached_property
    def _means(self) -> np.ndarray:
        return self.means[~np.isnan(self.means[:, 0])].astype(np.float64)

    @cached_property
    def _precision(self) -> np.ndarray:
        return self.precision.astype(np.float64)


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """The embeddings of the training images, and what they are distributed like: embeddings.npz.

    n images, C values an embedding, d axes.
    """

    image_id: np.ndarray
    """(n,) str"""
    points: np.ndarray
    """(n, d) float16: embedding less the centre of the first Gaussian, on its axes"""
    gaussians: tuple[Gaussian, ...]
    """of these images first, with others that look alike; then one for each further group"""
    head_kernel: np.ndarray
    """(C, 7) float32"""
    head_bias: np.ndarray
    """(7,) float32"""

    @property
    def own(self) -> Gaussian:
        """That of the images whose points are kept."""
        return self.gaussians[0]

    @cached_property
    def directions(self) -> np.ndarray:
        """(n, d) float32, the points at length 1."""
        return unit(self.points.astype(np.float32))


Images = tuple[np.ndarray, np.ndarray]
"""Embeddings (m, C) float and classes (m,) int, 0..6."""


def make_reference_set(
    image_id: np.ndarray,
    images: Images,
    axes: int,
    head: tuple[np.ndarray, np.ndarray],
    alike: Images | None = None,
    groups: Iterable[Images] = (),
) -> ReferenceSet:
    """Fit axes, class means and the shared covariance to the training images.

    Args:
        image_id: (n,) str. images: those that are kept. axes: most axes to keep.
        head: kernel (C, 7) and bias (7,) of the network's last layer.
        alike: further images, which the first Gaussian is fitted to as well. groups: those of one more Gaussian each.

    Raises:
        DataError: there are too few images for a covariance.
    """
    own, points = _fit(images if alike is None else _joined(images, alike), axes)
    others = [_fit(group, axes)[0] for group in groups]
    kernel, bias = (np.asarray(values, np.float32) for values in head)
    return ReferenceSet(np.asarray(image_id, str), points[: len(images[0])], (own, *others), kernel, bias)


def _joined(a: Images, b: Images) -> Images:
    return np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])


def _fit(images: Images, axes: int) -> tuple[Gaussian, np.ndarray]:
    """Return the Gaussian of some images, and their points (m, d) float16."""
    embeddings, y = images
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
    found = Gaussian(
        centre,
        kept,
        means.astype(np.float32),
        np.linalg.inv(covariance).astype(np.float32),
        rest / (channels - axes) if channels > axes and rest > 0 else float("inf"),
    )
    return found, points


def mahalanobis(reference: ReferenceSet, embeddings: np.ndarray) -> np.ndarray:
    """Squared distance to the nearest class mean under one covariance for all classes (Lee et al., NeurIPS 2018).

    What lies outside the axes counts by its mean variance there, as in probabilistic principal component analysis
    (Tipping & Bishop, J R Stat Soc B 61:611, 1999). Of several Gaussians the nearest counts.

    Args:
        embeddings: (m, C) float.

    Returns:
        (m,) float64, >= 0.
    """
    return np.min([_distance(gaussian, embeddings) for gaussian in reference.gaussians], axis=0)


def _distance(gaussian: Gaussian, embeddings: np.ndarray) -> np.ndarray:
    points = gaussian.project(embeddings).astype(np.float64)
    rest = ((embeddings - gaussian.centre).astype(np.float64) ** 2).sum(1) - (points**2).sum(1)
    return gaussian.off_means(points) + rest.clip(0) / gaussian.rest_variance


def nearest(reference: ReferenceSet, embeddings: np.ndarray) -> np.ndarray:
    """Distance to the NEIGHBOUR-th nearest of all training embeddings, each at length 1 (Sun et al., ICML 2022).

    Arguments and result as for `mahalanobis`.
    """
    points, own = reference.points.astype(np.float32), reference.own
    shift = own.centre @ own.axes.astype(np.float32)
    lengths = np.sqrt((own.centre**2).sum() + 2 * points @ shift + (points**2).sum(1))
    along = embeddings @ own.axes.astype(np.float32)
    cosine = ((embeddings @ own.centre)[:, None] + along @ points.T) / lengths
    cosine /= np.linalg.norm(embeddings, axis=1, keepdims=True).clip(1e-12)
    k = min(NEIGHBOUR, len(points))
    kth = -np.partition(-cosine, k - 1, axis=1)[:, k - 1]
    return np.sqrt((2 - 2 * kth.astype(np.float64)).clip(0))


def energy(reference: ReferenceSet, embeddings: np.ndarray) -> np.ndarray:
    """Free energy of the logits, high where no class is claimed (Liu et al., NeurIPS 2020).

    Arguments as for `mahalanobis`; (m,) float64 of any sign.
    """
    logits = (embeddings @ reference.head_kernel + reference.head_bias).astype(np.float64)
    return -np.logaddexp.reduce(logits, axis=1)


METHODS: dict[str, Callable[[ReferenceSet, np.ndarray], np.ndarray]] = {
    "mahalanobis": mahalanobis,
    "knn": nearest,
    "energy": energy,
}
"""Scores: the higher, the less familiar."""


def encode(reference: ReferenceSet) -> bytes:
    """Return embeddings.npz; the same reference set gives the same bytes."""
    arrays: dict[str, Any] = {
        "image_id": reference.image_id,
        "points": reference.points,
        **{name: np.stack([getattr(gaussian, name) for gaussian in reference.gaussians]) for name in _OF_A_GAUSSIAN},
        "head_kernel": reference.head_kernel,
        "head_bias": reference.head_bias,
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def decode(data: bytes, where: str = "embeddings.npz") -> ReferenceSet:
    """Read embeddings.npz; raises ModelError if anything in it is missing, misshapen or not finite.

    A file of one Gaussian alone, as earlier versions wrote them, lacks the first axis of its arrays.
    """
    shapes: dict[str, tuple[str | int, ...]] = {
        "image_id": ("n",),
        "points": ("n", "d"),
        "centre": ("g", "C"),
        "axes": ("g", "C", "d"),
        "means": ("g", N_CLASSES, "d"),
        "precision": ("g", "d", "d"),
        "rest_variance": ("g",),
        "head_kernel": ("C", N_CLASSES),
        "head_bias": (N_CLASSES,),
    }
    found = read_arrays(data, shapes, where, MAX_UNPACKED, AGAIN)
    if found["rest_variance"].ndim == 0:
        found |= {name: found[name][None] for name in _OF_A_GAUSSIAN}
    sizes: dict[str | int, int] = {N_CLASSES: N_CLASSES}
    for name, shape in shapes.items():
        value = found[name]
        if value.ndim != len(shape) or any(
            sizes.setdefault(k, n) != n for k, n in zip(shape, value.shape, strict=True)
        ):
            raise ModelError(f"{where}: {name} must have the shape {shape}, it has {value.shape}. {AGAIN}")
        if value.dtype.kind != ("U" if name == "image_id" else "f"):
            raise ModelError(f"{where}: {name} has the wrong type, {value.dtype}. {AGAIN}")
        if name not in ("image_id", "means", "rest_variance") and not np.isfinite(value).all():
            raise ModelError(f"{where}: {name} has values that are not finite. {AGAIN}")
    if 0 in (sizes["n"], sizes["g"]) or not (found["rest_variance"] > 0).all() or np.isinf(found["means"]).any():
        raise ModelError(f"{where} is empty, or a mean or variance in it is not a number. {AGAIN}")
    gaussians = tuple(
        Gaussian(
            centre=found["centre"][i],
            axes=found["axes"][i],
            means=found["means"][i],
            precision=found["precision"][i],
            rest_variance=float(found["rest_variance"][i]),
        )
        for i in range(sizes["g"])
    )
    return ReferenceSet(found["image_id"], found["points"], gaussians, found["head_kernel"], found["head_bias"])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., d) at length 1; a zero vector stays zero."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)
