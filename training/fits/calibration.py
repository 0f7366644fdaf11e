"""calibration.json: the map from a model's logits to probabilities, fitted on validation."""

from typing import Any

import numpy as np

from dermlens.evaluation.calibration_error import by_chance, measure
from dermlens.evaluation.metrics import log_softmax
from dermlens.evaluation.predictions import Predictions
from dermlens.files.documents import encode_object
from dermlens.labels import CLASSES
from dermlens.trust.calibration import PRIORS, Calibration, fit, try_all, unseen
from training.fits.subject import Subject


def make(subject: Subject) -> dict[str, bytes]:
    """Choose method and prior by their cross-fitted likelihood, fit on validation, and measure before and after."""
    p = subject.predictions.of_split("validation")
    tried = try_all(p)
    calibration = fit(p, tried)
    content = {
        "method": calibration.method,
        "classes": list(CLASSES),
        "scale": list(calibration.scale),
        "bias": list(calibration.bias),
        "prior_sd": calibration.prior_sd,
        "priors": list(PRIORS),
        "cross_fitted_nll": {name: [_mean(losses) for losses in own.values()] for name, own in tried.items()},
        "class_mix": list(calibration.class_mix),
        "fitted_on": {
            "split": "validation",
            "n_images": len(p),
            "n_lesions": p.n_lesions,
            "predictions_sha256": subject.predictions_file.sha256,
        },
        "measured": measured(subject.predictions, calibration),
    }
    return {"calibration.json": encode_object(content)}


def _mean(values: np.ndarray) -> float:
    return round(float(values.mean()), 6)


def measured(predictions: Predictions, calibration: Calibration) -> dict[str, Any]:
    """Measure before and after calibration on every split there is, validation cross-fitted.

    Args:
        predictions: all of them, as the network gave them. calibration: fitted on validation.

    Returns:
        split -> "before", "after" and "by_chance" (the errors that a perfect model with the calibrated probabilities
        would show) -> key of CALIBRATION -> Estimate.to_dict.
    """
    found = {}
    for split in predictions.splits:
        p = predictions.of_split(split)
        after = unseen(p, calibration)
        parts = {
            "before": measure(np.exp(log_softmax(p.logits)), p.y_true, p.lesion),
            "after": measure(after, p.y_true, p.lesion),
            "by_chance": by_chance(after, p.lesion),
        }
        found[split] = {part: {name: f.to_dict() for name, f in estimates.items()} for part, estimates in parts.items()}
    return found
