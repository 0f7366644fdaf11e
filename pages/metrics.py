"""Metrics: what one model gets right and wrong on a data split, down to the single case."""

import streamlit as st

from ui import attending, cache, measured, slicing, splits, widgets

TABS = ("Confusion matrix", "Per class", "Curves", "Slices", "Where it looked")


def page() -> None:
    widgets.head("Metrics", "What a model gets right and wrong, down to the single case.")
    entries, problems = splits.measurable()
    widgets.problems(problems, "predictions file" if len(problems) == 1 else "predictions files")
    if not entries:
        splits.nothing_measured()
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        model_id = st.selectbox(
            "Model", list(entries), key="of", format_func=lambda i: entries[i].name, bind="query-params", width=300
        )
        everything = cache.predictions(entries[model_id]).value
        if everything is None:
            return
        split = splits.choose_split(everything.splits)
        chosen, key = slicing.choose(everything.of_split(split))
    splits.mark_final(split)
    if not len(chosen):
        widgets.nothing_here("No image fits this choice.", "Take a filter away.")
        return
    entry = entries[model_id]
    measured.headline(cache.summary(entry, (split, *key), chosen), split)
    matrix, classes, curve, slices, looked = st.tabs(TABS, key="show", on_change="rerun", bind="query-params")
    with matrix:
        if matrix.open:
            measured.confusion(chosen, entry)
    with classes:
        if classes.open:
            measured.per_class(cache.summary(entry, (split, *key), chosen), entry)
    with curve:
        if curve.open:
            measured.curves(chosen, entry)
    with slices:
        if slices.open:
            slicing.show(entry, split, everything.of_split(split))
    with looked:
        if looked.open:
            attending.section(entry)


page()
