"""What a finished run is asked for: its networks, its rows, its predictions."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from dermlens.dataset.ham10000 import SPLIT_TABLE, data_root
from dermlens.dataset.isic2019 import EXTERNAL_TABLE, HELD_BACK
from dermlens.errors import DataError, ModelError
from dermlens.evaluation.predictions import SPLITS, Predictions, concatenate, make_predictions
from dermlens.files.documents import read_object, write_object
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.models.runs import best_row, read_history, runs_dir
from training import run as runs
from training.architectures import build
from training.config import Config, from_dict
from training.dataset import data_hash, external_shares, select_rows


def find_run(name: str) -> Path:
    """Return the folder of a run, given by its id in `runs_dir()` or by its path; raises DataError if there is none."""
    for folder in (runs_dir() / name, Path(name)):
        if (folder / "run.json").is_file():
            return folder
    raise DataError(f"No run {name!r} in {runs_dir()} (set DERMLENS_RUNS, or give the run's folder).")


def last_model(folder: Path) -> keras.Model:
    """Build a finished run's network as its last epoch left it, with averaged weights where it averaged, in float32.

    Raises:
        DataError: the run is not finished, or its checkpoint is damaged or of another network.
    """
    config = from_dict(read_object(folder / "run.json")["config"])
    try:
        arrays, state = runs.load_state(folder / "checkpoints" / "last.npz")
    except OSError as e:
        raise DataError(f"{folder.name} has no checkpoint of its last epoch: {e}.") from e
    if state.phase < len(config.phases):
        raise DataError(f"{folder.name} is not finished. Resume it, or take its best epoch.")
    model = _network(config, config.answer_size or config.phases[-1].size)
    runs.restore(model.weights, arrays, "model")
    return model


def best_model(folder: Path) -> keras.Model:
    """Build a run's network with the weights of its best epoch, in float32.

    Its image size is the config's `answer_size`, else that of the epoch.

    Raises:
        DataError, ModelError: no epoch is finished, or the weights are missing or do not fit.
    """
    config = from_dict(read_object(folder / "run.json")["config"])
    best = best_row(read_history(folder / "history.csv"))
    model = _network(config, config.answer_size or config.phases[int(best["phase"]) - 1].size)
    weights = folder / "checkpoints" / "best.weights.h5"
    candidate = weights.with_name(f".best-{best['epoch']:.0f}.weights.h5")  # where training was killed before its end
    weights = candidate if candidate.exists() else weights
    try:
        model.load_weights(weights)
    except Exception as e:  # HDF5 and Keras raise almost anything on a damaged file
        raise ModelError(f"{weights} cannot be loaded into {config.architecture}: {e}") from e
    return model


def _network(config: Config, size: int) -> keras.Model:
    keras.mixed_precision.set_global_policy("float32")
    return build(config.architecture, size, dropout=config.dropout)


def commits(record: dict[str, Any]) -> tuple[str, ...]:
    """Return the commits of all code that made a run's weights, from its run.json, each once.

    They are of where it began, of where it was resumed, and of where its weights were interpolated.
    """
    parts = [record, *record.get("resumed", []), record.get("interpolated") or {}]
    return tuple(dict.fromkeys(str(part["git_commit"]) for part in parts if part.get("git_commit")))


def rows_of(folder: Path, table: pd.DataFrame, splits: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows of some splits, validation first, after making sure that the run was trained with that table.

    Raises:
        DataError: it is another one, so that images of these splits may have been trained on; or a split is empty.
    """
    record = read_object(folder / "run.json")
    config = from_dict(record["config"])
    if data_hash(select_rows(table, config)) != record["data"]["sha256"]:
        other = f", or with another {EXTERNAL_TABLE.name} than is here" if external_shares(config) else ""
        raise DataError(
            f"Run {record['id']} was trained with another split table than this: name it with --split{other}."
        )
    for split in splits:
        if split not in set(table["split"]):
            raise DataError(f"The split table has no image in {split}, so nothing can be measured there.")
    found = table[table["split"].isin(splits)]
    place = found["split"].map(SPLITS.index)
    return found.assign(place=place).sort_values(["place", "image_id"], ignore_index=True).drop(columns="place")


def note_test(folder: Path, by: str) -> None:
    """Add an evaluation on the test split to the run's run.json, before it is made."""
    record = read_object(folder / "run.json")
    note = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "by": by}
    record["test_evaluations"] = [*record.get("test_evaluations", []), note]
    write_object(folder / "run.json", record)


def predictions_of(rows: pd.DataFrame, y_true: np.ndarray, logits: np.ndarray) -> Predictions:
    """Put logits (n, 7) and classes (n,) with the ids of n rows of a split table, validation first."""
    parts = []
    for split in (*SPLITS, *HELD_BACK):
        own = (rows["split"] == split).to_numpy()
        if own.any():
            ids = rows.loc[own, "image_id"], rows.loc[own, "lesion_id"]
            parts.append(make_predictions(*ids, split, y_true[own], logits[own]))
    return concatenate(parts)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --last, --data, --stored-aspect and --split: which weights of a run, and the images they are asked about."""
    parser.add_argument("--last", action="store_true", help="the weights of the last epoch, not of the best one")
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, help="default: as in training")
    parser.add_argument("--split", type=Path, default=SPLIT_TABLE, help="split table")


def data_of(folder: Path, args: argparse.Namespace) -> tuple[Path, str]:
    """Return the HAM10000 folder and its stored aspect; raises DataError if no folder is given."""
    if args.data is None:
        raise DataError("Pass --data DIR or set HAM10000_DIR.")
    return args.data, args.stored_aspect or read_object(folder / "run.json")["data"]["stored_aspect"]
