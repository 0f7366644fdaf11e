"""Measure a run's best checkpoint: `python -m training.evaluate RUN [--test] [--data DIR] [--views 4]`.

On validation, unless --test asks for the test split too; that is noted in run.json, so that a model card can say how
often it was looked at. Writes predictions.csv and metrics.json into the run's folder, and with --external
external_predictions.csv, of the other archives' validation parts alone; without it, one that is there from other
weights or views is removed. asked.json says what they were made from. What is published is measured again, through
the serving path (training.publish, training.external).
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens.dataset.ham10000 import check_rows, load_split
from dermlens.errors import DermlensError
from dermlens.evaluation.class_mix import WITHOUT
from dermlens.evaluation.intervals import summarise
from dermlens.evaluation.metrics import OVERALL
from dermlens.evaluation.predictions import EXTERNAL_FILE, SPLITS, Predictions, write_predictions
from dermlens.files.documents import write_object
from dermlens.image.tta import VIEWS, expand
from training.archives import validation_rows
from training.asked import asked, note
from training.dataset import load_images, located
from training.finished import (
    add_run_arguments,
    best_model,
    data_of,
    find_run,
    last_model,
    note_test,
    predictions_of,
    rows_of,
)

BATCH = 16


def evaluate(model: keras.Model, rows: pd.DataFrame, views: int) -> Predictions:
    """Predict images with Keras, averaging logits over the views.

    Args:
        model: as `best_model` gives it. rows: as `located` gives them, of any splits.
        views: see `dermlens.image.tta.expand`.
    """
    images = load_images(rows, model.input_shape[1], for_training=False)
    starts = tqdm(range(0, len(rows), BATCH), desc="predictions", unit="batch", disable=not sys.stderr.isatty())
    parts = []
    for start in starts:
        shown = np.concatenate([expand(square, views) for square in images.pixels[start : start + BATCH]])
        logits = np.asarray(model.predict_on_batch(shown.astype(np.float32)), np.float64)
        parts.append(logits.reshape(-1, views, logits.shape[1]).mean(1))
    return predictions_of(rows, images.y, np.concatenate(parts))


def main(argv: list[str] | None = None) -> int:
    """Measure one run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="id or folder of a run")
    parser.add_argument("--test", action="store_true", help="also the test split: at the very end, noted in run.json")
    parser.add_argument("--views", type=int, choices=VIEWS, default=4, help="flips and turns to average over")
    parser.add_argument("--external", type=Path, help="training set of ISIC 2019, for its validation parts")
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
        predictions = evaluate(model, located(rows, root, aspect), args.views)
        external = None
        if args.external is not None:
            elsewhere = located(validation_rows(), root, aspect, args.external)
            external = evaluate(model, elsewhere, args.views)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    measured = {split: summarise(predictions.of_split(split)).to_dict() for split in predictions.splits}
    print(WITHOUT)
    for split, summary in measured.items():
        print(f"{split}, {summary['accuracy']['n_images']} images of {summary['accuracy']['n_lesions']} lesions:")
        for name, metric in OVERALL.items():
            f = summary[name]
            print(f"  {metric.label:36} {f['value']:.4f}  ({f['low']:.4f} to {f['high']:.4f})")
    try:
        files = {"predictions.csv": predictions, **({} if external is None else {EXTERNAL_FILE: external})}
        for name, found in files.items():
            write_predictions(folder / name, found)
        note(folder, asked(model, args.views), list(files))
        write_object(folder / "metrics.json", {"views": args.views, **measured})
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
