"""What the models make of one image, worked out once and handed on to page, report, tables and files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dermlens.case import ood_gate
from dermlens.case.predict import Prediction
from dermlens.case.summary import called
from dermlens.evaluation.class_mix import reweight
from dermlens.labels import Diagnosis
from dermlens.models.model import AnyModel, Ensemble, networks


@dataclass(frozen=True, eq=False)
class Opinion:
    """Which models were asked about an image, which of them refuse it, and what each calls.

    What was fitted for one class mix (prediction sets, thresholds, rules for referral) goes by `answers`, whatever mix
    is set; what is shown and called goes by `shown`.
    """

    models: tuple[AnyModel, ...]
    """those in question, in the order they are shown"""
    answers: Mapping[str, Prediction]
    """model id -> its answer, at the class mix that calibration, sets, thresholds and rules were fitted for"""
    shown: Mapping[str, Prediction]
    """model id -> its answer at the class mix that a person has set; `answers` if none is set"""
    accepted: Mapping[str, bool]
    """model id -> whether it takes the image for a dermoscopic one; a model that cannot tell is left out"""
    refused: frozenset[str]
    """ids of the models that call nothing: each that does not know such images, or all where the case is withheld"""
    class_mix: str = ""
    """one sentence on the class mix of `shown`, empty where none is known"""
    wanted: np.ndarray | None = None
    """(7,) the class mix that a person has set, in any unit; None if none is set"""

    @property
    def asked(self) -> tuple[AnyModel, ...]:
        """The models that have answered."""
        return tuple(m for m in self.models if m.id in self.answers)

    @property
    def calling(self) -> tuple[AnyModel, ...]:
        """The models that have answered and call a diagnosis."""
        return tuple(m for m in self.asked if m.id not in self.refused)

    @property
    def withheld(self) -> bool:
        """Whether no model that has answered calls anything, as the image is not of the kind that they know."""
        return bool(self.asked) and not self.calling

    @property
    def lead(self) -> AnyModel | None:
        """The model whose diagnosis stands first: of those that call one, the first ensemble, else the first of all."""
        return next((m for m in self.calling if isinstance(m, Ensemble)), next(iter(self.calling), None))

    @property
    def voices(self) -> tuple[AnyModel, ...]:
        """The calling models whose opinions count: an ensemble does not count beside its members."""
        return tuple(networks(self.calling)) or self.calling

    @property
    def agree(self) -> bool:
        """Whether all voices call one diagnosis, at the class mix of `shown`."""
        return len({self.call(m).code for m in self.voices}) == 1

    def call(self, model: AnyModel) -> Diagnosis:
        """Return the diagnosis that a model which has answered calls, at the class mix of `shown`."""
        return called(self.shown[model.id])

    def among(self, models: Iterable[AnyModel]) -> "Opinion":
        """Return what some of the models say; which of them refuse the image was judged by all."""
        return replace(self, models=tuple(models))

    def at_mix(self, wanted: np.ndarray, sentence: str) -> "Opinion":
        """Return the opinion with calibrated probabilities re-weighted for another class mix, and the calls with them.

        Args:
            wanted: (7,) class mix, in any unit. sentence: that says so.
        """
        there = replace(self, class_mix=sentence, wanted=wanted)
        shown = {m.id: replace(a, probabilities=there.moved(m, a.probabilities)) for m, a in self._of_asked()}
        return replace(there, shown={**self.answers, **shown})

    def moved(self, model: AnyModel, probabilities: np.ndarray) -> np.ndarray:
        """Return a model's probabilities (..., 7) at the class mix that is set; uncalibrated ones stay as they are.

        Args:
            model: one that has answered. probabilities: at the mix that its calibration was fitted for.
        """
        calibration = model.fitted.calibration
        if self.wanted is None or calibration is None or not self.answers[model.id].calibrated:
            return probabilities
        return reweight(probabilities, np.array(calibration.class_mix), self.wanted).astype(np.float32)

    def _of_asked(self) -> list[tuple[AnyModel, Prediction]]:
        return [(m, self.answers[m.id]) for m in self.asked if self.answers[m.id].calibrated]


def form(models: Iterable[AnyModel], answers: Mapping[str, Prediction], synthetic: bool = False) -> Opinion:
    """Work out what the models make of an image.

    Args:
        models: in the order they are shown.
        answers: model id -> its answer; of an ensemble's members too.
        synthetic: whether the project drew the image: its own drawings are refused by no model.
    """
    models = tuple(models)
    accepted = ood_gate.accepted(models, answers)
    refused = frozenset() if synthetic else ood_gate.refusing(models, accepted)
    return Opinion(models, answers, answers, accepted, refused)
