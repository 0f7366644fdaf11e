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
    file = folder / KEPT
    if not file.exists():
        buffer = io.BytesIO()
        np.save(buffer, ask(config.teacher, rows))
        write_whole(file, buffer.getvalue())
    answers = np.load(file, allow_pickle=False)
    return ((1 - config.teacher_share) * labels + config.teacher_share * answers).astype(np.float32)


def ask(model_id: str, rows: pd.DataFrame) -> np.ndarray:
    """Return the probabilities (n, 7) float32 that a published model gives to images."""
    model = registry.load_any(registry.find(registry.models_dir(), model_id))
    answers = []
    columns = (rows["file"], rows["stored_aspect"])
    for file, aspect in tqdm(
        zip(*columns, strict=True), total=len(rows), desc=model_id, disable=not sys.stderr.isatty()
    ):
        answers.append(predict(model, read_file(file, stored_aspect=aspect).pixels).probabilities)
    return np.stack(answers).astype(np.float32)
