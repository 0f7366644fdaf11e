"""The heat maps beside Grad-CAM. Those that ask the serving engine are drawn here, SmoothGrad by explain.gradients."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import zoom
from scipy.special import softmax

from dermlens.errors import ConfigError
from dermlens.explain import gradients
from dermlens.explain.grad_cam import grad_cam
from dermlens.image.preprocess import fit
from dermlens.image.tta import expand, restore
from dermlens.models.model import Model

if TYPE_CHECKING:
    import keras

METHODS = {"grad_cam_plus_plus": "Grad-CAM++", "score_cam": "Score-CAM", "smooth_grad": "SmoothGrad"}
"""Method -> the name a person reads. References: explain_with."""
SCORE_CAM_CHANNELS = 64
_BATCH = 8
_TINY = 1e-7  # keeps a map that is the same everywhere from being divided by nothing


def explain_with(
    method: str,
    model: Model,
    pixels: np.ndarray,
    index: int,
    progress: Callable[[float], None] = lambda share: None,
    network: "keras.Model | None" = None,
) -> np.ndarray:
    """Draw one heat map for one class, averaged over the model's views.

    Args:
        method: "grad_cam_plus_plus" (Chattopadhay et al., WACV 2018, doi:10.1109/WACV.2018.00097), "score_cam" (Wang
            et al., CVPR Workshops 2020, doi:10.1109/CVPRW50498.2020.00020; the SCORE_CAM_CHANNELS channels that vary
            most) or "smooth_grad" (Smilkov et al., arXiv:1706.03825; gradients.SAMPLES noisy copies, fixed seed).
        model: as loaded by registry.load.
        pixels: (height, width, 3) uint8 RGB.
        index: class, in the order of labels.CLASSES.
        progress: called with the share that is done, 0..1. What it raises ends the drawing.
        network: of SmoothGrad, as gradients.load_network gives it; None has a process of its own load it for this map.

    Returns:
        (h, w) float32, >= 0, over the network's square: what explain.heat_on_image takes.

    Raises:
        ConfigError: the method is unknown. ModelError: SmoothGrad could not be drawn.
    """
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    views = expand(fit(pixels, model.geometry).astype(np.float32), model.views)
    progress(0.0)
    if method == "smooth_grad" and network is None:
        heat = gradients.smooth_grad_apart(model, views, index, progress)
    elif method == "smooth_grad":
        heat = gradients.smooth_grad(network, views, index, progress)
    else:
        maps = _grad_cam_plus_plus(model, views, index)
        if method == "score_cam":
            maps = _score_cam(model, views, index, progress)
        highest = maps.max((1, 2), keepdims=True)
        heat = restore(maps / np.where(highest > 0, highest, 1), model.views).mean(0)
    progress(1.0)
    return heat.astype(np.float32)


def _grad_cam_plus_plus(model: Model, views: np.ndarray, index: int) -> np.ndarray:
    """Return (views, h, w) maps.

    Behind global average pooling and one dense layer the gradient of a channel is the same everywhere, and so are the
    weights alpha of its places: once they add up to 1, as in the authors' program, they cancel. What is left of eq. 5
    is Grad-CAM by the channels that speak for the class.
    """
    return grad_cam(model.engine.run(views).features, np.maximum(model.head_kernel[:, [index]], 0))[:, 0]


def _score_cam(model: Model, views: np.ndarray, index: int, progress: Callable[[float], None]) -> np.ndarray:
    """Return (views, h, w) maps: channels weighed by the probability of the class where only what they see is left."""
    maps, features = [], model.engine.run(views).features
    count = min(SCORE_CAM_CHANNELS, features.shape[-1])
    for i, (view, own) in enumerate(zip(views, features, strict=True)):
        chosen = own[..., np.argsort(-own.std((0, 1)), kind="stable")[:count]]
        weights = np.empty(count, np.float32)
        for start in range(0, count, _BATCH):
            progress((i + start / count) / len(views))
            few = chosen[..., start : start + _BATCH]
            masks = zoom(few, (len(view) / len(few), view.shape[1] / few.shape[1], 1), order=1, mode="nearest")
            low, high = masks.min((0, 1)), masks.max((0, 1))
            masked = view * np.moveaxis((masks - low) / (high - low + _TINY), -1, 0)[..., None]
            weights[start : start + _BATCH] = softmax(model.engine.run(masked).logits, axis=-1)[:, index]
        maps.append(np.maximum(chosen @ weights, 0))
    return np.stack(maps)
