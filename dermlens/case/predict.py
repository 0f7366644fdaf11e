"""From the pixels of one image to a model's answer: probabilities, Grad-CAM of every class, embedding."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dermlens.explain.grad_cam import grad_cam
from dermlens.image.preprocess import fit
from dermlens.image.tta import expand, restore
from dermlens.models.ensemble import add_maps, mean_logits
from dermlens.models.model import AnyModel, Ensemble, Model
from dermlens.trust.calibration import Calibration
from dermlens.trust.ood import OodDetector


@dataclass(frozen=True)
class Prediction:
    """A model's answer for one image. Arrays are float32; classes are in the order of labels.CLASSES."""

    model_id: str
    logits: np.ndarray
    """(7,), averaged over the model's views"""
    probabilities: np.ndarray
    """(7,), summing to 1: calibrated if `calibrated`, else the softmax of the logits"""
    maps: np.ndarray
    """(7, h, w), >= 0: Grad-CAM of the averaged logits over the network's square, not normalised; of an ensemble the
    weighted sum of its members'"""
    embedding: np.ndarray
    """(C,), averaged over the views; (0,) for an ensemble, which has none of its own"""
    height: int
    """of the image, in pixels"""
    width: int
    """of the image, in pixels"""
    milliseconds: float
    """from pixels to this answer; of an ensemble with those of its members"""
    calibrated: bool = False
    """whether the probabilities mean what they say, in the class mix of HAM10000"""
    unlikeness: float | None = None
    """how unfamiliar the image is to the network (OodDetector.score), None if it cannot tell; an ensemble cannot"""
    identity: str = ""
    """of the model as it was when it answered (Model.identity)"""


def predict(model: AnyModel, pixels: np.ndarray, known: Mapping[str, Prediction] | None = None) -> Prediction:
    """Ask one model about one image.

    Args:
        model: as loaded by registry.load_any.
        pixels: (height, width, 3) uint8 RGB at its true aspect, as read by ingest.read_image.
        known: model id -> its answer to the same image; an ensemble asks only those members that are not in it.

    Returns:
        The answer, averaged over the model's views; of an ensemble over its members.
    """
    if isinstance(model, Ensemble):
        return _combined(model, pixels, known or {})
    start = time.perf_counter()
    logits, features, embedding = forward(model, fit(pixels, model.geometry))
    detector = model.fitted.ood
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
        unlikeness=detector.score(embedding) if isinstance(detector, OodDetector) else None,
        identity=model.identity,
    )


def _combined(ensemble: Ensemble, pixels: np.ndarray, known: Mapping[str, Prediction]) -> Prediction:
    answers = [known.get(m.id) or predict(m, pixels) for m in ensemble.members]
    start = time.perf_counter()
    logits = mean_logits([a.logits for a in answers], ensemble.weights, ensemble.bias)
    maps = add_maps([a.maps for a in answers], ensemble.weights)
    own = 1000 * (time.perf_counter() - start)
    return Prediction(
        model_id=ensemble.id,
        logits=logits,
        probabilities=probabilities(logits, ensemble.fitted.calibration),
        maps=maps,
        embedding=np.zeros(0, np.float32),
        height=pixels.shape[0],
        width=pixels.shape[1],
        milliseconds=sum(a.milliseconds for a in answers) + own,
        calibrated=ensemble.fitted.calibration is not None,
        identity=ensemble.identity,
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
