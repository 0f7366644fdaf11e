"""From an examined image to the JSON that is sent."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from dermlens.api import schema
from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.case.summary import DISCLAIMER
from dermlens.explain.grad_cam import heat_on_image
from dermlens.labels import CLASSES, INDEX, SUSPECT
from dermlens.models.model import AnyModel
from dermlens.trust.conformal import CASE_LEVEL
from dermlens.trust.thresholds import TARGETS

DIGITS = 6
"""Decimals of probabilities and logits."""


def prediction(image: CaseImage, opinion: Opinion, class_mix: str, maps: Sequence[str]) -> schema.Prediction:
    """Return all that is known of an image.

    Args:
        image: as examined. opinion: of the models asked, at the wanted class mix. class_mix: key of class_mix.AT.
        maps: codes of the diagnoses whose heat maps are wanted.
    """
    return schema.Prediction(
        image=schema.Picture(
            sha256=image.sha256,
            height=image.height,
            width=image.width,
            notices=list(image.notices),
            quality=[
                schema.Finding(name=f.name, text=f.text, advice=f.advice, poor=f.poor) for f in image.quality.findings
            ],
        ),
        class_mix=class_mix,  # type: ignore[arg-type]
        models=[_model(image, opinion, model, maps) for model in opinion.models],
        agree=opinion.agree if len(opinion.voices) > 1 else None,
        referral=_referral(opinion),
        disclaimer=DISCLAIMER,
    )


def _model(image: CaseImage, opinion: Opinion, model: AnyModel, maps: Sequence[str]) -> schema.ModelAnswer:
    said = schema.ModelAnswer(id=model.id, name=model.name, sha256=model.identity)
    if model not in opinion.asked:
        return said.model_copy(update={"failure": image.failures.get(model.id, "It was not asked.")})
    fitted_mix, shown = opinion.answers[model.id], opinion.shown[model.id]
    sets, thresholds = model.fitted.prediction_sets, model.fitted.thresholds
    return schema.ModelAnswer(
        **named,
        calibrated=shown.calibrated,
        unlike=None if model.id not in opinion.accepted else not opinion.accepted[model.id],
        call=opinion.call(model).code if model in opinion.calling else None,
        probabilities=_by_code(shown.probabilities),
        suspect_probability=round(float(shown.probabilities[list(SUSPECT)].sum()), DIGITS),
        logits=_by_code(shown.logits),
        prediction_set=None
        if sets is None
        else schema.PredictionSet(
            level=CASE_LEVEL,
            classes=[c for c, kept in zip(CLASSES, sets.sets(fitted_mix.probabilities), strict=True) if kept],
            guaranteed=[c for c in CLASSES if c not in sets.unguaranteed()],
        ),
        operating_points=[]
        if thresholds is None
        else [
            schema.OperatingPoint(
                target=target,
                sensitivity=point.wanted,
                threshold=point.threshold,
                reached=thresholds.reached(target, fitted_mix.probabilities, point.wanted),
            )
            for target in TARGETS
            for point in thresholds.points[target]
        ],
        maps={code: _png(image, fitted_mix.maps[INDEX[code]], model) for code in maps},
        milliseconds=round(shown.milliseconds, 1),
    )


def _by_code(values: np.ndarray) -> dict:
    return {code: round(float(value), DIGITS) for code, value in zip(CLASSES, values, strict=True)}


def _png(image: CaseImage, heat: np.ndarray, model: AnyModel) -> str:
    height, width = image.pixels.shape[:2]
    grey = np.rint(255 * heat_on_image(heat, height, width, model.geometry)).astype(np.uint8)
    return base64.b64encode(cv2.imencode(".png", grey)[1].tobytes()).decode()


def _referral(opinion: Opinion) -> schema.ReferralAdvice | None:
    return None
