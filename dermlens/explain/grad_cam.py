"""Grad-CAM from the forward pass already done, and its way back onto the original image."""

import cv2
import numpy as np

from dermlens.errors import ConfigError
from dermlens.image.preprocess import Geometry, unfit

# Perceptually uniform maps only: they read the same to colour-blind people and in grey.
COLORMAPS = {
    "inferno": cv2.COLORMAP_INFERNO,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "cividis": cv2.COLORMAP_CIVIDIS,
    "magma": cv2.COLORMAP_MAGMA,
}


def grad_cam(features: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the Grad-CAM of every class (Selvaraju et al., ICCV 2017, doi:10.1109/ICCV.2017.74).

    Behind global average pooling and one dense layer, the gradient of a class logit is kernel / (h w) at every
    position, so Grad-CAM is one matrix product and needs no backward pass.

    Args:
        features: (..., h, w, C) feature maps that the network pools.
        kernel: (C, n_classes) weights of the dense layer.

    Returns:
        (..., n_classes, h, w) float32, >= 0, not normalised. What the ReLU cuts off counts against the class.
    """
    height, width = features.shape[-3:-1]
    maps = np.maximum(features @ kernel, 0) / (height * width)
    return np.moveaxis(maps, -1, -3).astype(np.float32)


def heat_on_image(heat: np.ndarray, height: int, width: int, geometry: Geometry) -> np.ndarray:
    """Lay one map over the image it explains.

    Args:
        heat: (h, w) float map over the network's square, >= 0.
        height, width: size of the original image in pixels.
        geometry: how the image was fitted to the square.

    Returns:
        (height, width) float32, 0..1, where 1 is the map's highest value; all 0 for a map without any heat, and 0
        where the network saw nothing.
    """
    top = float(heat.max())
    scaled = heat / top if top > 0 else np.zeros_like(heat)
    return np.clip(unfit(scaled, height, width, geometry), 0, 1)


def overlay(pixels: np.ndarray, heat: np.ndarray, opacity: float, colormap: str = "inferno") -> np.ndarray:
    """Blend a heat map over an image: the hotter a pixel, the more its colour covers the image.

    Args:
        pixels: (height, width, 3) uint8 RGB.
        heat: (height, width) float, 0..1.
        opacity: 0 (the image alone) to 1 (the hottest point hides the image).
        colormap: one of COLORMAPS.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ConfigError: the colour map is unknown, the opacity out of range or the sizes differ.
    """
    if not 0 <= opacity <= 1:
        raise ConfigError(f"opacity must lie in 0..1, got {opacity}.")
    if pixels.shape[:2] != heat.shape:
        raise ConfigError(f"image and heat map must have one size, got {pixels.shape[:2]} and {heat.shape}.")
    cover = (opacity * np.clip(heat, 0, 1))[..., None]
    blend = pixels * (1 - cover) + colour(heat, colormap) * cover
    return np.round(blend).astype(np.uint8)


def colour(heat: np.ndarray, colormap: str = "inferno") -> np.ndarray:
    """Return a (height, width) map of 0..1 as (height, width, 3) uint8 RGB in one of COLORMAPS."""
    if colormap not in COLORMAPS:
        raise ConfigError(f"colour map must be one of {', '.join(COLORMAPS)}, got {colormap!r}.")
    grey = np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(grey, COLORMAPS[colormap]), cv2.COLOR_BGR2RGB)
