"""SmoothGrad, by tf-keras-vis, which needs gradients and so TensorFlow: that stays out of a server.

`python -m dermlens.explain.gradients FD` is the process that draws one such map and ends, started from here alone. What
TensorFlow took, half a gigabyte and more, is free again with it.
"""

import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dermlens import sandbox
from dermlens.child_process import Process, receive, receive_header, send
from dermlens.errors import ModelError
from dermlens.image.tta import restore
from dermlens.models import keras_file
from dermlens.models.model import Model

if TYPE_CHECKING:
    import keras

SAMPLES = 24
NOISE = 0.15
SILENT_SECONDS = 300.0
"""That the process may take for one step, of which loading TensorFlow and the network is the longest."""
_FAILED = "SmoothGrad could not be drawn: %s. Try again, or choose another method."

Progress = Callable[[float], None]


def load_network(model: Model) -> "keras.Model":
    """Load the Keras network that a served model was built from. Takes seconds: keep the result.

    Raises:
        ModelError: model.keras is not what the card says any more, or Keras runs on another backend than TensorFlow.
    """
    return _load(model.folder / "model.keras", model.card["files"]["model.keras"])


def smooth_grad(network: "keras.Model", views: np.ndarray, index: int, progress: Progress) -> np.ndarray:
    """Average the gradients of noisy copies, the views taking turns; the largest channel's size is the map.

    Args:
        network: as loaded by `load_network`.
        views: (V, S, S, 3) float32 RGB, 0..255, as tta.expand gives them.
        index: class, in the order of labels.CLASSES.
        progress: called with the share that is done, 0..1.

    Returns:
        (S, S) float64, >= 0.
    """
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.utils.scores import CategoricalScore

    rng = np.random.default_rng(0)
    sigma = NOISE * float(np.ptp(views))
    saliency, score = Saliency(network, clone=False), CategoricalScore(index)
    rounds = max(1, SAMPLES // len(views))
    total = np.zeros(views.shape[1:], np.float64)
    for done in range(rounds):
        noise = rng.normal(0, sigma, views.shape).astype(np.float32)
        found = np.empty_like(views)
        for i, noisy in enumerate(views + noise):  # one by one: what a gradient takes in memory grows with the batch
            progress((done + i / len(views)) / rounds)
            found[i] = np.asarray(saliency(score, noisy[None], keepdims=True, normalize_map=False))[0]
        total += restore(found, len(views)).mean(0)
    return np.abs(total / rounds).max(-1)


def smooth_grad_apart(
    model: Model, views: np.ndarray, index: int, progress: Progress, seconds: float = SILENT_SECONDS
) -> np.ndarray:
    """Draw SmoothGrad in a process of its own; arguments and result as of `smooth_grad`.

    Args:
        seconds: most that the process may be silent. It ends with this call, whatever comes of it.

    Raises:
        ModelError: the network is not to be loaded; or the process could not be started, ended, or fell silent.
    """
    job = {"file": str((model.folder / "model.keras").absolute()), "sha256": model.card["files"]["model.keras"]}
    try:
        process = Process("dermlens.explain.gradients")
    except OSError as e:
        raise ModelError(_FAILED % f"its process does not start ({e.strerror})") from e
    try:
        views = np.ascontiguousarray(views, np.float32)
        process.control.settimeout(seconds)
        send(process.control, {**job, "shape": views.shape, "index": index}, views.data.cast("B"))
        while "share" in (answer := receive_header(process.control, time.monotonic() + seconds)):
            progress(float(answer["share"]))
        if "error" in answer:
            raise ModelError(str(answer["error"]))
        heat = np.empty(views.shape[1:3], np.float32)
        receive(process.control, heat.data.cast("B"), time.monotonic() + seconds)
        return heat
    except TimeoutError as e:
        raise ModelError(_FAILED % f"its process was silent for {seconds:.0f} seconds and was ended") from e
    except (OSError, EOFError) as e:
        raise ModelError(_FAILED % "its process ended before, perhaps for want of memory") from e
    finally:
        process.close()


def _load(path: Path, digest: str) -> "keras.Model":
    # oneDNN comes with an allocator of its own that keeps what a gradient took, a gigabyte a network, for ever.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"tf-keras-vis needs Keras on TensorFlow, it runs on {keras.backend.backend()}. Unset KERAS_BACKEND."
        )
    return keras_file.load_network(path, digest)


def _work(control: socket.socket) -> None:
    """Be the process: read what to draw, draw it, answer. Where nobody listens any more, sending ends it."""
    sandbox.limit(resource.RLIMIT_CORE, 0)  # a core would hold the image
    job = receive_header(control)
    views = np.empty(job["shape"], np.float32)
    receive(control, views.data.cast("B"))
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        network = _load(Path(job["file"]), job["sha256"])
    except ModelError as e:
        send(control, {"error": str(e)})
        return
    heat = smooth_grad(network, views, job["index"], lambda share: send(control, {"share": share}))
    send(control, {}, heat.astype(np.float32).data.cast("B"))


if __name__ == "__main__":
    _work(socket.socket(fileno=int(sys.argv[1])))
