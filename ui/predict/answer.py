"""The answer to one image, as Predict and Compare show it."""

from collections.abc import Collection, Sequence

import pandas as pd
import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.summary import (
    CANNOT_NAME,
    agreement,
    called,
    group_totals,
    more_probable,
    quantity,
    share_called,
    understates,
)
from dermlens.charts import case as charts
from dermlens.labels import CLASSES, DIAGNOSES, GROUP_TITLES, GROUPS, NAMES
from dermlens.models.model import AnyModel, networks
from dermlens.wording import percent
from ui import widgets


def verdict(image: CaseImage, models: Sequence[AnyModel], refused: Collection[str] = ()) -> None:
    """Show the call of every model with its group and score, and whether they agree.

    Args:
        image: with the answers. models: in the order they are shown.
        refused: ids of the models that do not take the image for a dermoscopic one: they call nothing.
    """
    _agreement(image, models, refused)
    for model in models:
        with st.container(border=True, gap="xsmall", key=f"verdict-{model.id}"):
            st.caption(model.name)
            if model.id not in image.answers:
                st.text(image.failures.get(model.id, "Not asked: the model was added after the image."))
                continue
            answer = image.answers[model.id]
            diagnosis = called(answer)
            if model.id in refused:
                st.header("No diagnosis", anchor=False)
                st.caption("The image does not look like those that the models were trained on.")
                continue
            st.header(NAMES[diagnosis.code], anchor=False)
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                widgets.group_badge(diagnosis)
                st.markdown(f"**{percent(share_called(answer))}** {quantity({model.name: answer.calibrated})}")
            totals = group_totals(answer.probabilities)
            shares = [f"{GROUP_TITLES[g]} {percent(totals[g])}".replace(" ", "\u00a0") for g in reversed(GROUPS)]
            st.caption(" · ".join(shares))
            if understates(answer):
                st.warning(more_probable(answer), icon=":material/priority_high:")
            elif more_probable(answer):
                st.caption(more_probable(answer))
    st.caption(CANNOT_NAME)


def _agreement(image: CaseImage, models: Sequence[AnyModel], refused: Collection[str]) -> None:
    # An ensemble is no further opinion beside those of its members.
    able = [m for m in models if m.id in image.answers and m.id not in refused]
    answers = {m.name: image.answers[m.id] for m in networks(able) or able}
    if answers:
        agree = len({called(a).code for a in answers.values()}) == 1
        icon = (
            ":material/call_split:"
            if not agree
            else ":material/join_inner:"
            if len(answers) > 1
            else ":material/person:"
        )
        st.markdown(f"{icon} {widgets.escape(agreement(answers), 1000)}")


def probabilities(image: CaseImage, models: Sequence[AnyModel]) -> None:
    """Draw the seven scores of every model, by clinical group."""
    answers = {m.name: image.answers[m.id] for m in models if m.id in image.answers}
    shares = {name: a.probabilities for name, a in answers.items()}

    def table() -> pd.DataFrame:
        frame = pd.DataFrame({"class": CLASSES, "name": NAMES.values(), "group": [d.group for d in DIAGNOSES]})
        return frame.assign(**shares)

    calls = "; ".join(f"{name}: {called(a).name} {percent(share_called(a))}" for name, a in answers.items())
    figure = charts.probabilities(
        shares, "Seven diagnoses, by clinical group", quantity({name: a.calibrated for name, a in answers.items()})
    )
    widgets.chart(figure, f"Bar chart of the seven numbers of each model. Called: {calls}.", table, "probabilities")


def missing(models: Sequence[AnyModel]) -> None:
    """Say, model by model, what was not fitted and what the page therefore cannot promise."""
    lacking = [m for m in models if m.fitted.missing]
    if not lacking:
        return
    with st.expander("What these models cannot promise", icon=":material/info:"):
        for model in lacking:
            st.markdown(f"**{widgets.escape(model.name)}**")
            st.text("\n".join(model.fitted.missing))
