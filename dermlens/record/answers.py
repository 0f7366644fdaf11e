"""What the record keeps of one answered image: plain values, worked out once, free of models and pixels."""

import hashlib
from dataclasses import asdict
from typing import Any

import numpy as np

from dermlens.case.decision import decide
from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.case.software import app_version
from dermlens.image.encode import pixels_sha256
from dermlens.labels import INDEX, SUSPECT
from dermlens.models.model import AnyModel, fitted_hashes
from dermlens.record.store.tables import Prediction


def image_values(image: CaseImage) -> dict[str, Any]:
    """Return the columns of `tables.Image` that the image itself gives. Its file name is none of them."""
    return {
        "pixels_sha256": pixels_sha256(image.pixels),
        "file_sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        "synthetic": image.synthetic,
        "quality": {
            **{name: _number(value) for name, value in asdict(image.quality).items()},
            "poor": image.quality.poor,
            "findings": [finding.name for finding in image.quality.findings],
        },
    }


def prediction_values(image: CaseImage, opinion: Opinion, stored_aspect: str) -> list[dict[str, Any]]:
    """Return the columns of `tables.Prediction` of every model in question; the one that the card shows leads."""
    decision = decide(opinion)
    refused_by = sorted(model_id for model_id, accepts in opinion.accepted.items() if not accepts)
    lead = opinion.lead or next(iter(opinion.asked), None)
    found = []
    for model in opinion.models:
        calibration = model.fitted.calibration
        values: dict[str, Any] = {
            "lead": lead is not None and model.id == lead.id,
            "model_id": model.id,
            "model_sha256": model.weights_sha256,
            "fitted": fitted_hashes(model),
            "app_version": app_version(),
            "settings": {
                "stored_aspect": stored_aspect,
                "class_mix": opinion.class_mix,
                "fitted_mix": [int(n) for n in calibration.class_mix] if calibration else None,
                "beside": list(decision.beside) if decision else [],
            },
            "refused_by": refused_by,
            "refer": decision.refer if decision else None,
            "reasons": list(decision.reasons) if decision else [],
            "calibrated": calibration is not None,
            "error": None if model.id in opinion.answers else image.failures.get(model.id, "The model was not asked."),
        }
        found.append(values | _answer(model, opinion))
    return found


def _answer(model: AnyModel, opinion: Opinion) -> dict[str, Any]:
    names = ("logits", "probabilities", "shown", "called", "suspect", "prediction_set", "ood_score")
    empty: dict[str, Any] = dict.fromkeys((*names, "heat_map_sha256", "milliseconds"))
    if model.id not in opinion.answers:
        return empty
    answer, shown = opinion.answers[model.id], opinion.shown[model.id]
    called = None if model.id in opinion.refused else opinion.call(model).code
    sets = model.fitted.prediction_sets
    return empty | {
        "logits": [float(x) for x in answer.logits],
        "probabilities": [float(x) for x in answer.probabilities],
        "shown": None if shown is answer else [float(x) for x in shown.probabilities],
        "called": called,
        "suspect": float(answer.probabilities[list(SUSPECT)].sum()),
        "prediction_set": None if sets is None else sets.codes(answer.probabilities),
        "ood_score": answer.unlikeness,
        "heat_map_sha256": hashlib.sha256(answer.maps[INDEX[called]].tobytes()).hexdigest() if called else None,
        "milliseconds": float(answer.milliseconds),
    }


def beside(lead: Prediction) -> tuple[str, ...]:
    """Return what `case.decision.Decision.beside` said of an image; nothing where an earlier version wrote the row."""
    return tuple(map(str, lead.settings.get("beside") or ()))


def _number(value: float) -> float | int | None:
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if np.isfinite(value) else None
