"""How far a run has come: what its checkpoint keeps beside the weights, so that it can go on."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from dermlens.errors import DataError
from training.config import Config


@dataclass
class Plateau:
    """The lowest validation loss of a phase, how long it has not fallen, and what that does to the learning rate."""

    best: float = math.inf
    waited: int = 0
    """Epochs in a row without a lower loss."""
    factor: float = 1.0
    """The learning rate of schedule "plateau" is multiplied by it."""


@dataclass
class State:
    """How far a run has come; a new one stands at the start of its first phase."""

    history: list[dict[str, Any]] = field(default_factory=list)
    """Rows of history.csv, one a finished epoch."""
    best: float = math.inf
    """Lowest validation cross-entropy."""
    stopped_early: bool = False
    finished: bool = False
    phase: int = 0
    """From 0; the number of phases where all are done."""
    epoch_in_phase: int = 0
    """Finished epochs of this phase."""
    waited: int = 0
    """Epochs in a row of this phase without a lower cross-entropy."""
    plateau: Plateau = field(default_factory=Plateau)

    def begin_phase(self, number: int) -> None:
        """Go to the start of a phase; what is counted within a phase starts anew."""
        self.phase = number
        self.epoch_in_phase = 0
        self.waited = 0
        self.plateau = Plateau()

    def note_epoch(self, row: dict[str, Any], better: bool, config: Config) -> None:
        """Add a finished epoch: the best so far, the plateau, and whether it is time to stop.

        Args:
            row: of history.csv. better: whether its cross-entropy is the lowest. config: of the run.
        """
        self.history.append(row)
        self.epoch_in_phase += 1
        self.waited = 0 if better else self.waited + 1
        if better:
            self.best = row["val_cross_entropy"]
        plateau = self.plateau
        if row["val_loss"] < plateau.best:
            plateau.best = row["val_loss"]
            plateau.waited = 0
        elif plateau.waited >= config.plateau_patience:
            plateau.factor *= 0.3
            plateau.waited = 0
        else:
            plateau.waited += 1
        last = self.phase == len(config.phases) - 1
        self.stopped_early = bool(last and config.patience and self.waited >= config.patience)

    def best_row(self) -> dict[str, Any] | None:
        """Return the first row of the lowest validation cross-entropy, whose weights are kept; None if all are NaN."""
        known = [row for row in self.history if not math.isnan(row["val_cross_entropy"])]
        return min(known, key=lambda row: row["val_cross_entropy"], default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they stand in a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "State":
        """Build a state from `to_dict`; raises DataError for what is none."""
        try:
            return cls(**{**values, "plateau": Plateau(**values["plateau"])})
        except (KeyError, TypeError) as e:
            raise DataError(f"The checkpoint holds no state that this version can go on from: {e}.") from e
