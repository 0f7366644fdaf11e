"""Measure a run's best checkpoint: `python -m training.evaluate RUN [--test] [--data DIR] [--views 4]`.

On validation, unless --test asks for the test split too; that is noted in run.json, so that a model card can say how
often it was looked at. Writes predictions.csv and metrics.json into the run's folder. What is published is measured
anew, through the serving path (training.publish).
"""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens.errors import DataError, DermlensError, ModelError
from dermlens.files import read_object
from dermlens.ham10000 import SPLIT_TABLE, check_rows, data_root, load_split
from dermlens.intervals import OVERALL, summarise
from dermlens.predictions import SPLITS, Predictions, concatenate, make_predictions, write_predictions
from dermlens.preprocess import STORED_ASPECTS
from dermlens.runs import best_row, read_history, runs_dir
from dermlens.views import VIEWS, expand
from training import run as runs
from training.architectures import build
from training.config import Config, from_dict
from training.dataset import data_hash, load_images
from training.train import select_rows

BATCH = 16


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
    if state["phase"] < len(config.phases):
        raise DataError(f"{folder.name} is not finished. Go on with it, or take its best epoch.")
    model = _network(config, config.phases[-1].size)
    runs.restore(model.weights, arrays, "model")
    return model


def best_model(folder: Path) -> keras.Model:
    """Build a run's network at the image size of its best epoch, with that epoch's weights, in float32.

    Raises:
        DataError, ModelError: no epoch is finished, or the weights are missing or do not fit.
    """
    config = from_dict(read_object(folder / "run.json")["config"])
    best = best_row(read_history(folder / "history.csv"))
    model = _network(config, config.phases[int(best["phase"]) - 1].size)
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


def rows_of(folder: Path, table: pd.DataFrame, splits: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows of some splits, after making sure that it is the split the run was trained with.

    Raises:
        DataError: it is another one, so that images of these splits may have been trained on.
    """
    record = read_object(folder / "run.json")
    if data_hash(select_rows(table, from_dict(record["config"]))) != record["data"]["sha256"]:
        raise DataError(f"Run {record['id']} was trained with another split table than this: give that one by --split.")
    return table[table["split"].isin(splits)].sort_values("image_id", ignore_index=True)


def note_test(folder: Path, by: str) -> None:
    """Add an evaluation on the test split to the run's run.json, before it is made."""
    record = read_object(folder / "run.json")
    note = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "by": by}
    record["test_evaluations"] = [*record.get("test_evaluations", []), note]
    runs.write_json(folder / "run.json", record)


def evaluate(model: keras.Model, root: Path, rows: pd.DataFrame, stored_aspect: str, views: int) -> Predictions:
    """Predict images with Keras, averaging logits over the views.

    Args:
        model: as `best_model` gives it. root: HAM10000 folder. rows: of the split table, of any splits.
        stored_aspect: see `dermlens.preprocess.true_aspect`. views: see `dermlens.views.expand`.
    """
    images = load_images(root, rows, model.input_shape[1], stored_aspect, for_training=False)
    starts = tqdm(range(0, len(rows), BATCH), desc="predictions", unit="batch", disable=not sys.stderr.isatty())
    parts = []
    for start in starts:
        shown = np.concatenate([expand(square, views) for square in images.pixels[start : start + BATCH]])
        logits = np.asarray(model.predict_on_batch(shown.astype(np.float32)), np.float64)
        parts.append(logits.reshape(-1, views, logits.shape[1]).mean(1))
    return predictions_of(rows, images.y, np.concatenate(parts))


def predictions_of(rows: pd.DataFrame, y_true: np.ndarray, logits: np.ndarray) -> Predictions:
    """Put logits (n, 7) and classes (n,) with the ids of n rows of the split table, validation first."""
    parts = []
    for split in SPLITS:
        own = (rows["split"] == split).to_numpy()
        if own.any():
            ids = rows.loc[own, "image_id"], rows.loc[own, "lesion_id"]
            parts.append(make_predictions(*ids, split, y_true[own], logits[own]))
    return concatenate(parts)


def main(argv: list[str] | None = None) -> int:
    """Measure one run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="id or folder of a run")
    parser.add_argument("--test", action="store_true", help="also the test split: at the very end, noted in run.json")
    parser.add_argument("--views", type=int, choices=VIEWS, default=4, help="flips and turns to average over")
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    try:
        folder = find_run(args.run)
        rows = rows_of(folder, load_split(args.split), SPLITS if args.test else SPLITS[:1])
        root, aspect = data_of(folder, args)
        check_rows(root, rows)
        model = last_model(folder) if args.last else best_model(folder)
        if args.test:
            note_test(folder, "training.evaluate")
        predictions = evaluate(model, root, rows, aspect, args.views)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    measured = {split: summarise(predictions.of_split(split)).to_dict() for split in predictions.splits}
    for split, summary in measured.items():
        print(f"{split}, {summary['accuracy']['n_images']} images of {summary['accuracy']['n_lesions']} lesions:")
        for name in OVERALL:
            f = summary[name]
            print(f"  {name:18} {f['value']:.4f}  ({f['low']:.4f} to {f['high']:.4f})")
    try:
        write_predictions(folder / "predictions.csv", predictions)
        runs.write_json(folder / "metrics.json", {"views": args.views, **measured})
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    return 0


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --last, --data, --stored-aspect and --split: which weights of a run, and what they are asked about."""
    parser.add_argument("--last", action="store_true", help="the weights of the last epoch, not of the best one")
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, help="default: as in training")
    parser.add_argument("--split", type=Path, default=SPLIT_TABLE, help="split table")


def data_of(folder: Path, args: argparse.Namespace) -> tuple[Path, str]:
    """Return the HAM10000 folder and its stored aspect; raises DataError if no folder is given."""
    if args.data is None:
        raise DataError("Pass --data DIR or set HAM10000_DIR.")
    return args.data, args.stored_aspect or read_object(folder / "run.json")["data"]["stored_aspect"]


if __name__ == "__main__":
    sys.exit(main())
