"""Logit adjustment after training: how far rare diagnoses and melanoma are favoured, kept in the head's bias.

Two numbers, chosen on validation. tau: tau * log(prior) is taken off the logits (Menon et al., "Long-tail learning via
logit adjustment", ICLR 2021, section 4.1); 0 leaves a network as it was trained, which favours accuracy, and 1 favours
the mean recall of the classes. The melanoma weight: missing a melanoma counts that many times as much as another
mistake, and log(weight) is added to its logit (Elkan, "The foundations of cost-sensitive learning", IJCAI 2001).
"""

from itertools import product

import keras
import numpy as np

from dermlens.evaluation.metrics import accuracy, balanced_accuracy, confusion_matrix, melanoma_recall
from dermlens.labels import INDEX, N_CLASSES

TAUS = tuple(round(0.1 * i, 1) for i in range(11))
WEIGHTS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
FLOORS = (0.84, 0.74, 0.60)
"""The least accuracy, balanced accuracy and melanoma recall that a published network should have."""


def shift(counts: np.ndarray, tau: float, weight: float = 1.0) -> np.ndarray:
    """Return what is added to the logits, (7,) float64; `counts` are the (7,) training images a class."""
    prior = counts.clip(1) / counts.clip(1).sum()
    added = -tau * np.log(prior)
    added[INDEX["mel"]] += np.log(weight)
    return added


def choose(logits: np.ndarray, y: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Return the tau of `TAUS` and the melanoma weight of `WEIGHTS` that stay most safely above `FLOORS`.

    Most safely: the smallest of the three distances is the largest, each in standard errors that a metric at its floor
    has on this split, since a recall of few melanomas falls farther by chance than an accuracy of all images. Of equals
    it is the smallest tau, then the smallest weight. A metric that the split cannot give is left out.

    Args:
        logits: (n, 7) of the validation split. y: (n,) true classes. counts: (7,) training images a class.
    """

    n = np.bincount(y, minlength=N_CLASSES)
    seen = n[n > 0]
    images = np.array([1 / len(y), (1 / seen).sum() / len(seen) ** 2, 1 / max(n[INDEX["mel"]], 1)])
    errors = np.sqrt(np.multiply(FLOORS, np.subtract(1, FLOORS)) * images)

    def rank(pair: tuple[float, float]) -> tuple[float, float, float]:
        matrix = confusion_matrix(y, (logits + shift(counts, *pair)).argmax(1))
        metrics = np.array([accuracy(matrix), balanced_accuracy(matrix), melanoma_recall(matrix)])
        return round(float(np.nanmin((metrics - FLOORS) / errors)), 12), -pair[0], -pair[1]

    return max(product(TAUS, WEIGHTS), key=rank)


def fold(model: keras.Model, counts: np.ndarray, tau: float, weight: float = 1.0) -> None:
    """Add the shift to the bias of the layer "logits", so that it is part of the network wherever that is used.

    -tau and 1 / weight take it off again.
    """
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel, (bias + shift(counts, tau, weight)).astype(bias.dtype)])
