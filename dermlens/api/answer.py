"""From an examined image to the JSON that is sent."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from dermlens.api import schema
from dermlens.case.decision import decide
from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.case.summary import DISCLAIMER
from dermlens.explain.grad_cam import heat_on_image
from dermlens.labels import INDEX, SUSPECT
from dermlens.models.model import AnyModel
from dermlens.trust.conformal import CASE_LEVEL
from dermlens.trust.thresholds import TARGETS

DIGITS = 8
"""Decimals of probabilities and logits."""


def prediction(
    image: CaseImage, opinion: Opinion, class_mix: schema.ClassMix, maps: Sequence[str]
) -> schema.Prediction:
    """Return all that is known of an image.

    Args:
        image: as examined. opinion: of the models asked, at the wanted class mix. class_mix: that mix.
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
        class_mix=class_mix,
        models=[_model(image, opinion, model, maps) for model in opinion.models],
        withheld=opinion.withheld,
        agree=opinion.agree if len(opinion.voices) > 1 else None,
        referral=_referral(opinion),
        disclaimer=DISCLAIMER,
    )


def _model(image: CaseImage, opinion: Opinion, model: AnyModel, maps: Sequence[str]) -> schema.ModelAnswer:
    said = schema.ModelAnswer(id=model.id, name=model.name, role=model.role, sha256=model.identity)
    if model not in opinion.asked:
        said.failure = image.failures.get(model.id, "It was not asked.")
        return said
    shown, at_fitted_mix = opinion.shown[model.id], opinion.answers[model.id].probabilities
    said.calibrated = shown.calibrated
    said.unlike = None if model.id not in opinion.accepted else not opinion.accepted[model.id]
    said.call = schema.Code(opinion.call(model).code) if model in opinion.calling else None
    said.probabilities, said.logits = _by_code(shown.probabilities), _by_code(shown.logits)
    said.suspect_probability = round(float(shown.probabilities[list(SUSPECT)].sum()), DIGITS)
    said.milliseconds = round(shown.milliseconds, 1)
    if model.id in opinion.refused:
        return said
    if (sets := model.fitted.prediction_sets) is not None:
        without = sets.unguaranteed()
        said.prediction_set = schema.PredictionSet(
            level=CASE_LEVEL,
            classes=list(map(schema.Code, sets.codes(at_fitted_mix))),
            guaranteed=[code for code in schema.Code if code not in without],
        )
    if (thresholds := model.fitted.thresholds) is not None:
        said.operating_points = [
            schema.OperatingPoint(
                target=target,
                sensitivity=point.wanted,
                threshold=point.threshold,
                reached=thresholds.reached(target, at_fitted_mix, point.wanted),
            )
            for target in TARGETS
            for point in thresholds.points[target]
        ]
    heat = opinion.answers[model.id].maps
    said.maps = {schema.Code(code): _png(image, heat[INDEX[code]], model) for code in maps}
    return said


def _referral(opinion: Opinion) -> schema.ReferralAdvice | None:
    found = decide(opinion)
    if found is None:
        return None
    return schema.ReferralAdvice(
        model=found.model.id,
        refer=found.refer,
        unreliable=found.unreliable,
        rules=[key for key, fires in found.fired.items() if fires],
        sentence=found.sentence,
    )


def _by_code(values: np.ndarray) -> dict[schema.Code, float]:
    return {code: round(float(value), DIGITS) for code, value in zip(schema.Code, values, strict=True)}


def _png(image: CaseImage, heat: np.ndarray, model: AnyModel) -> str:
    height, width = image.pixels.shape[:2]
    grey = np.rint(255 * heat_on_image(heat, height, width, model.geometry)).astype(np.uint8)
    return base64.b64encode(cv2.imencode(".png", grey)[1].tobytes()).decode()
