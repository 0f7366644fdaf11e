"""What can be decided with a model: its prediction sets and operating points, on a split and on a case."""

import numpy as np
import streamlit as st

from dermlens.case.decision import FITTED_MIX
from dermlens.case.opinion import Opinion
from dermlens.labels import INDEX, Diagnosis
from dermlens.trust.conformal import CASE_LEVEL, PredictionSets
from dermlens.trust.fit_command import fit_command
from dermlens.trust.thresholds import TARGETS
from dermlens.wording import short_percent
from ui import widgets
from ui.widgets import choose_sensitivity


def prediction_sets(opinion: Opinion) -> None:
    """Say which diagnoses each model does not rule out on a case; part of page Predict."""
    caveats = set()
    for model in opinion.calling:
        found = model.fitted.prediction_sets
        if found is None:
            said = f"no prediction sets. Make them with `{fit_command(model.id, 'conformal')}`."
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
        diagnosis: the call, at whatever class mix is set. kept: (7,) bool, the set.
    """
    if kept[INDEX[diagnosis.code]] or not kept.any():
        return ""
    if diagnosis.code in sets.unguaranteed():
        return f" The call, {diagnosis.name}, is not among them, and has no guarantee of its own."
    return (
        f" The call, {diagnosis.name}, is not among them: {short_percent(CASE_LEVEL)} of the {diagnosis.name} images "
        "of validation were given a higher probability of it than this one, at the class mix of HAM10000."
    )


def _promise() -> str:
    return (
        f"For {short_percent(CASE_LEVEL)} of lesions like those of HAM10000 the true diagnosis is in the set. That "
        "holds for each diagnosis by itself, unless marked. Nothing is ruled out more firmly than that."
    )


@st.fragment
def operating(opinion: Opinion) -> None:
    """Say on which side of each model's thresholds a case lies, for a sensitivity that a person sets; redraws alone."""
    if any(m.fitted.thresholds for m in opinion.calling):
        wanted = choose_sensitivity()
    for model in opinion.calling:
        found = model.fitted.thresholds
        st.markdown(f"**{widgets.escape(model.name)}**")
        if found is None:
            st.markdown(f"- No thresholds. Make them with `{fit_command(model.id, 'thresholds')}`.")
            continue
        probabilities = opinion.answers[model.id].probabilities
        for name, target in TARGETS.items():
            side = "above" if found.reached(name, probabilities, wanted) else "below"
            threshold = widgets.escape(found.named(name, wanted), 1000)
            st.markdown(f"- {target.title}: **{side}** {threshold}")
        st.caption(" ".join(found.above(probabilities)))
    st.caption(
        f"Below a threshold is not an all-clear: the lesions that the threshold missed lie there too. {FITTED_MIX}"
    )
