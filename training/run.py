"""A run's folder: settings, history and checkpoints, each replaced whole, so that a kill loses no finished epoch."""

import csv
import hashlib
import io
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from dermlens.errors import DataError
from dermlens.files.documents import unwritable, write_object, write_whole
from dermlens.models.runs import ELSEWHERE, HISTORY, PROGRESS_FILE
from dermlens.server.hardware import processor
from training.loop.state import State

PROGRESS_SECONDS = 5.0
CHOSEN_BY = "val_cross_entropy"
"""Column of history.csv that the best epoch is the lowest in."""


def write_history(file: Path, rows: list[dict[str, Any]]) -> None:
    """Replace history.csv by `rows`, one a finished epoch; what the best one is chosen by is written in full."""
    text = io.StringIO()
    columns = [*HISTORY, *(name for name in ELSEWHERE if any(name in row for row in rows))]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        short = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
        writer.writerow(short | ({CHOSEN_BY: repr(float(row[CHOSEN_BY]))} if CHOSEN_BY in row else {}))
    write_whole(file, text.getvalue().encode())


def progress_writer(folder: Path, epoch: int, steps: int) -> Callable[[int, float, float], None]:
    """Return what `loop.epoch.fit_epoch` tells each step to: it writes PROGRESS_FILE every PROGRESS_SECONDS."""
    last = -PROGRESS_SECONDS

    def note(step: int, loss: float, accuracy: float) -> None:
        nonlocal last
        if time.monotonic() - last < PROGRESS_SECONDS:
            return
        last = time.monotonic()
        row = {"epoch": epoch, "step": step, "steps": steps, "loss": loss, "accuracy": accuracy}
        with suppress(DataError):  # nothing depends on it
            write_object(folder / PROGRESS_FILE, row)

    return note


def open_events(folder: Path) -> EventsWriter:
    """Return a writer of TensorBoard events into a new file in `folder`.

    tensorboardX' SummaryWriter writes from a thread, and a kill would lose the last epochs with it.
    """
    folder.mkdir(exist_ok=True)
    return EventsWriter(str(folder / "events"), f".{os.getpid()}")


def write_events(writer: EventsWriter, row: dict[str, Any]) -> None:
    """Write the metrics of an epoch; they are in the file when this returns."""
    for name in (name for name in (*HISTORY[2:], *ELSEWHERE) if name in row):
        writer.write_event(Event(wall_time=time.time(), step=row["epoch"], summary=scalar(name, row[name])))
    writer.flush()


def environment() -> dict[str, Any]:
    """Return versions, git commit and hardware, as run.json records them."""
    packages = {"keras": version("keras"), "numpy": version("numpy")}
    backend = keras.backend.backend()
    packages[backend] = version(backend)
    return {
        "git_commit": commit(),
        "python": platform.python_version(),
        "backend": backend,
        "versions": packages,
        "hardware": {
            "machine": platform.machine(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "accelerator": _accelerator(backend),
        },
        "command": " ".join(["python -m training.train", *sys.argv[1:]]),
    }


def save_state(file: Path, variables: dict[str, list], state: State) -> None:
    """Write the values of Keras variables, group by group, and a run's state as one NumPy archive, in one step.

    The archive ends with a checksum of its content, so that a damaged file is noticed and not trained on.
    """
    arrays = {
        f"{group}/{i}": np.asarray(keras.ops.convert_to_numpy(variable))
        for group, found in variables.items()
        for i, variable in enumerate(found)
    }
    arrays["state"] = np.frombuffer(json.dumps(state.to_dict()).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    data = buffer.getvalue()
    write_whole(file, data + hashlib.sha256(data).digest())


def remove_partial(folder: Path) -> None:
    """Remove what a kill in the middle of writing left in a run's folder and those below it."""
    for partial in folder.rglob(".*.part"):
        partial.unlink(missing_ok=True)


def load_state(file: Path) -> tuple[dict[str, np.ndarray], State]:
    """Read what `save_state` wrote: arrays by "<group>/<number>" and the state; raises DataError if it is damaged."""
    data = file.read_bytes()
    if hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise DataError(f"Checkpoint {file} is damaged. Delete it to start the run again, or restore it from a copy.")
    arrays = dict(np.load(io.BytesIO(data[:-32]), allow_pickle=False))
    return arrays, State.from_dict(json.loads(arrays.pop("state").tobytes()))


def restore(variables: list, arrays: dict[str, np.ndarray], group: str) -> None:
    """Assign the arrays of one group back to variables, in order; raises DataError if their number differs."""
    found = [k for k in arrays if k.startswith(f"{group}/")]
    if len(found) != len(variables):
        raise DataError(f"The checkpoint holds {len(found)} {group} variables, the network has {len(variables)}.")
    for i, variable in enumerate(variables):
        variable.assign(arrays[f"{group}/{i}"])


def save_best(model: keras.Model, checkpoints: Path, epoch: int) -> None:
    """Save the weights of the best epoch so far beside best.weights.h5, whose place `settle_best` gives them.

    Raises:
        DataError: they cannot be written.
    """
    candidate = checkpoints / f".best-{epoch}.weights.h5"
    saved = [*model.weights, *getattr(getattr(model, "optimizer", None), "variables", [])]
    try:
        # HDF5 that runs out of room ends the process with a segmentation fault, so it is made sure that there is some.
        candidate.write_bytes(bytes(sum(4 * math.prod(v.shape) + 8192 for v in saved)))
        model.save_weights(candidate)
    except OSError as e:
        candidate.unlink(missing_ok=True)
        raise DataError(unwritable(checkpoints / "best.weights.h5", e)) from e


def settle_best(checkpoints: Path, epoch: int) -> None:
    """Make best.weights.h5 of the candidate of the last epoch that is in the checkpoint; remove any other.

    A kill at any moment leaves best.weights.h5 that belongs to the history, or a candidate that will be made so.
    """
    for candidate in checkpoints.glob(".best-*.weights.h5"):
        if candidate.name == f".best-{epoch}.weights.h5":
            candidate.replace(checkpoints / "best.weights.h5")
        else:
            candidate.unlink()


def commit() -> str:
    """Return the commit, ending in -dirty where files of the code differ from it or are not in it."""
    here = Path(__file__).parent

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], capture_output=True, text=True, cwd=here).stdout.strip()

    try:
        found = git("rev-parse", "HEAD")
        new = git("status", "--porcelain", "--", f"{here}", f"{here.parent / 'dermlens'}")
    except OSError:
        return "unknown"
    return f"{found}{'-dirty' if new else ''}" if found else "unknown"


def _accelerator(backend: str) -> str:
    """Return the name of the first GPU the backend uses, or "none"."""
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    if backend == "jax":
        import jax

        return jax.devices()[0].device_kind if jax.default_backend() != "cpu" else "none"
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU") if found else "none"
