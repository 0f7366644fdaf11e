"""Averaged weights: they follow the weights step by step, and are lent to the network while it is measured."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras import ops


def start_average(model: keras.Model) -> list[keras.Variable]:
    """Return variables with a copy of all weights, those of batch norms included."""
    return [keras.Variable(np.array(ops.convert_to_numpy(v)), trainable=False) for v in model.weights]


def follow(average: list[keras.Variable], weights: list[keras.Variable], momentum: float, step: int) -> None:
    """Move averaged weights a step towards the weights.

    The statistics of batch norms are averaged like the weights they belong to: with the statistics of the last
    step, averaged weights are worth little. Early steps use min(momentum, (1 + step) / (10 + step)), so that the
    start is soon forgotten.
    """
    share = 1 - min(momentum, (1 + step) / (10 + step))
    for mean, value in zip(average, weights, strict=True):
        mean.assign(mean + share * (value - mean))


@contextmanager
def averaged(model: keras.Model, average: list[keras.Variable]) -> Iterator[None]:
    """Put averaged weights, if there are any, into the model for a while."""
    own = [np.array(ops.convert_to_numpy(v)) for v in model.weights] if average else []
    set_weights(model, average)
    try:
        yield
    finally:
        set_weights(model, own)


def set_weights(model: keras.Model, values: list) -> None:
    """Assign all weights of a model, in order; no values leave them as they are."""
    for variable, value in zip(model.weights, values, strict=True) if values else ():
        variable.assign(ops.convert_to_numpy(value))  # a copy: JAX gives the memory of weights away at every step
