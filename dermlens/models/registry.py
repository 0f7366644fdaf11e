"""Find the published models, check every file against its hash, and load them."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dermlens.errors import ConfigError, ModelError
from dermlens.files.documents import read_object, shortened
from dermlens.files.hashes import MAX_HEAD, MAX_SERVING, check, read, read_head
from dermlens.files.hashes import sha256 as sha256  # for who publishes
from dermlens.image.preprocess import Geometry, matches
from dermlens.labels import CLASSES
from dermlens.models import trial_run
from dermlens.models.card import INT8, INT8_FILE, NAME, bias_of, check_card, precision_of, read_card, served_hash
from dermlens.models.engine import Engine
from dermlens.models.ensemble import check_views
from dermlens.models.model import AnyModel, Ensemble, Model
from dermlens.trust.fitted import over_members, read_fitted

SERVING_FILE = "serving.tflite"
HEAD_FILE = "head.npz"


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
        """The name a person reads; the folder's name if the card gives none that can be shown."""
        name = (self.card or {}).get("name")
        return name if isinstance(name, str) and NAME.fullmatch(name) else self.id

    @property
    def is_ensemble(self) -> bool:
        """Whether it is made of other models of the same folder."""
        return "members" in (self.card or {})

    @property
    def can_be_asked(self) -> bool:
        """Whether it is meant to answer an image; without weights or members there are only its predictions."""
        return self.has_weights or self.is_ensemble


def told_apart(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries under names that no two share: of those of one name, each has its id as well."""
    entries = list(entries)
    shared = {name for name, n in Counter(entry.name for entry in entries).items() if n > 1}
    return [
        replace(e, card={**(e.card or {}), "name": f"{e.name} ({e.id})"}) if e.name in shared else e for e in entries
    ]


def models_dir() -> Path:
    """Return the folder of published models: DERMLENS_MODELS, else models/ beside this library."""
    return Path(os.environ.get("DERMLENS_MODELS") or Path(__file__).parents[2] / "models")


def folders(models_dir: Path) -> list[Path]:
    """Return the folders of models, in order of their names; raises ModelError if they cannot be listed."""
    try:
        if not models_dir.is_dir():
            return []
        return [f for f in sorted(models_dir.iterdir()) if f.is_dir() and not f.name.startswith((".", "_"))]
    except OSError as e:
        raise ModelError(f"The folder of models cannot be listed: {e.strerror}.") from e


def discover(models_dir: Path) -> list[Entry]:
    """Look at every folder in `models_dir`, in order of its name; a bad one is an entry with a problem."""
    return [inspect(folder) for folder in folders(models_dir)]


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
    weights = predictions = False
    card, problem = None, None
    try:
        weights, predictions = (folder / "model.keras").is_file(), (folder / "predictions.csv").is_file()
        if (folder / "card.json").exists():
            card = read_card(folder)
        if card is not None and "members" in card:
            for member in _members(folder, card):
                if member.problem:
                    raise ModelError(f"Its member {member.id} cannot be used: {member.problem}")
        elif weights:
            check_card(folder, card)
        elif not predictions:
            problem = f"models/{folder.name} holds neither model.keras nor predictions.csv."
    except ModelError as e:
        problem = str(e)
    except OSError as e:
        problem = f"models/{folder.name} cannot be read: {e.strerror}."
    return Entry(folder.name, folder, card, problem, weights, predictions)


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
    if entry.is_ensemble:
        raise ModelError(f"models/{entry.id} is an ensemble: it has no network of its own, only those of its members.")
    return check_card(entry.folder, entry.card)["files"]["model.keras"]


def built_from(build: Path) -> str | None:
    """Return the SHA-256 of the model.keras that a build folder was made from, None if there is no manifest."""
    try:
        return str(read_object(build / "manifest.json", ModelError).get("source_sha256"))
    except ModelError:
        return None


def load_any(entry: Entry, load_network: Callable[[Entry], Model] | None = None) -> AnyModel:
    """Load a network as `load` does, or an ensemble with all its members.

    Args:
        entry: as found by `discover`.
        load_network: how to load a network or member, `load` by default; give one that keeps what it has loaded.

    Raises:
        ModelError: as `load`; of an ensemble also if a member is missing or is not the file it was made from.
    """
    load_network = load_network or load
    if not entry.is_ensemble:
        return load_network(entry)
    card = check_card(entry.folder, entry.card)
    members = []
    for member in _members(entry.folder, card):
        try:
            members.append(load_network(member))
        except ModelError as e:
            raise ModelError(f"Its member {member.id} cannot be used: {e}") from e
    check_views({m.id: m.geometry for m in members})
    weights = tuple(float(card["members"][m.id]) for m in members)
    fitted = over_members(read_fitted(entry.folder, card), {m.id: m.fitted for m in members})
    return Ensemble(entry.id, entry.name, tuple(members), weights, tuple(bias_of(card)), card, entry.folder, fitted)


def load(entry: Entry, threads: int | None = None) -> Model:
    """Verify a network's files against their hashes and load it. Takes a second: keep the result.

    Args:
        entry: as found by `discover`.
        threads: CPU threads of the engine; all by default.

    Raises:
        ModelError: a file is missing, damaged or changed, the card does not match this version of Dermlens, or it is
            an ensemble.
    """
    if entry.card is None and entry.problem:
        raise ModelError(entry.problem)
    source = source_hash(entry)
    card = check_card(entry.folder, entry.card)
    geometry = _check_input(entry.id, card)
    check(entry.folder / "model.keras", source, f"models/{entry.id}/model.keras")
    build = build_dir(entry)
    hashes = _built_files(entry, build)
    kernel, bias = read_head(_built(entry, build, hashes, HEAD_FILE, MAX_HEAD), f"{entry.id}/build/{HEAD_FILE}")
    file, digest = (
        (entry.folder / INT8_FILE, card["files"][INT8_FILE])
        if precision_of(card) == INT8
        else (build / SERVING_FILE, hashes.get(SERVING_FILE))
    )
    where = f"{entry.id}/{INT8_FILE if precision_of(card) == INT8 else f'build/{SERVING_FILE}'}"
    content = read(file, digest, where, MAX_SERVING)
    trial_run.check(content, str(digest), card["views"], where)
    engine = Engine(file, threads, content)
    if engine.size != geometry.size:
        raise ModelError(f"Model {entry.id} takes {engine.size} pixels, its card.json says {geometry.size}.")
    _check_head(entry.id, engine, kernel, bias, card["views"])
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


def _members(folder: Path, card: dict) -> list[Entry]:
    """Return the entries of an ensemble's members; ModelError if one is missing or not what it was made of."""
    entries = []
    for name, source in check_card(folder, card)["member_hashes"].items():
        inside = folder.parent / name
        ring = (inside / "card.json").exists() and "members" in read_card(inside)  # an ensemble, perhaps of this one
        if ring or not (inside / "model.keras").is_file():
            raise ModelError(f"Its member {name} is missing: publish it, or make the ensemble again.")
        member = inspect(inside)
        if member.problem is None and served_hash(check_card(inside, member.card)) != source:
            raise ModelError(
                f"Its member {name} was published again since: remake the ensemble with python -m training.ensemble."
            )
        entries.append(member)
    return entries


def _check_input(model_id: str, card: dict) -> Geometry:
    try:
        geometry = Geometry.from_dict(card["input"])
    except ConfigError as e:
        raise ModelError(f"Model {model_id}: {shortened(str(e), 300)}") from e
    if not matches(card["fingerprint"], geometry):
        raise ModelError(
            f"Model {model_id} was trained with a different preprocessing from that of this Dermlens "
            "(the fingerprints differ). Use the version it was published with, or publish it again."
        )
    return geometry


def _built_files(entry: Entry, build: Path) -> dict:
    """Return the hashes of the built files from their manifest, which must be of this model.keras."""
    command = f"Run python -m training.export {entry.id}."
    if not (build / "manifest.json").exists():
        raise ModelError(f"The serving files of model {entry.id} are not built yet. {command}")
    try:
        manifest = read_object(build / "manifest.json", ModelError)
    except ModelError as e:
        raise ModelError(f"The build manifest of model {entry.id} cannot be used: {e} {command}") from e
    if manifest.get("source_sha256") != source_hash(entry):
        raise ModelError(f"The serving files of model {entry.id} were built from another model.keras. {command}")
    hashes = manifest.get("files")
    if not isinstance(hashes, dict):
        raise ModelError(f"The build manifest of model {entry.id} lists no files. {command}")
    return hashes


def _built(entry: Entry, build: Path, hashes: dict, name: str, most: int) -> bytes:
    return read(build / name, hashes.get(name), f"{entry.id}/build/{name}", most)


def _check_head(model_id: str, engine: Engine, kernel: np.ndarray, bias: np.ndarray, views: int) -> None:
    """Run once on grey: the head must explain the logits, or every heat map would be wrong."""
    outputs = engine.run_grey(views)
    logits, features, embedding = outputs
    shapes = (logits.shape, features.shape[3:], embedding.shape)
    if shapes != ((views, len(CLASSES)), (len(kernel),), (views, len(kernel))):
        raise ModelError(f"Model {model_id}: its head and its network have different shapes.")
    if not np.allclose(embedding @ kernel + bias, logits, rtol=1e-3, atol=1e-3):
        raise ModelError(f"Model {model_id}: its logits are not what its head gives for its embedding.")
    if not np.allclose(features.mean((1, 2)), embedding, rtol=1e-2, atol=1e-3):
        raise ModelError(f"Model {model_id}: its embedding is not the mean of its feature map.")
