"""The heat maps that need gradients or many passes, by tf-keras-vis. TensorFlow is imported only when one is drawn."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dermlens.errors import ConfigError, ModelError
from dermlens.image.preprocess import fit
from dermlens.image.tta import expand, restore
from dermlens.models import keras_file
from dermlens.models.engine import Engine
from dermlens.models.model import Model

if TYPE_CHECKING:
    import keras

METHODS = {"grad_cam_plus_plus": "Grad-CAM++", "score_cam": "Score-CAM", "smooth_grad": "SmoothGrad"}
"""Method -> the name a person reads. References: explain_with."""
SCORE_CAM_CHANNELS = 64
SMOOTH_GRAD_SAMPLES = 24
SMOOTH_GRAD_NOISE = 0.15
_BATCH = 8

Progress = Callable[[float], None]


def load_network(model: Model) -> "keras.Model":
    """Load the Keras network that a served model was built from. Takes seconds: keep the result.

    Raises:
        ModelError: model.keras is not what the card says any more, or Keras runs on another backend than TensorFlow.
    """
    # oneDNN comes with an allocator of its own that keeps what a gradient took, a gigabyte a network, for ever.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import keras

    path = model.folder / "model.keras"
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"tf-keras-vis needs Keras on TensorFlow, it runs on {keras.backend.backend()}. Unset KERAS_BACKEND."
        )
    return keras_file.load_network(path, model.card["files"]["model.keras"])


def explain_with(
    method: str,
    model: Model,
    network: "keras.Model",
    pixels: np.ndarray,
    index: int,
    progress: Progress = lambda share: None,
) -> np.ndarray:
    """Draw one heat map for one class, averaged over the model's views.

    Args:
        method: "grad_cam_plus_plus" (Chattopadhay et al., WACV 2018, doi:10.1109/WACV.2018.00097), "score_cam" (Wang
            et al., CVPR Workshops 2020, doi:10.1109/CVPRW50498.2020.00020; the SCORE_CAM_CHANNELS channels that vary
            most) or "smooth_grad" (Smilkov et al., arXiv:1706.03825; SMOOTH_GRAD_SAMPLES noisy copies, fixed seed).
        model: as loaded by registry.load.
        network: as loaded by `load_network` from the same model.
        pixels: (height, width, 3) uint8 RGB.
        index: class, in the order of labels.CLASSES.
        progress: called with the share that is done, 0..1.

    Returns:
        (h, w) float32, >= 0, over the network's square: what explain.heat_on_image takes.

    Raises:
        ConfigError: the method is unknown.
    """
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    views = expand(fit(pixels, model.geometry).astype(np.float32), model.views)
    if method == "smooth_grad":
        heat = _smooth_grad(network, views, index, progress)
    else:
        draw = _grad_cam_plus_plus if method == "grad_cam_plus_plus" else _score_cam
        maps = []
        for i, view in enumerate(views):

            def within(share: float, start: int = i) -> None:
                progress((start + share) / len(views))

            found = np.maximum(draw(model, network, view[None], index, within), 0)
            maps.append(found / (found.max() or 1))
        heat = restore(np.stack(maps), model.views).mean(0)
    progress(1.0)
    return heat.astype(np.float32)


def _grad_cam_plus_plus(
    model: Model, network: "keras.Model", image: np.ndarray, index: int, progress: Progress
) -> np.ndarray:
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.utils.scores import CategoricalScore

    progress(0.0)
    maps = GradcamPlusPlus(network, clone=False)(
        CategoricalScore(index),
        image,
        penultimate_layer=model.feature_layer,
        seek_penultimate_conv_layer=False,
        expand_cam=False,
        normalize_cam=False,
    )
    return np.asarray(maps)[0]


def _score_cam(model: Model, network: "keras.Model", image: np.ndarray, index: int, progress: Progress) -> np.ndarray:
    from tf_keras_vis.scorecam import Scorecam
    from tf_keras_vis.utils.scores import CategoricalScore

    maps = Scorecam(_Served(network, model.engine, progress), clone=False)(
        CategoricalScore(index),
        image,
        penultimate_layer=model.feature_layer,
        seek_penultimate_conv_layer=False,
        max_N=min(SCORE_CAM_CHANNELS, len(model.head_kernel)),
        expand_cam=False,
        normalize_cam=False,
    )
    return np.asarray(maps)[0]


class _Served:
    """A Keras network whose many forward passes go to the serving engine, and are counted."""

    def __init__(self, network: "keras.Model", engine: Engine, progress: Progress) -> None:
        self._network, self._engine, self._progress = network, engine, progress

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        return self._network(*args, **kwargs)

    def predict(self, images: list[np.ndarray], batch_size: int) -> np.ndarray:
        found = []
        for start in range(0, len(images[0]), _BATCH):
            self._progress(start / len(images[0]))
            found.append(self._engine.run(images[0][start : start + _BATCH]).logits)
        return np.concatenate(found)


def _smooth_grad(network: "keras.Model", views: np.ndarray, index: int, progress: Progress) -> np.ndarray:
    """Average the gradients of noisy copies, the views taking turns; the largest channel's size is the map."""
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.utils.scores import CategoricalScore

    rng = np.random.default_rng(0)
    sigma = SMOOTH_GRAD_NOISE * float(np.ptp(views))
    saliency = Saliency(network, clone=False)
    rounds, at_once = max(1, SMOOTH_GRAD_SAMPLES // len(views)), max(1, _BATCH // len(views))
    total = np.zeros(views.shape[1:], np.float64)
    for start in range(0, rounds, at_once):
        progress(start / rounds)
        count = min(at_once, rounds - start)
        noise = rng.normal(0, sigma, (count, *views.shape)).astype(np.float32)
        noisy = (views + noise).reshape(-1, *views.shape[1:])
        gradients = np.asarray(saliency(CategoricalScore(index), noisy, keepdims=True, normalize_map=False))
        for own in gradients.reshape(count, *views.shape):
            total += restore(own, len(views)).mean(0)
    return np.abs(total / rounds).max(-1)
