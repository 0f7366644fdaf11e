"""The answer to one image, as Predict and Compare show it."""

import pandas as pd
import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.case.summary import (
    CANNOT_NAME,
    agreement,
    group_totals,
    quantity,
    share_called,
)
from dermlens.charts import case as charts
from dermlens.labels import CLASSES, DIAGNOSES, GROUP_TITLES, GROUPS, NAMES
from dermlens.wording import percent
from ui import widgets


def verdict(image: CaseImage, opinion: Opinion) -> None:
    """Show the call of every model with its group and score, and whether they agree; a refusing model calls nothing."""
    _agreement(opinion)
    for model in opinion.models:
        with st.container(border=True, gap="xsmall", key=f"verdict-{model.id}"):
            st.caption(model.name)
            if model.id not in opinion.shown:
                st.text(image.failures.get(model.id, "Not asked: the model was added after the image was uploaded."))
                continue
            if model.id in opinion.refused:
                st.header("No diagnosis", anchor=False)
                st.caption("The image does not look like those that it was trained on.")
                continue
            answer, diagnosis = opinion.shown[model.id], opinion.call(model)
            st.header(NAMES[diagnosis.code], anchor=False)
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                widgets.group_badge(diagnosis)
                st.markdown(f"**{percent(share_called(answer))}** {quantity({model.name: answer.calibrated})}")
            totals = group_totals(answer.probabilities)
            shares = [f"{GROUP_TITLES[g]} {percent(totals[g])}".replace(" ", "\u00a0") for g in reversed(GROUPS)]
            st.caption(" · ".join(shares))
    st.caption(CANNOT_NAME)


def _agreement(opinion: Opinion) -> None:
    if not opinion.voices:
        return
    icon = "call_split" if not opinion.agree else "join_inner" if len(opinion.voices) > 1 else "person"
    said = agreement({m.name: opinion.shown[m.id] for m in opinion.voices})
    st.markdown(f":material/{icon}: {widgets.escape(said, 1000)}")


def probabilities(opinion: Opinion) -> None:
    """Draw the seven scores of every model that calls a diagnosis, by clinical group; of all where none does."""
    models = opinion.calling or opinion.asked
    answers = {m.name: opinion.shown[m.id] for m in models}
    shares = {name: a.probabilities for name, a in answers.items()}

    def table() -> pd.DataFrame:
        frame = pd.DataFrame({"class": CLASSES, "name": NAMES.values(), "group": [d.group for d in DIAGNOSES]})
        return frame.assign(**shares)

    calls = "; ".join(f"{m.name}: {opinion.call(m).name} {percent(share_called(answers[m.name]))}" for m in models)
    figure = charts.probabilities(
        shares, "Seven diagnoses, by clinical group", quantity({name: a.calibrated for name, a in answers.items()})
    )
    widgets.chart(figure, f"Bar chart of the seven numbers of each model. Called: {calls}.", table, "probabilities")


def missing(opinion: Opinion) -> None:
    """Say, model by model, what was not fitted and what the page therefore cannot promise."""
    lacking = [m for m in opinion.models if m.fitted.missing]
    if not lacking:
        return
    with st.expander("What these models cannot promise", icon=":material/info:"):
        for model in lacking:
            st.markdown(f"**{widgets.escape(model.name)}**")
            st.text("\n".join(model.fitted.missing_sentences()))
