"""One pass over the training images, and what a network is worth on validation after it."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from dermlens.errors import DermlensError
from dermlens.evaluation import metrics
from dermlens.labels import MELANOMA, N_CLASSES
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
    note: Callable[[int, float, float], None] = lambda step, loss, accuracy: None,
) -> dict[str, float]:
    """Train on every batch once.

    Args:
        model: compiled, with `tally` as its metric.
        tally: counts right answers.
        data: pairs (x, y).
        rates: the learning rate of every step.
        average, momentum: averaged weights to keep up with, see `follow`; none if empty.
        title: for the progress bar.
        note: called after each step with its number from 1, and the mean loss and accuracy so far.

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
        note(step, total / step, float(hits.sum() / seen.sum()))
        progress.set_postfix_str(f"loss {total / step:.3f}, accuracy {hits.sum() / seen.sum():.3f}", refresh=False)
    met = seen > 0
    return {
        "learning_rate": rate,
        "loss": total / step,
        "accuracy": float(hits.sum() / seen.sum()),
        "balanced_accuracy": float((hits[met] / seen[met]).mean()),
    }


def forward(model: keras.Model, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the model's answer to n images of one size, in inference mode, (n, 7) float32."""
    starts = range(0, len(images), EVAL_BATCH)
    parts = [model.predict_on_batch(np.stack(images[i : i + EVAL_BATCH]).astype(np.float32)) for i in starts]
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


def elsewhere(logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the columns of history.csv on the validation images of other archives."""
    confusion = metrics.confusion_matrix(y, logits.argmax(1))
    melanoma = np.exp(metrics.log_softmax(logits))[:, MELANOMA]
    return {
        "external_balanced_accuracy": float(metrics.balanced_accuracy(confusion)),
        "external_melanoma_auc": float(metrics.roc_auc(y == MELANOMA, melanoma)),
        "external_cross_entropy": metrics.cross_entropy(y, logits),
    }
