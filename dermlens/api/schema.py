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
ClassMix = Literal["ham10000", "equal"]
"""How frequent the diagnoses are taken to be, one of class_mix.AT."""


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
    role: str = Field(description="What it is for: diagnosis or comparison.")
    sha256: str = Field(description="Identity of the model: of its weights and of all that was fitted to it.")
    failure: str | None = Field(default=None, description="Why the model has no answer; then nothing else is given.")
    calibrated: bool | None = None
    unlike: bool | None = Field(
        default=None,
        description="Whether the image does not look like the dermoscopic images it knows; null: cannot tell.",
    )
    call: Code | None = Field(default=None, description="The most probable diagnosis; null: it calls none.")
    probabilities: Shares | None = Field(default=None, description="At the class mix of the answer, if calibrated.")
    suspect_probability: float | None = Field(
        default=None, description="Malignant and pre-malignant diagnoses together."
    )
    logits: dict[Code, float] | None = None
    prediction_set: PredictionSet | None = Field(default=None, description="Null too where it calls nothing.")
    operating_points: list[OperatingPoint] = Field(default=[], description="Empty too where it calls nothing.")
    maps: dict[Code, str] = Field(
        default={}, description="Grad-CAM as base64 PNG, 8-bit grey over the whole image, 255 where it is highest."
    )
    milliseconds: float | None = Field(default=None, description="The one value that differs between equal requests.")


class ReferralAdvice(BaseModel):
    """What the rules for referral say, at the class mix they were fitted for. That none applies is no all-clear."""

    model: str = Field(description="The model whose rules these are.")
    refer: bool
    unreliable: bool = Field(description="Whether the image is none that the models know: their numbers mean nothing.")
    rules: list[str] = Field(description="Those that apply.")
    sentence: str


class Prediction(BaseModel):
    """The answer to one image."""

    image: Picture
    class_mix: ClassMix
    models: list[ModelAnswer]
    withheld: bool = Field(description="Whether no model calls anything, as the image does not look dermoscopic.")
    agree: bool | None = Field(
        default=None, description="Whether all networks call one diagnosis; null: fewer than two call."
    )
    referral: ReferralAdvice | None = Field(default=None, description="null: no model asked has rules for referral.")
    disclaimer: str


class ModelEntry(BaseModel):
    """A model that the server knows."""

    id: str
    name: str
    sha256: str | None = Field(default=None, description="Identity of the model; null where it cannot be asked.")
    members: list[str] = Field(default=[], description="Of an ensemble: the models it is made of.")
    ready: bool = Field(description="Whether it can be asked.")
    problem: str | None = Field(default=None, description="Why it cannot.")


class Status(BaseModel):
    """Whether the server is alive, or ready."""

    status: Literal["ok"]
