"""What a model loses under other lights; part of the Metrics page."""

import pandas as pd
import streamlit as st

from dermlens.case.image import thumbnail
from dermlens.charts.elsewhere import lost
from dermlens.evaluation.class_mix import AT, EQUAL
from dermlens.evaluation.other_lights import UNCHANGED, OtherLights
from dermlens.labels import NAMES
from dermlens.models.registry import Entry
from dermlens.wording import counted, percent_with_interval, points, points_with_interval
from ui import cache, dataset, widgets


def section(entry: Entry) -> None:
    """Show the balanced accuracy lost under every change, and one image under each of them where it is at hand."""
    result = cache.under_other_lights(entry)
    if result is None:
        widgets.nothing_here(
            f"What {widgets.escape(entry.name)} loses under other lights is not measured.",
            widgets.advice(entry, f"Run `python -m training.other_lights {entry.id} --data DIR`."),
        )
        return
    if result.value is None:
        widgets.nothing_here("What it loses under other lights cannot be shown.", widgets.escape(result.sentence, 400))
        return
    found, calls = result.value
    st.metric(
        f"Balanced accuracy lost on average, {AT[EQUAL]}",
        f"{points(found.lost.value).removeprefix('+')} points",
        width=400,
    )
    st.caption(f"{points_with_interval(found.lost)}; unchanged {percent_with_interval(found.unchanged)}.")
    st.markdown(
        f"The {found.unchanged.n_images:,} validation images, each changed as another dermatoscope, lamp or camera "
        f"might, {_views(found)}. Intervals draw the same lesions with and without a change."
    )

    def data() -> pd.DataFrame:
        return pd.DataFrame([{"change": c.change.name, **_row(c.change.values(), c.lost)} for c in found.changes])

    widgets.chart(lost(found), "Balanced accuracy lost under every change, with intervals", data, "other-lights")
    widgets.table(_table(found), "What every change is, and what it costs")
    _pictures(found, calls)


def _views(found: OtherLights) -> str:
    return "asked about in one view" if found.views == 1 else f"answers averaged over {found.views} views"


def _row(values: str, lost: object) -> dict:
    return {"values": values, **vars(lost)}


def _table(found: OtherLights) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Change": c.change.name.capitalize(),
            "Of": c.change.values(),
            "Balanced accuracy": percent_with_interval(c.balanced_accuracy),
            "Lost": points_with_interval(c.lost),
        }
        for c in found.changes
    )


@st.fragment
def _pictures(found: OtherLights, calls: pd.DataFrame) -> None:
    """Show one image under every change with what it was called; redraws alone."""
    known = cache.split_table().value
    if known is None or not dataset.at_hand():
        st.caption("Set HAM10000_DIR to the data set's folder to see an image under every change.")
        return
    code = widgets.choose_class("An image of", "lit", index=4)
    true = calls["image_id"].map(known.set_index("image_id")["dx"])
    own = calls[true == code]
    if own.empty:
        return
    changed = own.drop(columns=["image_id", UNCHANGED]).ne(own[UNCHANGED], axis=0).sum(axis=1)
    row = own.loc[changed.idxmax()]
    pixels = dataset.pixels(row["image_id"])
    if pixels is None:
        st.caption("The image is not available here.")
        return
    st.caption(
        f"{row['image_id']}, true diagnosis {NAMES[code]}: of the validation images of it the one whose call changes "
        f"most often, {counted(int(changed.max()), 'time')} out of {len(found.changes)}."
    )
    small = thumbnail(pixels, 320)
    grid = st.grid(4, min_column_width=150)
    shown = {UNCHANGED: small, **{c.change.name: c.change(small) for c in found.changes}}
    for name, picture in shown.items():
        with grid.cell():
            called = NAMES[row[name]]
            st.image(picture, width="stretch", alt=f"{row['image_id']}, {name}, called {called}")
            said = called if row[name] == row[UNCHANGED] else f"**{called}**"
            st.caption(f"{name.capitalize()}: {said}")
