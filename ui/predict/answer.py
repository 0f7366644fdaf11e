"""The probabilities of one image, as Predict and Compare show them."""

import pandas as pd
import streamlit as st

from dermlens.case.opinion import Opinion
from dermlens.case.summary import CANNOT_NAME, quantity, share_called
from dermlens.charts import case as charts
from dermlens.labels import CLASSES, DIAGNOSES, NAMES
from dermlens.wording import percent
from ui import splits, widgets


def probabilities(opinion: Opinion) -> None:
    """Draw the seven probabilities of every model that has answered, by clinical group."""
    answers = {m.name: opinion.shown[m.id] for m in opinion.asked}
    shares = {name: a.probabilities for name, a in answers.items()}

    def table() -> pd.DataFrame:
        frame = pd.DataFrame({"class": CLASSES, "name": NAMES.values(), "group": [d.group for d in DIAGNOSES]})
        return frame.assign(**shares)

    calls = "; ".join(
        f"{m.name}: {opinion.call(m).name} {percent(share_called(answers[m.name]))}" for m in opinion.calling
    )
    unit, lead = quantity({name: a.calibrated for name, a in answers.items()}), opinion.lead
    title = f"{unit[0].upper()}{unit[1:]}" + (f"; numbers: {lead.name}" if lead and len(answers) > 1 else "")
    figure = charts.probabilities(
        shares,
        title,
        unit,
        [m.name for m in opinion.asked if m.id in opinion.refused],
        lead.name if lead else "",
    )
    widgets.chart(figure, f"The seven numbers of each model. Called: {calls}.", table, "probabilities")


def limits(opinion: Opinion) -> None:
    """Say what the models cannot name, and, model by model, what was not fitted and so cannot be promised."""
    st.markdown(CANNOT_NAME)
    if lead := opinion.lead:
        said = " ".join(filter(None, (splits.found_elsewhere(lead.id), splits.not_referred_elsewhere(lead.id))))
        if said:
            st.markdown(f"**{widgets.escape(lead.name)}**: {said}")
    for model in opinion.models:
        if model.fitted.missing:
            st.markdown(f"**{widgets.escape(model.name)}**")
            st.text("\n".join(model.fitted.missing_sentences()))
