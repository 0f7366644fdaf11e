"""Refer or not, worked out once for a case: by one set of rules over all models shown for diagnosis.

The rules are those of the ensemble where one is asked; they look at its members too, and were fitted and measured as
one. A model asked alone has rules of its own. Everything is judged at the class mix that it was fitted for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dermlens.case.opinion import Opinion
from dermlens.models.card import ROLES
from dermlens.models.model import AnyModel, for_diagnosis
from dermlens.trust.referral import Referral, what_is_missed
from dermlens.trust.referral_rules import RULES, Inputs, Rule
from dermlens.wording import percent, short_percent

FITTED_MIX = (
    "Thresholds, prediction sets and rules for referral are judged at the class mix of HAM10000 that they were fitted "
    "for, whatever mix is set."
)
"""Said once where probabilities of another mix stand beside them."""
REFER, LOOK_AGAIN, NO_RULE = "Refer", "No rule applies, but look again", "No rule for referral applies"
"""What is said of an image in a few words."""


def verdict(refer: bool, beside: Sequence[str]) -> str:
    """Return REFER, LOOK_AGAIN or NO_RULE; arguments as of `Decision`."""
    return REFER if refer else LOOK_AGAIN if beside else NO_RULE


@dataclass(frozen=True, eq=False)
class Decision:
    """Whether to refer an image, and why."""

    model: AnyModel
    """whose rules decide"""
    referral: Referral
    """the rules"""
    fired: Mapping[str, bool]
    """key of a rule -> whether it fires, in the order of RULES; without rules whose input is not known"""
    said: tuple[Rule, ...]
    """the rules that fire, in that order; where some of them say that the numbers are unreliable, those alone"""
    reasons: tuple[str, ...]
    """why, in a few words for each of `said`"""
    unreliable: bool
    """whether the image is none that the models know, so that their numbers mean nothing"""
    beside: tuple[str, ...]
    """sentences on models that the rules do not look at, as those for comparison, and that reach a threshold"""

    @property
    def refer(self) -> bool:
        """Whether at least one rule fires."""
        return any(self.fired.values())

    @property
    def verdict(self) -> str:
        """REFER, LOOK_AGAIN or NO_RULE."""
        return verdict(self.refer, self.beside)

    @property
    def sentence(self) -> str:
        """The first line of a case."""
        if self.unreliable:
            return f"Do not rely on these numbers, and refer or take another picture: {self.reasons[0]}."
        if self.refer:
            return " ".join([f"{REFER}: {'; '.join(self.reasons)}.", *self.beside])
        missed = f"That is not an all-clear: {what_is_missed(self.referral)}"
        return " ".join([f"{self.verdict}.", *self.beside, missed])


def decide(opinion: Opinion) -> Decision | None:
    """Say whether to refer, by the rules that look at most of the models for diagnosis; of equals by the first model's.

    Args:
        opinion: of the models shown. Models for comparison have no say, unless no others are shown.

    Returns:
        None if none of these models has rules for referral.
    """
    having = [(m, m.fitted.referral) for m in for_diagnosis(opinion.asked) or opinion.asked if m.fitted.referral]
    if not having:
        return None
    ids = {m.id for m in opinion.asked}
    model, referral = max(having, key=lambda pair: len(ids & set(pair[1].models)))
    probabilities = {i: np.asarray(opinion.answers[i].probabilities)[None] for i in opinion.answers}
    sets = model.fitted.prediction_sets
    refused = model.id in opinion.refused
    known = np.array([refused]) if refused or model.id in opinion.accepted else None
    inputs = Inputs(probabilities, sets.sets(probabilities[model.id]) if sets else None, known)
    fired = {key: bool(fires[0]) for key, fires in referral.fired(inputs).items()}
    names = {m.id: m.name for m in opinion.models}
    firing = [rule for rule in RULES if fired.get(rule.key)]
    unreliable = [rule for rule in firing if rule.unreliable]
    said = tuple(unreliable or firing)
    others = [m for m in opinion.calling if m.id not in referral.models]
    return Decision(
        model,
        referral,
        fired,
        said,
        tuple(_reason(rule, referral, probabilities, names) for rule in said),
        bool(unreliable),
        tuple(told for m in others if (told := _beside(m, probabilities))),
    )


def _reason(rule: Rule, referral: Referral, probabilities: Mapping[str, np.ndarray], names: Mapping[str, str]) -> str:
    if rule.target is None:
        return rule.reason
    return f"{rule.reason}: {_reached(rule, referral, probabilities, names)}"


def _reached(rule: Rule, referral: Referral, probabilities: Mapping[str, np.ndarray], names: Mapping[str, str]) -> str:
    """Say which models reach their threshold of a rule; empty if none does."""
    over = [model for model, reached in referral.reached(rule, probabilities).items() if reached[0]]
    return ", ".join(
        f"{names.get(m, m)} reaches its threshold for {short_percent(referral.sensitivity[m])} sensitivity "
        f"({percent(referral.thresholds[m][rule.key], 1)})"
        for m in over
    )


def _beside(model: AnyModel, probabilities: Mapping[str, np.ndarray]) -> str:
    """Say what a model outside the rules reaches of its own thresholds; empty if nothing, or if it has none."""
    own = model.fitted.referral
    if own is None:
        return ""
    mine = {model.id: probabilities[model.id]}
    found = [
        f"{rule.reason}: {said}"
        for rule in RULES
        if rule.target and (said := _reached(rule, own, mine, {model.id: "it"}))
    ]
    shown = ", shown for comparison," if model.role != ROLES[0] else ""
    return f"{model.name}{shown} would refer for {'; and for '.join(found)}." if found else ""
