"""Metrics: what one model gets right and wrong on a data split, down to the single case."""

import streamlit as st

from dermlens.models.registry import Entry
from ui import cache, optional, splits, widgets
from ui.metrics import (
    calibration,
    gallery,
    localisation,
    ood,
    operating_points,
    other_archives,
    other_lights,
    overview,
    prediction_sets,
    referral,
    slices,
)
from ui.pages import METRICS

OF_HAM10000 = ("Calibration", "Prediction sets", "Operating points", "Referral", "Slices")
"""Tabs on what was fitted for HAM10000, or goes by what is known of its images."""


def page() -> None:
    widgets.head(METRICS)
    entries, problems = splits.measurable()
    widgets.problems(problems, "predictions file" if len(problems) == 1 else "predictions files")
    if not entries:
        splits.nothing_measured()
        return
    widgets.unknown_in_link("of", (name for e in entries.values() for name in (e.id, e.name)), "a model")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        model_id = st.selectbox(
            "Model", list(entries), key="of", format_func=lambda i: entries[i].name, bind="query-params", width=300
        )
        everything = cache.predictions(entries[model_id]).value
        if everything is None:
            return
        split = splits.choose_split((*everything.splits, *optional.more_splits()))
        if split != optional.RECORD_SPLIT:
            chosen, key = slices.choose(everything.of_split(split))
    if split == optional.RECORD_SPLIT:
        optional.record_metrics().section(entries[model_id])
        return
    splits.mark_final(split)
    if not len(chosen):
        widgets.nothing_here("No image matches these filters.", "Remove one of them.")
        return
    entry = entries[model_id]
    referred = "" if key else splits.benign_referred(entry, split)
    overview.headline(cache.summary(entry, (split, *key), chosen), split, referred)
    widgets.assumed(everything)
    sections = {
        "Confusion matrix": lambda: overview.confusion(chosen, entry),
        "Per class": lambda: overview.per_class(cache.summary(entry, (split, *key), chosen), entry),
        "Curves": lambda: overview.curves(chosen, entry, cache.summary(entry, (split, *key), chosen)),
        "Gallery": lambda: gallery.errors(chosen, entry),
        "Map": lambda: gallery.embeddings(chosen, entry),
        "Calibration": lambda: calibration.section(entry, split, chosen, key),
        "Prediction sets": lambda: prediction_sets.section(entry, split),
        "Operating points": lambda: operating_points.section(entry, split),
        "Referral": lambda: referral.section(entry, split, everything.of_split(split)),
        "Slices": lambda: slices.show(entry, split, chosen, key),
        "Where it looked": lambda: localisation.section(entry),
        "Unlike images": lambda: unlike(entry, split, filtered=bool(key)),
        "Under other lights": lambda: other_lights.section(entry),
        "Another archive": lambda: other_archives.section(entry, everything),
    }
    widgets.unknown_in_link("show", sections, "a tab")
    tabs = st.tabs(list(sections), key="show", on_change="rerun", bind="query-params")
    for tab, (name, show) in zip(tabs, sections.items(), strict=True):
        if tab.open:
            with tab:
                if name not in OF_HAM10000 or not splits.only_elsewhere(split):
                    show()


def unlike(entry: Entry, split: str, filtered: bool) -> None:
    if filtered:
        slices.mark_whole(split)
    ood.section(entry, split)


page()
