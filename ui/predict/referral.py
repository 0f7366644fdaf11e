"""Refer or not: the sentence at the top of a case, and what the rules did on the data, on page Metrics."""

import numpy as np
import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.models.model import AnyModel
from dermlens.trust import referral as rules
from dermlens.trust.referral import Referral
from dermlens.trust.referral_rules import RULES, Rule
from dermlens.wording import interval, percent, short_percent
from ui import widgets


def sentence(image: CaseImage, opinion: Opinion) -> None:
    """Say whether to refer, by the rules of one model; say so if none has any.

    All rules refer at most the same share, so those that missed the fewest malignant and pre-malignant images of
    validation speak; of equals, the best model's.
    """
    having = [(m, m.fitted.referral) for m in opinion.asked if m.fitted.referral is not None]
    if not having:
        st.caption("No model here has rules for referral: decide without this page.")
        return
    model, referral = min(having, key=lambda pair: rules.n_missed(pair[1], "validation"))
    probabilities = opinion.answers[model.id].probabilities
    fired = _fired(opinion, model, referral)
    said = rules.sentence(referral, probabilities, fired)
    poor = any(finding.poor for finding in image.quality.findings)
    if poor:
        said += " The picture may be too poor to be judged: take a better one first."
    show, icon = (st.warning, ":material/forward:") if poor or rules.any_of(fired)[0] else (st.info, ":material/info:")
    show(f"{widgets.escape(said, 2000)} *(by {widgets.escape(model.name)})*", icon=icon)
    with st.expander("The rules", icon=":material/rule:"):
        _list_rules(referral, {key: bool(here[0]) for key, here in fired.items()})


def _fired(opinion: Opinion, model: AnyModel, referral: Referral) -> dict[str, np.ndarray]:
    probabilities = opinion.answers[model.id].probabilities[None]
    sets = model.fitted.prediction_sets
    members = [opinion.answers[m] for m in model.card.get("members", {}) if m in opinion.answers]
    return referral.fired(
        probabilities,
        sets.sets(probabilities) if sets else None,
        np.array([[int(a.probabilities.argmax()) for a in members]]) if len(members) > 1 else None,
        np.array([model.id in opinion.refused]) if model.id in opinion.accepted else None,
    )


def _list_rules(referral: Referral, fired: dict[str, bool]) -> None:
    marks = {True: "**fires**", False: "does not fire"}
    lines = [
        f"- {rule.description}{_limit(referral, rule)} *On this image:* {marks[fired[rule.key]]}."
        for rule in RULES
        if rule.key in fired
    ]
    st.markdown("An image is referred if at least one of these holds:\n\n" + "\n".join(lines))
    st.caption(
        f"Both thresholds were chosen on validation to find {short_percent(referral.sensitivity)} there, the highest "
        f"that keeps the share of referred images at or below {percent(referral.cap)}. {_measured(referral)}"
    )


def _limit(referral: Referral, rule: Rule) -> str:
    return f" Threshold: {percent(referral.thresholds[rule.key], 1)}." if rule.target else ""


def _measured(referral: Referral) -> str:
    split = "test" if "test" in referral.measured else "validation"
    found = referral.measured[split].referred
    missed = rules.what_is_missed(referral)
    share = f"They refer {percent(found.value)} of the {split} split (95 % interval {interval(found, 0)});"
    return f"{share} {missed}"
