"""What stands behind a verdict: the rules for referral, the prediction sets and the thresholds of each model."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.case.decision import Decision
from dermlens.case.opinion import Opinion
from dermlens.labels import INDEX, Diagnosis
from dermlens.models.model import AnyModel
from dermlens.trust.conformal import CASE_LEVEL, PredictionSets
from dermlens.trust.fitted import command_for
from dermlens.trust.referral import Referral, what_is_missed
from dermlens.trust.referral_rules import RULES
from dermlens.trust.thresholds import TARGETS
from dermlens.wording import interval, percent, percent_with_interval, short_percent
from ui import widgets
from ui.widgets import choose_sensitivity


def prediction_sets(opinion: Opinion) -> None:
    """Say which diagnoses each model does not rule out on a case; part of page Predict."""
    caveats = set()
    for model in opinion.calling:
        found = model.fitted.prediction_sets
        if found is None:
            said = f"no prediction sets. Make them with `{command_for(model.id, model.fitted, 'prediction_sets')}`."
        else:
            probabilities = opinion.answers[model.id].probabilities
            kept = found.sets(probabilities)
            said = found.sentence(kept) + _call_outside(opinion.call(model), kept, found)
            said = widgets.escape(said, 1000)
            caveats.add(found.caveat())
        level = f" at {short_percent(CASE_LEVEL)}" if found else ""
        st.markdown(f"**{widgets.escape(model.name)}**{level}: {said}")
    if caveats:
        st.caption(" ".join((_promise(), *sorted(caveats - {""}))))


def _call_outside(diagnosis: Diagnosis, kept: np.ndarray, sets: PredictionSets) -> str:
    """Explain a set without the class that the model calls: its own cases mostly get more than this one.

    Args:
        diagnosis: the call, at whatever class mix is set. kept: (7,) bool, the set. sets: that it is one of.
    """
    if kept[INDEX[diagnosis.code]] or not kept.any():
        return ""
    if diagnosis.code in sets.unguaranteed():
        return f" The call, {diagnosis.name}, is not among them, and has no guarantee of its own."
    return (
        f" The call, {diagnosis.name}, is not among them: about {short_percent(CASE_LEVEL)} of the {diagnosis.name} "
        "lesions of validation were given a higher probability of it than this one, at the class mix of HAM10000."
    )


def _promise() -> str:
    return (
        f"For {short_percent(CASE_LEVEL)} of lesions like those of HAM10000 the true diagnosis is in the set. That "
        "holds for each diagnosis by itself, unless marked. Nothing is ruled out more firmly than that."
    )


@st.fragment
def operating(opinion: Opinion) -> None:
    """Say on which side of each model's thresholds a case lies, for a sensitivity that a person sets; redraws alone."""
    having = [m for m in opinion.calling if m.fitted.thresholds]
    if having:
        wanted = choose_sensitivity()
        table = pd.DataFrame([row for m in having for row in _sides(m, opinion.answers[m.id].probabilities, wanted)])
        st.table(table, hide_index=True)
        st.caption("Below a threshold is not an all-clear: the lesions that the threshold missed lie there too.")
    for model in opinion.calling:
        if model.fitted.thresholds is None:
            st.markdown(
                f"{widgets.escape(model.name)} has no thresholds. Make them with "
                f"`{command_for(model.id, model.fitted, 'thresholds')}`."
            )


def _sides(model: AnyModel, probabilities: np.ndarray, wanted: float) -> list[dict[str, str]]:
    """Return a row a target: the side of the threshold for a wanted sensitivity, and how that did.

    Args:
        model: with thresholds. probabilities: (7,) at the class mix that they were fitted for. wanted: 0..1.
    """
    found, rows, limit = model.fitted.thresholds, [], f"At {short_percent(wanted)} sensitivity"
    assert found is not None
    for name, target in TARGETS.items():
        point = found.point(name, wanted)
        split = "test" if "test" in point.measured else "validation"
        rows.append(
            {
                "Model": widgets.escape(model.name),
                "For": target.title,
                "This image": widgets.escape(percent(float(target.score(probabilities)), 1)),
                "Threshold": widgets.escape(percent(point.threshold, 1)),
                limit: "**above**" if found.reached(name, probabilities, wanted) else "below",
                f"Found on {split}": widgets.escape(percent_with_interval(point.measured[split].sensitivity)),
            }
        )
    return rows


def rules(decision: Decision, names: Mapping[str, str]) -> None:
    """List the rules for referral, which of them apply to the image, and what they did on the data.

    Args:
        decision: on the image. names: model id -> its name.
    """
    for reason in decision.reasons:
        st.markdown(f"- {widgets.escape(reason[0].upper() + reason[1:], 600)}.")
    st.markdown("An image is referred if at least one of these applies:")
    lines = [
        {"Rule": rule.description, "On this image": "**applies**" if decision.fired[rule.key] else "does not apply"}
        for rule in RULES
        if rule.key in decision.fired
    ]
    st.table(pd.DataFrame(lines), hide_index=True)
    referral = decision.referral
    wanted = [f"{short_percent(s)} ({names.get(m, m)})" for m, s in referral.sensitivity.items()]
    chosen = (
        f"The rules are those of {decision.model.name}. Each model has thresholds of its own, chosen on validation to "
        f"find {', '.join(wanted)} of the melanomas there, and as many of all malignant and pre-malignant images: the "
        "choice that missed the fewest and kept the share of referred images at or below "
        f"{percent(referral.cap)}.{referral.cap_broken}"
    )
    st.caption(f"{widgets.escape(chosen, 2000)} {_measured(referral)}")


def _measured(referral: Referral) -> str:
    split = "test" if "test" in referral.measured else "validation"
    found = referral.measured[split].referred
    share = f"The rules refer {percent(found.value)} of the {split} split (95 % interval {interval(found, 0)})."
    missed = what_is_missed(referral)
    return f"{share} {missed[0].upper()}{missed[1:]}"
