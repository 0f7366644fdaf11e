"""Augmentation as Keras layers: canvases in, squares out, labels kept right.

Geometry is one resampling and colour one matrix per image. The chain of Keras' own layers for the same changes took
160 ms for 32 images of 160 px against 1.1 s for the training step itself; these two layers take about a quarter.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from training.config import Augment

# Rows: luma and the two colour-difference axes of NTSC YIQ; hue is an angle in their plane, saturation a length.
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32)


class RandomAffine(layers.Layer):
    """Flip, turn, zoom and shift (b, h, w, 3) images in one resampling, then cut the centre (size, size) square.

    Pixels are square and both axes are zoomed alike, so a lesion is never distorted. What lies outside the canvas
    is mirrored. Without `training=True` it only cuts the centre.
    """

    def __init__(self, size: int, flip: bool, rotation_degrees: float, zoom: float, translation: float, **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        self.size = size
        self.flip = flip
        self.rotation = math.radians(rotation_degrees)
        self.zoom = zoom
        self.translation = translation
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, images: Any, training: bool = False) -> Any:
        """Return (b, size, size, 3) float32."""
        height, width = images.shape[1:3]
        if training:
            images = ops.image.affine_transform(
                images, self._transforms(ops.shape(images)[0], height, width), fill_mode="reflect"
            )
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return images[:, top : top + self.size, left : left + self.size]

    def _uniform(self, n: Any, limit: float) -> Any:
        return keras.random.uniform((n,), -limit, limit, seed=self.seed_generator)

    def _transforms(self, n: Any, height: int, width: int) -> Any:
        # Output pixel -> input pixel, about the centre: in = z R F (out - c) + c + shift.
        angle = self._uniform(n, self.rotation)
        zoom = 1.0 + self._uniform(n, self.zoom)
        sign = ops.ones((2, n))
        if self.flip:
            drawn = keras.random.uniform((2, n), seed=self.seed_generator)
            sign = ops.where(drawn < 0.5, -sign, sign)
        shift_x, shift_y = (self._uniform(n, self.translation * self.size) for _ in range(2))
        cos, sin = zoom * ops.cos(angle), zoom * ops.sin(angle)
        a, b, c, d = cos * sign[0], -sin * sign[1], sin * sign[0], cos * sign[1]
        cx, cy = (width - 1) / 2, (height - 1) / 2
        zero = ops.zeros((n,))
        x0 = cx + shift_x - a * cx - b * cy
        y0 = cy + shift_y - c * cx - d * cy
        return ops.stack([a, b, x0, c, d, y0, zero, zero], axis=1)


class RandomColour(layers.Layer):
    """Change brightness, contrast, saturation and hue of (b, h, w, 3) images 0..255, each image by its own draw.

    `brightness` adds up to that share of 255; `contrast` and `saturation` scale by up to 1 +- that share about the
    image's mean and its grey; `hue` turns colours by up to that share of the circle. The result is clipped to 0..255.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float, **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.seed_generator = keras.random.SeedGenerator()

    def _uniform(self, n: Any, limit: float) -> Any:
        return keras.random.uniform((n,), -limit, limit, seed=self.seed_generator)

    def call(self, images: Any, training: bool = False) -> Any:
        """Return (b, h, w, 3) float32."""
        if not training:
            return images
        n = ops.shape(images)[0]
        angle = 2 * math.pi * self._uniform(n, self.hue)
        length = 1.0 + self._uniform(n, self.saturation)
        cos, sin = length * ops.cos(angle), length * ops.sin(angle)
        zero, one = ops.zeros((n,)), ops.ones((n,))
        turn = ops.reshape(ops.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1), (n, 3, 3))
        gain = (1.0 + self._uniform(n, self.contrast))[:, None, None]
        colour = ops.convert_to_tensor(np.linalg.inv(RGB_TO_YIQ)) @ turn @ ops.convert_to_tensor(RGB_TO_YIQ)
        mean = colour @ ops.mean(images, axis=(1, 2))[:, :, None]
        shift = (1 - gain) * mean + 255 * self._uniform(n, self.brightness)[:, None, None]
        matrix = ops.transpose(gain * colour, (0, 2, 1))
        flat = ops.reshape(images, (n, -1, 3)) @ matrix + ops.transpose(shift, (0, 2, 1))
        return ops.clip(ops.reshape(flat, ops.shape(images)), 0.0, 255.0)


def augmenter(augment: Augment, size: int) -> keras.Sequential:
    """Return a model (b, size, 4/3 size, 3) -> (b, size, size, 3) float32 RGB 0..255.

    It changes images at random when called with `training=True`; otherwise it cuts the centre square.
    """
    a = augment
    steps: list[keras.Layer] = [RandomAffine(size, a.flip, a.rotation_degrees, a.zoom, a.translation, name="affine")]
    if a.brightness or a.contrast or a.saturation or a.hue:
        steps.append(RandomColour(a.brightness, a.contrast, a.saturation, a.hue, name="colour"))
    if a.erasing:
        share = (a.erasing, a.erasing)  # a single number would be the upper limit of a share that is drawn, too
        steps.append(layers.RandomErasing(share, fill_value=0.0, dtype="float32", name="erasing"))
    return keras.Sequential([keras.Input((size, round(size * 4 / 3), 3)), *steps], name="augmentation")


def mixup(alpha: float) -> layers.Layer | None:
    """Return the layer of Zhang et al., "mixup", ICLR 2018, which takes and gives {"images", "labels"}; None for 0."""
    return layers.MixUp(alpha=alpha, dtype="float32", name="mixup") if alpha else None


def reseed(layer: keras.Layer | None, seed: int) -> None:
    """Set every random generator inside a layer or model to a state that depends on `seed` alone."""
    for i, sub in enumerate(layer._flatten_layers() if layer else ()):
        for name in ("seed_generator", "generator"):
            generator = getattr(sub, name, None)
            if isinstance(generator, keras.random.SeedGenerator):
                generator.state.assign([seed % 2**31, i])
