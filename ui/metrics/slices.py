"""Slices of a split and cells of the confusion matrix: choosing them, and what the slices show."""

from collections.abc import Hashable

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.charts import slices as charts
from dermlens.evaluation.intervals import FEW_LESIONS
from dermlens.evaluation.predictions import Predictions, cases_of
from dermlens.evaluation.slices import AGE_BANDS, UNKNOWN, Slice, group_names
from dermlens.labels import CLASSES, NAMES
from dermlens.models.registry import Entry
from dermlens.wording import counted
from ui import cache, widgets

BY = {"age": "Age", "sex": "Sex", "localization": "Site", "dx_type": "Confirmed by"}
ANY = "any"


def choose(predictions: Predictions) -> tuple[Predictions, tuple[Hashable, ...]]:
    """Let a person keep only some images; returns them and the key that names the choice."""
    known = cache.cases().value
    with st.popover("Filter cases", icon=":material/filter_alt:"):
        if known is None:
            st.text(cache.cases().sentence)
            return predictions, ()
        facts = cases_of(predictions, known)
        keep = np.ones(len(predictions), bool)
        key: list[Hashable] = []
        for by, label in BY.items():
            names = group_names(facts, by)
            wanted = st.multiselect(label, _options(by, names), key=by, bind="query-params", placeholder="All")
            if wanted:
                keep &= pd.Series(names).isin(wanted).to_numpy()
                key.append((by, *sorted(wanted)))
    if not key:
        return predictions, ()
    st.badge(
        f"{int(keep.sum()):,} of {counted(len(predictions), 'image')}", icon=":material/filter_alt:", color="primary"
    )
    return predictions.select(keep), tuple(key)


def _options(by: str, names: np.ndarray) -> list[str]:
    present = set(names)
    if by == "age":
        return [n for n in (*(name for name, _ in AGE_BANDS), UNKNOWN) if n in present]
    return sorted(present, key=lambda n: (n == UNKNOWN, n))


def choose_cell() -> tuple[str, str] | None:
    """Offer the cell of the matrix as two menus, which a click on the matrix sets; None unless both are chosen."""
    names = {ANY: "Any", **{code: NAMES[code] for code in CLASSES}}
    true = st.selectbox("True diagnosis", list(names), key="true", format_func=names.__getitem__, bind="query-params")
    called = st.selectbox("Called", list(names), key="called", format_func=names.__getitem__, bind="query-params")
    return None if ANY in (true, called) else (true, called)


def take_cell(points: list[dict]) -> None:
    """Take over the cell that was clicked."""
    if points:
        st.session_state["true"], st.session_state["called"] = points[0]["customdata"][:2]


def mark_whole(split: str) -> None:
    """Say of a section that no filter applies to it."""
    st.caption(f"{split.capitalize()} split, all of it: the filters chosen above do not apply here.")


def show(entry: Entry, split: str, chosen: Predictions, key: tuple[Hashable, ...]) -> None:
    """Show how well the model does on the parts of a selection of images.

    Args:
        entry: the model. split: the chosen split. chosen: the selection. key: names the selection.
    """
    known = cache.cases().value
    if known is None:
        widgets.nothing_here("The table of cases cannot be read.", widgets.escape(cache.cases().sentence, 400))
        return
    by = widgets.one_of("Slices by", list(BY), "by", format_func=BY.__getitem__)
    found = cache.slices_of(entry, (split, *key, by), chosen, known, by)
    st.caption(
        f"{split.capitalize()} split, {counted(len(chosen), 'image')} of {counted(chosen.n_lesions, 'lesion')}. "
        "Slices differ in their mix of diagnoses: compare them class by class. A hollow mark rests on fewer than "
        f"{FEW_LESIONS} lesions, of melanoma recall on fewer than {FEW_LESIONS} melanomas, and says little. A slice of "
        "one class has no overall number. Recalls and balanced accuracy are at an equal mix, so that they can be "
        "compared."
    )

    def data() -> pd.DataFrame:
        return pd.DataFrame([_row(s) for s in found])

    title = f"by {BY[by].lower()}"
    widgets.side_by_side(
        {
            f"slices-{by}": (
                charts.balanced_accuracy(found, title),
                "Balanced accuracy of every slice, at an equal mix",
            ),
            f"slice-melanoma-{by}": (
                charts.melanoma_recall(found, title),
                "Melanoma recall of every slice, at an equal mix",
            ),
        },
        data,
    )
    widgets.chart(charts.recall(found), "Recall of every class in every slice", data, f"slice-recall-{by}")
    widgets.chart(charts.class_mix(found), "Share of every class in every slice", data, f"slice-mix-{by}")


def _row(s: Slice) -> dict[str, object]:
    row: dict[str, object] = {"slice": s.name, "images": s.n_images, "lesions": s.n_lesions, "small": s.small}
    for name, estimate in (("accuracy", s.accuracy), ("balanced_accuracy", s.balanced_accuracy)):
        row |= {name: None, f"{name}_low": None, f"{name}_high": None}
        if estimate is not None:
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    for i, code in enumerate(CLASSES):
        estimate = s.recall[code]
        row |= {f"{code}_images": int(s.class_mix[i]), f"{code}_lesions": estimate.n_lesions}
        row |= {f"{code}_recall": estimate.value}
        row |= {f"{code}_low": estimate.low, f"{code}_high": estimate.high}
    return row
