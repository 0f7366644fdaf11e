"""Whether a model's probabilities mean what they say, as the Metrics page shows it."""

from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.charts import calibration as charts
from dermlens.estimate import Estimate
from dermlens.evaluation.bins import calibration_error, equal_mass, equal_width
from dermlens.evaluation.calibration_error import (
    by_chance,
    diagram,
    measure,
)
from dermlens.evaluation.class_mix import AT, HAM10000
from dermlens.evaluation.metrics import CALIBRATION
from dermlens.evaluation.predictions import Predictions
from dermlens.labels import INDEX
from dermlens.labels import NAMES as DIAGNOSIS_NAMES
from dermlens.models.registry import Entry
from dermlens.trust.calibration import unseen
from dermlens.trust.fitted import Fitted
from dermlens.trust.thresholds import TARGETS
from dermlens.wording import UNCALIBRATED, counted, number_with_interval, percent
from ui import cache, widgets

CALLED = "called"
SUSPECTED = "suspect"
OF = {
    CALLED: "The diagnosis called",
    SUSPECTED: "Malignant or pre-malignant",
    **DIAGNOSIS_NAMES,
}
BEFORE = "Before"
AFTER = "After"
CROSSED = "After, cross-fitted"
"""Of validation, on which the calibration was fitted."""
BY_CHANCE = "A perfect model"
BINNINGS = {"Of equal width": equal_width, "Of equally many images": equal_mass}


class Stated(NamedTuple):
    """Probabilities (n, 7) of the same images before and after calibration, and what is measured of both."""

    parts: dict[str, np.ndarray]
    """heading -> probabilities; only BEFORE for a model without a calibration"""
    estimates: dict[str, dict[str, Estimate]]
    """heading -> key of CALIBRATION -> estimate; BY_CHANCE too"""


def section(entry: Entry, split: str, chosen: Predictions, key: tuple[Hashable, ...]) -> None:
    """Show the calibration diagrams and the estimates of a selection of images.

    Args:
        entry: the model. split: the chosen split. chosen: the selection. key: names the selection.
    """
    raw, fitted = cache.raw_predictions(entry).value, cache.fitted(entry)
    if raw is None:
        return
    stated = _stated(entry.folder, cache.stamp_of_answers(entry), (split, *key), (raw, chosen, fitted))
    if fitted.calibration is None:
        st.markdown(f"**These are {UNCALIBRATED}s.** {widgets.escape(fitted.missing_sentence('calibration'), 400)}")
    elif split == "validation":
        st.caption(
            f"The calibration was fitted on this split, so the numbers under {CROSSED} are so: every image is "
            "calibrated on other lesions than its own."
        )
    _diagrams(stated.parts, chosen, entry.name)
    widgets.table(_table(stated.estimates), "Calibration errors and scores with 95 % intervals")
    st.caption(
        "ECE: mean distance between the stated probability and the share that is true, over bins of images. On so few "
        "images chance alone leaves a distance: the last column says how large a perfect model's would be. Lower is "
        f"better for every metric, {AT[HAM10000]}. {split.capitalize()} split, {counted(len(chosen), 'image')} of "
        f"{counted(chosen.n_lesions, 'lesion')}."
    )


@st.cache_data(show_spinner="Measuring the calibration", max_entries=64)
def _stated(
    folder: Path,
    stamp: tuple[float, ...],
    key: tuple[Hashable, ...],
    _from: tuple[Predictions, Predictions, Fitted],
) -> Stated:
    raw, chosen, fitted = _from
    whole = raw.of_split(chosen.split[0])
    here = np.isin(whole.image_id, chosen.image_id)
    p = whole.select(here)
    parts = {BEFORE: p.probabilities}
    if fitted.calibration is not None:
        parts[CROSSED if "validation" in whole.splits else AFTER] = unseen(whole, fitted.calibration)[here]
    estimates = {name: measure(q, p.y_true, p.lesion) for name, q in parts.items()}
    last = list(parts.values())[-1]
    return Stated(parts, {**estimates, BY_CHANCE: by_chance(last, p.lesion)})


@st.fragment
def _diagrams(parts: dict[str, np.ndarray], chosen: Predictions, name: str) -> None:
    """Draw the calibration diagrams of what a person chooses; redraws alone."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        of = st.selectbox(
            "Probability of", list(OF), key="stated", format_func=OF.__getitem__, bind="query-params", width=340
        )
        width = widgets.one_of("Bins", list(BINNINGS), "bins")
    bins = {heading: diagram(*event(q, chosen, of), chosen.lesion, BINNINGS[width]) for heading, q in parts.items()}

    def data() -> pd.DataFrame:
        rows = [{"part": h, **vars(b), **vars(b.right)} for h, found in bins.items() for b in found]
        return pd.DataFrame(rows).drop(columns=["right", "value"]).assign(right=[r["value"] for r in rows])

    subtitle = f"{name}: {OF[of][0].lower()}{OF[of][1:]}<br>dotted: stated and true are the same"
    figures = charts.diagrams({f"{heading} calibration": found for heading, found in bins.items()}, subtitle)
    drawn = {}
    for heading, q in parts.items():
        gap = percent(calibration_error(*event(q, chosen, of), BINNINGS[width]), 1)
        title = f"{heading} calibration"
        drawn[f"calibration-{heading.lower()}"] = (figures[title], f"{title}: mean distance {gap}")
    widgets.side_by_side(drawn, data)


def event(probabilities: np.ndarray, chosen: Predictions, of: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of something (n,) and whether it is true (n,) bool."""
    rows, y = np.arange(len(chosen)), chosen.y_true
    if of == SUSPECTED:
        target = TARGETS["malignant"]
        return target.score(probabilities).clip(max=1), target.positive(y)
    if of == CALLED:
        said = probabilities.argmax(1)
        return probabilities[rows, said], said == y
    return probabilities[:, INDEX[of]], y == INDEX[of]


def _table(estimates: dict[str, dict[str, Estimate]]) -> pd.DataFrame:
    rows = []
    for key, metric in CALIBRATION.items():
        row = {"Metric": metric.name}
        for heading, found in estimates.items():
            row[heading] = number_with_interval(found[key]) if key in found else ""
        rows.append(row)
    return pd.DataFrame(rows)
