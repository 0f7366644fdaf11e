"""Run a serving file on the CPU with LiteRT and XNNPACK in float32, without TensorFlow."""

import base64
import math
import threading
import time
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from dermlens.errors import ModelError
from dermlens.files.documents import shortened
from dermlens.server.hardware import available_cores

BUILD_AGAIN = "Build it again with python -m training.export."
OUTPUTS = ("logits", "features", "embedding")

_SMALLEST = base64.b64decode(  # a network that takes the absolute value of one number
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAcAAAA0AAAAAMAAAABAAAACAAAAAQABAAEAAAAAQAAABAAAAAMABQAEAAM"
    "AAgABAAMAAAAEAAAADwAAABAAAAARAAAAAEAAAAQAAAAAAAKAAwAAAAIAAQACgAAAAgAAAAMAAAAAQAAAAEAAAABAAAAAAAAAAEA"
    "AAABAAAAAQAAAAAAAAACAAAAMAAAAAQAAADk////CAAAAAwAAAABAAAAYgAAAAEAAAABAAAADAAMAAgAAAAAAAQADAAAAAgAAAAM"
    "AAAAAQAAAGEAAAABAAAAAQAAAAEAAAAQAAAADAAMAAsAAAAAAAQADAAAAGUAAAAAAABl"
)


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

    def __init__(self, path: Path, threads: int | None = None, content: bytes | None = None) -> None:
        """Load a serving file. What is loaded stays in memory: the file may be changed or removed afterwards.

        Args:
            path: a .tflite file with one signature: one image input, and the outputs of OUTPUTS.
            threads: CPU threads a run may use; all that this process may use by default.
            content: of the file, if it was read already.

        Raises:
            ModelError: the file cannot be loaded or has other inputs or outputs.
        """
        try:
            data = path.read_bytes() if content is None else content
            interpreter = Interpreter(model_content=data, num_threads=threads or available_cores())
            self._run = interpreter.get_signature_runner()
            inputs, outputs = self._run.get_input_details(), self._run.get_output_details()
            shapes = [[int(n) for n in detail["shape"]] for detail in inputs.values()]
        except Exception as e:  # the interpreter raises almost anything on a damaged file
            raise ModelError(f"{path.name} cannot be loaded ({_first_line(e)}). {BUILD_AGAIN}") from e
        if len(inputs) != 1 or set(outputs) != set(OUTPUTS):
            raise ModelError(
                f"{path.name} must have one input and the outputs {', '.join(OUTPUTS)}, it has the inputs "
                f"{sorted(inputs)} and the outputs {sorted(outputs)}. {BUILD_AGAIN}"
            )
        if len(shapes[0]) != 4 or shapes[0][1] != shapes[0][2] or shapes[0][3] != 3:
            raise ModelError(f"{path.name} must take (1, size, size, 3) images, it takes {shapes[0]}. {BUILD_AGAIN}")
        (self._input,) = inputs
        self.size = shapes[0][1]
        self._lock = threading.Lock()
        self._batch = 0
        """images that its memory holds"""
        self._ran = -math.inf
        _engines.add(self)

    def run(self, batch: np.ndarray) -> Outputs:
        """Run the network.

        Args:
            batch: (N, size, size, 3) RGB, 0..255; anything but float32 is converted.

        Returns:
            The outputs by name, whatever their order in the file.

        Raises:
            ModelError: the batch has another shape, or the network cannot be run.
        """
        if batch.ndim != 4 or len(batch) == 0 or batch.shape[1:] != (self.size, self.size, 3):
            raise ModelError(f"The network takes (N, {self.size}, {self.size}, 3) images, got {batch.shape}.")
        values = np.ascontiguousarray(batch, np.float32)
        with self._lock:
            self._batch = len(values)
            try:
                found = self._computed(values)
            finally:
                self._ran = time.monotonic()
        outputs = Outputs(*(found[name] for name in OUTPUTS))
        if [(a.ndim, len(a), a.dtype) for a in outputs] != [(n, len(values), np.dtype(np.float32)) for n in (2, 4, 2)]:
            shapes = ", ".join(f"{name} {a.shape}" for name, a in outputs._asdict().items())
            raise ModelError(f"The network's outputs have the wrong form for {len(values)} images: {shapes}.")
        return outputs

    def run_grey(self, count: int) -> Outputs:
        """Run the network on so many grey images, to see whether it can be; raises as `run`."""
        return self.run(self._grey(count))

    def forget(self, idle: float = 0.0) -> None:
        """Overwrite what the interpreter still holds of the last images with grey, if it has run on none for so many
        seconds: it takes as long as an answer, and the next one does it as well.
        """
        with self._lock:
            if self._batch and time.monotonic() - self._ran >= idle:
                self._computed(self._grey(self._batch))
                self._batch = 0

    @property
    def holds_images(self) -> bool:
        """Whether its memory still holds what it was run on last."""
        return self._batch > 0

    def _grey(self, count: int) -> np.ndarray:
        return np.full((count, self.size, self.size, 3), 128, np.float32)

    def _computed(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the interpreter makes of a batch; to be called with the lock held."""
        try:
            return self._run(**{self._input: values})
        except Exception as e:  # as above, where only running shows the damage
            raise ModelError(f"The network cannot be run ({_first_line(e)}).") from e


def warm() -> None:
    """Have XNNPACK look at the processor, which it does once a process, with its first network."""
    Interpreter(model_content=_SMALLEST, num_threads=1).allocate_tensors()


_engines: WeakSet[Engine] = WeakSet()
"""Those of this process."""


def forget_images(idle: float = 0.0) -> bool:
    """Have every engine that has been idle for so many seconds forget the images that it saw last: an interpreter keeps
    its input until the next run.

    Returns:
        Whether none holds any more.
    """
    engines = list(_engines)
    for engine in engines:
        engine.forget(idle)
    return not any(engine.holds_images for engine in engines)


def _first_line(error: Exception) -> str:
    return shortened(str(error).partition("\n")[0] or type(error).__name__, 120)
