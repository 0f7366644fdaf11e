"""Operating points on the Metrics page: what each threshold finds, what it costs, and the net benefit."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.charts import decisions as charts
from dermlens.errors import DermlensError
from dermlens.evaluation.predictions import Predictions
from dermlens.models.registry import Entry
from dermlens.trust.thresholds import (
    TARGETS,
    DecisionCurve,
    Point,
    Thresholds,
    decision_curve,
    expected,
    net_benefit,
)
from dermlens.wording import (
    counted,
    interval,
    number,
    number_interval,
    number_with_interval,
    percent,
    percent_with_interval,
    short_percent,
)
from ui import cache, widgets
from ui.widgets import choose_sensitivity, fit_advice, fitted_on, not_fitted

RISKS = np.arange(1, 61) / 100
"""Threshold probabilities of the decision curve."""
MISSED, REFERRED = "Missed per 1,000 images", "Referred per 1,000 images"


POINTS = (
    "A threshold is the highest probability at which the wanted share of the validation images of the target was "
    "found. The numbers below are measured: on validation with thresholds chosen on other lesions, on test with the "
    "thresholds as they are."
)


CURVE = (
    "Net benefit weighs referrals of lesions that are {others} against {plural} found (Vickers & Elkin 2006). Anyone "
    "who refers at a risk of 10 % or more accepts nine of the former for one of the latter. A model is worth asking "
    "where its line is above both referring all and referring none. The probabilities are first adjusted to the "
    "prevalence above; sensitivity and specificity are assumed to stay the same."
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
        prevalence = _choose_prevalence(name, float(TARGETS[name].positive(p.y_true).mean()))
    where = f"{entry.name}, {split}"
    _headline(found.point(name, wanted), name, split, prevalence)
    _whole_split(found, name, split, len(p))
    _every_threshold(found, name, split, wanted, prevalence, where)
    _decision_curve(p, probabilities, name, found.point(name, wanted), split, prevalence, where)


def _choose_prevalence(name: str, own: float) -> float:
    """Let a person choose the share of a target, 0..1, where the model is used; by default its share of the split."""
    chosen = st.number_input(
        "Prevalence where it is used, %",
        0.1,
        99.0,
        min(99.0, max(0.1, round(100 * own, 1))),
        0.5,
        format="%.1f",
        key=f"prevalence_{name}",
        bind="query-params",
        width=215,
        help=f"Share of {TARGETS[name].plural} among all images. On this split it is {percent(own, 1)}.",
    )
    return float(chosen or 100 * own) / 100


def _whole_split(found: Thresholds, name: str, split: str, n: int) -> None:
    """Say how many of the n images of a split show the target, and where the thresholds come from."""
    of = found.points[name][0].measured[split].sensitivity.n_images
    st.caption(
        f"{split.capitalize()} split, all of it: {of:,} of {counted(n, 'image')} show {TARGETS[name].plural}; "
        f"95 % intervals over lesions. {fitted_on(found.fitted_on)} Filters chosen above do not apply here."
    )


def _every_threshold(found: Thresholds, name: str, split: str, wanted: float, prevalence: float, where: str) -> None:
    """Show what every threshold of a target finds, as a table and a figure."""
    target, points = TARGETS[name], found.points[name]
    st.markdown(POINTS)
    cells = st.grid(2, min_column_width=330)
    with cells.cell():
        widgets.table(_points_table(points, split), "How every threshold did")
    with cells.cell():
        widgets.table(_outcomes_table(points, name, split, prevalence), "What that means for 1,000 images")
    widgets.chart(
        charts.operating_points(points, split, wanted, target.title, where),
        f"Sensitivity and specificity of the thresholds for {target.plural}; the table has the numbers",
        partial(_points_data, found, split),
        "operating-points",
    )


def _decision_curve(
    p: Predictions, probabilities: np.ndarray, name: str, point: Point, split: str, prevalence: float, where: str
) -> None:
    """Show the net benefit of referring by the probability of a target, and by one threshold."""
    target, measured = TARGETS[name], point.measured[split]
    try:
        curve = decision_curve(target.positive(p.y_true), target.score(probabilities), p.lesion, prevalence, RISKS)
    except DermlensError as e:
        widgets.nothing_here("There is no decision curve.", widgets.escape(str(e), 400))
        return
    policy = net_benefit(measured.sensitivity.value, measured.specificity.value, prevalence, RISKS)
    better = RISKS[curve.model > np.maximum(curve.refer_all, 0)]
    span = f"from {percent(better.min())} to {percent(better.max())}" if len(better) else "nowhere"
    subtitle = f"{target.title}; {where}; prevalence {percent(prevalence, 1)}"
    widgets.chart(
        charts.decision_curve(curve, policy, point.wanted, "Decision curve", subtitle),
        f"Net benefit of asking the model for {target.plural}: above referring all and referring none {span}.",
        partial(_curve_data, curve, policy),
        "decision-curve",
    )
    st.caption(CURVE.format(others=target.others, plural=target.plural))


def _curve_data(curve: DecisionCurve, policy: np.ndarray) -> pd.DataFrame:
    columns = {"model": curve.model, "low": curve.low, "high": curve.high, "refer_all": curve.refer_all}
    return pd.DataFrame({"risk": curve.risk, **columns, "threshold": policy, "prevalence": curve.prevalence})


def choose_target() -> str:
    """Let a person choose what is to be found; the choice is part of the link."""
    return widgets.one_of("What to find", list(TARGETS), "target", format_func=lambda t: TARGETS[t].title)


def _headline(point: Point, target: str, split: str, prevalence: float) -> None:
    measured = point.measured[split]
    sensitivity, specificity = measured.sensitivity, measured.specificity
    of = expected(measured, prevalence)
    per = "per 1,000 images"
    rightly = f"{per}, {of['referred'].value - of['unnecessary'].value:.0f} rightly"
    cells = st.grid(5, min_column_width=140)
    shown = (
        ("Sensitivity", percent(sensitivity.value, 1), interval(sensitivity), f"of {TARGETS[target].plural}"),
        ("Specificity", percent(specificity.value, 1), interval(specificity), f"of those {TARGETS[target].others}"),
        ("Missed", number(of["missed"].value, 1), number_interval(of["missed"], 1), per),
        ("Referred", number(of["referred"].value, 0), number_interval(of["referred"], 0), rightly),
        (_needless(target), number(of["unnecessary"].value, 0), number_interval(of["unnecessary"], 0), per),
    )
    for label, value, span, of_what in shown:
        with cells.cell(), st.container(border=True, gap=None, height="stretch"):
            st.metric(label, value)
            st.caption(f"{of_what}  \n95 %: {span}")


def _needless(target: str) -> str:
    return f"Of these {TARGETS[target].others}"


def _points_table(points: tuple[Point, ...], split: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Wanted": short_percent(p.wanted),
            "Threshold": percent(p.threshold, 1),
            "Sensitivity": percent_with_interval(p.measured[split].sensitivity),
            "Specificity": percent_with_interval(p.measured[split].specificity),
        }
        for p in points
    )


def _outcomes_table(points: tuple[Point, ...], target: str, split: str, prevalence: float) -> pd.DataFrame:
    rows = []
    for point in points:
        of = expected(point.measured[split], prevalence)
        rows.append(
            {
                "Wanted": short_percent(point.wanted),
                MISSED: number_with_interval(of["missed"], 1),
                REFERRED: number_with_interval(of["referred"], 0),
                _needless(target): number_with_interval(of["unnecessary"], 0),
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
