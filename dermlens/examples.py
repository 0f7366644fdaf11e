"""Images for who has none at hand: drawn by the project, labelled as drawings, showing no real lesion."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from dermlens.synthetic import draw_lesion

LABEL = "SYNTHETIC DRAWING"


@dataclass(frozen=True)
class Example:
    """A drawing: its key, what a person sees in it, and the seed it is drawn from."""

    key: str
    name: str
    seed: int


EXAMPLES = (
    Example("brown", "Even brown spot", 5),
    Example("two-toned", "Two-toned dark spot", 20),
    Example("red", "Red spot", 19),
    Example("hairs", "Spot behind hairs", 4),
)


@cache
def draw(example: Example) -> np.ndarray:
    """Draw one example.

    Returns:
        (450, 600, 3) uint8 RGB, read-only. The label runs along the left edge, which the centre square that the
        networks see leaves out.
    """
    image = draw_lesion(np.random.default_rng(example.seed))
    turned = np.ascontiguousarray(np.rot90(image, -1))
    cv2.putText(turned, LABEL, (12, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.62, (70, 50, 45), 1, cv2.LINE_AA)
    labelled = np.ascontiguousarray(np.rot90(turned))
    labelled.setflags(write=False)
    return labelled


@cache
def png(example: Example) -> bytes:
    """Return the drawing as a PNG file, to go through the same door as any upload."""
    return cv2.imencode(".png", draw(example)[..., ::-1])[1].tobytes()
