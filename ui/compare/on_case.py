"""Two or more models on the same case."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.case.image import CaseImage, overlap
from dermlens.case.opinion import Opinion
from dermlens.case.predict import Prediction
from dermlens.case.summary import agreement, largest_gap
from dermlens.charts import case as charts
from dermlens.explain.grad_cam import heat_on_image
from dermlens.labels import CLASSES, DIAGNOSES, INDEX
from dermlens.models.model import AnyModel, networks
from dermlens.wording import joined, percent
from ui import widgets
from ui.predict import answer, heat_map, prevalence, warnings

SIDE = 160  # pixels: enough to measure an overlap of maps that are about 7 x 7


def show(image: CaseImage, everyone: Opinion, ids: list[str]) -> None:
    """Show the scores class by class, their difference, the heat maps and how much they overlap.

    Args:
        image: the picture. everyone: the opinion of all models asked, who judge whether the image is known.
        ids: of the models to compare.
    """
    warnings.warnings(image, everyone)
    everyone = prevalence.at_chosen(everyone)
    by_id = {m.id: m for m in everyone.asked}
    opinion = everyone.among(by_id[i] for i in ids)
    shares = {m.name: opinion.shown[m.id].probabilities for m in opinion.asked}
    # An ensemble is no second opinion on its members; a model that calls nothing has no opinion.
    alone = {m.name: opinion.shown[m.id] for m in networks(opinion.calling)}
    sentences = [agreement(alone)] if len(alone) > 1 else []
    known = {m.name: shares[m.name] for m in opinion.calling}
    if len(known) > 1:  # what is refused is not put into words
        sentences.append(largest_gap(known))
    if sentences:
        st.markdown(widgets.escape(" ".join(sentences), 1000))
    if opinion.class_mix:
        st.caption(opinion.class_mix)
    with st.container(key="greyed" if opinion.withheld else "scores"):
        _scores(opinion, shares)
    maps(image, opinion)


def _scores(opinion: Opinion, shares: Mapping[str, np.ndarray]) -> None:
    left, right = st.columns([3, 2], gap="medium")
    with left:
        answer.probabilities(opinion)
    with right:
        (name_a, a), (name_b, b) = list(shares.items())[:2]
        figure = charts.difference(name_a, a, name_b, b)

        def data() -> pd.DataFrame:
            return pd.DataFrame({"class": CLASSES, name_a: a, name_b: b, "difference": a - b})

        widgets.chart(figure, f"Difference of the scores of {name_a} and {name_b}, class by class", data, "difference")


@st.fragment
def maps(image: CaseImage, opinion: Opinion) -> None:
    """Show the heat maps of one class next to each other; redraws alone."""
    st.header("Where they looked", anchor=False)
    models = heat_map.mapped(opinion)
    if len(models) < len(opinion.calling):
        st.caption(heat_map.not_shown([m.name for m in opinion.calling if m not in models]))
    if silent := [m.name for m in opinion.asked if m not in opinion.calling]:
        st.caption(f"No map of {widgets.escape(joined(silent), 400)}: the image is not of the kind that is known.")
    if not models:
        return
    first = INDEX[opinion.call(models[0]).code]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        code = widgets.choose_class("Evidence for", "evidence", index=first, width=340)
        opacity = st.slider("Opacity", 0, 100, 60, 5, format="%d %%", key="cover", bind="query-params", width=200)
    cells = st.grid(min(3, len(models)), min_column_width=300)
    for model in models:
        with cells.cell():
            heat_map.heat_map(image, model, opinion.answers[model.id], code, opacity / 100, f"heat-{model.id}")
    lines, disease = [], DIAGNOSES[INDEX[code]].name
    for one, two in combinations(models, 2):
        share = overlap(*(_map(image, m, opinion.answers[m.id], code) for m in (one, two)))
        lines.append(
            f"{one.name} and {two.name}: **{percent(share)}** of the evidence for {disease} lies in the same places."
            if not np.isnan(share)
            else f"{one.name} or {two.name} found no evidence for {disease}."
        )
    st.markdown("  \n".join(lines))
    st.caption("Every map is scaled to its own highest value: one colour means the same share of it in every picture.")


def _map(image: CaseImage, model: AnyModel, answer: Prediction, code: str) -> np.ndarray:
    height, width = image.pixels.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return heat_on_image(answer.maps[INDEX[code]], *size, model.geometry)
