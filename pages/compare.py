"""Compare models: side by side on the current case, or on a data split."""

import streamlit as st

from dermlens.case.opinion import form
from dermlens.evaluation.predictions import SHOWN_SPLITS
from dermlens.models.model import networks
from ui import brought, cache, optional, splits, state, widgets
from ui.compare import bring, curves, on_case, on_split
from ui.pages import COMPARE, PREDICT

TABS = ("On one image", "On a data split")


def page() -> None:
    widgets.head(COMPARE)
    models, problems = cache.models()
    entries, unreadable = splits.measurable()
    broken = [*problems, *unreadable]
    widgets.problems(broken, "model or predictions file" if len(broken) == 1 else "models or predictions files")
    widgets.unknown_in_link("compare", TABS, "a tab")
    image, split = st.tabs(TABS, key="compare", on_change="rerun", bind="query-params")
    with image:
        if image.open:
            one_image(models)
    with split:
        if split.open:
            data_split(entries)


def one_image(models: list) -> None:
    shown = state.current()
    if len(models) < 2:
        widgets.nothing_here(
            "Fewer than two models can be asked.", "Publish a second one with `python -m training.publish RUN ID`."
        )
        return
    if shown is None:
        widgets.nothing_here(
            "There is no image to compare them on.", "Upload one on the Predict page, or choose a drawing there."
        )
        st.page_link(PREDICT.path, label=f"Go to {PREDICT.title}", icon=PREDICT.icon)
        return
    if (record := optional.record()) and record.unread(shown):
        record.not_yet()
        return
    state.leave_out_outdated(models)
    opinion = form(models, shown.answers, shown.synthetic)
    asked = {m.id: m for m in opinion.asked}
    alone = [m.id for m in networks(asked.values())]
    ids = st.multiselect(
        "Models",
        list(asked),
        default=(alone if len(alone) > 1 else list(asked))[:2],
        key="networks",
        format_func=lambda i: asked[i].name,
        bind="query-params",
    )
    if len(ids) < 2:
        st.caption("Choose at least two models.")
        return
    on_case.show(shown, opinion, ids)


def data_split(entries: dict) -> None:
    bring.button()
    entries = {**entries, **{i: own.entry for i, own in brought.held().items()}}
    if len(entries) < 2:
        widgets.nothing_here(
            "Fewer than two models have predictions to compare.",
            "Publish a second one, put a folder with a `predictions.csv` into `models/`, or bring predictions above.",
        )
        return
    widgets.unknown_in_link("models", (name for e in entries.values() for name in (e.id, e.name)), "a model")
    with st.container(horizontal=True, vertical_alignment="top", gap="medium"):
        ids = st.multiselect(
            "Models",
            list(entries),
            default=list(entries)[:2],
            key="models",
            format_func=lambda i: entries[i].name,
            bind="query-params",
        )
        found = {i: cache.predictions(entries[i]).value for i in ids}
        common = [s for s in SHOWN_SPLITS if all(p is not None and s in p.splits for p in found.values())]
        if len(ids) < 2 or not common:
            st.caption("Choose at least two models that were run on the same split.")
            return
        split = splits.choose_split(tuple(common))
    splits.mark_final(split)
    on_split.headline([entries[i] for i in ids], split)
    curves.section([entries[i] for i in ids], split)
    pair = [entries[i] for i in ids]
    if len(pair) > 2:
        pair = on_split.choose_pair(pair)
    on_split.differ(pair[0], pair[1], split)


page()
