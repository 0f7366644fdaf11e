"""The answer to one image, as Predict and Compare show it."""

from collections.abc import Collection, Sequence

import pandas as pd
import streamlit as st

from dermlens.case import CaseImage, seen_part
from dermlens.charts import case as charts
from dermlens.charts.style import GROUP_TITLES, NAMES, percent
from dermlens.explain import heat_on_image, overlay
from dermlens.labels import CLASSES, DIAGNOSES, GROUPS
from dermlens.registry import AnyModel, networks
from dermlens.summary import CANNOT_NAME, agreement, called, group_totals, more_probable, quantity, share_called
from ui import widgets

FRAME = "dashed frame: what the model sees"


def verdict(image: CaseImage, models: Sequence[AnyModel], refused: Collection[str] = ()) -> None:
    """Show the call of every model with its group and score, and whether they agree.

    Args:
        image: with the answers. models: in the order they are shown.
        refused: ids of the models that do not take the image for a dermoscopic one: they call nothing.
    """
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
                st.caption(
                    f"The image is unlike what it was trained on. It would have said {diagnosis.name}, "
                    f"{percent(share_called(answer))}; that means nothing here."
                )
                continue
            st.header(NAMES[diagnosis.code], anchor=False)
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                widgets.group_badge(diagnosis)
                st.markdown(f"**{percent(share_called(answer))}** {quantity({model.name: answer.calibrated})}")
            totals = group_totals(answer.probabilities)
            st.caption(" · ".join(f"{GROUP_TITLES[g]} {percent(totals[g])}" for g in reversed(GROUPS)))
            if more_probable(answer):
                st.caption(more_probable(answer))
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
    st.caption(CANNOT_NAME)


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


def heat_map(image: CaseImage, model: AnyModel, code: str, opacity: float, key: str, height: int = 430) -> None:
    """Show the image with the Grad-CAM of one class and model over it."""
    heat = heat_on_image(
        image.answers[model.id].maps[CLASSES.index(code)], image.pixels.shape[0], image.pixels.shape[1], model.geometry
    )
    where = _strongest(heat)
    title = f"{model.name}: {NAMES[code]}"
    figure = charts.picture(
        overlay(image.pixels, heat, opacity), title, seen=seen_part(image, model.geometry), heat=True, height=height
    )
    widgets.zoomable(figure, f"Grad-CAM of {NAMES[code]} by {model.name} over the image, {where}.", key)


def plain(image: CaseImage, model: AnyModel, key: str, height: int = 430) -> None:
    """Show the image alone, the part that the model does not see dimmed."""
    figure = charts.picture(image.pixels, "Image", FRAME, seen_part(image, model.geometry), height=height)
    widgets.zoomable(figure, "The image; what lies outside the dashed frame is not seen by the model.", key)


def _strongest(heat) -> str:  # type: ignore[no-untyped-def]
    if heat.max() <= 0:
        return "without any evidence for it"
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    vertical = ("top", "middle", "bottom")[min(2, 3 * row // heat.shape[0])]
    horizontal = ("left", "centre", "right")[min(2, 3 * column // heat.shape[1])]
    return f"strongest at the {vertical} {horizontal}"
