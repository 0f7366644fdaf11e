"""Prediction sets on the Metrics page: how often they hold the true diagnosis, and how large they are."""

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.charts import decisions as charts
from dermlens.estimate import Estimate
from dermlens.labels import CLASSES, NAMES, SHOWN
from dermlens.models.registry import Entry
from dermlens.trust.conformal import CASE_LEVEL, NO_GUARANTEE, PredictionSets
from dermlens.wording import number_with_interval, percent, percent_with_interval, short_percent
from ui import cache, widgets
from ui.widgets import fit_advice, fitted_on, not_fitted

SETS = (
    "A prediction set names every diagnosis that is not ruled out. Thresholds were fitted on validation so that, of "
    "new lesions of a diagnosis, at least the wanted share has it in the set; one image a lesion counted. That is a "
    "promise about lesions like those of HAM10000 on average, not about the one at hand."
)


def section(entry: Entry, split: str) -> None:
    """Show coverage and size of the prediction sets on a split; part of the Metrics page."""
    found = cache.fitted(entry).prediction_sets
    if found is None:
        not_fitted(entry, "prediction sets, so it cannot say which diagnoses are ruled out", "conformal")
    elif split not in found.measured:
        widgets.nothing_here(f"The prediction sets were not measured on {split}.", fit_advice(entry, "conformal"))
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
    estimates, own = found.measured[split][row], found.own[row]
    names = {"coverage": "True diagnosis in the set", "size": "Diagnoses in the set, mean"}
    names |= {"single": "Sets of one diagnosis", "empty": "Empty sets"}
    cells = st.grid(4, min_column_width=190)
    for name, label in names.items():
        with cells.cell(), st.container(border=True, gap=None, height="stretch"):
            value, span = charts.written(name, estimates[name])
            st.metric(label, value)
            st.caption(f"95 %: {span}")
    st.caption(f"{_whole(split, estimates['coverage'])} {fitted_on(found.fitted_on)}")
    st.markdown(SETS)
    if found.caveat(level):
        st.markdown(f":material/info: {found.caveat(level)} A hollow mark below says the same.")
    where = f"{entry.name}, {split}"
    worst = min((estimates["per_class"][c]["coverage"].value, NAMES[c]) for c in CLASSES if _known(estimates, c))
    alt = (
        f"Coverage and size of {short_percent(level)} prediction sets by true diagnosis. Overall "
        f"{percent(estimates['coverage'].value, 1)}; lowest {worst[1]} with {percent(worst[0])}."
    )
    drawn = charts.by_class(estimates, level, own, where)
    widgets.chart(drawn, alt, lambda: _sets_data(found, split), "prediction-sets")
    table = _sets_table(estimates, own)
    st.dataframe(table, hide_index=True, alt="Coverage and mean size by diagnosis, with intervals")
    widgets.chart(
        charts.by_level(found.levels, found.measured[split], level, where),
        "Coverage and mean size of the prediction sets at every level",
        lambda: _sets_data(found, split),
        "prediction-set-levels",
    )


def _known(estimates: dict, code: str) -> bool:
    return bool(estimates["per_class"][code]["coverage"].n_images)


def _sets_table(estimates: dict, own: np.ndarray) -> pd.DataFrame:
    rows = [{"Diagnosis": "All", "Guarantee": "of the average", **_set_cells(estimates)}]
    for i in SHOWN:
        row = {"Diagnosis": NAMES[CLASSES[i]], "Guarantee": "of its own" if own[i] else NO_GUARANTEE}
        rows.append({**row, **_set_cells(estimates["per_class"][CLASSES[i]])})
    return pd.DataFrame(rows)


def _set_cells(estimates: dict) -> dict[str, object]:
    return {
        "Images": estimates["coverage"].n_images,
        "True diagnosis in the set": percent_with_interval(estimates["coverage"]),
        "Diagnoses in the set": number_with_interval(estimates["size"], 2),
    }


def _sets_data(found: PredictionSets, split: str) -> pd.DataFrame:
    rows = []
    for level, estimates, own in zip(found.levels, found.measured[split], found.own, strict=True):
        of_classes = [(c, estimates["per_class"][c], own[i]) for i, c in enumerate(CLASSES)]
        for code, of_class, guaranteed in [("all", estimates, None), *of_classes]:
            row = {"level": level, "class": code, "class_guarantee": guaranteed}
            rows += [{**row, "metric": name, **vars(of_class[name])} for name in ("coverage", "size")]
    return pd.DataFrame(rows)


def _whole(split: str, estimate: Estimate) -> str:
    return (
        f"{split.capitalize()} split, all of it: {estimate.n_images:,} images of {estimate.n_lesions:,} lesions; 95 % "
        "intervals over lesions. Filters chosen above do not apply here."
    )
