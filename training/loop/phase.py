"""One phase of a run: what trains in it, what that is shown, and its epochs."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from tensorboardX.event_file_writer import EventsWriter

from dermlens.errors import ConfigError
from training import run as runs
from training.architectures import stage_of_layers
from training.augmentation import augmented_batches
from training.backend import runner
from training.config import Config, Phase
from training.dataset import (
    HAM10000,
    Images,
    class_counts,
    class_indices,
    epoch_order,
    load_images,
    one_hot,
    sampling_weights,
)
from training.loop.averaging import averaged, set_weights, start_average
from training.loop.epoch import elsewhere, fit_epoch, forward, measure
from training.loop.state import State
from training.losses import ClassHits, make_loss
from training.teaching import taught

EXTERNAL = "external_validation"
HELD_OUT = ("validation", EXTERNAL)


@dataclass(frozen=True)
class Task:
    """What a run trains, on which rows, and where its files are."""

    config: Config
    folder: Path
    rows: pd.DataFrame
    """as `dataset.select_rows` and `dataset.located` give them"""

    def split(self, name: str) -> pd.DataFrame:
        """Return the rows of one split."""
        return self.rows[self.rows["split"] == name]

    def images(self, split: str, size: int) -> Images:
        """Decode one split: canvases for training, the squares of serving for validation."""
        return load_images(self.split(split), size, for_training=split == "train")


def train_phase(
    task: Task, model: keras.Model, state: State, arrays: dict[str, np.ndarray], events: EventsWriter
) -> None:
    """Train `model` to the end of the phase that `state` stands in, and save every finished epoch.

    Args:
        task: the run.
        model: with the weights of the last finished epoch.
        state: of the run; changed in place, in the end to the start of the next phase.
        arrays: the checkpoint, where the phase is not at its start; otherwise empty.
        events: writer of TensorBoard events.
    """
    config = task.config
    number = state.phase
    phase = config.phases[number]
    ended = time.monotonic()  # of the epoch before; what is prepared counts into the first epoch

    # Stage 1: what trains, the last stages and the head. What is frozen runs with its batch norms in inference mode.
    freeze(config.architecture, model, phase.unfreeze)
    trained = runner(model, config)
    rows = task.split("train")
    y = class_indices(rows)
    loss = make_loss(config, class_counts(y))
    tally = ClassHits()
    optimizer = make_optimizer(config, phase)
    trained.compile(optimizer, loss, metrics=[tally])
    optimizer.build(trained.trainable_variables)
    average = start_average(trained) if config.ema_momentum else []
    if arrays:
        runs.restore(optimizer.variables, arrays, "optimizer")
        runs.restore(average, arrays, "average")

    # Stage 2: what it sees, images changed at random as it goes.
    training = task.images("train", phase.size)
    held_out = {split: task.images(split, phase.size) for split in HELD_OUT if len(task.split(split))}
    labels = taught(config, rows, one_hot(y), task.folder)
    weight = sampling_weights(rows, config)
    count = config.epoch_images or int((rows["source"] == HAM10000).sum())

    while state.phase == number:
        # Stage 3: an epoch. It starts from generators seeded by its number, so that a resumed run draws what an
        # unbroken one would.
        started = ended
        epoch = len(state.history) + 1
        seed = 1000 * config.seed + epoch
        keras.utils.set_random_seed(seed)
        reseed(trained, seed)
        order = epoch_order(len(rows), weight, count, np.random.default_rng(seed))
        steps = max(1, len(order) // config.batch_size)
        done = state.epoch_in_phase
        rates = [learning_rate(phase, done + step / steps, state.plateau.factor) for step in range(steps)]
        batch = min(config.batch_size, len(order))
        data = augmented_batches(training.pixels, labels, order, batch, phase.size, config.augment, seed)
        title = f"epoch {epoch} (phase {number + 1})"
        note = runs.progress_writer(task.folder, epoch, steps)
        fitted = fit_epoch(trained, tally, data, rates, average, config.ema_momentum, title, note)

        # Stage 4: what the network is worth now.
        with averaged(trained, average):
            logits = {split: forward(trained, images.pixels) for split, images in held_out.items()}
            measured = measure(logits["validation"], held_out["validation"].y, loss)
            if EXTERNAL in logits:
                measured |= elsewhere(logits[EXTERNAL], held_out[EXTERNAL].y)
            better = measured["val_cross_entropy"] < state.best
            if better:
                runs.save_best(model, task.folder / "checkpoints", epoch)
        ended = time.monotonic()
        row = {"epoch": epoch, "phase": number + 1, **fitted, **measured, "seconds": ended - started}
        state.note_epoch(row, better, config)
        if state.epoch_in_phase == phase.epochs or state.stopped_early:
            set_weights(trained, average)  # the next phase, and a finished run, go on from the averaged weights
            state.begin_phase(number + 1)

        # Stage 5: the epoch is written down; with the checkpoint it is finished.
        runs.write_events(events, row)  # before the checkpoint, so that no epoch is left out
        announce(row, better)
        kept = {"model": model.weights, "optimizer": optimizer.variables, "average": average}
        runs.save_state(task.folder / "checkpoints" / "last.npz", kept, state)
        runs.write_history(task.folder / "history.csv", state.history)
        runs.settle_best(task.folder / "checkpoints", epoch)


def freeze(architecture: str, model: keras.Model, unfreeze: int | str) -> None:
    """Make the head and the last `unfreeze` stages trainable and all else not.

    Raises:
        ConfigError: there are not so many stages.
    """
    stages = stage_of_layers(architecture, model)
    first = 0 if unfreeze == "all" else max(stages) - int(unfreeze)
    if first < 0:
        raise ConfigError(f"{architecture} has {max(stages)} stages, {unfreeze} cannot be unfrozen; 'all' trains all.")
    for layer, stage in zip(model.layers, stages, strict=True):
        layer.trainable = stage >= first


def reseed(model: keras.Model, seed: int) -> None:
    """Set the random generators of a model's layers, such as dropout, to states that depend on `seed` alone."""
    for i, layer in enumerate(model._flatten_layers()):
        generator = getattr(layer, "seed_generator", None)
        if isinstance(generator, keras.random.SeedGenerator):
            generator.state.assign([seed % 2**31, i])


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


def announce(row: dict[str, Any], better: bool) -> None:
    """Print an epoch; a star marks the best one so far."""
    print(
        f"epoch {row['epoch']}: loss {row['loss']:.3f}, validation accuracy {row['val_accuracy']:.4f}, balanced "
        f"{row['val_balanced_accuracy']:.4f}, melanoma {row['val_melanoma_recall']:.3f}, "
        f"cross-entropy {row['val_cross_entropy']:.4f}, {row['seconds']:.0f} s{' *' if better else ''}",
        flush=True,
    )
