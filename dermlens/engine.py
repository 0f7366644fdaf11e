"""Run a serving file on the CPU with LiteRT and XNNPACK in float32, without TensorFlow."""

import os
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from dermlens.errors import ModelError

OUTPUTS = ("logits", "features", "embedding")


class Outputs(NamedTuple):
    """What a network gives for N images, all float32."""

    logits: np.ndarray
    """(N, n_classes)"""
    features: np.ndarray
    """(N, h, w, C), the map that the head pools"""
    embedding: np.ndarray
    """(N, C), its mean over h and w"""


class Engine:
    """One interpreter behind a lock: safe to share between threads, which then take turns."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load a serving file.

        Args:
            path: a .tflite file with one signature: one image input, and the outputs of OUTPUTS.
            threads: CPU threads a run may use; all that this process may use by default.

        Raises:
            ModelError: the file cannot be loaded or has other inputs or outputs.
        """
        try:
            interpreter = Interpreter(model_path=str(path), num_threads=threads or available_cores())
            self._run = interpreter.get_signature_runner()
        except (ValueError, RuntimeError, OSError) as e:
            raise ModelError(
                f"{path.name} cannot be loaded ({e}). Build it again with python -m training.export."
            ) from e
        inputs, outputs = self._run.get_input_details(), self._run.get_output_details()
        if len(inputs) != 1 or set(outputs) != set(OUTPUTS):
            raise ModelError(
                f"{path.name} must have one input and the outputs {', '.join(OUTPUTS)}, it has the inputs "
                f"{sorted(inputs)} and the outputs {sorted(outputs)}. Build it again with python -m training.export."
            )
        ((self._input, detail),) = inputs.items()
        self.size = int(detail["shape"][1])
        self._lock = threading.Lock()

    def run(self, batch: np.ndarray) -> Outputs:
        """Run the network.

        Args:
            batch: (N, size, size, 3) RGB, 0..255; anything but float32 is converted.

        Returns:
            The outputs by name, whatever their order in the file.

        Raises:
            ModelError: the batch has another shape.
        """
        if batch.ndim != 4 or len(batch) == 0 or batch.shape[1:] != (self.size, self.size, 3):
            raise ModelError(f"The network takes (N, {self.size}, {self.size}, 3) images, got {batch.shape}.")
        values = np.ascontiguousarray(batch, np.float32)
        with self._lock:
            found = self._run(**{self._input: values})
        return Outputs(*(found[name] for name in OUTPUTS))


def available_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
