"""Several models on one pair of axes: ROC and precision-recall of a diagnosis, and calibration."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.charts import calibration as calibration_charts
from dermlens.charts import metrics as charts
from dermlens.dataset.isic2019 import TITLES
from dermlens.evaluation.calibration_error import Bin, diagram
from dermlens.evaluation.metrics import sweep
from dermlens.evaluation.predictions import Predictions
from dermlens.labels import INDEX, NAMES
from dermlens.models.registry import Entry
from dermlens.wording import UNCALIBRATED
from ui import cache, widgets
from ui.metrics import overview
from ui.metrics.calibration import BINNINGS, OF, event

ROC, CALIBRATION = "ROC and precision-recall", "Calibration"


@st.fragment
def section(entries: list[Entry], split: str) -> None:
    """Show what a person chooses of the first overview.MOST_CURVES models; redraws alone."""
    st.header("On one pair of axes", anchor=False)
    shown = entries[: overview.MOST_CURVES]
    if len(shown) < len(entries):
        st.caption(f"The first {overview.MOST_CURVES} models are drawn.")
    kinds = [ROC] if split in TITLES else [ROC, CALIBRATION]  # probabilities hold for HAM10000's class mix
    if widgets.one_of("Figure", kinds, "axes") == ROC:
        _curves(shown, split)
    else:
        _calibration(shown, split)


def _curves(entries: list[Entry], split: str) -> None:
    code = widgets.choose_class("Diagnosis", "curve-of", index=INDEX["mel"], width=340)
    drawn = {}
    for entry in entries:
        found = cache.predictions(entry).value
        if found is not None:
            p = found.of_split(split)
            counts = sweep(p.y_true == INDEX[code], p.probabilities[:, INDEX[code]])
            auc = cache.summary(entry, (split,), p).per_class[code]["auc"]
            drawn[entry.name] = charts.Curve(counts, auc, overview.bands_of(entry, p, code))
    of = f"{NAMES[code]}, a line a model"
    overview.show_curves(drawn, None, f"{NAMES[code]} against the rest", of, "model-")
    st.caption(
        "Bands and AUC are of each model alone; whether two models differ is tested below, on the same lesions."
        + ("" if all(curve.bands is not None for curve in drawn.values()) else f" {overview.NO_BAND}")
    )


def _calibration(entries: list[Entry], split: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        of = st.selectbox(
            "Probability of", list(OF), key="stated-of", format_func=OF.__getitem__, bind="query-params", width=340
        )
        width = widgets.one_of("Bins", list(BINNINGS), "binned")
    bins: dict[str, list[Bin]] = {}
    uncalibrated = []
    for entry in entries:
        found = _stated(entry, split)
        if found is not None:
            p, probabilities, calibrated = found
            bins[entry.name] = list(diagram(*event(probabilities, p, of), p.lesion, BINNINGS[width]))
            uncalibrated += [] if calibrated else [entry.name]
    subtitle = f"{OF[of]}; dotted: stated and true are the same"
    figure = calibration_charts.overlaid(bins, "What each model states, and what is true", subtitle)
    widgets.chart(figure, f"Calibration of {', '.join(bins)}", partial(_table, bins), "model-calibration")
    st.caption(
        ("On validation each image is calibrated on other lesions than its own. " if split == "validation" else "")
        + (f"Of {widgets.escape(', '.join(uncalibrated), 400)} these are {UNCALIBRATED}s." if uncalibrated else "")
    )


def _stated(entry: Entry, split: str) -> tuple[Predictions, np.ndarray, bool] | None:
    """Return a split's predictions, probabilities (n, 7) by a calibration that has not seen them, and whether it has
    one."""
    found = cache.predictions(entry).value
    if found is None:
        return None
    p = found.of_split(split)
    if cache.fitted(entry).calibration is None:
        return p, p.probabilities, False
    unseen = cache.unseen(entry, split).value
    return None if unseen is None else (*unseen, True)


def _table(bins: dict[str, list[Bin]]) -> pd.DataFrame:
    rows = [{"model": name, **vars(b), **vars(b.right)} for name, found in bins.items() for b in found]
    return pd.DataFrame(rows).drop(columns=["right", "value"]).assign(right=[r["value"] for r in rows])
