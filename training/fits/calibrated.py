"""The probabilities that thresholds are fitted on and measured with, and the record of where they come from."""

from typing import Any

import numpy as np

from dermlens.evaluation.predictions import Predictions
from dermlens.models import registry
from dermlens.trust import calibration
from training.fits.subject import Subject


def calibrated(subject: Subject, split: str) -> tuple[Predictions, np.ndarray]:
    """Return the predictions of a split and their calibrated probabilities (n, 7).

    Those of validation images are cross-fitted: calibrated on other lesions than their own, by the method of the
    model's own calibration. Those of other images are the model's own.

    Raises:
        ModelError: the model is not calibrated yet. DataError: there are no predictions of the split.
    """
    fitted = calibration.read(subject.folder / "calibration.json")
    p = subject.predictions.of_split(split)
    return p, calibration.unseen(p, fitted)


def fitted_on(subject: Subject) -> dict[str, Any]:
    """Return what is fitted on, for the head of a JSON file."""
    p = subject.predictions.of_split("validation")
    return {
        "split": "validation",
        "n_images": len(p),
        "n_lesions": p.n_lesions,
        "predictions_sha256": subject.predictions_file.sha256,
        "calibration_sha256": registry.sha256(subject.folder / "calibration.json"),
    }
