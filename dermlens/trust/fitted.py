"""What was fitted to a published model to tell how far it can be trusted; every part may be missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dermlens.dataset.isic2019 import HELD_BACK
from dermlens.errors import ModelError
from dermlens.evaluation.predictions import (
    EXTERNAL_FILE,
    SHOWN_SPLITS,
    Predictions,
    concatenate,
    read_predictions,
)
from dermlens.files.documents import Document, File, read_document, read_object
from dermlens.trust import calibration, conformal, ood, referral, thresholds
from dermlens.trust.calibration import Calibration, calibrate
from dermlens.trust.conformal import PredictionSets
from dermlens.trust.fit_command import FIT, fit_command
from dermlens.trust.ood import JointOodDetector, OodDetector
from dermlens.trust.referral import Referral
from dermlens.trust.thresholds import Thresholds
from dermlens.wording import UNCALIBRATED

MAX_BYTES = 2**28
"""Most bytes of a fitted file that are read."""


SOURCES = {
    "predictions_sha256": "predictions.csv",
    "calibration_sha256": "calibration.json",
    "conformal_sha256": "conformal.json",
    "familiarity_sha256": "familiarity.csv",
}
"""Field of `fitted_on` -> the file of the model whose hash it holds; only what a part builds on is there."""
MEMBER_FILES = {"member_calibrations": "calibration.json", "member_familiarities": "familiarity.json"}
"""Field of `fitted_on` -> the file of an ensemble's members whose hashes it holds; files of older ensembles lack it."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What is known beyond the network itself. A part that is missing or cannot be used is None."""

    calibration: Calibration | None = None
    prediction_sets: PredictionSets | None = None
    thresholds: Thresholds | None = None
    ood: OodDetector | JointOodDetector | None = None
    referral: Referral | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """name of every part that is None, in the order of PARTS -> why it is"""

    def missing_sentence(self, part: str) -> str:
        """Say why a part is missing and what that means, as a sentence; empty if it is not.

        Args:
            part: key of PARTS.
        """
        return f"{self.missing[part]}, so {PARTS[part].without}." if part in self.missing else ""

    def missing_sentences(self) -> tuple[str, ...]:
        """Say the same of every part that is missing, in the order of PARTS."""
        return tuple(self.missing_sentence(part) for part in self.missing)


class Part(NamedTuple):
    """One part of `Fitted`: the step of training.fit that makes it, its file, and what is lost without it."""

    step: str
    file: str
    read: Callable[[File], Any]
    without: str


PARTS: dict[str, Part] = {
    "calibration": Part("calibration", "calibration.json", calibration.read, f"its numbers are {UNCALIBRATED}s"),
    "prediction_sets": Part(
        "conformal", "conformal.json", conformal.read, "it cannot say which diagnoses are ruled out"
    ),
    "thresholds": Part(
        "thresholds", "thresholds.json", thresholds.read, "it has no thresholds for a wanted sensitivity"
    ),
    "ood": Part(
        "embeddings",
        "familiarity.json",
        ood.read,
        "it cannot say whether an image is like those it was trained on, nor show similar cases",
    ),
    "referral": Part("referral", "referral.json", referral.read, "it has no rules for when to refer"),
}
"""Field of `Fitted` -> the part, in the order of training.fit."""


def command_for(model_id: str, fitted: Fitted, part: str) -> str:
    """Return the command that makes a part: of its step alone, or of all steps where it builds on one that is missing.

    Args:
        model_id: name of the folder in models/. fitted: what the model has. part: key of PARTS.
    """
    before: dict[str, tuple[str, ...]] = {
        "prediction_sets": ("calibration",),
        "thresholds": ("calibration",),
        "referral": ("calibration", "prediction_sets"),
    }
    lacks = any(name in fitted.missing for name in before.get(part, ()))
    return f"{FIT} {model_id}" if lacks else fit_command(model_id, PARTS[part].step, pictures=part == "ood")


def read_fitted(folder: Path, card: dict | None) -> Fitted:
    """Read what was fitted to a model; a file that is missing, damaged, changed or out of date is left out and named.

    Args:
        folder: models/ID.
        card: its card.json, whose `files` give the SHA-256 that every file must have; None if there is none.
    """
    hashes = (card or {}).get("files")
    hashes = hashes if isinstance(hashes, dict) else {}
    found: dict[str, Any] = {}
    missing = {}
    for name, part in PARTS.items():
        try:
            found[name] = part.read(_checked(folder / part.file, hashes, calibrated="calibration" in found))
        except ModelError as e:
            missing[name] = str(e).rstrip(".")
    return Fitted(**found, missing=missing)


def over_members(fitted: Fitted, members: Mapping[str, Fitted]) -> Fitted:
    """Return what was fitted to an ensemble without its rule on unlike images, if that cannot be asked of all members.

    Args:
        members: id -> what was fitted to it.
    """
    lacking = [name for name, own in members.items() if not isinstance(own.ood, OodDetector)]
    if fitted.ood is None or not lacking:
        return fitted
    name, file = lacking[0], PARTS["ood"].file
    why = members[name].missing.get("ood", f"There is no {file}")
    missing = {**fitted.missing, "ood": f"{file} goes by that of its member {name}, which cannot be used ({why})"}
    return replace(fitted, ood=None, missing={part: missing[part] for part in PARTS if part in missing})


def read_calibrated(folder: Path, card: dict | None) -> Predictions:
    """Read a model's predictions as users get the answers: with calibrated probabilities if it has a calibration.

    Returns:
        Those of predictions.csv, and of external_predictions.csv where there is one, of the splits in SHOWN_SPLITS.

    Raises:
        DataError: as `read_predictions`; or a file was changed after the model was published.
    """
    predictions = read_predictions(folder / "predictions.csv", card)
    if (folder / EXTERNAL_FILE).exists():
        external = read_predictions(folder / EXTERNAL_FILE, card, HELD_BACK)
        predictions = concatenate([predictions, external.select(np.isin(external.split.astype(str), SHOWN_SPLITS))])
    found = read_fitted(folder, card).calibration
    return calibrate(predictions, found) if found else predictions


def _checked(file: Path, hashes: dict[str, Any], calibrated: bool) -> Document:
    """Read a fitted file.

    Raises:
        ModelError: it is missing, not the one in the card, or not fitted on what the model answers now.
    """
    if not file.exists():
        raise ModelError(f"There is no {file.name}")
    found = read_document(file, MAX_BYTES, ModelError)
    if found.sha256 != hashes.get(file.name):
        raise ModelError(f"{file.name} is not the file whose SHA-256 is in card.json")
    if file.suffix == ".json":
        try:
            sources = read_object(found, ModelError)["fitted_on"]
            own = {name: sources[key] for key, name in SOURCES.items() if key in sources}
            own["predictions.csv"], calibrated_with = sources["predictions_sha256"], sources.get("calibration_sha256")
            members = [
                (member, file_name, known)
                for key, file_name in MEMBER_FILES.items()
                for member, known in dict(sources.get(key, {})).items()
            ]
        except (ModelError, KeyError, TypeError, ValueError, AttributeError) as e:
            raise ModelError(f"{file.name} does not say what it was fitted on") from e
        for name, known in own.items():
            if known != hashes.get(name):
                raise ModelError(f"{file.name} was fitted with another {name} than the one in the folder")
        for member, file_name, known in members:
            if _hash_in_card(file.parents[1] / member, file_name) != known:
                raise ModelError(f"{file.name} was fitted with another {file_name} of {member} than its own now")
        if calibrated_with is not None and not calibrated:
            raise ModelError(f"{file.name} was fitted on calibrated probabilities, which the model no longer gives")
    return found


def _hash_in_card(folder: Path, name: str) -> str | None:
    """Return the SHA-256 that a model's card gives for a file; None if it gives none."""
    try:
        return read_object(folder / "card.json", ModelError)["files"].get(name)
    except (ModelError, KeyError, AttributeError):
        return None


NOTHING_FITTED = Fitted(missing={name: f"There is no {part.file}" for name, part in PARTS.items()})
