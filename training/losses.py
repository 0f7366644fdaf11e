"""Losses on logits and soft labels, and the class weights they use."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from dermlens.labels import N_CLASSES
from training.config import Config

Loss = Callable


def make_loss(config: Config, counts: np.ndarray) -> Loss:
    """Return the loss of a config.

    Args:
        config: its loss settings.
        counts: (7,) training images a class.

    Returns:
        Function of (labels (b, 7) summing to 1, logits (b, 7)) -> (b,) float32. Focal loss: Lin et al., "Focal loss
        for dense object detection", ICCV 2017.
    """
    weights = ops.convert_to_tensor(class_weights(counts, config.class_weight_power), "float32")

    def loss(labels: Any, logits: Any) -> Any:
        labels = ops.convert_to_tensor(labels)
        logits = ops.cast(logits, "float32")
        smooth = labels * (1 - config.label_smoothing) + config.label_smoothing / N_CLASSES
        log_p = ops.log_softmax(logits, axis=-1)
        if config.loss == "focal":
            focus = config.focal_alpha * ops.power(1 - ops.exp(log_p), config.focal_gamma)
            log_p = focus * log_p
        return -ops.sum(smooth * log_p, axis=-1) * ops.sum(labels * weights, axis=-1)

    return loss


def class_weights(counts: np.ndarray, power: float) -> np.ndarray:
    """Return (7,) float32 weights ~ counts ** -power whose mean over the images is 1; an absent class gets 0."""
    weights = np.where(counts > 0, counts.clip(1) ** -float(power), 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)


class ClassHits(keras.metrics.Metric):
    """Right answers and images a class, from (b, 7) labels (their largest entry counts) and (b, 7) logits."""

    def __init__(self, name: str = "accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.hits = self.add_weight(shape=(N_CLASSES,), initializer="zeros", name="hits")
        self.seen = self.add_weight(shape=(N_CLASSES,), initializer="zeros", name="seen")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add one batch."""
        true = ops.one_hot(ops.argmax(y_true, -1), N_CLASSES)
        hit = ops.cast(ops.equal(ops.argmax(y_true, -1), ops.argmax(y_pred, -1)), "float32")
        self.hits.assign_add(ops.sum(true * hit[:, None], 0))
        self.seen.assign_add(ops.sum(true, 0))

    def result(self) -> Any:
        """Return the accuracy, in [0, 1]."""
        return ops.sum(self.hits) / ops.maximum(ops.sum(self.seen), 1.0)
