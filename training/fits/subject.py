"""What a step of `training.fit` gets: a published model and what it can be fitted on; and how it writes JSON."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dermlens.errors import ModelError
from dermlens.evaluation.predictions import Predictions, read_predictions
from dermlens.models import registry
from dermlens.models.card import read_card
from dermlens.models.model import Model


@dataclass(frozen=True, eq=False)
class Subject:
    """A published model and what it can be fitted on."""

    folder: Path
    table: pd.DataFrame
    """the split table"""
    data: Path | None = None
    """HAM10000 folder"""
    stored_aspect: str = "as-is"

    @cached_property
    def card(self) -> dict[str, Any]:
        """card.json."""
        return read_card(self.folder)

    @cached_property
    def predictions(self) -> Predictions:
        """predictions.csv."""
        return read_predictions(self.folder / "predictions.csv")

    @cached_property
    def model(self) -> Model:
        """The model, loaded; what earlier steps fitted is part of it."""
        return registry.load(registry.inspect(self.folder))

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON file that an earlier step wrote; raises ModelError if it is missing."""
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise ModelError(f"{self.folder.name}/{name} cannot be read ({e}): fit that step first.") from e


def encode(value: Any) -> bytes:
    """Return a JSON file."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
