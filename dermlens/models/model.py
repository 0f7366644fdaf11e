"""What can be asked about an image: a loaded network, or an ensemble of some."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dermlens.image.preprocess import Geometry
from dermlens.models.card import ROLES, identity_of, precision_of, role_of, served_hash
from dermlens.models.engine import Engine
from dermlens.trust.fitted import NOTHING_FITTED, PARTS, Fitted


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model, verified and ready to run."""

    id: str
    name: str
    architecture: str
    geometry: Geometry
    views: int
    feature_layer: str
    card: dict
    folder: Path
    engine: Engine
    head_kernel: np.ndarray
    """(C, 7) float32"""
    head_bias: np.ndarray
    """(7,) float32"""
    fitted: Fitted = NOTHING_FITTED
    """what was fitted to it; a part is None where there is none"""

    @property
    def role(self) -> str:
        """What it is for, one of card.ROLES."""
        return role_of(self.card)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the file on which its logits depend: the 8-bit serving file if that serves."""
        return served_hash(self.card)

    @property
    def identity(self) -> str:
        """SHA-256 of all that its answers depend on: its weights, and what was fitted to it and is in use."""
        return identity_of(self.weights_sha256, fitted_hashes(self))

    @property
    def precision(self) -> str:
        """In which it answers, one of card.PRECISIONS; methods that need gradients always run in float32."""
        return precision_of(self.card)


@dataclass(frozen=True, eq=False)
class Ensemble:
    """A published combination of loaded networks; asked like one of them by predict.predict.

    It has no network, no feature map and no embedding of its own: what needs one is asked of its members.
    """

    id: str
    name: str
    members: tuple[Model, ...]
    weights: tuple[float, ...]
    """of the members' logits, >= 0, adding up to 1"""
    bias: tuple[float, ...]
    """added to the mean logits, one a class"""
    card: dict
    folder: Path
    fitted: Fitted

    @property
    def role(self) -> str:
        """What it is for, one of card.ROLES."""
        return role_of(self.card)

    @property
    def geometry(self) -> Geometry:
        """That of the member with the largest square; all members see the same part of an image."""
        return max((m.geometry for m in self.members), key=lambda g: g.size)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of what its logits depend on: the members' weights and files, and the bias."""
        parts = [repr(self.bias)]
        parts += [f"{m.id} {w!r} {m.weights_sha256}" for m, w in zip(self.members, self.weights, strict=True)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def identity(self) -> str:
        """SHA-256 of all that its answers depend on: what its logits do, and what was fitted to it and its members."""
        return identity_of(self.weights_sha256, fitted_hashes(self))


AnyModel = Model | Ensemble
"""What can be asked about an image."""


def fitted_hashes(model: AnyModel) -> dict[str, str]:
    """Return the hash of each file that was fitted to a model and is in use; of an ensemble's members "member/file"."""
    hashes = model.card.get("files", {})
    used = [part.file for name, part in PARTS.items() if getattr(model.fitted, name) is not None]
    own = {file: str(hashes[file]) for file in used if file in hashes}
    members = () if isinstance(model, Model) else model.members
    return own | {f"{m.id}/{file}": digest for m in members for file, digest in fitted_hashes(m).items()}


def for_diagnosis(models: Iterable[AnyModel]) -> list[AnyModel]:
    """Return the models that are for diagnosis, in the given order; those for comparison only are left out."""
    return [m for m in models if m.role == ROLES[0]]


def networks(models: Iterable[AnyModel]) -> list[Model]:
    """Return the models that are networks of their own, in the given order; ensembles are left out."""
    return [m for m in models if isinstance(m, Model)]
