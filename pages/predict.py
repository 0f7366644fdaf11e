"""Predict: one or many images in, what every model says about them out."""

import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion, form
from ui import cache, optional, state, widgets
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
    record = optional.record()
    if len(state.images()) > 1 and not (record and record.any_unread()):
        intake.case_table(models)
    asked = [m for m in models if m.id in image.answers] or models
    opinion = form(asked, image.answers, image.synthetic)
    if record and record.reads_first(image, opinion):
        return
    show(image, opinion)
    if record:
        record.offer(image, prevalence.at_chosen(opinion))


def show(image: CaseImage, opinion: Opinion) -> None:
    warnings.warnings(image, opinion)
    referral.sentence(image, opinion)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        place = st.container()
        opinion = prevalence.choose(opinion)
        with place:
            answer.verdict(image, opinion)
        if opinion.class_mix:
            st.caption(opinion.class_mix)
        answer.missing(opinion)
    if not opinion.asked:
        return
    with right, st.container(key="greyed" if opinion.refused else "scores"):
        answer.probabilities(opinion)
    if opinion.refused:
        heat_map.plain(image, opinion.asked[0], "image")
    else:
        explained(image, opinion)
    downloads(image, opinion)


def explained(image: CaseImage, opinion: Opinion) -> None:
    what_it_means(opinion)
    heat_map.where_it_looked(image, opinion)
    similar_cases(image, opinion)
    stability.section(image, opinion)
    classes = st.expander("All seven classes", icon=":material/grid_view:", key="every", on_change="rerun")
    if classes.open:
        with classes:
            other_methods.every_class(image, opinion)
    with st.expander("Other methods", icon=":material/brush:", key="others"):
        other_methods.other_methods(image, opinion)


def what_it_means(opinion: Opinion) -> None:
    """Say what the probabilities do not rule out, and which thresholds they reach."""
    one, two = st.columns(2, gap="medium")
    with one:
        st.header("Not ruled out", anchor=False)
        decisions.prediction_sets(opinion)
    with two:
        st.header("Against the thresholds", anchor=False)
        decisions.operating(opinion)


page()
