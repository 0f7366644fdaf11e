"""A teacher's answers to the training images: asked once through the serving path, and kept beside the run."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.case.predict import probabilities
from dermlens.files.documents import write_whole
from dermlens.ingest.read import read_file
from dermlens.models import registry
from dermlens.models.ensemble import mean_logits
from dermlens.models.model import Ensemble
from training.config import Config
from training.fits import embed

KEPT = "teacher.npy"


def taught(config: Config, rows: pd.DataFrame, labels: np.ndarray, folder: Path) -> np.ndarray:
    """Mix the teacher's answers into labels (n, 7); without a teacher they stay as they are.

    An ensemble teaches as well as a network does. Its probabilities are calibrated where it has a calibration.

    Args:
        config: names the teacher and its share. rows: of the n images, as `dataset.located` gives them.
        folder: of the run, where the answers are kept.

    Raises:
        ModelError: there is no such published model, or it is damaged.
    """
    if not config.teacher:
        return labels
    kept = folder / KEPT
    if not kept.exists():
        _keep(kept, ask(config.teacher, rows))
    answers = np.load(kept, allow_pickle=False)
    return ((1 - config.teacher_share) * labels + config.teacher_share * answers).astype(np.float32)


def ask(model_id: str, rows: pd.DataFrame) -> np.ndarray:
    """Return the probabilities (n, 7) float32 that a published model gives to images; arguments as for `taught`.

    Of one view, as the pupil is shown: four take four times as long. An asking that was broken off goes on where it
    stood.
    """
    model = registry.load_any(registry.find(registry.models_dir(), model_id))
    files, aspects = rows["file"].tolist(), rows["stored_aspect"].tolist()
    names = list(map(embed.named, files, aspects))

    def load(i: int) -> np.ndarray:
        return read_file(files[i], stored_aspect=aspects[i]).pixels

    members = model.members if isinstance(model, Ensemble) else (model,)
    answers = [embed.ask(replace(member, views=1), names, load, "to be taught by")[0] for member in members]
    logits = mean_logits(answers, model.weights, model.bias) if isinstance(model, Ensemble) else answers[0]
    return probabilities(logits, model.fitted.calibration)


def _keep(file: Path, answers: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, answers)
    write_whole(file, buffer.getvalue())
