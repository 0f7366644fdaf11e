"""One pass over the training images, and what a network is worth on validation after it."""

import math
import sys
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from dermlens.errors import DermlensError
from dermlens.evaluation import metrics
from dermlens.labels import N_CLASSES
from training.loop.averaging import follow
from training.losses import ClassHits, Loss

EVAL_BATCH = 64


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
    total = 0.0
    hits, seen = np.zeros(N_CLASSES), np.zeros(N_CLASSES)
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
