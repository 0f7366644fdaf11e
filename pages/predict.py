"""Predict: one or many images in, what every model says of them out."""

from collections.abc import Sequence

import streamlit as st

from dermlens.case import CaseImage
from dermlens.labels import CLASSES
from dermlens.registry import AnyModel
from dermlens.summary import called
from ui import (
    answer,
    attending,
    cache,
    deciding,
    intake,
    more,
    prevalence,
    referring,
    state,
    steadiness,
    trusting,
    widgets,
)

PREDICTED = "predicted"
VIEWS = ("Side by side", "Overlay")
READING = (
    "Grad-CAM: bright areas raised the score of the chosen diagnosis. It shows where the network looked, not why, and "
    "not whether it was right. Outside the dashed frame the network saw nothing. Drag over a picture to zoom in; "
    "double-click to zoom out."
)


def page() -> None:
    models, problems = cache.models()
    intake.receive(models)
    widgets.head("Predict", "What each network sees in a dermoscopic image, and where it looked.")
    widgets.problems(problems, "model" if len(problems) == 1 else "models")
    if not models:
        widgets.nothing_here(
            "There is no model to ask.",
            "Publish one with `python -m training.publish`, or build the serving files with `make serving`.",
        )
        return
    intake.dead_link()
    image = state.current()
    if image is None:
        intake.welcome()
        return
    intake.add_more()
    if len(state.images()) > 1:
        intake.case_table(models)
    show(image, [m for m in models if m.id in image.answers] or models)


def show(image: CaseImage, models: Sequence[AnyModel]) -> None:
    trusting.warnings(image, models)
    referring.sentence(image, models)
    refused = trusting.refusing(image, models)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        place = st.container()
        weighted, class_mix = prevalence.choose(image)
        with place:
            answer.verdict(weighted, models, refused)
        if class_mix:
            st.caption(class_mix)
        answer.missing(models)
    asked = [m for m in models if m.id in image.answers]
    if asked:
        with right, st.container(key="greyed" if refused else "scores"):
            answer.probabilities(weighted, asked)
        if not refused:
            what_it_means(image, asked)
        where_it_looked(image, asked)
        trusting.similar_cases(image, asked)
        steadiness.section(image, asked)
        classes = st.expander("All seven classes", icon=":material/grid_view:", key="every", on_change="rerun")
        if classes.open:
            with classes:
                more.every_class(weighted, asked)
        with st.expander("Other methods", icon=":material/brush:", key="others"):
            more.other_methods(image, asked)
        more.downloads(weighted, asked, class_mix)


def what_it_means(image: CaseImage, models: Sequence[AnyModel]) -> None:
    """Say what the probabilities do not rule out, and which thresholds they reach."""
    one, two = st.columns(2, gap="medium")
    with one:
        st.header("Not ruled out", anchor=False)
        deciding.prediction_sets(image, models)
    with two:
        st.header("Against the thresholds", anchor=False)
        deciding.operating(image, models)


@st.fragment
def where_it_looked(image: CaseImage, models: Sequence[AnyModel]) -> None:
    """Redraws alone: no choice made here asks a model again."""
    st.header("Where the model looked", anchor=False)
    by_id = {m.id: m for m in models}
    with st.container(horizontal=True, vertical_alignment="top", gap="small"):
        model = by_id[
            st.segmented_control(
                "Model",
                list(by_id),
                key="network",
                format_func=lambda i: by_id[i].name,
                required=True,
                default=models[0].id,
                bind="query-params",
            )
        ]
        view = st.segmented_control("View", VIEWS, key="view", required=True, default=VIEWS[0], bind="query-params")
        code = st.selectbox(
            "Evidence for",
            (PREDICTED, *CLASSES),
            key="class",
            bind="query-params",
            format_func=lambda c: "What the model called it" if c == PREDICTED else widgets.class_name(c),
            width=270,
        )
        opacity = st.slider("Opacity", 0, 100, 60, 5, format="%d %%", key="opacity", bind="query-params", width=160)
    code = called(image.answers[model.id]).code if code == PREDICTED else code
    if view == "Overlay":
        with st.container(width=820):
            answer.heat_map(image, model, code, opacity / 100, "heat", 660)
    else:
        one, two = st.columns(2, gap="medium")
        with one:
            answer.plain(image, model, "image")
        with two:
            answer.heat_map(image, model, code, opacity / 100, "heat")
    warning = attending.map_warning(image, model, code)
    if warning:
        st.warning(widgets.escape(warning, 1000), icon=":material/crop_free:")
    st.caption(READING)


page()
