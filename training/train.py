"""Train one experiment: `python -m training.train CONFIG --data DIR [--stored-aspect 4:3] [--set key=value]`.

The run lives in $DERMLENS_RUNS/<run_id>/. The same command with `--run RUN_ID` goes on from the last finished epoch,
as if it had never stopped.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "--deterministic" in sys.argv:
    os.environ["TF_DETERMINISTIC_OPS"] = "1"

import argparse
import dataclasses
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from tensorboardX import SummaryWriter
from tqdm import tqdm

from dermlens.errors import DermlensError
from dermlens.ham10000 import SPLIT_TABLE, data_root, load_split, load_table, raise_problems
from dermlens.labels import INDEX, MELANOMA, N_CLASSES
from dermlens.preprocess import STORED_ASPECTS
from training import run as runs
from training.architectures import build, stage_of_layers
from training.augmentation import augmenter, mixup, reseed
from training.config import Config, Phase, from_dict, load_config, override
from training.dataset import Images, batches, class_counts, data_hash, epoch_order, load_images
from training.losses import ClassHits, make_loss

EVAL_BATCH = 64


def train(config: Config, folder: Path, root: Path, table: pd.DataFrame, stored_aspect: str) -> None:
    """Train `config` in `folder`, or go on with it; writes the run's files as it goes.

    Args:
        config: the experiment.
        folder: the run's folder, with run.json in it.
        root: HAM10000 folder.
        table: rows of the split table to use.
        stored_aspect: see `dermlens.preprocess.true_aspect`.

    Raises:
        DermlensError: for data or settings that do not fit.
    """
    # Stage 1: what is already done.
    checkpoint = folder / "checkpoints" / "last.npz"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    arrays, state = runs.load_state(checkpoint) if checkpoint.exists() else ({}, new_state())
    runs.write_history(folder / "history.csv", state["history"])
    if state["finished"]:
        return
    if config.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.mixed_precision.set_global_policy(config.precision)
    keras.utils.set_random_seed(config.seed)
    writer = SummaryWriter(str(folder / "events"), flush_secs=10)

    # Stage 2: phases, from the one the checkpoint stands in.
    previous: list[np.ndarray] | None = [arrays[f"model/{i}"] for i in range(_count(arrays, "model"))] or None
    for number in range(state["phase"], len(config.phases)):
        phase = config.phases[number]
        model = build(config.architecture, phase.size, config.weights if previous is None else "none", config.dropout)
        if previous is not None:
            _set_weights(model, previous)
        resumed = arrays if state["epoch_in_phase"] else {}
        _train_phase(config, number, model, folder, root, table, stored_aspect, state, resumed, writer)
        previous = model.get_weights()
        state.update(phase=number + 1, epoch_in_phase=0)
        if state["stopped_early"]:
            break
    # Stage 3: done.
    state["finished"] = True
    runs.save_state(checkpoint, {"model": model.weights}, state)
    record = runs.read_json(folder / "run.json")
    best = max(state["history"], key=lambda row: row["val_balanced_accuracy"])
    record.update(finished=_now(), best_epoch=best["epoch"], best_validation=best)
    runs.write_json(folder / "run.json", record)
    writer.close()


def new_state() -> dict[str, Any]:
    """Return the state of a run that has not begun."""
    return {
        "phase": 0,
        "epoch_in_phase": 0,
        "history": [],
        "best": -1.0,
        "waited": 0,
        "plateau": {"best": math.inf, "waited": 0, "factor": 1.0},
        "stopped_early": False,
        "finished": False,
    }


def _train_phase(config, number, model, folder, root, table, stored_aspect, state, arrays, writer) -> None:
    phase: Phase = config.phases[number]
    checkpoints = folder / "checkpoints"

    # The data of this phase, at its size.
    rows = {name: part for name, part in table.groupby("split")}
    training = load_images(root, rows["train"], phase.size, stored_aspect, for_training=True)
    validation = load_images(root, rows["validation"], phase.size, stored_aspect, for_training=False)
    counts = class_counts(training.y)
    augment = augmenter(config.augment, phase.size)

    # What trains: the last stages and the head; what is frozen runs with its batch norms in inference mode.
    boundary = freeze(config.architecture, model, phase.unfreeze)
    trained, views, held_out = model, None, validation.pixels
    if phase.cached_views and boundary is not None:
        trunk = keras.Model(model.input, boundary.output)
        trained = keras.Model(boundary.output, model.output)
        views = _cache_views(trunk, augment, training, phase.cached_views, config.seed)
        held_out = _forward(trunk, validation.pixels).astype(np.float16)
    loss = make_loss(config, counts)
    optimizer = keras.optimizers.AdamW(
        phase.learning_rate,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm or None,
        use_ema=config.ema_momentum > 0,
        ema_momentum=config.ema_momentum or 0.99,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    tally = ClassHits()
    trained.compile(optimizer, loss, metrics=[tally])
    optimizer.build(trained.trainable_variables)
    averaging = keras.callbacks.SwapEMAWeights()
    averaging.set_model(trained)
    if arrays:
        _set_weights(model, [arrays[f"model/{i}"] for i in range(_count(arrays, "model"))])
        runs.restore(optimizer.variables, arrays, "optimizer")
    blend = mixup(config.augment.mixup_alpha) if config.augment.mixup_alpha else None
    prepare = _compiled(augment)
    steps = max(1, len(training.y) // config.batch_size)

    for epoch_in_phase in range(state["epoch_in_phase"], phase.epochs):
        started, epoch = time.monotonic(), len(state["history"]) + 1
        # Every epoch starts from generators seeded by its number, so a resumed run draws what an unbroken one would.
        seed = 1000 * config.seed + epoch
        rng = np.random.default_rng(seed)
        keras.utils.set_random_seed(seed)
        reseed(augment, seed)
        reseed(trained, seed + 1)
        order = epoch_order(training.y, config.sampling_power, rng)
        source = views[epoch_in_phase % len(views)] if views is not None else training.pixels
        total_loss, hits, seen = 0.0, np.zeros(N_CLASSES), np.zeros(N_CLASSES)
        progress = tqdm(
            batches(source, training.y, order, config.batch_size),
            total=steps,
            desc=f"epoch {epoch} (phase {number + 1})",
            unit="step",
            mininterval=1 if sys.stderr.isatty() else 60,
        )
        for step, (x, y) in enumerate(progress):
            rate = learning_rate(phase, epoch_in_phase + step / steps, state["plateau"]["factor"])
            optimizer.learning_rate.assign(rate)
            if views is None:
                x = prepare(x)
                if blend is not None:
                    mixed = blend({"images": x, "labels": y}, training=True)
                    x, y = mixed["images"], mixed["labels"]
            else:
                x = x.astype(np.float32)
            total_loss += float(trained.train_on_batch(x, y, return_dict=True)["loss"])
            hits += keras.ops.convert_to_numpy(tally.hits)  # Keras resets metrics with every batch
            seen += keras.ops.convert_to_numpy(tally.seen)
            text = f"loss {total_loss / (step + 1):.3f}, accuracy {hits.sum() / seen.sum():.3f}"
            progress.set_postfix_str(text, refresh=False)

        # Measured with the averaged weights where averaging is on; these are also the ones kept as best.
        if config.ema_momentum:
            averaging.on_test_begin()
        measured = _measure(_forward(trained, held_out), validation.y, loss)
        row = {
            "epoch": epoch,
            "phase": number + 1,
            "learning_rate": rate,
            "loss": total_loss / (step + 1),
            "accuracy": float(hits.sum() / seen.sum()),
            "balanced_accuracy": float((hits[seen > 0] / seen[seen > 0]).mean()),
            **measured,
            "seconds": time.monotonic() - started,
        }
        state["history"].append(row)
        better = row["val_balanced_accuracy"] > state["best"]
        if better:
            state["best"], state["waited"] = row["val_balanced_accuracy"], 0
            partial = checkpoints / ".best.partial.weights.h5"
            model.save_weights(partial)
            partial.replace(checkpoints / "best.weights.h5")
        else:
            state["waited"] += 1
        if config.ema_momentum:
            averaging.on_test_end()
        _plateau(state["plateau"], row["val_loss"], config.plateau_patience)
        last_phase = number == len(config.phases) - 1
        state["stopped_early"] = bool(config.patience and last_phase and state["waited"] >= config.patience)
        state.update(phase=number, epoch_in_phase=epoch_in_phase + 1)
        runs.save_state(checkpoints / "last.npz", {"model": model.weights, "optimizer": optimizer.variables}, state)
        runs.write_history(folder / "history.csv", state["history"])
        for name, value in row.items():
            if name not in ("epoch", "phase"):
                writer.add_scalar(name, value, epoch)
        print(
            f"epoch {epoch}: loss {row['loss']:.3f}, validation accuracy {row['val_accuracy']:.4f}, balanced "
            f"{row['val_balanced_accuracy']:.4f}, melanoma {row['val_melanoma_recall']:.3f}, "
            f"cross-entropy {row['val_cross_entropy']:.4f}, {row['seconds']:.0f} s{' *' if better else ''}",
            flush=True,
        )
        if state["stopped_early"]:
            return
    state["plateau"] = new_state()["plateau"]
    if config.ema_momentum:
        # The next phase, and a finished run, start from the averaged weights.
        averaging.on_test_begin()


def freeze(architecture: str, model: keras.Model, unfreeze: int | str) -> keras.layers.Layer | None:
    """Make the head and the last `unfreeze` stages trainable and all else not.

    Returns:
        The last frozen layer, whose output feeds everything that trains; None if nothing is frozen.
    """
    stages = stage_of_layers(architecture, model)
    first = 0 if unfreeze == "all" else max(stages) - int(unfreeze)
    for layer, stage in zip(model.layers, stages, strict=True):
        layer.trainable = stage >= first
    frozen = [layer for layer, stage in zip(model.layers, stages, strict=True) if stage < first]
    if unfreeze == 0:
        return model.get_layer("embedding")
    return frozen[-1] if first > 0 and frozen else None


def learning_rate(phase: Phase, epoch: float, plateau_factor: float = 1.0) -> float:
    """Return the learning rate at a fractional epoch of a phase: linear warm-up, then the phase's schedule."""
    if epoch < phase.warmup_epochs:
        return phase.learning_rate * (epoch + 1e-3) / phase.warmup_epochs
    if phase.schedule == "cosine":
        done = (epoch - phase.warmup_epochs) / max(phase.epochs - phase.warmup_epochs, 1e-9)
        return phase.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
    return phase.learning_rate * (plateau_factor if phase.schedule == "plateau" else 1.0)


def _plateau(plateau: dict[str, float], val_loss: float, patience: int) -> None:
    if val_loss < plateau["best"]:
        plateau.update(best=val_loss, waited=0)
        return
    plateau["waited"] += 1
    if plateau["waited"] > patience:
        plateau.update(waited=0, factor=plateau["factor"] * 0.3)


def _measure(logits: np.ndarray, y: np.ndarray, loss: Callable) -> dict[str, float]:
    guess = logits.argmax(1)
    recall = [float((guess[y == c] == c).mean()) for c in range(N_CLASSES) if (y == c).any()]
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    one_hot = np.eye(N_CLASSES, dtype=np.float32)[y]
    melanoma = y == MELANOMA
    return {
        "val_loss": float(np.mean(keras.ops.convert_to_numpy(loss(one_hot, logits)))),
        "val_accuracy": float((guess == y).mean()),
        "val_balanced_accuracy": float(np.mean(recall)),
        "val_melanoma_recall": float((guess[melanoma] == MELANOMA).mean()) if melanoma.any() else math.nan,
        "val_cross_entropy": float(-log_p[np.arange(len(y)), y].mean()),
    }


def _forward(model: keras.Model, x: np.ndarray) -> np.ndarray:
    out = [model.predict_on_batch(x[i : i + EVAL_BATCH].astype(np.float32)) for i in range(0, len(x), EVAL_BATCH)]
    return np.concatenate(out).astype(np.float32)


def _cache_views(trunk, augment, training: Images, count: int, seed: int) -> list[np.ndarray]:
    """Run the frozen stages once over `count` augmented copies of every training image; float16 saves half the memory."""
    prepare, views = _compiled(augment), []
    for view in range(count):
        reseed(augment, 7_000_000 + 1000 * seed + view)
        parts = []
        hidden = not sys.stderr.isatty()
        for i in tqdm(range(0, len(training.y), EVAL_BATCH), desc=f"frozen stages, view {view + 1}", disable=hidden):
            squares = np.asarray(keras.ops.convert_to_numpy(prepare(training.pixels[i : i + EVAL_BATCH])))
            parts.append(np.asarray(trunk.predict_on_batch(squares)).astype(np.float16))
        views.append(np.concatenate(parts))
    return views


def _compiled(augment: keras.Model) -> Callable:
    """Return a function (b, size, 4/3 size, 3) uint8 -> augmented squares, compiled where the backend is TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return lambda x: augment(x.astype(np.float32), training=True)
    import tensorflow as tf

    return tf.function(lambda x: augment(tf.cast(x, tf.float32), training=True), reduce_retracing=True)


def _set_weights(model: keras.Model, values: list[np.ndarray]) -> None:
    for variable, value in zip(model.weights, values, strict=True):
        variable.assign(value)


def _count(arrays: dict[str, np.ndarray], group: str) -> int:
    return sum(k.startswith(f"{group}/") for k in arrays)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def select_rows(table: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return the rows of the split table this run uses: training and validation only, less what the config leaves out.

    The test split is never loaded here.
    """
    rows = table[table["split"].isin(["train", "validation"])]
    if config.leave_out:
        rows = rows[rows["dx"] != config.leave_out]
    if config.max_images:
        rows = pd.concat(
            part.groupby("dx", group_keys=False).head(max(1, config.max_images // N_CLASSES))
            for _, part in rows.groupby("split")
        )
    return rows.sort_values("image_id", ignore_index=True)


def smoke(config: Config) -> Config:
    """Return `config` shrunk to 28 images of 32 px and one epoch a phase, with everything else as it is."""
    phases = tuple(dataclasses.replace(p, epochs=1, size=32) for p in config.phases)
    return dataclasses.replace(config, phases=phases, batch_size=8, max_images=28, weights="none")


def main(argv: list[str] | None = None) -> int:
    """Start or resume a run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="name of a file in training/configs")
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, default="as-is")
    parser.add_argument("--split", type=Path, default=SPLIT_TABLE, help="split table")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments")
    parser.add_argument("--leave-out", choices=list(INDEX), default="", help="train without one diagnosis")
    parser.add_argument("--run", help="run id; an existing one is resumed (default: a new one)")
    parser.add_argument("--smoke", action="store_true", help="the whole pipeline on a few tiny images")
    parser.add_argument("--deterministic", action="store_true", help="bit-equal repeats, slower")
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("pass --data DIR or set HAM10000_DIR")
    try:
        config = override(load_config(args.config)[0], args.assignments)
        if args.leave_out:
            config = dataclasses.replace(config, leave_out=args.leave_out)
        if args.deterministic:
            config = dataclasses.replace(config, deterministic=True)
        if args.smoke:
            config = smoke(config)
        start(config, args)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    return 0


def start(config: Config, args: argparse.Namespace) -> Path:
    """Check the data, open or make the run's folder, and train; returns the folder."""
    run_id = args.run or f"{args.config.split('/')[-1]}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    folder = runs.runs_dir() / run_id
    table = load_split(args.split)
    known = load_table(args.data, decode=not (folder / "run.json").exists())
    problem = {"image of the split table that the data set lacks": sorted(set(table["image_id"]) - set(known["image_id"]))}
    raise_problems(str(args.data), problem)
    rows = select_rows(table, config)
    if (folder / "run.json").exists():
        record = runs.read_json(folder / "run.json")
        runs_config = from_dict(record["config"])
        if runs_config != config or record["data"]["sha256"] != data_hash(rows):
            raise DermlensError(f"Run {run_id} exists with other settings or data. Choose another --run, or none.")
        record["resumed"] = [*record.get("resumed", []), _now()]
    else:
        record = {
            "id": run_id,
            "config_name": args.config,
            "config": dataclasses.asdict(config),
            "measured_weights": "EMA" if config.ema_momentum else "raw",
            "data": {
                "sha256": data_hash(rows),
                "stored_aspect": args.stored_aspect,
                "images": {k: int(v) for k, v in rows["split"].value_counts().items()},
            },
            "seed": config.seed,
            "started": _now(),
            "test_evaluations": [],
            **runs.environment(),
        }
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / "run.json", record)
    print(f"run {run_id} in {folder}", flush=True)
    train(config, folder, args.data, rows, args.stored_aspect)
    return folder


if __name__ == "__main__":
    sys.exit(main())
