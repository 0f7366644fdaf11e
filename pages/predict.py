"""Predict: one or many images in, what every model says of them out."""

from collections.abc import Sequence

import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.ood_gate import refusing
from dermlens.models.model import AnyModel
from ui import cache, state, widgets
from ui.pages import PREDICT
from ui.predict import answer, decisions, heat_map, intake, other_methods, prevalence, referral, stability, warnings
from ui.predict.downloads import downloads
from ui.predict.similar_cases import similar_cases


def page() -> None:
    models, problems = cache.models()
    intake.receive(models)
    widgets.head(PREDICT)
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
    warnings.warnings(image, models)
    referral.sentence(image, models)
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
            heat_map.plain(image, asked[0], "image")
        else:
            explained(image, weighted, asked)
        downloads(weighted, asked, class_mix)


def explained(image: CaseImage, weighted: CaseImage, asked: Sequence[AnyModel]) -> None:
    what_it_means(image, asked)
    heat_map.where_it_looked(image, asked)
    similar_cases(image, asked)
    stability.section(image, asked)
    classes = st.expander("All seven classes", icon=":material/grid_view:", key="every", on_change="rerun")
    if classes.open:
        with classes:
            other_methods.every_class(weighted, asked)
    with st.expander("Other methods", icon=":material/brush:", key="others"):
        other_methods.other_methods(image, asked)


def what_it_means(image: CaseImage, models: Sequence[AnyModel]) -> None:
    """Say what the probabilities do not rule out, and which thresholds they reach."""
    one, two = st.columns(2, gap="medium")
    with one:
        st.header("Not ruled out", anchor=False)
        decisions.prediction_sets(image, models)
    with two:
        st.header("Against the thresholds", anchor=False)
        decisions.operating(image, models)


page()
