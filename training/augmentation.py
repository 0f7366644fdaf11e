"""Random changes of training images: a uint8 canvas in, a float32 square out, labels kept right.

Geometry is one resampling, light and colour one curve a channel and one matrix. All of it is OpenCV on plain arrays:
it works on threads of its own and is the same under every backend of Keras; JPEG and defocus, which another camera
brings, have no Keras layer at all.
"""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from training.config import Augment

# Rows: luma and the two colour-difference axes of NTSC YIQ; hue is an angle in their plane, saturation a length.
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
YIQ_TO_RGB = np.linalg.inv(RGB_TO_YIQ)
SMALLEST = 64
"""Least side, in pixels, that a picture is shrunk to where low resolution is drawn."""
JPEG_QUALITY = (40, 95)
ERASED = (0.02, 0.2)
"""Least and largest share of the square that an erased rectangle takes."""


def augment(canvas: np.ndarray, size: int, a: Augment, rng: np.random.Generator) -> np.ndarray:
    """Change one image at random.

    Args:
        canvas: (h, 4/3 h, 3) uint8 RGB of any resolution, as `dataset.canvas` makes it.
        size: side of the network's square, in pixels.
        a: what may change, and how far.
        rng: source of every choice.

    Returns:
        (size, size, 3) float32 RGB 0..255.
    """
    square = warp(_coarser(canvas, size, a.low_resolution, rng), size, a, rng)
    square = recolour(square, a, rng)
    if rng.random() < a.blur:
        square = cv2.GaussianBlur(square, (0, 0), max(0.3, rng.uniform(0, 0.01) * size))
    if rng.random() < a.jpeg:
        square = _recompressed(square, int(rng.integers(*JPEG_QUALITY, endpoint=True)))
    if rng.random() < a.erasing:
        _erase(square, rng)
    return square


def centre(canvas: np.ndarray, size: int) -> np.ndarray:
    """Return the middle (size, size, 3) float32 of a canvas, unchanged but for its resolution."""
    return warp(canvas, size, Augment.none(), np.random.default_rng(0)).astype(np.float32)


def warp(canvas: np.ndarray, size: int, a: Augment, rng: np.random.Generator) -> np.ndarray:
    """Flip, turn, zoom, shift and cut a canvas in one resampling.

    Pixels stay square and both axes are zoomed alike, so a lesion is never distorted. What lies outside is mirrored.
    """
    height, width = canvas.shape[:2]
    angle = math.radians(rng.uniform(-a.rotation_degrees, a.rotation_degrees))
    zoom = (1 + rng.uniform(-a.zoom, a.zoom)) * height / size
    signs = np.where(rng.random(2) < 0.5, -1, 1) if a.flip else np.ones(2)
    shift = rng.uniform(-a.translation, a.translation, 2) * height
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]) * signs  # output pixel -> canvas pixel, about the centre
    middle = np.array([width - 1, height - 1]) / 2 + shift - turn @ np.full(2, (size - 1) / 2)
    matrix = np.column_stack([turn, middle])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(canvas, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def recolour(square: np.ndarray, a: Augment, rng: np.random.Generator) -> np.ndarray:
    """Change each channel's gain, gamma, brightness, contrast, saturation and hue; (h, w, 3) uint8 to float32."""
    gains = 1 + rng.uniform(-a.gain, a.gain, 3)
    gamma = math.exp(rng.uniform(-1, 1) * math.log(1 + a.gamma))
    curve = 255 * (np.arange(256) / 255)[:, None] ** gamma * gains
    image = cv2.LUT(square, curve.astype(np.float32)[None])
    angle, length = 2 * math.pi * rng.uniform(-a.hue, a.hue), 1 + rng.uniform(-a.saturation, a.saturation)
    cos, sin = length * math.cos(angle), length * math.sin(angle)
    colour = YIQ_TO_RGB @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ RGB_TO_YIQ
    contrast = 1 + rng.uniform(-a.contrast, a.contrast)
    mean = colour @ np.array(cv2.mean(image)[:3])
    shift = (1 - contrast) * mean + 255 * rng.uniform(-a.brightness, a.brightness)
    return np.clip(cv2.transform(image, np.column_stack([contrast * colour, shift])), 0, 255)


def mixup(x: np.ndarray, y: np.ndarray, alpha: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Blend every image of a batch and its label with another one's (Zhang et al., "mixup", ICLR 2018); 0: none.

    Args:
        x: (b, h, w, 3) float32. y: (b, 7) float32. alpha: of the Beta distribution that the shares are drawn from.
    """
    if not alpha:
        return x, y
    other, share = rng.permutation(len(x)), rng.beta(alpha, alpha, len(x)).astype(np.float32)
    weight = share[:, None, None, None]
    return weight * x + (1 - weight) * x[other], share[:, None] * y + (1 - share[:, None]) * y[other]


def augmented_batches(
    canvases: Sequence[np.ndarray], labels: np.ndarray, order: np.ndarray, batch: int, size: int, a: Augment, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (x (b, size, size, 3) float32, y (b, 7) float32) of an epoch, the next batch made while one is used.

    The i-th image of an epoch is changed by a generator seeded by `seed` and i, so threads change nothing.

    Args:
        canvases: (n) uint8 canvases of any resolution. labels: (n, 7). order: (m,) indices, m at least `batch`.
    """

    def one(i: int) -> np.ndarray:
        return augment(canvases[order[i]], size, a, np.random.default_rng([seed, i]))

    starts = range(0, len(order) - batch + 1, batch)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead = [pool.submit(one, i) for i in range(min(batch, len(order)))]
        for start in starts:
            ready = ahead
            ahead = [pool.submit(one, i) for i in range(start + batch, min(start + 2 * batch, len(order)))]
            x, y = np.stack([job.result() for job in ready]), labels[order[start : start + batch]]
            yield mixup(x, y, a.mixup_alpha, np.random.default_rng([seed, len(order) + start]))


def _coarser(canvas: np.ndarray, size: int, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Shrink a canvas now and then, so that a picture's resolution does not tell where it is from."""
    side = round(rng.uniform(SMALLEST, max(SMALLEST, size)))
    if rng.random() >= probability or side >= canvas.shape[0]:
        return canvas
    width = round(side * canvas.shape[1] / canvas.shape[0])
    return cv2.resize(canvas, (width, side), interpolation=cv2.INTER_AREA)


def _recompressed(square: np.ndarray, quality: int) -> np.ndarray:
    done, data = cv2.imencode(".jpg", square.round().astype(np.uint8)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"cannot encode an image of shape {square.shape}")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32)[..., ::-1].copy()


def _erase(square: np.ndarray, rng: np.random.Generator) -> None:
    """Paint one rectangle in the square's mean colour, in place."""
    size = len(square)
    share, stretch = rng.uniform(*ERASED), math.exp(rng.uniform(-1, 1))
    height, width = (min(size, round(size * math.sqrt(share * s))) for s in (stretch, 1 / stretch))
    top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    square[top : top + height, left : left + width] = cv2.mean(square)[:3]
