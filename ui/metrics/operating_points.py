"""Operating points on the Metrics page: what each threshold finds, what it costs, and the net benefit."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.charts import decisions as charts
from dermlens.errors import DermlensError
from dermlens.models.registry import Entry
from dermlens.trust.thresholds import (
    TARGETS,
    Outcome,
    Point,
    Thresholds,
    decision_curve,
    net_benefit,
    per_thousand,
)
from dermlens.wording import interval, percent, percent_with_interval, short_percent
from ui import cache, widgets
from ui.widgets import choose_sensitivity, fit_advice, fitted_on, not_fitted

RISKS = np.arange(1, 61) / 100
"""Threshold probabilities of the decision curve."""


POINTS = (
    "A threshold is the highest probability at which the wanted share of the validation images of the target was "
    "found. The figures below are measured: on validation with thresholds chosen on other lesions, on test with the "
    "thresholds as they are."
)


CURVE = (
    "Net benefit weighs needless referrals against cancers found (Vickers & Elkin 2006). Whoever refers from a risk of "
    "10 % on accepts nine needless referrals for one cancer found. A model is worth asking where its line is above "
    "both referring all and referring none. The probabilities are brought to the prevalence above first; sensitivity "
    "and specificity are taken to stay as they are."
)


def section(entry: Entry, split: str) -> None:
    """Show what the thresholds find and cost on a split; part of the Metrics page."""
    found = cache.fitted(entry).thresholds
    if found is None:
        not_fitted(entry, "thresholds for a wanted sensitivity", "thresholds")
    elif split not in found.splits:
        widgets.nothing_here(f"The thresholds were not measured on {split}.", fit_advice(entry, "thresholds"))
    else:
        _points(entry, split, found)


@st.fragment
def _points(entry: Entry, split: str, found: Thresholds) -> None:
    answers = cache.unseen(entry, split)
    if answers.value is None:
        widgets.nothing_here("The decision curve cannot be drawn.", widgets.escape(answers.sentence, 400))
        return
    p, probabilities = answers.value
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = choose_target()
        wanted = choose_sensitivity()
        target = TARGETS[name]
        positive, score = target.positive(p.y_true), target.score(probabilities)
        prevalence = st.number_input(
            "Prevalence where it is used, %",
            0.1,
            99.0,
            round(100 * float(positive.mean()), 1),
            0.5,
            format="%.1f",
            key=f"prevalence_{name}",
            bind="query-params",
            width=215,
            help=f"Share of {target.plural} among all lesions. On this split it is {percent(positive.mean(), 1)}.",
        )
    share = float(prevalence or 100 * positive.mean()) / 100
    point = found.point(name, wanted)
    _headline(point, name, split, share)
    of = point.measured[split].sensitivity.n_images
    st.caption(
        f"{split.capitalize()} split, all of it: {of:,} of {len(p):,} images show {target.plural}; 95 % intervals over "
        f"lesions. {fitted_on(found.fitted_on)} Filters chosen above do not apply here."
    )
    st.markdown(POINTS)
    st.dataframe(
        _points_table(found.points[name], name, split, share), hide_index=True, alt="What every threshold finds"
    )
    where = f"{entry.name}, {split}"
    widgets.chart(
        charts.operating_points(found.points[name], split, wanted, target.title, where),
        f"Sensitivity and specificity of the thresholds for {target.plural}; the table has the numbers",
        partial(_points_data, found, split),
        "operating-points",
    )
    try:
        curve = decision_curve(positive, score, p.lesion, share, RISKS)
    except DermlensError as e:
        widgets.nothing_here("There is no decision curve.", widgets.escape(str(e), 400))
        return
    measured = point.measured[split]
    policy = net_benefit(measured.sensitivity.value, measured.specificity.value, share, RISKS)
    better = RISKS[curve.model > np.maximum(curve.refer_all, 0)]
    span = f"from {percent(better.min())} to {percent(better.max())}" if len(better) else "nowhere"

    def data() -> pd.DataFrame:
        columns = {"model": curve.model, "low": curve.low, "high": curve.high, "refer_all": curve.refer_all}
        return pd.DataFrame({"risk": RISKS, **columns, "threshold": policy, "prevalence": share})

    widgets.chart(
        charts.decision_curve(
            curve, policy, wanted, "Decision curve", f"{target.title}; {where}; prevalence {percent(share, 1)}"
        ),
        f"Net benefit of asking the model for {target.plural}: above referring all and referring none {span}.",
        data,
        "decision-curve",
    )
    st.caption(CURVE)


def choose_target() -> str:
    """Let a person choose what is to be found; the choice is part of the link."""
    return st.segmented_control(
        "To be found",
        list(TARGETS),
        default=next(iter(TARGETS)),
        required=True,
        key="target",
        format_func=lambda t: TARGETS[t].title,
        bind="query-params",
    )


def _headline(point: Point, target: str, split: str, prevalence: float) -> None:
    sensitivity, specificity = point.measured[split].sensitivity, point.measured[split].specificity
    at, fewest, most = (_outcome(point, split, prevalence, end) for end in ("value", "high", "low"))
    cells = st.grid(5, min_column_width=140)
    shown = (
        ("Sensitivity", percent(sensitivity.value, 1), interval(sensitivity)),
        ("Specificity", percent(specificity.value, 1), interval(specificity)),
        ("Missed per 1,000", f"{at.missed:.1f}", f"{fewest.missed:.1f} to {most.missed:.1f}"),
        ("Referred per 1,000", f"{at.referred:.0f}", ""),
        (_needless(target), f"{at.unnecessary:.0f}", f"{fewest.unnecessary:.0f} to {most.unnecessary:.0f}"),
    )
    for label, value, span in shown:
        with cells.cell(), st.container(border=True, gap=None, height="stretch"):
            st.metric(label, value)
            st.caption(f"95 %: {span}" if span else f"{at.referred - at.unnecessary:.0f} rightly")


def _needless(target: str) -> str:
    return f"Of these {TARGETS[target].others}"


def _outcome(point: Point, split: str, prevalence: float, end: str = "value") -> Outcome:
    measured = point.measured[split]
    return per_thousand(getattr(measured.sensitivity, end), getattr(measured.specificity, end), prevalence)


def _points_table(points: tuple[Point, ...], target: str, split: str, prevalence: float) -> pd.DataFrame:
    rows = []
    for point in points:
        found, outcome = point.measured[split], _outcome(point, split, prevalence)
        rows.append(
            {
                "Wanted": short_percent(point.wanted),
                "From": percent(point.threshold, 1),
                "Sensitivity": percent_with_interval(found.sensitivity),
                "Specificity": percent_with_interval(found.specificity),
                "Missed per 1,000": f"{outcome.missed:.1f}",
                "Referred per 1,000": f"{outcome.referred:.0f}",
                _needless(target): f"{outcome.unnecessary:.0f}",
            }
        )
    return pd.DataFrame(rows)


def _points_data(found: Thresholds, split: str) -> pd.DataFrame:
    rows = []
    for target, points in found.points.items():
        for p in points:
            for name in ("sensitivity", "specificity"):
                of_target = {"target": target, "wanted": p.wanted, "threshold": p.threshold, "metric": name}
                rows.append({**of_target, **vars(getattr(p.measured[split], name))})
    return pd.DataFrame(rows)
