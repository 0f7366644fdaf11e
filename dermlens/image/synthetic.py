"""Draw images that look like dermoscopy, for tests, parity checks and demonstrations. They show no real lesion."""

import cv2
import numpy as np


def draw_lesion(
    rng: np.random.Generator, height: int = 450, width: int = 600, centre: tuple[float, float] | None = None
) -> np.ndarray:
    """Draw a pigmented spot with an uneven edge, a network pattern and hairs on skin.

    Args:
        rng: source of every choice; one seed gives one picture.
        height, width: size in pixels.
        centre: (row, column) of the spot as shares of height and width; near the middle by default.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    short = min(height, width)
    row, column = centre if centre is not None else rng.uniform(0.4, 0.6, 2)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y - row * height, x - column * width
    angle = np.arctan2(y, x)
    radius = short * rng.uniform(0.18, 0.3) * np.ones_like(angle)
    for wave in range(2, 7):
        radius *= 1 + rng.uniform(0, 0.16) / wave * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    inside = 1 / (1 + np.exp((np.hypot(x, y * rng.uniform(0.8, 1.25)) - radius) / (0.02 * short)))

    skin = np.array([226, 178, 156]) + rng.uniform(-20, 20) + rng.uniform(-6, 6, 3)
    pigment = np.array([118, 72, 52]) + rng.uniform(-35, 35) + rng.uniform(-12, 12, 3)
    mesh = 14 * np.sin(x / short * 90) * np.sin(y / short * 90)
    blotches = _clouds(rng, height, width)
    image = skin + 9 * _clouds(rng, height, width)[..., None]
    image += inside[..., None] * (pigment + (22 * blotches + mesh)[..., None] - image)
    image = np.clip(image + rng.normal(0, 2.5, image.shape), 0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 6)):
        bow = [(int(rng.uniform(0, width)), int(rng.uniform(0, height))) for _ in range(3)]
        cv2.polylines(image, [_curve(bow)], False, (48, 34, 30), max(1, short // 220), cv2.LINE_AA)
    return image


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return smooth noise of about unit size, (height, width)."""
    return cv2.resize(rng.normal(0, 1, (7, 9)), (width, height), interpolation=cv2.INTER_CUBIC)


def _curve(points: list[tuple[int, int]]) -> np.ndarray:
    """Return a quadratic Bezier curve through three control points, (n, 1, 2) int32."""
    a, b, c = np.array(points, float)
    t = np.linspace(0, 1, 32)[:, None]
    return np.round((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c).astype(np.int32)[:, None]
