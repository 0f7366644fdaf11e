"""Logit adjustment after training: how far rare diagnoses are favoured, chosen on validation, kept in the head's bias.

Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, section 4.1: tau * log(prior) is taken off the
logits. 0 leaves a network as it was trained, which favours accuracy; 1 favours the mean recall of the classes.
"""

import keras
import numpy as np

from dermlens.metrics import accuracy, balanced_accuracy, confusion_matrix, mean_defined, melanoma_recall

TAUS = tuple(round(0.1 * i, 1) for i in range(11))


def shift(counts: np.ndarray, tau: float) -> np.ndarray:
    """Return what is added to the logits, (7,) float64; `counts` are the (7,) training images a class."""
    prior = counts.clip(1) / counts.clip(1).sum()
    return -tau * np.log(prior)


def choose(logits: np.ndarray, y: np.ndarray, counts: np.ndarray) -> float:
    """Return the tau of `TAUS` with the highest mean of accuracy, balanced accuracy and melanoma recall.

    Melanoma counts once more than as one class of seven because missing it is the worst error. Of equals it is the
    smallest tau; a figure that the split cannot give is left out.

    Args:
        logits: (n, 7) of the validation split. y: (n,) true classes. counts: (7,) training images a class.
    """
    return max(TAUS, key=lambda tau: (round(_score(logits + shift(counts, tau), y), 12), -tau))


def fold(model: keras.Model, counts: np.ndarray, tau: float) -> None:
    """Add the shift to the bias of the layer "logits", so that it is part of the network wherever that is used."""
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel, (bias + shift(counts, tau)).astype(bias.dtype)])


def _score(logits: np.ndarray, y: np.ndarray) -> float:
    matrix = confusion_matrix(y, logits.argmax(1))
    return float(mean_defined(np.array([accuracy(matrix), balanced_accuracy(matrix), melanoma_recall(matrix)])))
