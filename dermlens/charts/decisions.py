"""Figures of prediction sets, operating points and referral: what they promise, and what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dermlens.charts.style import COLOURS, NEUTRAL, SHORT, SYMBOLS, error_bars, frame
from dermlens.estimate import Estimate
from dermlens.labels import CLASSES, N_CLASSES, SHOWN
from dermlens.trust.conformal import Measured, OfClass
from dermlens.trust.thresholds import DecisionCurve, Point
from dermlens.wording import counted, interval, number, number_interval, percent, short_percent

POINTS = 400
"""Of a curve; more than a screen can show apart."""
BAND = 0.18
"""Opacity of an interval around a line."""
MEASURES = {"coverage": "True diagnosis in the set", "size": "Diagnoses in the set"}
"""What the prediction sets are measured by -> its title; a figure each."""
_LOOKS = {"coverage": (COLOURS[0], SYMBOLS[0]), "size": (COLOURS[1], SYMBOLS[1])}
_SCALES = {"coverage": 100, "size": 1}
"""What it is drawn times: a share in percent, a number as it is."""


def by_class(found: Measured, measure: str, level: float, own: Sequence[bool], subtitle: str) -> go.Figure:
    """Draw coverage or mean size of the prediction sets, overall and by true diagnosis, with 95 % intervals.

    Args:
        found: of one split and level. measure: of MEASURES.
        level: the wanted coverage, marked by a line.
        own: (7,) whether a class has a guarantee of its own; a hollow mark says that it has none.
        subtitle: which model and split.
    """
    rows: list[tuple[str, Measured | OfClass, bool]] = [("All diagnoses", found, True)]
    rows += [(SHORT[CLASSES[i]], found.per_class[CLASSES[i]], bool(own[i])) for i in SHOWN]
    labels = [f"{name}<br>{counted(measured.coverage.n_images, 'image')}" for name, measured, _ in rows]
    estimates: list[Estimate] = [getattr(measured, measure) for _, measured, _ in rows]
    known = [(i, f) for i, f in enumerate(estimates) if not np.isnan(f.value)]
    scale, (colour, shape) = _SCALES[measure], _LOOKS[measure]
    figure = go.Figure(
        go.Scatter(
            x=[scale * f.value for _, f in known],
            y=[i for i, _ in known],
            mode="markers",
            marker={
                "color": colour,
                "size": 10,
                "line": {"width": 2},
                "symbol": [shape if rows[i][2] else f"{shape}-open" for i, _ in known],
            },
            error_x=error_bars([f if scale == 100 else _in_percent(f) for _, f in known]),
            customdata=[[labels[i], f.n_lesions, *written(measure, f)] for i, f in known],
            hovertemplate=f"%{{customdata[0]}} (lesions: %{{customdata[1]:,}})<br>{MEASURES[measure]}: "
            "%{customdata[2]}<br>95 %: %{customdata[3]}<extra></extra>",
        )
    )
    figure.add_hline(y=0.5, line={"color": NEUTRAL, "dash": "dot", "width": 1})
    if measure == "coverage":
        figure.add_vline(x=100 * level, line={"color": NEUTRAL, "dash": "dash", "width": 1.5})
        figure.update_xaxes(ticksuffix=" %", range=[-2, 102], dtick=25)
    else:
        figure.update_xaxes(range=[-0.15, N_CLASSES + 0.15], dtick=1)
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=labels, range=[len(rows) - 0.5, -0.5], zeroline=False)
    return frame(figure, MEASURES[measure], 480, f"{short_percent(level)} sets; {subtitle}")


def by_level(levels: Sequence[float], rows: Sequence[Measured], measure: str, level: float, subtitle: str) -> go.Figure:
    """Draw coverage or mean size of the prediction sets at every level, with 95 % bands.

    Args:
        levels: wanted coverage, rising. rows: of one split, level by level. measure: of MEASURES.
        level: the one to mark. subtitle: which model and split.
    """
    figure = go.Figure()
    x = [100 * v for v in levels]
    estimates: list[Estimate] = [getattr(row, measure) for row in rows]
    scale, (colour, shape) = _SCALES[measure], _LOOKS[measure]
    value, low, high = (scale * np.array([getattr(f, k) for f in estimates]) for k in ("value", "low", "high"))
    if measure == "coverage":
        dashed = {"color": NEUTRAL, "dash": "dash", "width": 1.5}
        figure.add_scatter(x=x, y=x, mode="lines", line=dashed, hoverinfo="skip")
        figure.update_yaxes(ticksuffix=" %", zeroline=False)
        subtitle += "; dashed: as wanted"
    else:
        figure.update_yaxes(rangemode="tozero")
    _band(figure, x, low, high, colour)
    figure.add_scatter(
        x=x,
        y=value,
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"symbol": shape, "size": [13 if abs(v - level) < 1e-9 else 6 for v in levels]},
        customdata=[[short_percent(wanted), *written(measure, f)] for wanted, f in zip(levels, estimates, strict=True)],
        hovertemplate=f"{MEASURES[measure]}: %{{customdata[1]}}<br>wanted: %{{customdata[0]}}<br>"
        "95 %: %{customdata[2]}<extra></extra>",
    )
    figure.update_xaxes(title_text="Wanted coverage", ticksuffix=" %", zeroline=False)
    return frame(figure, f"{MEASURES[measure]}, every level", 360, subtitle, showlegend=False)


def operating_points(points: Sequence[Point], split: str, wanted: float, title: str, subtitle: str) -> go.Figure:
    """Draw sensitivity and specificity of every threshold of one target with 95 % intervals; the wanted one filled.

    Args:
        points: of one target. split: one they were measured on. wanted: the sensitivity that a person chose.
        title: the target. subtitle: which model and split.
    """
    figure = go.Figure()
    for i, name in enumerate(("sensitivity", "specificity")):
        found: list[Estimate] = [getattr(p.measured[split], name) for p in points]
        shape = SYMBOLS[i]
        figure.add_scatter(
            x=[100 * f.value for f in found],
            y=[row + 0.24 * (i - 0.5) for row in range(len(points))],
            mode="markers",
            name=name.capitalize(),
            marker={
                "color": COLOURS[i],
                "size": 11,
                "line": {"width": 2},
                "symbol": [shape if abs(p.wanted - wanted) < 1e-9 else f"{shape}-open" for p in points],
            },
            error_x=error_bars(found),
            customdata=[
                [short_percent(p.wanted), percent(f.value, 1), interval(f), f.n_images]
                for p, f in zip(points, found, strict=True)
            ],
            hovertemplate=f"wanted sensitivity %{{customdata[0]}}<br>{name}: %{{customdata[1]}}<br>"
            "95 %: %{customdata[2]}<br>Images: %{customdata[3]:,}<extra></extra>",
        )
    ticks = [f"{short_percent(p.wanted)} wanted<br>threshold {percent(p.threshold, 1)}" for p in points]
    figure.update_xaxes(range=[-2, 102], ticksuffix=" %", zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(points))), ticktext=ticks, range=[len(points) - 0.5, -0.5], zeroline=False
    )
    return frame(figure, title, 150 + 52 * len(points), subtitle).update_layout(margin_t=100)


def decision_curve(curve: DecisionCurve, policy: np.ndarray, wanted: float, title: str, subtitle: str) -> go.Figure:
    """Draw the net benefit of the model, of one threshold, of referring all and of referring none.

    Args:
        curve: with a 95 % interval of the model.
        policy: (k,) net benefit of referring from the threshold for the wanted sensitivity on, at every risk.
        wanted: that sensitivity.
        title: the target. subtitle: which model, split and prevalence.
    """
    x = 100 * curve.risk
    figure = go.Figure()
    _band(figure, x, 1000 * curve.low, 1000 * curve.high, COLOURS[0])
    lines = (
        ("Refer at that risk or above", curve.model, {"color": COLOURS[0], "width": 2.5}),
        (f"Refer at the {short_percent(wanted)} threshold or above", policy, {"color": COLOURS[2], "dash": "dashdot"}),
        ("Refer all", curve.refer_all, {"color": COLOURS[1], "dash": "dash"}),
        ("Refer none", np.zeros(len(x)), {"color": NEUTRAL, "dash": "dot"}),
    )
    for name, y, line in lines:
        figure.add_scatter(
            x=x,
            y=1000 * y,
            name=name,
            mode="lines",
            line={"width": 2, **line},
            hovertemplate=f"{name}<br>risk %{{x:.0f}} %<br>net benefit %{{y:.0f}} per 1,000 images<extra></extra>",
        )
    highest = 1000 * curve.prevalence
    figure.update_xaxes(title_text="Lowest risk at which you would refer", ticksuffix=" %", zeroline=False)
    figure.update_yaxes(title_text="Net benefit per 1,000 images", range=[-0.25 * highest, 1.06 * highest])
    top = 66
    figure = frame(figure, title, 480, subtitle)
    # Below each other: on a telephone a row of four would run into the title.
    legend = {"orientation": "v", "yref": "container", "y": 1 - top / figure.layout.height, "yanchor": "top", "x": 0}
    return figure.update_layout(margin_t=top + 22 * len(lines) + 12, legend={**legend, "traceorder": "normal"})


def written(name: str, estimate: Estimate) -> tuple[str, str]:
    """Return the value and the interval of what prediction sets are measured by: all are shares but the "size"."""
    if name == "size":
        return number(estimate.value, 2), number_interval(estimate, 2)
    return percent(estimate.value, 1), interval(estimate)


def _in_percent(f: Estimate) -> Estimate:
    """Return an estimate a hundredth the size: error bars are drawn in percent."""
    return Estimate(f.value / 100, f.low / 100, f.high / 100, f.n_images, f.n_lesions)


def _band(figure: go.Figure, x: Any, low: np.ndarray, high: np.ndarray, colour: str) -> None:
    """Fill between two lines in a pale tone of a colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    figure.add_scatter(x=x, y=high, **edge)
    figure.add_scatter(x=x, y=low, fill="tonexty", fillcolor=f"rgba({red},{green},{blue},{BAND})", **edge)


def coverage(
    curve: tuple[np.ndarray, np.ndarray], intervals: Mapping[float, Estimate], kept: float | None, subtitle: str
) -> go.Figure:
    """Draw a coverage-accuracy curve with its 95 % band.

    Args:
        curve: coverage and accuracy as `dermlens.trust.referral.coverage_curve` gives them.
        intervals: as `dermlens.trust.referral.coverage_intervals` gives them.
        kept: share of the images that the rules do not refer, marked by a line; None marks nothing.
        subtitle: which model and split.
    """
    share, accuracy = curve
    rows = np.unique(np.linspace(0, len(share) - 1, POINTS).round().astype(int))
    figure = go.Figure()
    low, high = (100 * np.array([getattr(e, end) for e in intervals.values()]) for end in ("low", "high"))
    _band(figure, [100 * place for place in intervals], low, high, COLOURS[0])
    figure.add_scatter(
        x=100 * share[rows],
        y=100 * accuracy[rows],
        name="Accuracy",
        showlegend=False,
        line={"color": COLOURS[0], "width": 2.2},
        customdata=[[percent(share[row]), percent(accuracy[row], 1)] for row in rows],
        hovertemplate="the surest %{customdata[0]} of the images: %{customdata[1]} right<extra></extra>",
    )
    if kept is not None:
        figure.add_vline(100 * kept, line={"color": NEUTRAL, "dash": "dot"}, annotation_text="not referred")
    figure.update_xaxes(title="Share of the images kept, surest first", range=[0, 101], ticksuffix=" %")
    figure.update_yaxes(title="Correct calls among them", rangemode="normal", ticksuffix=" %")
    return frame(figure, "Accuracy against coverage", 400, f"{subtitle}; band: 95 %")
