"""Publish a run's best checkpoint: `python -m training.publish RUN ID [--test] [--views 4]` fills models/ID/.

Every figure comes from the published file, reloaded and asked the way the app asks it. --test also predicts the test
split: once, at the very end. Nothing is left half-written: models/ID/ appears whole or not at all.
"""

import argparse
import dataclasses
import os
import re
import sys
import tempfile
from collections import Counter
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
from dermlens.errors import ConfigError, DermlensError, ModelError
from dermlens.evaluation.predictions import SPLITS, write_predictions
from dermlens.files.documents import read_object, write_object
from dermlens.image.preprocess import Geometry, fingerprint
from dermlens.image.tta import VIEWS
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES, INDEX
from dermlens.models import registry
from dermlens.models.model import Model
from training import adjustment
from training import card as cards
from training.architectures import feature_layer
from training.artefact import save_model
from training.dataset import class_counts
from training.export import build
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
from training.fits.embed import keep
from training.model_card.write import write

CHECKED = 16
"""Validation images that the final file is asked about once more."""
NAMES = {
    "baseline_cnn": "Baseline CNN",
    "resnet18": "ResNet18",
    "resnet50": "ResNet50",
    "efficientnetv2b0": "EfficientNetV2B0",
    "convnext_base": "ConvNeXt-Base",
}


def publish(
    run: Path,
    models: Path,
    model_id: str,
    root: Path,
    table: pd.DataFrame,
    stored_aspect: str,
    *,
    views: int = 4,
    test: bool = False,
    name: str | None = None,
    replace: bool = False,
    adjust: tuple[float, float] | None = None,
    last: bool = False,
) -> Path:
    """Fill a model folder from a run.

    Args:
        run: the run's folder. models: the folder of all models. model_id: the name of its folder in there.
        root: HAM10000 folder. table: the split table.
        stored_aspect: see `dermlens.image.preprocess.true_aspect`.
        views: flips and turns averaged over, here and in the app.
        test: predict the test split too; noted in the run's run.json.
        name: what a person reads; by default the architecture's.
        replace: put the new model in the place of one that is there.
        adjust: tau and melanoma weight of `training.adjustment`, chosen on validation by default.
        last: take the weights of the last epoch, not of the best one.

    Returns:
        The model's folder.

    Raises:
        ConfigError: the id is not one. ModelError: there is such a model already, or the file cannot be served.
        DataError: data and run do not belong together, or an image is missing.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", model_id):
        raise ConfigError(f"A model's id is made of a-z, 0-9, - and _, got {model_id!r}.")
    target = models / model_id
    if target.exists() and not replace:
        raise ModelError(f"{target} exists. Choose another id, or pass --replace to put this model in its place.")
    rows = rows_of(run, table, SPLITS if test else SPLITS[:1])
    check_rows(root, rows, decode=True)
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{model_id}-", dir=models) as scratch:
        folder = Path(scratch, model_id)
        folder.mkdir()
        network = last_model(run) if last else best_model(run)
        training = rows_of(run, table, ("train",))
        counts = class_counts(training["dx"].map(INDEX).to_numpy(np.int64))
        validation, rest = (rows[rows["split"] == split] for split in SPLITS)
        plain = _served(run, network, folder, views, (0.0, 1.0), name)
        first = _ask(plain, root, validation, stored_aspect)
        if adjust is None:
            adjust = adjustment.choose(first.logits, validation["dx"].map(INDEX).to_numpy(np.int64), counts)
        adjustment.fold(network, counts, *adjust)
        model = _served(run, network, folder, views, adjust, name)
        tuned = dataclasses.replace(first, logits=first.logits + adjustment.shift(counts, *adjust))
        _check_shift(model, root, validation, stored_aspect, tuned)
        if test:
            note_test(run, "training.publish")
        answers = _join(tuned, _ask(model, root, rest, stored_aspect))
        _write_predictions(model, folder, pd.concat([validation, rest]), answers, stored_aspect)
        (width, height), _ = answers.sizes.most_common(1)[0]
        seen = {"stored_aspect": stored_aspect, "width": width, "height": height}
        record = public(read_object(run / "run.json"))
        write_object(folder / "run.json", {**record, "published_from": seen, "published_last_epoch": last})
        (folder / "history.csv").write_bytes((run / "history.csv").read_bytes())
        write(folder)
        wrong = cards.problems(folder)
        if wrong:
            raise ModelError(f"{model_id} was not published: {'; '.join(wrong)}.")
        if target.exists():
            target.rename(Path(scratch, "replaced"))
        folder.rename(target)
    return target


def public(value: Any) -> Any:
    """Return a run's record with file names in the place of absolute paths, which mean nothing elsewhere."""
    if isinstance(value, dict):
        return {key: public(item) for key, item in value.items()}
    if isinstance(value, list):
        return [public(item) for item in value]
    return re.sub(r"(?<![\w.:/])/(?:[^\s/=,]+/)*([^\s/=,]+)/?", r"\1", value) if isinstance(value, str) else value


def _served(
    run: Path, network: keras.Model, folder: Path, views: int, adjust: tuple[float, float], name: str | None
) -> Model:
    """Write model.keras and a first card.json, build the serving files and load them as the app does."""
    save_model(network, folder / "model.keras")
    geometry = Geometry(network.input_shape[1])
    record = read_object(run / "run.json")
    architecture = record["config"]["architecture"]
    card = {
        "id": folder.name,
        "name": name or NAMES.get(architecture, architecture),
        "architecture": architecture,
        "classes": list(CLASSES),
        "input": geometry.to_dict(),
        "views": views,
        "logit_adjustment": adjust[0],
        "melanoma_weight": adjust[1],
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


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers to n images through the app's path."""

    logits: np.ndarray
    """(n, 7) float64"""
    embeddings: np.ndarray
    """(n, C) float32"""
    sizes: Counter[tuple[int, int]]
    """how often each width and height came"""


def _ask(model: Model, root: Path, rows: pd.DataFrame, stored_aspect: str) -> Answers:
    """Ask a model about one image after the other, as the app does."""
    logits, embeddings = [np.empty((0, len(CLASSES)))], [np.empty((0, len(model.head_kernel)))]
    sizes: Counter[tuple[int, int]] = Counter()
    for image_id in tqdm(rows["image_id"], desc="predictions", unit="image", disable=not sys.stderr.isatty()):
        pixels = read_file(image_path(root, image_id), stored_aspect=stored_aspect).pixels
        answer = predict(model, pixels)
        logits.append(answer.logits[None])
        embeddings.append(answer.embedding[None])
        sizes[pixels.shape[1], pixels.shape[0]] += 1
    return Answers(np.concatenate(logits).astype(np.float64), np.concatenate(embeddings).astype(np.float32), sizes)


def _join(a: Answers, b: Answers) -> Answers:
    logits, embeddings = (np.concatenate([getattr(x, n) for x in (a, b)]) for n in ("logits", "embeddings"))
    return Answers(logits, embeddings, a.sizes + b.sizes)


def _check_shift(model: Model, root: Path, rows: pd.DataFrame, stored_aspect: str, tuned: Answers) -> None:
    """Ask the final file about a few images: logit adjustment adds the same to every answer, and nothing else.

    Raises:
        ModelError: it does not.
    """
    some = np.unique(np.linspace(0, len(rows) - 1, CHECKED).astype(int))
    off = np.abs(_ask(model, root, rows.iloc[some], stored_aspect).logits - tuned.logits[some]).max()
    if not off < 1e-3:
        raise ModelError(f"The adjusted file's logits are off by {off:.2g}. The serving path is broken.")


def _write_predictions(model: Model, folder: Path, rows: pd.DataFrame, answers: Answers, stored_aspect: str) -> None:
    """Write predictions.csv, and keep the embeddings for training.fit."""
    y_true = rows["dx"].map(INDEX).to_numpy(np.int64)
    write_predictions(folder / "predictions.csv", predictions_of(rows, y_true, answers.logits))
    keep(model, [f"{stored_aspect} {image_id}" for image_id in rows["image_id"]], answers.embeddings)


def main(argv: list[str] | None = None) -> int:
    """Publish one run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.publish", description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="id or folder of a run")
    parser.add_argument("id", help="name of the folder in models/")
    parser.add_argument("--test", action="store_true", help="also predict the test split: once, at the very end")
    parser.add_argument("--views", type=int, choices=VIEWS, default=4, help="flips and turns to average over")
    parser.add_argument("--name", help="what a person reads; by default the architecture's name")
    how = "see training.adjustment; default: the best on validation"
    parser.add_argument("--adjust", type=float, nargs=2, metavar=("TAU", "WEIGHT"), help=how)
    parser.add_argument("--replace", action="store_true", help="replace a model of that id")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    try:
        run = find_run(args.run)
        root, aspect = data_of(run, args)
        options = {"views": args.views, "test": args.test, "name": args.name, "replace": args.replace}
        options |= {"last": args.last, "adjust": tuple(args.adjust) if args.adjust else None}
        folder = publish(run, args.models_dir, args.id, root, load_split(args.split), aspect, **options)
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
