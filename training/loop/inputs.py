"""What a network is shown in training: images changed at random, or what its frozen stages make of changed copies."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from dermlens.models import registry
from training.artefact import load_model
from training.augmentation import reseed
from training.config import Config
from training.dataset import batches
from training.loop.epoch import EVAL_BATCH

Change = Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]
"""(images or features, labels) of a batch -> the same as the network takes them."""


def prepared(
    x: np.ndarray, labels: np.ndarray, order: np.ndarray, size: int, change: Change
) -> Iterator[tuple[Any, Any]]:
    """Yield the batches of an epoch as the network takes them."""
    for batch in batches(x, labels, order, size):
        yield change(*batch)


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


def as_floats(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cached features as float32, labels as they are."""
    return features.astype(np.float32), labels
