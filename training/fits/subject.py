"""What a step of `training.fit` gets: a published model and what it can be fitted on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dermlens.errors import ModelError
from dermlens.evaluation.predictions import MAX_BYTES, Predictions, read_predictions
from dermlens.files.documents import Document, read_document, read_object
from dermlens.models import registry
from dermlens.models.card import read_card
from dermlens.models.model import Model


def aspect_of(folder: Path, given: str | None = None) -> str:
    """Return the stored aspect that a published model's images of HAM10000 were read with; of an ensemble its members'.

    Args:
        folder: models/ID. given: what a person says instead, see `dermlens.image.preprocess.true_aspect`.
    """
    if given is not None:
        return given
    card = read_card(folder) if (folder / "card.json").exists() else {}
    records = [folder.parent / name / "run.json" for name in card.get("members", {})] or [folder / "run.json"]
    known = [read_object(record, ModelError) for record in records if record.is_file()]
    aspects = {str(record["published_from"]["stored_aspect"]) for record in known if record.get("published_from")}
    if len(aspects) > 1:
        raise ModelError(f"{folder.name}: its members were published from images read in different ways.")
    return aspects.pop() if aspects else "as-is"


@dataclass(frozen=True, eq=False)
class Subject:
    """A published model and what it can be fitted on."""

    folder: Path
    table: pd.DataFrame
    """the split table"""
    data: Path | None = None
    """HAM10000 folder"""
    stored_aspect: str = "as-is"
    external: Path | None = None
    """folder with the training set of ISIC 2019"""

    @cached_property
    def card(self) -> dict[str, Any]:
        """card.json; of a folder with predictions alone there need not be one."""
        return read_card(self.folder) if (self.folder / "card.json").exists() else {}

    @property
    def has_weights(self) -> bool:
        """Whether there is a network, or members, to be asked; else there are predictions alone."""
        return "members" in self.card or (self.folder / "model.keras").is_file()

    @cached_property
    def predictions(self) -> Predictions:
        """What predictions.csv holds."""
        return read_predictions(self.folder / "predictions.csv")

    @cached_property
    def predictions_file(self) -> Document:
        """predictions.csv."""
        return read_document(self.folder / "predictions.csv", MAX_BYTES)

    @cached_property
    def model(self) -> Model:
        """The model, loaded; what earlier steps fitted is part of it."""
        return registry.load(registry.inspect(self.folder))

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON file that an earlier step wrote; raises ModelError if it is missing."""
        try:
            return read_object(self.folder / name, ModelError)
        except ModelError as e:
            raise ModelError(f"{self.folder.name}/{name} cannot be read ({e}). Fit that step first.") from e
