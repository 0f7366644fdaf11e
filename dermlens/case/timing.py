"""How long an answer takes on this machine."""

import time
from dataclasses import dataclass

import numpy as np

from dermlens.case.predict import predict
from dermlens.models.model import AnyModel
from dermlens.server.hardware import available_cores, processor

REPEATS = 11


@dataclass(frozen=True)
class Timing:
    """Milliseconds from the pixels of one image to the answer with all heat maps, over REPEATS runs."""

    median: float
    fastest: float
    slowest: float


def time_model(model: AnyModel, pixels: np.ndarray) -> Timing:
    """Time one model on (h, w, 3) uint8 pixels, after one unmeasured run."""
    predict(model, pixels)
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        predict(model, pixels)
        taken.append(1000 * (time.perf_counter() - start))
    return Timing(float(np.median(taken)), min(taken), max(taken))


def hardware() -> str:
    """Name the processor and the cores that this process may use."""
    return f"{processor()}, {available_cores()} cores"
