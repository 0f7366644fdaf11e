"""Publish a run's best checkpoint: `python -m training.publish RUN ID [--test] [--views 4]` fills models/ID/.

Every metric comes from the published file, reloaded and asked the way the app asks it. --test also predicts the test
split: once, at the very end. Nothing is left half-written: models/ID/ appears whole or not at all.
"""

import argparse
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens.case.predict import predict
from dermlens.dataset.ham10000 import check_rows, image_path, load_split
from dermlens.errors import DermlensError, ModelError
from dermlens.evaluation.predictions import SPLITS, write_predictions
from dermlens.files.documents import read_object, write_object, write_whole
from dermlens.image.preprocess import Geometry, fingerprint
from dermlens.image.tta import VIEWS
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES
from dermlens.models import registry
from dermlens.models.card import FLOAT32, INT8, INT8_FILE, ROLES
from dermlens.models.model import Model
from training import card as cards
from training import precision
from training.architectures import feature_layer
from training.artefact import save_model
from training.dataset import class_indices
from training.export import build
from training.finished import (
    add_run_arguments,
    best_model,
    commits,
    data_of,
    find_run,
    last_model,
    note_test,
    predictions_of,
    rows_of,
)
from training.fits.embed import keep, named
from training.folders import model_folder, whole
from training.model_card.write import note_hash, write
from training.origin import external_evaluations

NAMES = {
    "baseline_cnn": "Baseline CNN",
    "resnet18": "ResNet18",
    "resnet50": "ResNet50",
    "efficientnetv2b0": "EfficientNetV2B0",
    "convnext_base": "ConvNeXt-Base",
}


@dataclass(frozen=True, eq=False)
class Publication:
    """What is published: a run, the images it is asked about, and how it is served."""

    run: Path
    """The run's folder."""
    data: Path
    """HAM10000 folder."""
    table: pd.DataFrame
    """The split table."""
    stored_aspect: str
    """See `dermlens.image.preprocess.true_aspect`."""
    test: bool = False
    """Predict the test split too; noted in the run's run.json."""
    last: bool = False
    """Take the weights of the last epoch, not of the best one."""
    views: int = 4
    """Flips and turns averaged over, here and in the app."""
    name: str | None = None
    """What a person reads; by default the architecture's."""
    role: str = ROLES[0]
    """What it is for."""
    int8: bool = False
    """Make an 8-bit serving file, and serve it if it is no worse (training.precision)."""
    keep_float: tuple[str, ...] = ()
    """What of it stays in float32, see `training.quantise.quantise`."""


def publish(what: Publication, target: Path) -> None:
    """Fill a model folder from a run.

    Args:
        what: the run and how to publish it.
        target: models/ID, as `model_folder` gives it. A model that is there is replaced.

    Raises:
        DataError: data and run do not belong together, or an image is missing. ModelError: the file cannot be served,
            or the run's code was not committed.
    """
    if any(commit.endswith("-dirty") for commit in commits(read_object(what.run / "run.json"))):
        raise ModelError(
            f"Run {what.run.name} was made by code that was not committed, so nobody could make its weights again. "
            "Commit the code and train again."
        )
    # Stage 1: the run and the images it is asked about.
    rows = rows_of(what.run, what.table, SPLITS if what.test else SPLITS[:1])
    check_rows(what.data, rows, decode=True)
    with whole(target) as folder:
        # Stage 2: the network as it is served, and its answers.
        model = _served(what, last_model(what.run) if what.last else best_model(what.run), folder)
        if what.int8:
            model = _in_int8(what, model, folder)
        if what.test:
            note_test(what.run, "training.publish")
        answers = _ask(what, model, rows)
        _write_predictions(what, model, folder, rows, answers)

        # Stage 3: where it comes from, and its model card.
        (width, height), _ = answers.sizes.most_common(1)[0]
        seen = {"stored_aspect": what.stored_aspect, "width": width, "height": height}
        record = public(read_object(what.run / "run.json"))
        record |= {"published_from": seen, "published_last_epoch": what.last}
        noted = [*external_evaluations(target), *record.get("external_evaluations", [])]
        noted = [note for i, note in enumerate(noted) if note not in noted[:i]]
        write_object(folder / "run.json", {**record, "external_evaluations": noted})
        (folder / "history.csv").write_bytes((what.run / "history.csv").read_bytes())
        write(folder)
        wrong = cards.problems(folder)
        if wrong:
            raise ModelError(f"{target.name} was not published: {'; '.join(wrong)}.")


def public(value: Any) -> Any:
    """Return a run's record with file names in the place of absolute paths, which mean nothing elsewhere."""
    if isinstance(value, dict):
        return {key: public(item) for key, item in value.items()}
    if isinstance(value, list):
        return [public(item) for item in value]
    return re.sub(r"(?<![\w.:/])/(?:[^\s/=,]+/)*([^\s/=,]+)/?", r"\1", value) if isinstance(value, str) else value


def _served(what: Publication, network: keras.Model, folder: Path) -> Model:
    """Write model.keras and a first card.json, build the serving files and load them as the app does."""
    save_model(network, folder / "model.keras")
    geometry = Geometry(network.input_shape[1])
    record = read_object(what.run / "run.json")
    architecture = record["config"]["architecture"]
    card = {
        "id": folder.name,
        "name": what.name or NAMES.get(architecture, architecture),
        "architecture": architecture,
        "role": what.role,
        "classes": list(CLASSES),
        "input": geometry.to_dict(),
        "views": what.views,
        "feature_layer": feature_layer(network),
        "fingerprint": fingerprint(geometry),
        "files": {"model.keras": registry.sha256(folder / "model.keras")},
        "parameters": network.count_params(),
        "created": datetime.now(UTC).date().isoformat(),
        "run": record["id"],
    }
    write_object(folder / "card.json", card)
    entry = registry.inspect(folder)
    build(entry)
    return registry.load(entry)


def _in_int8(what: Publication, model: Model, folder: Path) -> Model:
    """Quantise and measure a served model, write quantisation.json, and return the model that serves."""
    found = precision.make(model, what.data, what.table, what.stored_aspect, what.keep_float)
    write_object(folder / precision.FILE, found.report)
    note_hash(folder, precision.FILE)
    if found.serves:
        write_whole(folder / INT8_FILE, found.content)
        note_hash(folder, INT8_FILE)
    card = read_object(folder / "card.json")
    write_object(folder / "card.json", {**card, "precision": INT8 if found.serves else FLOAT32})
    return registry.load(registry.inspect(folder))


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers to n images through the app's path."""

    names: list[str]
    """of the images, for `keep`"""
    logits: np.ndarray
    """(n, 7) float64"""
    embeddings: np.ndarray
    """(n, C) float32"""
    sizes: Counter[tuple[int, int]]
    """how often each width and height came"""


def _ask(what: Publication, model: Model, rows: pd.DataFrame) -> Answers:
    """Ask a model about one image after the other, as the app does."""
    logits = np.empty((len(rows), len(CLASSES)), np.float64)
    embeddings = np.empty((len(rows), len(model.head_kernel)), np.float32)
    sizes: Counter[tuple[int, int]] = Counter()
    files = [image_path(what.data, image_id) for image_id in rows["image_id"]]
    names = [named(file, what.stored_aspect) for file in files]
    for i, file in enumerate(tqdm(files, desc="predictions", unit="image", disable=not sys.stderr.isatty())):
        pixels = read_file(file, stored_aspect=what.stored_aspect).pixels
        answer = predict(model, pixels)
        logits[i] = answer.logits
        embeddings[i] = answer.embedding
        sizes[pixels.shape[1], pixels.shape[0]] += 1
    return Answers(names, logits, embeddings, sizes)


def _write_predictions(what: Publication, model: Model, folder: Path, rows: pd.DataFrame, answers: Answers) -> None:
    """Write predictions.csv, and keep the embeddings for training.fit."""
    write_predictions(folder / "predictions.csv", predictions_of(rows, class_indices(rows), answers.logits))
    keep(model, answers.names, answers.logits, answers.embeddings)


def main(argv: list[str] | None = None) -> int:
    """Publish one run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.publish", description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="id or folder of a run")
    parser.add_argument("id", help="name of the folder in models/")
    parser.add_argument("--test", action="store_true", help="also predict the test split: only once, at the very end")
    parser.add_argument("--views", type=int, choices=VIEWS, default=4, help="flips and turns to average over")
    parser.add_argument("--name", help="what a person reads; by default the architecture's name")
    parser.add_argument("--role", choices=ROLES, default=ROLES[0], help="what it is for (default: %(default)s)")
    parser.add_argument("--int8", action="store_true", help="serve an 8-bit file if it is no worse than float32")
    parser.add_argument("--keep-float", action="append", default=[], metavar="REGEX", help=precision.KEEP_FLOAT)
    parser.add_argument("--replace", action="store_true", help="replace a model of that id")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    try:
        run = find_run(args.run)
        data, stored_aspect = data_of(run, args)
        what = Publication(
            run,
            data,
            load_split(args.split),
            stored_aspect,
            test=args.test,
            last=args.last,
            views=args.views,
            name=args.name,
            role=args.role,
            int8=args.int8,
            keep_float=tuple(args.keep_float),
        )
        folder = model_folder(args.models_dir, args.id, args.replace)
        publish(what, folder)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    except OSError as e:
        print(f"Nothing was published, and what was there is unchanged: {e}.", file=sys.stderr)
        return 2
    print(f"{folder}: {', '.join(sorted(f.name for f in folder.iterdir()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
