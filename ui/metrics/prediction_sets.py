"""Prediction sets on the Metrics page: how often they hold the true diagnosis, and how large they are."""

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.charts import decisions as charts
from dermlens.estimate import Estimate
from dermlens.labels import CLASSES, NAMES, SHOWN
from dermlens.models.registry import Entry
from dermlens.trust.conformal import CASE_LEVEL, NO_GUARANTEE, Measured, OfClass, PredictionSets
from dermlens.wording import number_with_interval, percent, percent_with_interval, rests_on, short_percent
from ui import cache, widgets
from ui.widgets import fit_advice, fitted_on, not_fitted

SETS = (
    "A prediction set names every diagnosis that is not ruled out. Thresholds were fitted on validation, "
    "counting one image per lesion, so that at least the wanted share of new lesions of a diagnosis has it in the set. "
    "That is a promise about lesions like those of HAM10000 on average, not about any single one."
)


def section(entry: Entry, split: str) -> None:
    """Show coverage and size of the prediction sets on a split; part of the Metrics page."""
    found = cache.fitted(entry).prediction_sets
    if found is None:
        not_fitted(entry, "prediction sets, so it cannot say which diagnoses are ruled out", "prediction_sets")
    elif split not in found.measured:
        widgets.nothing_here(f"The prediction sets were not measured on {split}.", fit_advice(entry, "prediction_sets"))
    else:
        _sets(entry, split, found)


@st.fragment
def _sets(entry: Entry, split: str, found: PredictionSets) -> None:
    level = st.select_slider(
        "Wanted coverage",
        found.levels,
        value=CASE_LEVEL,
        format_func=short_percent,
        key="coverage",
        bind="query-params",
        help=f"Cases are shown with {short_percent(CASE_LEVEL)}.",
    )
    row = found.row(level)
    measured, own = found.measured[split][row], found.own[row]
    names = {"coverage": "True diagnosis in the set", "size": "Diagnoses in the set, mean"}
    names |= {"single": "Sets of one diagnosis", "empty": "Empty sets"}
    cells = st.grid(4, min_column_width=190)
    for name, label in names.items():
        with cells.cell(), st.container(border=True, gap=None, height="stretch"):
            value, span = charts.written(name, getattr(measured, name))
            st.metric(label, value)
            st.caption(f"95 %: {span}")
    st.caption(f"{_whole(split, measured.coverage)} {fitted_on(found.fitted_on)}")
    st.markdown(SETS)
    if found.caveat(level):
        st.markdown(f":material/info: {found.caveat(level)} A hollow mark below says the same.")
    where = f"{entry.name}, {split}"
    known = {code: of_class.coverage for code, of_class in measured.per_class.items() if of_class.coverage.n_images}
    worst = min((coverage.value, NAMES[code]) for code, coverage in known.items())
    alt = (
        f"Coverage of {short_percent(level)} prediction sets by true diagnosis. Overall "
        f"{percent(measured.coverage.value, 1)}; lowest {worst[1]} with {percent(worst[0])}."
    )
    size = f"Mean size of {short_percent(level)} prediction sets by true diagnosis; overall {measured.size.value:.2f}."
    drawn = {m: charts.by_class(measured, m, level, own, where) for m in charts.MEASURES}
    widgets.side_by_side(
        {"prediction-sets": (drawn["coverage"], alt), "prediction-set-sizes": (drawn["size"], size)},
        lambda: _sets_data(found, split),
    )
    table = _sets_table(measured, own)
    widgets.table(table, "Coverage and mean size by diagnosis, with intervals")
    drawn = {m: charts.by_level(found.levels, found.measured[split], m, level, where) for m in charts.MEASURES}
    widgets.side_by_side(
        {
            "prediction-set-levels": (drawn["coverage"], "Coverage of the prediction sets at every level"),
            "prediction-set-sizes-by-level": (drawn["size"], "Mean size of the prediction sets at every level"),
        },
        lambda: _sets_data(found, split),
    )


def _sets_table(measured: Measured, own: np.ndarray) -> pd.DataFrame:
    rows = [{"Diagnosis": "All", **_set_cells(measured)}]
    for i in SHOWN:
        name = NAMES[CLASSES[i]] + ("" if own[i] else f", {NO_GUARANTEE}")
        rows.append({"Diagnosis": name, **_set_cells(measured.per_class[CLASSES[i]])})
    return pd.DataFrame(rows)


def _set_cells(found: Measured | OfClass) -> dict[str, object]:
    return {
        "Images": found.coverage.n_images,
        "True diagnosis in the set": percent_with_interval(found.coverage),
        "Diagnoses in the set": number_with_interval(found.size, 2),
    }


def _sets_data(found: PredictionSets, split: str) -> pd.DataFrame:
    rows = []
    for level, measured, own in zip(found.levels, found.measured[split], found.own, strict=True):
        everything: list[tuple[str, Measured | OfClass, bool | None]] = [("all", measured, None)]
        everything += [(code, measured.per_class[code], own[i]) for i, code in enumerate(CLASSES)]
        for code, of_class, guaranteed in everything:
            row = {"level": level, "class": code, "class_guarantee": guaranteed}
            rows += [
                {**row, "metric": "coverage", **vars(of_class.coverage)},
                {**row, "metric": "size", **vars(of_class.size)},
            ]
    return pd.DataFrame(rows)


def _whole(split: str, estimate: Estimate) -> str:
    return (
        f"{split.capitalize()} split, all of it: {rests_on(estimate)}; 95 % "
        "intervals over lesions. Filters chosen above do not apply here."
    )
