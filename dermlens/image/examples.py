"""Images for anyone who has none: drawn by the project, labelled as drawings, showing no real lesion."""

import threading
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

HEIGHT, WIDTH = 450, 600
LABEL = "SYNTHETIC DRAWING"
BLUR = 4
"""Pixels that a blurred hair reaches beyond its line, at most."""


@dataclass(frozen=True)
class Example:
    """A drawing: its key, what a person sees in it, and how it is drawn."""

    key: str
    name: str
    seed: int
    skin: tuple[int, int, int]
    pigment: tuple[int, int, int]
    second: tuple[int, int, int]
    """colour of the blotches inside the spot"""
    radius: float
    """of the spot, as a share of the image's height"""
    unevenness: float
    """of its edge, 0 (a circle) to 1"""
    mesh: float
    """how dark the net of fine lines is (negative: how light), 0 leaves it out"""
    hairs: int


EXAMPLES = (
    Example("brown", "Even brown spot", 3, (224, 178, 156), (139, 92, 66), (112, 70, 48), 0.27, 0.25, 0.55, 0),
    Example("two-toned", "Two-toned dark spot", 8, (218, 172, 156), (98, 64, 56), (78, 72, 80), 0.33, 0.75, 0.45, 2),
    Example("red", "Red spot", 5, (230, 184, 168), (158, 58, 62), (112, 34, 54), 0.25, 0.3, -0.22, 1),
    Example("hairs", "Spot behind hairs", 11, (214, 166, 142), (120, 82, 62), (150, 108, 84), 0.30, 0.5, 0.35, 14),
)


_drawing = threading.Lock()
"""so that whoever needs a drawing that is under way waits for it, and does not draw it as well"""


def draw(example: Example) -> np.ndarray:
    """Draw one example, once.

    Returns:
        (450, 600, 3) uint8 RGB, read-only. The label runs along the left edge, which the centre square that the
        networks see leaves out.
    """
    with _drawing:
        return _drawn(example)


@cache
def _drawn(example: Example) -> np.ndarray:
    rng = np.random.default_rng(example.seed)
    inside = _spot(rng, example)
    blotches = 1 / (1 + np.exp(-4 * (_clouds(rng, 110) - 0.3)))
    skin = np.array(example.skin) * (1 + 0.035 * _clouds(rng, 90) + 0.018 * _clouds(rng, 6))[..., None]
    spot = _mixed(np.array(example.pigment, float), np.array(example.second, float), 0.85 * blotches)
    spot *= (1 - example.mesh * _mesh(rng) * (0.55 + 0.45 * np.tanh(_clouds(rng, 80))))[..., None]
    image = _mixed(skin, spot * (1 + 0.05 * _clouds(rng, 9))[..., None], inside)
    for _ in range(example.hairs):
        _hair(rng, image)
    image += rng.normal(0, 2.2, image.shape)
    labelled = _labelled(np.clip(image, 0, 255).astype(np.uint8))
    labelled.setflags(write=False)
    return labelled


def draw_all() -> None:
    """Draw every example that is not drawn yet."""
    for example in EXAMPLES:
        draw(example)


@cache
def png(example: Example) -> bytes:
    """Return the drawing as a PNG file, to go through the same door as any upload."""
    return cv2.imencode(".png", draw(example)[..., ::-1])[1].tobytes()


def _spot(rng: np.random.Generator, example: Example) -> np.ndarray:
    """Return how much of each pixel belongs to the spot, (h, w) 0..1."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    y, x = y - HEIGHT * rng.uniform(0.47, 0.53), x - WIDTH * rng.uniform(0.47, 0.53)
    angle = np.arctan2(y, x)
    edge = np.full(angle.shape, example.radius * HEIGHT)
    for wave in range(2, 8):
        edge *= 1 + example.unevenness * rng.uniform(0.1, 0.3) / wave * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    ragged = np.hypot(x, y * rng.uniform(0.9, 1.2)) - edge + (4 + 10 * example.unevenness) * _clouds(rng, 22)
    return 1 / (1 + np.exp(ragged / 7))


def _mesh(rng: np.random.Generator, spacing: float = 17.0) -> np.ndarray:
    """Return a net of fine lines like a honeycomb, (h, w) 0..1: bright between the cells of random points."""
    from scipy.spatial import cKDTree  # a tenth of a second that the start of a server can do without

    count = int(HEIGHT * WIDTH / spacing**2)
    points = rng.uniform((0, 0), (HEIGHT, WIDTH), (count, 2))
    grid = np.indices((HEIGHT, WIDTH)).reshape(2, -1).T
    near, far = cKDTree(points).query(grid, k=2, workers=-1)[0].T
    lines = np.exp(-(((far - near) / 3.2) ** 2)).reshape(HEIGHT, WIDTH)
    return cv2.GaussianBlur(lines, (0, 0), 1.0)


def _clouds(rng: np.random.Generator, size: float) -> np.ndarray:
    """Return smooth noise of about unit height and this size in pixels, (h, w)."""
    shape = int(HEIGHT / size) + 3, int(WIDTH / size) + 3
    return cv2.resize(rng.normal(0, 1, shape), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def _mixed(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first + share[..., None] * (second - first)


def _hair(rng: np.random.Generator, image: np.ndarray) -> None:
    start = rng.uniform((0, 0), (WIDTH, HEIGHT))
    direction = rng.uniform(0, 2 * np.pi)
    steps = np.linspace(0, rng.uniform(160, 420), 40)
    bend = direction + rng.normal(0, 0.0016) * steps
    line = start + np.cumsum(np.stack([np.cos(bend), np.sin(bend)], 1) * (steps[1] - steps[0]), 0)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.polylines(mask, [np.round(line * 8).astype(np.int32)], False, 255, 2, cv2.LINE_AA, shift=3)
    x, y, width, height = cv2.boundingRect(mask)
    around = slice(max(y - BLUR, 0), y + height + BLUR), slice(max(x - BLUR, 0), x + width + BLUR)
    part = image[around]
    part[:] = _mixed(part, np.array([44.0, 30.0, 26.0]), 0.8 * cv2.GaussianBlur(mask[around], (0, 0), 0.7) / 255)


def _labelled(image: np.ndarray) -> np.ndarray:
    turned = np.ascontiguousarray(np.rot90(image, -1))
    cv2.putText(turned, LABEL, (12, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.62, (70, 50, 45), 1, cv2.LINE_AA)
    return np.ascontiguousarray(np.rot90(turned))
