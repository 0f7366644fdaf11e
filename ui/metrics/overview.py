"""What is measured of one model on one selection of images, as the Metrics page shows it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.charts import metrics as charts
from dermlens.dataset.isic2019 import TITLES
from dermlens.evaluation.class_mix import AT, HAM10000, WITHOUT
from dermlens.evaluation.intervals import FEW_ON_A_CURVE, CurveBands, Summary, curve_bands
from dermlens.evaluation.metrics import (
    ELSEWHERE,
    HEADLINE,
    OVERALL,
    PER_CLASS,
    UNLESS_SAID,
    confusion_matrix,
    most_common_confusion,
    sweep,
)
from dermlens.evaluation.predictions import SPLIT_TITLES, Predictions
from dermlens.labels import CLASSES, DIAGNOSES, INDEX, NAMES, SHOWN
from dermlens.models.registry import Entry
from dermlens.wording import counted, interval, percent, percent_with_interval, short_percent
from ui import brought, splits, widgets
from ui.metrics import cases, slices


def headline(summary: Summary, split: str, referred: str = "") -> None:
    """Show the headline metrics of a split with their intervals; of another archive those that go by no class mix.

    Args:
        summary: of the split, or of a slice of it. referred: share of its benign images that the rules refer, if known.
    """
    elsewhere = split in TITLES
    shown = [(OVERALL[key], summary.overall[key]) for key in (ELSEWHERE if elsewhere else HEADLINE)]
    if elsewhere:
        shown.append((replace(PER_CLASS["auc"], name="AUC of melanoma"), summary.per_class["mel"]["auc"]))
    cells = st.grid(3, min_column_width=140)  # six: no row of one
    for metric, estimate in shown:
        with cells.cell(), st.container(border=True, gap=None, height="stretch"):
            st.metric(metric.name, percent(estimate.value, 1))
            st.caption(f"{AT[metric.mix]}  \n95 %: {interval(estimate)}")
    if not elsewhere:
        others = {metric: summary.overall[key] for key, metric in OVERALL.items() if not metric.is_share}
        told = {m.label: m.text(f) for m, f in others.items()}
        told |= {"benign images that its rules refer": referred} if referred else {}
        st.markdown("; ".join(f"{name}: **{value}**" for name, value in told.items()))
    accuracy = summary.overall["accuracy"]
    present = int((summary.confusion.sum(1) > 0).sum())
    st.caption(
        f"{SPLIT_TITLES.get(split, f'{split.capitalize()} split')}: {counted(accuracy.n_images, 'image')} of "
        f"{counted(accuracy.n_lesions, 'lesion')}; 95 % intervals over lesions; means are over the "
        f"{counted(present, 'diagnosis')} with images here."
        f"{'' if summary.class_mix else f' {WITHOUT}'}"
    )
    splits.warn_of_validation(split)


@st.fragment
def confusion(chosen: Predictions, entry: Entry) -> None:
    """Show the confusion matrix and the cases of the cell that was clicked; redraws alone."""
    left, right = st.columns([3, 1], gap="medium")
    with right:
        mode = st.radio(
            "Cells show", list(charts.MODES), format_func=charts.MODES.get, key="cells", bind="query-params"
        )
        log = st.toggle("Logarithmic colour", key="log", bind="query-params")
        off = st.toggle("Errors only", key="errors", bind="query-params", help="Leaves the diagonal out.")
        cell = slices.choose_cell()
    counts = confusion_matrix(chosen.y_true, chosen.y_pred)

    def data() -> pd.DataFrame:
        return pd.DataFrame(counts, index=CLASSES, columns=CLASSES).rename_axis("true \\ called").reset_index()

    figure = charts.confusion_matrix(counts, f"{entry.name}, {AT[HAM10000]}", mode, log, off, cell)
    right_share = percent(float(counts.trace() / counts.sum()), 1)
    with left:
        widgets.clickable(
            figure, f"Confusion matrix; {right_share} on the diagonal", data, "confusion", slices.take_cell
        )
    rows = splits.rows_in(chosen, *(cell or (None, None)))
    if not cell:
        st.caption("Click a cell, or choose a true and a called diagnosis, to list its cases.")
        return
    true, called = (DIAGNOSES[INDEX[code]].name for code in cell)
    of = counts[INDEX[cell[0]]].sum()
    st.markdown(f"**{true}, called {called}**: {len(rows):,} of {of:,} ({percent(len(rows) / of if of else np.nan)})")
    if len(rows):
        cases.table({entry.name: chosen}, rows, "cell")
    cases.open_chosen([entry])


def per_class(summary: Summary, entry: Entry) -> None:
    """Show what every class is most often called instead, and every metric of it with its interval."""
    widgets.table(_table(summary), "What every class is most often called instead")
    st.caption(UNLESS_SAID)
    grid = st.grid(2, min_column_width=330)
    for key, metric in PER_CLASS.items():
        figure = charts.per_class(summary.per_class, key)
        numbers = [f"{NAMES[CLASSES[i]]} {percent_with_interval(summary.per_class[CLASSES[i]][key])}" for i in SHOWN]
        with grid.cell():
            widgets.chart(figure, f"{metric.label}: {', '.join(numbers)}", _column(summary, key), key)


def _table(summary: Summary) -> pd.DataFrame:
    confused = most_common_confusion(summary.confusion)
    rows = []
    for i in SHOWN:
        worst = confused[i]
        instead = "none"
        if worst:
            name, share = DIAGNOSES[worst.predicted].name, percent(worst.count / worst.support)
            instead = f"{worst.count} of {worst.support} called {name}, {share}"
        row = {"Diagnosis": NAMES[CLASSES[i]], "Images": int(summary.confusion[i].sum())}
        rows.append({**row, "Most often called instead": instead})
    return pd.DataFrame(rows)


def _column(summary: Summary, name: str) -> Callable[[], pd.DataFrame]:
    return lambda: pd.DataFrame([{"class": c, **vars(summary.per_class[c][name])} for c in CLASSES])


MOST_CURVES = 4
"""Lines that can still be told apart on one pair of axes."""


@st.fragment
def curves(chosen: Predictions, entry: Entry, summary: Summary) -> None:
    """Show ROC and precision-recall curves of classes with a movable operating point; redraws alone."""
    one, two = st.columns([1, 1], gap="medium")
    with one:
        codes = st.multiselect(
            "Diagnoses",
            CLASSES,
            default=["mel"],
            key="curve",
            format_func=widgets.class_name,
            bind="query-params",
            max_selections=MOST_CURVES,
        )
    with two:
        threshold = st.slider(
            "Call it at a score of at least", 0.0, 100.0, 50.0, 0.5, format="%g %%", key="at", bind="query-params"
        )
    if not codes:
        st.caption("Choose at least one diagnosis.")
        return
    counts = {code: sweep(chosen.y_true == INDEX[code], chosen.probabilities[:, INDEX[code]]) for code in codes}
    lines = [f"At a score of at least {short_percent(threshold / 100)}:"]
    for code, found in counts.items():
        at = charts.operating_index(found, threshold / 100)
        hits, alarms = int(found.true_positives[at]), int(found.false_positives[at])
        lines.append(
            f"{NAMES[code]}: **{hits:,} of {found.positives:,}** found, **{found.positives - hits:,} missed**, "
            f"{counted(alarms, 'false alarm')} among {found.negatives:,} others."
        )
    st.markdown("  \n".join(lines))
    drawn = {NAMES[code]: charts.Curve(found, summary.per_class[code]["auc"], bands_of(entry, chosen, code))
             for code, found in counts.items()}  # fmt: skip
    title = f"{NAMES[codes[0]]} against the rest" if len(codes) == 1 else "Each diagnosis against the rest"
    show_curves(drawn, threshold / 100, title, ", ".join(NAMES[code] for code in codes), "")
    if any(curve.bands is None for curve in drawn.values()):
        st.caption(NO_BAND)


NO_BAND = f"A curve without a band rests on fewer than {FEW_ON_A_CURVE} lesions, which say too little of its course."


def bands_of(entry: Entry, chosen: Predictions, code: str) -> CurveBands | None:
    """Return the bands of the curves of a class, worked out once for these answers of a model."""
    answers = chosen.y_true == INDEX[code], chosen.probabilities[:, INDEX[code]], chosen.lesion
    if own := brought.of(entry):  # gone with the session, and so kept nowhere else
        key = ("bands", chosen.splits, len(chosen), code)
        found: CurveBands | None = brought.once(own, key, lambda: curve_bands(*answers))
        return found
    return _bands(*answers)


@st.cache_data(show_spinner="Measuring the curves, with intervals", max_entries=64)
def _bands(positive: np.ndarray, scores: np.ndarray, lesion: np.ndarray) -> CurveBands | None:
    return curve_bands(positive, scores, lesion)


def show_curves(
    drawn: Mapping[str, charts.Curve], threshold: float | None, subtitle: str, of: str, prefix: str
) -> None:
    """Draw ROC and precision-recall curves beside each other.

    Args:
        drawn, threshold, subtitle: as of `charts.roc`. of: what they are of, in words. prefix: of their names.
    """
    widgets.side_by_side(
        {
            f"{prefix}roc": (charts.roc(drawn, threshold, subtitle), f"ROC curves of {of}"),
            f"{prefix}precision-recall": (
                charts.precision_recall(drawn, threshold, subtitle),
                f"Precision-recall curves of {of}",
            ),
        },
        lambda: curve_table(drawn),
    )


def curve_table(drawn: Mapping[str, charts.Curve]) -> pd.DataFrame:
    """Return the points of curves as a table, a row a threshold."""
    parts = []
    for name, curve in drawn.items():
        c = curve.sweep
        rates = {"sensitivity": c.sensitivity, "false_positive_rate": c.false_positive_rate, "precision": c.precision}
        auc = {"auc": curve.auc.value, "auc_low": curve.auc.low, "auc_high": curve.auc.high}
        parts.append(pd.DataFrame({"curve": name, **auc, "threshold": c.thresholds, **rates}))
    return pd.concat(parts)
