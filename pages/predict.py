"""Predict: one or many images in, what every model says of them out."""

from collections.abc import Sequence

import streamlit as st

from dermlens.case import CaseImage
from dermlens.registry import AnyModel
from dermlens.trust import refusing
from ui import (
    answer,
    cache,
    deciding,
    intake,
    looking,
    more,
    prevalence,
    referring,
    state,
    steadiness,
    trusting,
    widgets,
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
    refused = refusing(image, models)
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
        if refused:
            looking.plain(image, asked[0], "image")
        else:
            explained(image, weighted, asked)
        more.downloads(weighted, asked, class_mix)


def explained(image: CaseImage, weighted: CaseImage, asked: Sequence[AnyModel]) -> None:
    what_it_means(image, asked)
    looking.where_it_looked(image, asked)
    trusting.similar_cases(image, asked)
    steadiness.section(image, asked)
    classes = st.expander("All seven classes", icon=":material/grid_view:", key="every", on_change="rerun")
    if classes.open:
        with classes:
            more.every_class(weighted, asked)
    with st.expander("Other methods", icon=":material/brush:", key="others"):
        more.other_methods(image, asked)


def what_it_means(image: CaseImage, models: Sequence[AnyModel]) -> None:
    """Say what the probabilities do not rule out, and which thresholds they reach."""
    one, two = st.columns(2, gap="medium")
    with one:
        st.header("Not ruled out", anchor=False)
        deciding.prediction_sets(image, models)
    with two:
        st.header("Against the thresholds", anchor=False)
        deciding.operating(image, models)


page()
