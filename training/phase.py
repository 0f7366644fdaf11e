"""One phase of a run: what trains in it, the frozen rest run ahead, and its epochs."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops
from tqdm import tqdm

from dermlens.errors import ConfigError, DataError, DermlensError
from dermlens.evaluation import metrics
from dermlens.files.documents import unwritable
from dermlens.labels import INDEX, N_CLASSES
from dermlens.models import registry
from training import run as runs
from training.architectures import stage_of_layers
from training.artefact import load_model
from training.augmentation import augmenter, mixup, reseed
from training.averaging import averaged, follow, set_weights, start_average
from training.config import Config, Phase
from training.dataset import Images, batches, class_counts, epoch_order, load_images, one_hot
from training.losses import ClassHits, Loss, make_loss

EVAL_BATCH = 64
Change = Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]


@dataclass(frozen=True)
class Task:
    """What a run trains, on which rows of the split table, and where its files are."""

    config: Config
    folder: Path
    data: Path
    rows: pd.DataFrame
    stored_aspect: str

    def images(self, split: str, size: int) -> Images:
        """Decode one split: canvases for training, the squares of serving for validation."""
        rows = self.rows[self.rows["split"] == split]
        return load_images(self.data, rows, size, self.stored_aspect, for_training=split == "train")


def begin_phase(state: dict[str, Any], number: int) -> None:
    """Set the state of a run to the start of phase `number`; what is counted within a phase starts anew."""
    plateau = {"best": math.inf, "waited": 0, "factor": 1.0}
    state.update(phase=number, epoch_in_phase=0, waited=0, plateau=plateau)


def train_phase(
    task: Task, model: keras.Model, state: dict[str, Any], arrays: dict[str, np.ndarray], events: runs.EventsWriter
) -> None:
    """Train `model` to the end of the phase that `state` stands in, and save every finished epoch.

    Args:
        task: the run.
        model: with the weights of the last finished epoch.
        state: of the run; changed in place, in the end to the start of the next phase.
        arrays: the checkpoint, where the phase is not at its start; otherwise empty.
        events: writer of TensorBoard events.
    """
    config, number = task.config, state["phase"]
    phase = config.phases[number]
    ended = time.monotonic()  # of the epoch before; what is prepared counts into the first epoch

    # What trains: the last stages and the head. What is frozen runs with its batch norms in inference mode.
    boundary: Any = freeze(config.architecture, model, phase.unfreeze)
    cut = boundary.output if phase.cached_views and boundary is not None else None
    trained = model if cut is None else keras.Model(cut, model.output)
    y = task.rows.loc[task.rows["split"] == "train", "dx"].map(INDEX).to_numpy(np.int64)
    loss, tally, optimizer = make_loss(config, class_counts(y)), ClassHits(), make_optimizer(config, phase)
    trained.compile(optimizer, loss, metrics=[tally])
    optimizer.build(trained.trainable_variables)
    average = start_average(trained) if config.ema_momentum else []
    if arrays:
        runs.restore(optimizer.variables, arrays, "optimizer")
        runs.restore(average, arrays, "average")

    # What it sees: images changed at random as it goes, or what the frozen stages make of a few changed copies.
    training, validation = task.images("train", phase.size), task.images("validation", phase.size)
    augment, blend = augmenter(config.augment, phase.size), mixup(config.augment.mixup_alpha)
    teach = teaching(config, phase.size)
    sources, held_out = [(training.pixels, one_hot(y))], validation.pixels
    change = augmented(augment, teach, blend)
    if cut is not None:
        trunk = keras.Model(model.input, cut)
        prepare, seed = augmented(augment, teach), config.seed + 100 * number
        sources = [cache_view(trunk, prepare, *sources[0]) for _ in views_of(augment, phase.cached_views, seed)]
        held_out, change = forward(trunk, validation.pixels).astype(np.float16), as_floats

    while state["phase"] == number:
        started, epoch, done = ended, len(state["history"]) + 1, state["epoch_in_phase"]
        # Every epoch starts from generators seeded by its number, so a resumed run draws what an unbroken one would.
        seed = 1000 * config.seed + epoch
        keras.utils.set_random_seed(seed)
        reseed(augment, seed)
        reseed(trained, seed + 1)
        reseed(blend, seed + 2)
        order = epoch_order(y, config.sampling_power, np.random.default_rng(seed))
        steps = max(1, len(order) // config.batch_size)
        factor = state["plateau"]["factor"]
        rates = [learning_rate(phase, done + step / steps, factor) for step in range(steps)]
        x, labels = sources[done % len(sources)]
        data = prepared(x, labels, order, config.batch_size, change)
        title = f"epoch {epoch} (phase {number + 1})"
        fitted = fit_epoch(trained, tally, data, rates, average, config.ema_momentum, title)
        with averaged(trained, average):
            measured = measure(forward(trained, held_out), validation.y, loss)
            better = measured["val_balanced_accuracy"] > state["best"]
            if better:
                save_best(model, task.folder / "checkpoints", epoch)
        ended = time.monotonic()
        row = {"epoch": epoch, "phase": number + 1, **fitted, **measured, "seconds": ended - started}
        note_epoch(state, row, better, config)
        if state["epoch_in_phase"] == phase.epochs or state["stopped_early"]:
            set_weights(trained, average)  # the next phase, and a finished run, go on from the averaged weights
            begin_phase(state, number + 1)
        runs.write_events(events, row)  # before the checkpoint, so that no epoch is left out
        announce(row, better)
        kept = {"model": model.weights, "optimizer": optimizer.variables, "average": average}
        runs.save_state(task.folder / "checkpoints" / "last.npz", kept, state)
        settle_best(task.folder / "checkpoints", epoch)
        runs.write_history(task.folder / "history.csv", state["history"])


def freeze(architecture: str, model: keras.Model, unfreeze: int | str) -> keras.layers.Layer | None:
    """Make the head and the last `unfreeze` stages trainable and all else not.

    Returns:
        The last frozen layer, whose output feeds everything that trains; None if nothing is frozen.

    Raises:
        ConfigError: there are not so many stages.
    """
    stages = stage_of_layers(architecture, model)
    first = 0 if unfreeze == "all" else max(stages) - int(unfreeze)
    if first < 0:
        raise ConfigError(f"{architecture} has {max(stages)} stages, {unfreeze} cannot be unfrozen; 'all' trains all.")
    for layer, stage in zip(model.layers, stages, strict=True):
        layer.trainable = stage >= first
    if unfreeze == 0:
        return model.get_layer("embedding")
    frozen = [layer for layer, stage in zip(model.layers, stages, strict=True) if stage < first]
    return frozen[-1] if frozen else None


def make_optimizer(config: Config, phase: Phase) -> keras.optimizers.Optimizer:
    """Return AdamW whose decoupled decay leaves biases and the scales and shifts of norms alone."""
    clip = config.clip_norm or None
    optimizer = keras.optimizers.AdamW(phase.learning_rate, weight_decay=config.weight_decay, global_clipnorm=clip)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def learning_rate(phase: Phase, epoch: float, plateau_factor: float = 1.0) -> float:
    """Return the learning rate at a fractional epoch of a phase: linear warm-up, then the phase's schedule."""
    if epoch < phase.warmup_epochs:
        return phase.learning_rate * (epoch + 1e-3) / phase.warmup_epochs
    if phase.schedule == "cosine":
        done = (epoch - phase.warmup_epochs) / max(phase.epochs - phase.warmup_epochs, 1e-9)
        return phase.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
    return phase.learning_rate * (plateau_factor if phase.schedule == "plateau" else 1.0)


def note_epoch(state: dict[str, Any], row: dict[str, Any], better: bool, config: Config) -> None:
    """Add a finished epoch to the state: the best so far, the plateau, and whether it is time to stop."""
    plateau = state["plateau"]
    state["history"].append(row)
    state["epoch_in_phase"] += 1
    state["waited"] = 0 if better else state["waited"] + 1
    if better:
        state["best"] = row["val_balanced_accuracy"]
    if row["val_loss"] < plateau["best"]:
        plateau.update(best=row["val_loss"], waited=0)
    elif plateau["waited"] >= config.plateau_patience:
        plateau.update(waited=0, factor=plateau["factor"] * 0.3)
    else:
        plateau["waited"] += 1
    last = state["phase"] == len(config.phases) - 1
    state["stopped_early"] = bool(last and config.patience and state["waited"] >= config.patience)


def prepared(
    x: np.ndarray, labels: np.ndarray, order: np.ndarray, size: int, change: Change
) -> Iterator[tuple[Any, Any]]:
    """Yield the batches of an epoch as the network takes them."""
    for batch in batches(x, labels, order, size):
        yield change(*batch)


def as_floats(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cached features as float32, labels as they are."""
    return features.astype(np.float32), labels


def teaching(config: Config, size: int) -> Change | None:
    """Return a function that mixes the teacher's answers to squares (b, size, size, 3) into their labels (b, 7).

    Raises:
        ModelError: there is no such published model, or it is damaged or not the one that its card lists.
    """
    if not config.teacher:
        return None
    entry = registry.find(registry.models_dir(), config.teacher)
    network = load_model(entry.folder / "model.keras", registry.source_hash(entry))
    fit = keras.layers.Resizing(*network.input_shape[1:3], dtype="float32")
    share = config.teacher_share

    def teach(squares: Any, labels: np.ndarray) -> tuple[Any, np.ndarray]:
        shown = squares if size == network.input_shape[1] else fit(squares)
        answers = ops.convert_to_numpy(ops.softmax(network.predict_on_batch(shown)))
        return squares, ((1 - share) * labels + share * answers).astype(np.float32)

    return teach


def augmented(augment: keras.Model, teach: Change | None = None, blend: keras.Layer | None = None) -> Change:
    """Return a function (canvases uint8, labels) -> (squares float32, labels): augmented, then taught, then blended."""
    prepare = compiled(augment)

    def change(images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        squares = prepare(images)
        if teach is not None:
            squares, labels = teach(squares, labels)
        if blend is None:
            return squares, labels
        mixed = blend({"images": squares, "labels": labels}, training=True)
        return mixed["images"], mixed["labels"]

    return change


def compiled(augment: keras.Model) -> Callable[[np.ndarray], Any]:
    """Return a function (b, size, 4/3 size, 3) uint8 -> augmented squares, compiled where the backend is TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return lambda x: augment(x.astype(np.float32), training=True)
    import tensorflow as tf

    return tf.function(lambda x: augment(tf.cast(x, tf.float32), training=True), reduce_retracing=True)


def views_of(augment: keras.Model, count: int, seed: int) -> Iterator[int]:
    """Yield 0..count-1, with augmentation seeded for that view of all images."""
    for view in range(count):
        reseed(augment, 7_000_000 + 1000 * seed + view)
        yield view


def cache_view(
    trunk: keras.Model, prepare: Change, pixels: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Run the frozen stages once over an augmented copy of all images; float16 saves half the memory.

    Returns:
        Features (n, ...) float16 and labels (n, 7) float32, as `prepare` gives them.
    """
    starts = tqdm(range(0, len(pixels), EVAL_BATCH), desc="frozen stages, a view", disable=not sys.stderr.isatty())
    features, taught = [], []
    for i in starts:
        squares, after = prepare(pixels[i : i + EVAL_BATCH], labels[i : i + EVAL_BATCH])
        features.append(trunk.predict_on_batch(squares).astype(np.float16))
        taught.append(after)
    return np.concatenate(features), np.concatenate(taught)


def fit_epoch(
    model: keras.Model,
    tally: ClassHits,
    data: Iterable[tuple[Any, Any]],
    rates: list[float],
    average: list[keras.Variable],
    momentum: float,
    title: str,
) -> dict[str, float]:
    """Train on every batch once.

    Args:
        model: compiled, with `tally` as its metric.
        tally: counts right answers.
        data: pairs (x, y).
        rates: the learning rate of every step.
        average, momentum: averaged weights to keep up with, see `follow`; none if empty.
        title: for the progress bar.

    Returns:
        learning_rate (of the last step), loss, accuracy and balanced_accuracy over the epoch's training batches.

    Raises:
        DermlensError: the loss is no longer finite.
    """
    total, hits, seen = 0.0, np.zeros(N_CLASSES), np.zeros(N_CLASSES)
    slow = 1 if sys.stderr.isatty() else 60
    progress = tqdm(zip(rates, data, strict=True), total=len(rates), desc=title, unit="step", mininterval=slow)
    for step, (rate, (x, y)) in enumerate(progress, start=1):
        model.optimizer.learning_rate.assign(rate)
        total += float(model.train_on_batch(x, y, return_dict=True)["loss"])
        if not math.isfinite(total):
            raise DermlensError(f"{title}: the loss is {total} at step {step}. Lower the learning rate and start anew.")
        hits += ops.convert_to_numpy(tally.hits)  # Keras resets metrics with every batch
        seen += ops.convert_to_numpy(tally.seen)
        if average:
            follow(average, model.weights, momentum, step=int(model.optimizer.iterations))
        progress.set_postfix_str(f"loss {total / step:.3f}, accuracy {hits.sum() / seen.sum():.3f}", refresh=False)
    met = seen > 0
    return {
        "learning_rate": rate,
        "loss": total / step,
        "accuracy": float(hits.sum() / seen.sum()),
        "balanced_accuracy": float((hits[met] / seen[met]).mean()),
    }


def forward(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Return the model's answer to all of x (n, ...), in inference mode, as float32."""
    parts = [model.predict_on_batch(x[i : i + EVAL_BATCH].astype(np.float32)) for i in range(0, len(x), EVAL_BATCH)]
    return np.concatenate(parts).astype(np.float32)


def measure(logits: np.ndarray, y: np.ndarray, loss: Loss) -> dict[str, float]:
    """Return the validation columns of history.csv from logits (n, 7) and classes y (n,)."""
    confusion = metrics.confusion_matrix(y, logits.argmax(1))
    return {
        "val_loss": float(np.mean(ops.convert_to_numpy(loss(np.eye(N_CLASSES, dtype=np.float32)[y], logits)))),
        "val_accuracy": float(metrics.accuracy(confusion)),
        "val_balanced_accuracy": float(metrics.balanced_accuracy(confusion)),
        "val_melanoma_recall": float(metrics.melanoma_recall(confusion)),
        "val_cross_entropy": metrics.cross_entropy(y, logits),
    }


def save_best(model: keras.Model, checkpoints: Path, epoch: int) -> None:
    """Save the weights of the best epoch so far beside best.weights.h5, whose place `settle_best` gives them.

    Raises:
        DataError: they cannot be written.
    """
    candidate = checkpoints / f".best-{epoch}.weights.h5"
    try:
        model.save_weights(candidate)
    except OSError as e:
        candidate.unlink(missing_ok=True)
        raise DataError(unwritable(checkpoints / "best.weights.h5", e)) from e


def settle_best(checkpoints: Path, epoch: int) -> None:
    """Make best.weights.h5 of the candidate of the last epoch that is in the checkpoint; remove any other.

    A kill at any moment leaves best.weights.h5 that belongs to the history, or a candidate that will be made so.
    """
    for candidate in checkpoints.glob(".best-*.weights.h5"):
        if candidate.name == f".best-{epoch}.weights.h5":
            candidate.replace(checkpoints / "best.weights.h5")
        else:
            candidate.unlink()


def announce(row: dict[str, Any], better: bool) -> None:
    """Print an epoch; a star marks the best one so far."""
    print(
        f"epoch {row['epoch']}: loss {row['loss']:.3f}, validation accuracy {row['val_accuracy']:.4f}, balanced "
        f"{row['val_balanced_accuracy']:.4f}, melanoma {row['val_melanoma_recall']:.3f}, "
        f"cross-entropy {row['val_cross_entropy']:.4f}, {row['seconds']:.0f} s{' *' if better else ''}",
        flush=True,
    )
