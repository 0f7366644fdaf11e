"""A teacher's answers to the training images: asked once through the serving path, and kept beside the run."""

import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from dermlens.case.predict import predict
from dermlens.files.documents import write_whole
from dermlens.ingest.read import read_file
from dermlens.models import registry
from training.config import Config

KEPT = "teacher.npy"
SO_FAR = "teacher-so-far.npy"
EVERY = 500
"""Images after which the answers so far are kept, for a run that is broken off meanwhile."""


def taught(config: Config, rows: pd.DataFrame, labels: np.ndarray, folder: Path) -> np.ndarray:
    """Mix the teacher's answers into labels (n, 7); without a teacher they stay as they are.

    An ensemble teaches as well as a network does; its views are averaged. Its probabilities are calibrated where it has
    a calibration.

    Args:
        config: names the teacher and its share. rows: of the n images, as `dataset.located` gives them.
        folder: of the run, where the answers are kept.

    Raises:
        ModelError: there is no such published model, or it is damaged.
    """
    if not config.teacher:
        return labels
    whole, so_far = folder / KEPT, folder / SO_FAR
    if not whole.exists():
        _keep(whole, ask(config.teacher, rows, so_far))
        so_far.unlink(missing_ok=True)
    answers = np.load(whole, allow_pickle=False)
    return ((1 - config.teacher_share) * labels + config.teacher_share * answers).astype(np.float32)


def ask(model_id: str, rows: pd.DataFrame, so_far: Path) -> np.ndarray:
    """Return the probabilities (n, 7) float32 that a published model gives to images.

    Args:
        model_id: of the model. rows: as for `taught`.
        so_far: file of the answers to the first images, which grows; asking goes on from there.
    """
    model = registry.load_any(registry.find(registry.models_dir(), model_id))
    answers = list(np.load(so_far, allow_pickle=False)) if so_far.exists() else []
    left = rows.iloc[len(answers) :]
    columns = (left["file"], left["stored_aspect"])
    for file, aspect in tqdm(
        zip(*columns, strict=True), total=len(left), desc=model_id, disable=not sys.stderr.isatty()
    ):
        answers.append(predict(model, read_file(file, stored_aspect=aspect).pixels).probabilities)
        if len(answers) % EVERY == 0:
            _keep(so_far, np.stack(answers))
    return np.stack(answers).astype(np.float32)


def _keep(file: Path, answers: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, answers)
    write_whole(file, buffer.getvalue())
