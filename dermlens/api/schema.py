"""What the API answers, as JSON. Shares are 0..1; classes are keyed by their HAM10000 code."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field

from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.labels import CLASSES

Code = StrEnum("Code", {code: code for code in CLASSES})  # type: ignore[misc]
"""The code of one of the seven diagnoses."""
StoredAspect = StrEnum("StoredAspect", {name: name for name in sorted(STORED_ASPECTS)})  # type: ignore[misc]
"""The width:height that a picture had before it was squeezed to a square."""
Shares = dict[Code, float]


class Finding(BaseModel):
    """Something that makes the image harder to read."""

    name: str
    text: str
    advice: str
    poor: bool = Field(description="Whether the image is poor; false for what ordinary dermoscopic images may show.")


class Picture(BaseModel):
    """The image as it was read."""

    sha256: str = Field(description="Of the file that was sent.")
    height: int = Field(description="In pixels, upright and at its true aspect.")
    width: int
    notices: list[str] = Field(description="What a person should know of how it was read.")
    quality: list[Finding]


class PredictionSet(BaseModel):
    """The diagnoses that a model does not rule out."""

    level: float = Field(description="Share of lesions like those of HAM10000 whose true diagnosis is in their set.")
    classes: list[Code]
    guaranteed: list[Code] = Field(description="Diagnoses for which the promise holds by itself.")


class OperatingPoint(BaseModel):
    """On which side of a threshold the image lies."""

    target: str
    sensitivity: float = Field(description="That the threshold was chosen for, on validation.")
    threshold: float
    reached: bool


class ModelAnswer(BaseModel):
    """What one model says about the image."""

    id: str
    name: str
    sha256: str = Field(description="Identity of the model: every answer depends on it.")
    failure: str | None = Field(None, description="Why the model has no answer; then nothing else is given.")
    calibrated: bool | None = None
    unlike: bool | None = Field(
        None, description="Whether the image does not look like the dermoscopic images it knows; null: cannot tell."
    )
    call: Code | None = Field(None, description="The most probable diagnosis; null: it calls none.")
    probabilities: Shares | None = Field(None, description="At the class mix of the answer, if calibrated.")
    suspect_probability: float | None = Field(None, description="Malignant and pre-malignant diagnoses together.")
    logits: dict[Code, float] | None = None
    prediction_set: PredictionSet | None = None
    operating_points: list[OperatingPoint] = []
    maps: dict[Code, str] = Field(
        {}, description="Grad-CAM as base64 PNG, 8-bit grey over the whole image, 255 where it is highest."
    )
    milliseconds: float | None = Field(None, description="The one value that differs between equal requests.")


class Reason(BaseModel):
    """A rule for referral that fires."""

    rule: str
    sentence: str


class ReferralAdvice(BaseModel):
    """What the rules for referral say. That none fires is not an all-clear."""

    model: str = Field(description="The model whose rules these are.")
    refer: bool
    reasons: list[Reason]
    sentence: str


class Prediction(BaseModel):
    """The answer to one image."""

    image: Picture
    class_mix: Literal["ham10000", "equal"]
    models: list[ModelAnswer]
    agree: bool | None = Field(None, description="Whether all networks call one diagnosis; null: fewer than two call.")
    referral: ReferralAdvice | None = Field(None, description="null: no model asked has rules for referral.")
    disclaimer: str


class ModelEntry(BaseModel):
    """A model that the server knows."""

    id: str
    name: str
    sha256: str | None = Field(None, description="Identity of the model; null where it cannot be asked.")
    members: list[str] = Field([], description="Of an ensemble: the models it is made of.")
    ready: bool = Field(description="Whether it can be asked.")
    problem: str | None = Field(None, description="Why it cannot.")


class Status(BaseModel):
    """Whether the server is alive, or ready."""

    status: Literal["ok"]
