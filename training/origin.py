"""The published models that a run goes on from and is taught by: which they are, and what they were trained on."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from dermlens.dataset import isic2019
from dermlens.dataset.ham10000 import load_split
from dermlens.errors import ConfigError, DataError, ModelError
from dermlens.evaluation.predictions import EXTERNAL_FILE, SPLITS, read_predictions
from dermlens.files.documents import read_object
from dermlens.models import registry
from dermlens.models.card import check_card
from training.config import SHARES, Config, Phase
from training.dataset import data_hash, external_shares, select_rows
from training.teaching import KEPT

KEPT_OF_A_RUN = (
    "id",
    "config_name",
    "git_commit",
    "note",
    "weights_missing",
    "test_evaluations",
    "external_evaluations",
    "data",
)


def hashes(config: Config) -> dict[str, str]:
    """Return the SHA-256 of the published models a run uses; raises ModelError if there is none of that name."""
    used = {"start": config.start, "teacher": config.teacher}
    return {f"{role}_sha256": _weights(name) for role, name in used.items() if name}


def check_unchanged(config: Config, record: dict[str, Any], folder: Path) -> None:
    """Make sure that what a run still has to ask of published models comes from those it began with.

    Args:
        config: of the run. record: its run.json. folder: its folder.

    Raises:
        ConfigError: one has been published anew since. ModelError: one is no more.
    """
    checkpoint = folder / "checkpoints" / "last.npz"
    asked = {"start": not checkpoint.exists(), "teacher": not (folder / KEPT).exists()}
    wanted = {role: getattr(config, role) if needed else "" for role, needed in asked.items()}
    now = {role: _weights(name) for role, name in wanted.items() if name}
    for role, sha256 in now.items():
        if record.get(f"{role}_sha256", sha256) != sha256:
            raise ConfigError(
                f"{wanted[role]} was published anew after run {record['id']} had begun with it. Choose another --run, "
                "or none."
            )


def _weights(name: str) -> str:
    """Return the SHA-256 of a published model's weights: of model.keras, or of those of an ensemble's members."""
    entry = registry.find(registry.models_dir(), name)
    if not entry.is_ensemble:
        return registry.source_hash(entry)
    members = check_card(entry.folder, entry.card)["members"]
    lines = [f"{member} {weight!r} {_weights(member)}" for member, weight in members.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def external_evaluations(folder: Path) -> list[dict[str, Any]]:
    """Return when a published model was asked about other archives; none if there is no such model.

    Of a time from before such notes were kept, its answers tell that it was.
    """
    file = folder / "run.json"
    if not file.is_file():
        return []
    record = read_object(file)
    known: list[dict[str, Any]] = record.get("external_evaluations", [])
    if known or not (folder / EXTERNAL_FILE).is_file():
        return known
    answered = read_predictions(folder / EXTERNAL_FILE, splits=isic2019.HELD_BACK)
    return [{"when": None, "run": record["id"], "splits": list(answered.splits)}]


def earlier_runs(start: str) -> list[dict[str, Any]]:
    """Return what run.json keeps of the runs behind a published model, the first run first; none for "".

    Raises:
        ModelError: there is no such model, or its run.json cannot be read.
    """
    if not start:
        return []
    run = _run_of(start)
    kept = {key: run[key] for key in KEPT_OF_A_RUN if key in run}
    if looked := external_evaluations(registry.find(registry.models_dir(), start).folder):
        kept["external_evaluations"] = looked
    shares = {name: run["config"].get(name, 0.0) for name in SHARES.values()}
    return [*run.get("earlier_runs", []), {**kept, "weights": run["config"]["weights"], "config": shares}]


def check_split(start: str, table: pd.DataFrame) -> list[str]:
    """Make sure that a published model to learn from was trained on none of the images that a run measures with.

    It was not where its images are the run's, and those of the runs behind it as well. Of another split, its own
    predictions say which images it did not train on: `training.publish` and `training.external` ask about those alone,
    after comparing the split.

    Args:
        start: id of the model, or "". An ensemble's members are looked at one by one. table: the split table.

    Returns:
        Ids of the runs behind it, of which it is not known what they were trained on.

    Raises:
        ConfigError: it may have been trained on one. DermlensError: a file of the model is missing or damaged.
    """
    if not start:
        return []
    entry = registry.find(registry.models_dir(), start)
    if entry.is_ensemble:
        return [one for member in check_card(entry.folder, entry.card)["members"] for one in check_split(member, table)]
    run = _run_of(start)
    behind = run.get("earlier_runs", [])
    config = _of_data(run["config"])
    images = data_hash(select_rows(table, config))
    known_split = _images(run) == images
    others = [one for one in (run, *behind) if not known_split or _images(one) != images]
    needed: list[str] = []
    unseen: set[str] = set()
    if not known_split:
        needed += table.loc[table["split"] != "train", "image_id"].tolist()
        unseen |= _asked(entry, "predictions.csv", SPLITS)
    if any(external_shares(_of_data(one.get("config", {}))) for one in others):
        held_back = isic2019.held_back(isic2019.load_external())
        needed += held_back.loc[held_back["split"] != isic2019.CARCINOMAS, "image_id"].tolist()
        unseen |= _asked(entry, EXTERNAL_FILE, isic2019.HELD_BACK)
    seen = [name for name in needed if name not in unseen]
    if seen:
        raise ConfigError(
            f"{start} was trained with another split: {len(seen)} of the images to measure with may be among those "
            f"that it has seen, {seen[0]} first. Learn from another model, or from none."
        )
    return [one["id"] for one in behind if not one.get("data")]


def check_external_table(record: dict[str, Any]) -> None:
    """Raise DataError if a network was trained on other archives by another table than the committed one.

    Args:
        record: its run.json, which names the runs behind it as well.
    """
    for run in (record, *record.get("earlier_runs", [])):
        config, known = _of_data(run.get("config", {})), (run.get("data") or {}).get("sha256")
        if known and external_shares(config) and known != data_hash(select_rows(load_split(), config)):
            raise DataError(
                f"Run {run['id']} was trained with another {isic2019.EXTERNAL_TABLE.name}, or another split table, "
                "than is here: images of the test sets may be among those that it has seen."
            )


def _run_of(model_id: str) -> dict[str, Any]:
    return read_object(registry.find(registry.models_dir(), model_id).folder / "run.json", ModelError)


def _images(run: dict[str, Any]) -> str | None:
    """Return the hash of the images that a run trained and measured with; None where nothing was noted."""
    return (run.get("data") or {}).get("sha256")


def _of_data(config: dict[str, Any]) -> Config:
    """Return settings that choose the same images as those of a run, whose others may be of an older version."""
    chosen = {name: config[name] for name in ("leave_out", "max_images", *SHARES.values()) if name in config}
    return Config(architecture="", phases=(Phase(1, 1.0),), **chosen)


def _asked(entry: registry.Entry, name: str, splits: tuple[str, ...]) -> set[str]:
    """Return the images that a published model was asked about when it was measured; none without the file."""
    if not (entry.folder / name).is_file():
        return set()
    return set(read_predictions(entry.folder / name, entry.card, splits).image_id)
