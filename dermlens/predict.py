"""From the pixels of one image to a model's answer: probabilities, Grad-CAM of every class, embedding."""

import time
from dataclasses import dataclass

import numpy as np

from dermlens.calibration import Calibration
from dermlens.explain import grad_cam
from dermlens.preprocess import fit
from dermlens.registry import Model
from dermlens.views import expand, restore


@dataclass(frozen=True)
class Prediction:
    """A model's answer for one image. Arrays are float32; classes are in the order of labels.CLASSES."""

    model_id: str
    logits: np.ndarray
    """(7,), averaged over the model's views"""
    probabilities: np.ndarray
    """(7,), summing to 1: calibrated if `calibrated`, else the softmax of the logits"""
    maps: np.ndarray
    """(7, h, w), >= 0: Grad-CAM of the averaged logits over the network's square, not normalised"""
    embedding: np.ndarray
    """(C,), averaged over the views"""
    height: int
    """of the image, in pixels"""
    width: int
    """of the image, in pixels"""
    milliseconds: float
    """from pixels to this answer"""
    calibrated: bool = False
    """whether the probabilities mean what they say, in the class mix of HAM10000"""


def predict(model: Model, pixels: np.ndarray) -> Prediction:
    """Ask one model about one image.

    Args:
        model: as loaded by registry.load.
        pixels: (height, width, 3) uint8 RGB at its true aspect, as read by ingest.read_image.

    Returns:
        The answer, averaged over the model's views.
    """
    start = time.perf_counter()
    logits, features, embedding = forward(model, fit(pixels, model.geometry))
    return Prediction(
        model_id=model.id,
        logits=logits,
        probabilities=probabilities(logits, model.fitted.calibration),
        maps=grad_cam(features, model.head_kernel),
        embedding=embedding,
        height=pixels.shape[0],
        width=pixels.shape[1],
        milliseconds=1000 * (time.perf_counter() - start),
        calibrated=model.fitted.calibration is not None,
    )


def forward(model: Model, square: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run a model on one fitted square and average over its views.

    Averaged logits are the head's answer to the averaged, turned-back feature maps, so Grad-CAM of the averaged
    logits is Grad-CAM of that one averaged map.

    Args:
        model: as loaded by registry.load.
        square: (size, size, 3) uint8 RGB, as made by preprocess.fit.

    Returns:
        logits (7,), features (h, w, C) as the image lies, embedding (C,); float32.
    """
    outputs = model.engine.run(expand(square, model.views))
    features = restore(outputs.features, model.views).mean(0)
    return outputs.logits.mean(0), features, outputs.embedding.mean(0)


def probabilities(logits: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """Return (..., 7) float32 probabilities of a network's logits, calibrated if there is a calibration."""
    return softmax(logits) if calibration is None else calibration.apply(logits).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis, in the dtype of `logits`; stable for any finite values."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
