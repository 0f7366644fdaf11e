"""Predict: one or many images in, what every model says about them out."""

from collections.abc import Callable, Sequence

import streamlit as st

from dermlens.case.decision import Decision, decide
from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion, form
from dermlens.models.model import AnyModel, for_diagnosis
from dermlens.wording import joined
from ui import cache, optional, state, widgets
from ui.pages import PREDICT
from ui.predict import (
    answer,
    decisions,
    downloads,
    heat_map,
    intake,
    other_methods,
    prevalence,
    similar_cases,
    stability,
    triage,
    verdict,
    warnings,
)


def page() -> None:
    models, problems = cache.models()
    state.leave_out_outdated(models)
    intake.receive(models)
    everyone = asked_of_case(models)
    compared = st.session_state.get("comparison") or state.linked("comparison") == "true"
    asked = everyone if compared else for_diagnosis(everyone) or everyone
    record = optional.record()
    rows = [] if record and record.any_unread() else triage.ranked(asked)
    if rows and not state.chosen():
        state.select(rows[0][0].key)
    widgets.head(PREDICT)
    actions = st.container(horizontal=True, gap="small", key="actions")
    widgets.problems(problems, "model" if len(problems) == 1 else "models")
    image = state.current()
    if not models:
        widgets.nothing_here(
            "There is no model to ask.",
            "Publish one with `python -m training.publish RUN ID`, or build the serving files with `make serving`.",
        )
    elif image is None:
        intake.welcome()
        if pacs := optional.pacs():
            pacs.left_over()
    else:
        opinion = form(asked, image.answers, image.synthetic)
        with actions:
            intake.add_more()
        intake.refusals()
        if record and record.reads_first(image, prevalence.at_chosen(opinion)):
            return
        if opinion.asked:
            with actions:
                downloads.report(image, prevalence.at_chosen(opinion))
                if pacs := optional.pacs():
                    pacs.offer(image, prevalence.at_chosen(opinion))
        if len(rows) > 1:
            triage.table(rows, image)
        show(image, opinion, everyone)
        if record:
            record.offer(image, prevalence.at_chosen(opinion))


def asked_of_case(models: Sequence[AnyModel]) -> Sequence[AnyModel]:
    """Return the models that were asked about an image of the case; all of them if none was."""
    tried = {model_id for image in state.images().values() for model_id in (*image.answers, *image.failures)}
    return [m for m in models if m.id in tried] or models


def show(image: CaseImage, opinion: Opinion, everyone: Sequence[AnyModel]) -> None:
    shown = prevalence.at_chosen(opinion)
    decision = decide(shown)
    with st.container(key="answer"):
        verdict.card(image, shown, decision)
        if not shown.asked:
            return
        with st.container(key="picture", gap="small"):
            if shown.withheld:
                heat_map.plain(image, shown.asked[0], "image")
            else:
                heat_map.where_it_looked(image, shown)
            warnings.drawing(image, shown)
            warnings.notes(image, shown)
        if not shown.withheld:
            with st.container(key="models", gap="small"):
                answer.probabilities(shown)
                stability.warning(image, shown)
                held = (record := optional.record()) and record.holds_answer()
                if not held:
                    prevalence.choose(opinion)
                if shown.wanted is not None:
                    st.caption(shown.class_mix)
                others = [m.name for m in everyone if m not in for_diagnosis(everyone)]
                if not held and others and len(others) < len(everyone):
                    st.toggle(f"Show for comparison: {joined(others)}", key="comparison", bind="query-params")
    if shown.withheld:
        fold("The numbers, which mean nothing here", "visibility_off", "numbers", lambda: greyed(shown))
    else:
        folds(image, shown, decision)
    stability.start(image, shown)


def folds(image: CaseImage, opinion: Opinion, decision: Decision | None) -> None:
    """Offer what stands behind the answer, each part under a plain title."""
    names = {m.id: m.name for m in opinion.models}
    if decision:
        fold("Why: the rules for referral", "rule", "rules", lambda: decisions.rules(decision, names))
    fold("What is not ruled out", "checklist", "sets", lambda: decisions.prediction_sets(opinion))
    fold("Above or below the thresholds", "straighten", "thresholds", lambda: decisions.operating(opinion))
    fold("Similar cases", "photo_library", "similar", lambda: similar_cases.similar_cases(image, opinion))
    fold("Is the answer steady?", "anchor", "steady", lambda: stability.section(image, opinion))
    fold("What these models cannot do", "block", "limits", lambda: answer.limits(opinion))
    fold("For researchers", "science", "research", lambda: research(image, opinion))


def fold(title: str, icon: str, key: str, draw: Callable[[], None]) -> None:
    """Draw a part under its title if it is unfolded; whether it is stands in the link."""
    box = st.expander(title, icon=f":material/{icon}:", key=f"show-{key}", on_change="rerun", bind="query-params")
    if box.open:
        with box:
            draw()


def greyed(opinion: Opinion) -> None:
    with st.container(key="greyed"):
        answer.probabilities(opinion)


def research(image: CaseImage, opinion: Opinion) -> None:
    other_methods.every_class(image, opinion)
    other_methods.other_methods(image, opinion)
    downloads.tables(opinion)


page()
