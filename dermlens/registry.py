"""Find the published models, check every file against its hash, and load them."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dermlens.engine import Engine
from dermlens.errors import ConfigError, ModelError
from dermlens.fitted import NOTHING_FITTED, Fitted, read_fitted
from dermlens.labels import CLASSES
from dermlens.preprocess import Geometry, matches
from dermlens.views import VIEWS

SERVING_FILE, HEAD_FILE = "serving.tflite", "head.npz"
_CARD_FIELDS = {
    "id": str,
    "name": str,
    "architecture": str,
    "classes": list,
    "input": dict,
    "views": int,
    "feature_layer": str,
    "fingerprint": str,
    "files": dict,
}


@dataclass(frozen=True)
class Entry:
    """One folder of models/, looked at but not loaded."""

    id: str
    folder: Path
    card: dict | None
    """card.json, None if there is none or it cannot be read"""
    problem: str | None
    """why the model cannot be used, None if nothing is known to be wrong"""
    has_weights: bool
    has_predictions: bool

    @property
    def name(self) -> str:
        """The name a person reads; the folder's name if the card gives none."""
        return str((self.card or {}).get("name") or self.id)


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


def models_dir() -> Path:
    """Return the folder of published models: DERMLENS_MODELS, else models/ beside this library."""
    return Path(os.environ.get("DERMLENS_MODELS") or Path(__file__).parents[1] / "models")


def discover(models_dir: Path) -> list[Entry]:
    """Look at every folder in `models_dir`, in order of its name; a bad one is an entry with a problem."""
    if not models_dir.is_dir():
        return []
    folders = [f for f in sorted(models_dir.iterdir()) if f.is_dir() and not f.name.startswith((".", "_"))]
    return [inspect(folder) for folder in folders]


def find(models_dir: Path, model_id: str) -> Entry:
    """Return the entry of one model; ModelError names those there are if it is not among them."""
    entries = discover(models_dir)
    for entry in entries:
        if entry.id == model_id:
            return entry
    names = ", ".join(e.id for e in entries) or "none"
    raise ModelError(f"There is no model {model_id!r} in {models_dir}. Models there: {names}.")


def inspect(folder: Path) -> Entry:
    """Look at one model folder without hashing or loading anything; never raises."""
    weights, predictions = (folder / "model.keras").is_file(), (folder / "predictions.csv").is_file()
    card, problem = None, None
    try:
        if (folder / "card.json").is_file():
            card = read_card(folder)
        if weights:
            _check_card(folder, card)
        elif not predictions:
            problem = f"models/{folder.name} holds neither model.keras nor predictions.csv."
    except ModelError as e:
        problem = str(e)
    return Entry(folder.name, folder, card, problem, weights, predictions)


def read_card(folder: Path) -> dict:
    """Read card.json; raises ModelError if it is not a JSON object."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise ModelError(f"models/{folder.name}/card.json cannot be read: {e}.") from e
    if not isinstance(card, dict):
        raise ModelError(f"models/{folder.name}/card.json must be an object, it is a {type(card).__name__}.")
    return card


def build_dir(entry: Entry) -> Path:
    """Return where the files built from model.keras are, or would be: build/, else a folder in the user's cache.

    The cache is for a model folder that cannot be written and does not already hold the right files.
    """
    local, source = entry.folder / "build", source_hash(entry)
    if os.access(entry.folder, os.W_OK) or built_from(local) == source:
        return local
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "dermlens" / f"{entry.id}-{source[:12]}"


def source_hash(entry: Entry) -> str:
    """Return the SHA-256 that the card gives for model.keras; raises ModelError if it gives none."""
    return _check_card(entry.folder, entry.card)["files"]["model.keras"]


def built_from(build: Path) -> str | None:
    """Return the SHA-256 of the model.keras that a build folder was made from, None if there is no manifest."""
    try:
        return str(json.loads((build / "manifest.json").read_text(encoding="utf-8"))["source_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load(entry: Entry, threads: int | None = None) -> Model:
    """Verify a model's files against their hashes and load it. Takes a second: keep the result.

    Args:
        entry: as found by `discover`.
        threads: CPU threads of the engine; all by default.

    Raises:
        ModelError: a file is missing, damaged or changed, or the card does not match this version of Dermlens.
    """
    card = _check_card(entry.folder, entry.card)
    geometry = _check_input(entry.id, card)
    _verify(entry.folder / "model.keras", source_hash(entry), f"models/{entry.id}/model.keras")
    build = build_dir(entry)
    _verify_build(entry, build)
    kernel, bias = _read_head(build / HEAD_FILE)
    engine = Engine(build / SERVING_FILE, threads)
    if engine.size != geometry.size:
        raise ModelError(f"Model {entry.id} takes {engine.size} pixels, its card.json says {geometry.size}.")
    _check_head(entry.id, engine, kernel, bias)
    return Model(
        id=entry.id,
        name=card["name"],
        architecture=card["architecture"],
        geometry=geometry,
        views=card["views"],
        feature_layer=card["feature_layer"],
        card=card,
        folder=entry.folder,
        engine=engine,
        head_kernel=kernel,
        head_bias=bias,
        fitted=read_fitted(entry.folder, card),
    )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_card(folder: Path, card: dict | None) -> dict:
    where = f"models/{folder.name}/card.json"
    if card is None:
        raise ModelError(f"{where} is missing or damaged; publish the model again.")
    for field, kind in _CARD_FIELDS.items():
        if not isinstance(card.get(field), kind):
            raise ModelError(f"{where}: {field!r} must be a {kind.__name__}, got {card.get(field)!r}.")
    if card["id"] != folder.name:
        raise ModelError(f"{where}: the id is {card['id']!r}, but the folder is called {folder.name!r}.")
    if card["classes"] != list(CLASSES):
        raise ModelError(f"{where}: the classes must be {list(CLASSES)} in this order, got {card['classes']}.")
    if card["views"] not in VIEWS:
        raise ModelError(f"{where}: 'views' must be one of {VIEWS}, got {card['views']}.")
    if not isinstance(card["files"].get("model.keras"), str):
        raise ModelError(f"{where}: 'files' gives no SHA-256 of model.keras.")
    return card


def _check_input(model_id: str, card: dict) -> Geometry:
    try:
        geometry = Geometry.from_dict(card["input"])
    except ConfigError as e:
        raise ModelError(f"Model {model_id}: {e}") from e
    if not matches(card["fingerprint"], geometry):
        raise ModelError(
            f"Model {model_id} was trained with another preprocessing than this version of Dermlens has "
            "(the fingerprints differ). Use the version it was published with, or publish it again."
        )
    return geometry


def _verify(path: Path, expected: object, shown: str) -> None:
    if not path.is_file():
        raise ModelError(f"{shown} is missing. Restore it, or build it again with python -m training.export.")
    found = sha256(path)
    if found != expected:
        raise ModelError(
            f"{shown} is damaged or was changed: its SHA-256 is {found[:12]}..., {str(expected)[:12]}... was recorded. "
            "Restore it, or build it again with python -m training.export."
        )


def _verify_build(entry: Entry, build: Path) -> None:
    command = f"Run python -m training.export {entry.id}."
    try:
        manifest = json.loads((build / "manifest.json").read_text(encoding="utf-8"))
        source, hashes = manifest["source_sha256"], dict(manifest["files"])
    except FileNotFoundError as e:
        raise ModelError(f"The serving files of model {entry.id} are not built yet. {command}") from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ModelError(f"The build manifest of model {entry.id} cannot be read ({e}). {command}") from e
    if source != source_hash(entry):
        raise ModelError(f"The serving files of model {entry.id} were built from another model.keras. {command}")
    for name in (SERVING_FILE, HEAD_FILE):
        _verify(build / name, hashes.get(name), f"{entry.id}/build/{name}")


def _read_head(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            kernel, bias = stored["kernel"].astype(np.float32), stored["bias"].astype(np.float32)
    except (OSError, ValueError, KeyError) as e:
        raise ModelError(f"{path.name} cannot be read ({e}). Build it again with python -m training.export.") from e
    if kernel.ndim != 2 or kernel.shape[1] != len(CLASSES) or bias.shape != (len(CLASSES),):
        raise ModelError(f"{path.name}: kernel (C, 7) and bias (7,) expected, got {kernel.shape} and {bias.shape}.")
    return kernel, bias


def _check_head(model_id: str, engine: Engine, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Run once on grey: the head must explain the logits, or every heat map would be wrong."""
    outputs = engine.run(np.full((1, engine.size, engine.size, 3), 128, np.float32))
    if outputs.logits.shape[1] != len(CLASSES) or outputs.embedding.shape[1] != len(kernel):
        raise ModelError(f"Model {model_id}: its head and its network have different shapes.")
    if not np.allclose(outputs.embedding @ kernel + bias, outputs.logits, rtol=1e-3, atol=1e-3):
        raise ModelError(f"Model {model_id}: its logits are not what its head gives for its embedding.")
