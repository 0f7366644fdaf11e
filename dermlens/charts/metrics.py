"""Figures of what a model gets right and wrong: confusion matrix, per-class estimates, curves, slices."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dermlens.charts.style import (
    COLOURS,
    DASHES,
    DIVERGING,
    NEUTRAL,
    ROWS,
    SEQUENTIAL,
    SHORT,
    SYMBOLS,
    TILTED,
    cells,
    error_bars,
    frame,
    nth,
)
from dermlens.estimate import Estimate
from dermlens.evaluation.intervals import CurveBands
from dermlens.evaluation.metrics import PER_CLASS, Sweep
from dermlens.labels import CLASSES, DIAGNOSES, GROUPS, N_CLASSES, NAMES, SHOWN, members
from dermlens.wording import interval, percent, percent_with_interval

MODES = {"row": "Share of the true class", "column": "Share of the class called", "count": "Images"}
MAX_POINTS = 600
FOUND = "Found (sensitivity, recall)"
LABELS = [SHORT[CLASSES[i]] for i in SHOWN]
COLUMNS = [TILTED[CLASSES[i]] for i in SHOWN]


def normalised(confusion: np.ndarray, mode: str) -> np.ndarray:
    """Return a (7, 7) confusion matrix as counts, or as shares of its rows or columns; NaN where there is nothing."""
    if mode == "count":
        return confusion.astype(float)
    whole = confusion.sum(1 if mode == "row" else 0, keepdims=True)
    return np.divide(confusion, whole, out=np.full(confusion.shape, np.nan), where=whole > 0)


def confusion_matrix(
    confusion: np.ndarray,
    name: str,
    mode: str = "row",
    log: bool = False,
    off_diagonal: bool = False,
    chosen: tuple[str, str] | None = None,
) -> go.Figure:
    """Draw a confusion matrix whose cells can be clicked.

    A heat map reports no selection to Streamlit, so an invisible marker lies on every cell; its customdata are the
    codes of the true and the called class.

    Args:
        confusion: (7, 7) int, rows true, in the order of labels.CLASSES.
        name: of the model.
        mode: a key of MODES.
        log: colour by the logarithm, so that rare errors show beside frequent ones.
        off_diagonal: leave out what was called right.
        chosen: true and called class of the cell to frame.
    """
    values = normalised(confusion, mode)
    if off_diagonal:
        values = np.where(np.eye(N_CLASSES, dtype=bool), np.nan, values)
    shade = np.log10(1 + values * (1 if mode == "count" else 1000)) if log else values
    written = np.vectorize(lambda v: "" if np.isnan(v) else f"{v:,.0f}" if mode == "count" else percent(v))(values)
    highest = float(np.nanmax(shade)) if np.isfinite(shade).any() else 1.0
    order = np.ix_(SHOWN, SHOWN)
    figure = cells(shade[order], written[order], COLUMNS, LABELS, SEQUENTIAL, 0.0, highest or 1.0)
    rows, columns = confusion.sum(1), confusion.sum(0)
    details = [
        [
            CLASSES[t],
            CLASSES[c],
            f"{confusion[t, c]:,} of {rows[t]:,} that are {DIAGNOSES[t].name}<br>"
            f"{confusion[t, c]:,} of {columns[c]:,} that were called {DIAGNOSES[c].name}",
        ]
        for t in SHOWN
        for c in SHOWN
    ]
    return _clickable(figure, details, MODES[mode], name, chosen)


def confusion_difference(
    first: np.ndarray, second: np.ndarray, names: tuple[str, str], chosen: tuple[str, str] | None = None
) -> go.Figure:
    """Draw, cell by cell, how many more of a class's images the first model calls so than the second; clickable.

    Args:
        first, second: (7, 7) int confusion matrices of the same images, rows true.
        names: of the two models.
        chosen: true and called class of the cell to frame.
    """
    more = first - second
    rows = first.sum(1)
    limit = max(1.0, float(np.abs(more).max()))
    written = np.vectorize(lambda v: f"{v:+,}" if v else "0")(more)
    order = np.ix_(SHOWN, SHOWN)
    shade = np.sign(more) * np.sqrt(np.abs(more) / limit)
    figure = cells(shade[order], written[order], COLUMNS, LABELS, DIVERGING, -1.0, 1.0)
    details = [
        [
            CLASSES[t],
            CLASSES[c],
            f"{names[0]}: {first[t, c]:,} of {rows[t]:,} that are {DIAGNOSES[t].name}<br>{names[1]}: {second[t, c]:,}",
        ]
        for t in SHOWN
        for c in SHOWN
    ]
    return _clickable(figure, details, "Images called so", f"{names[0]} minus {names[1]}", chosen)


def _clickable(
    figure: go.Figure, details: list[list[str]], title: str, subtitle: str, chosen: tuple[str, str] | None
) -> go.Figure:
    see_through = {"marker": {"opacity": 0}}
    figure.add_scatter(
        x=[COLUMNS[c] for _ in SHOWN for c in range(N_CLASSES)],
        y=[LABELS[t] for t in range(N_CLASSES) for _ in SHOWN],
        mode="markers",
        marker={"symbol": "square", "size": 90, "opacity": 0},
        selected=see_through,
        unselected=see_through,
        customdata=details,
        hovertemplate="%{customdata[2]}<extra></extra>",
        showlegend=False,
    )
    edges = np.cumsum([len(members(g)) for g in reversed(GROUPS)])[:-1] - 0.5
    for edge in edges:
        figure.add_hline(y=edge, line={"color": NEUTRAL, "width": 2})
        figure.add_vline(x=edge, line={"color": NEUTRAL, "width": 2})
    if chosen:
        t, c = (SHOWN.index(CLASSES.index(code)) for code in chosen)
        box = {"x0": c - 0.5, "x1": c + 0.5, "y0": t - 0.5, "y1": t + 0.5}
        figure.add_shape(type="rect", **box, line={"color": "#ffffff", "width": 5})
        figure.add_shape(type="rect", **box, line={"color": "#111111", "width": 2.5})
    figure.update_yaxes(title_text="True diagnosis")
    figure.update_xaxes(title_text="Called", tickangle=-50)
    return frame(figure, title, 560, subtitle, clickmode="event+select", hovermode="closest")


def per_class(classes: Mapping[str, Mapping[str, Estimate]], key: str) -> go.Figure:
    """Draw one metric of every class with its 95 % interval, the numbers written beside the marks.

    Args:
        classes: class code -> key of PER_CLASS -> estimate. key: of PER_CLASS.
    """
    codes = [CLASSES[i] for i in SHOWN]
    found = [classes[code][key] for code in codes]
    figure = go.Figure(
        go.Scatter(
            x=[100 * f.value for f in found],
            y=list(range(N_CLASSES)),
            mode="markers",
            marker={"color": COLOURS[0], "symbol": SYMBOLS[0], "size": 9},
            error_x=error_bars(found),
            customdata=[
                [NAMES[code], percent(f.value, 1), interval(f), f.n_images]
                for code, f in zip(codes, found, strict=True)
            ],
            hovertemplate="%{customdata[0]}: %{customdata[1]}<br>95 %: %{customdata[2]}<br>"
            "Images: %{customdata[3]}<extra></extra>",
        )
    )
    figure.update_xaxes(range=[-2, 102], ticksuffix=" %", zeroline=False)
    labels = [f"{ROWS[code]}<br>{percent_with_interval(f)}" for code, f in zip(codes, found, strict=True)]
    figure.update_yaxes(
        tickvals=list(range(N_CLASSES)), ticktext=labels, range=[N_CLASSES - 0.5, -0.5], zeroline=False, showgrid=True
    )
    return frame(figure, PER_CLASS[key].label, 370)


@dataclass(frozen=True, eq=False)
class Curve:
    """One class by one model: the counts at every threshold, the AUC, and bands where there are any."""

    sweep: Sweep
    auc: Estimate
    bands: CurveBands | None = None


def roc(lines: Mapping[str, Curve], threshold: float | None, subtitle: str) -> go.Figure:
    """Draw ROC curves of classes against the rest, one or several on one pair of axes.

    Args:
        lines: name of a class or model -> its curve; the legend gives the AUC of each.
        threshold: an image is called so if its score is at least this, 0..1; None marks no operating point.
        subtitle: what is told from what.
    """
    figure = go.Figure()
    for i, (name, curve) in enumerate(lines.items()):
        found, bands = curve.sweep, curve.bands
        if bands is not None:
            _band(figure, bands.at, bands.sensitivity_low, bands.sensitivity_high, nth(COLOURS, i), name)
        words = ("of the others called so", "found")
        label = f"{name}: AUC {percent_with_interval(curve.auc)}"
        points = (found.false_positive_rate, found.sensitivity, "hv")
        _curve(figure, i, (name, label), found, points, words, threshold)
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", line={"color": NEUTRAL, "dash": "dot"}, hoverinfo="skip", showlegend=False
    )
    figure.update_xaxes(title_text="False alarms (1 - specificity)")
    figure.update_yaxes(title_text=FOUND)
    return _curve_frame(figure, "ROC curve", lines, subtitle)


def precision_recall(lines: Mapping[str, Curve], threshold: float | None, subtitle: str) -> go.Figure:
    """Draw precision-recall curves of classes against the rest; arguments as of `roc`."""
    figure = go.Figure()
    for i, (name, curve) in enumerate(lines.items()):
        found, bands = curve.sweep, curve.bands
        if bands is not None:
            _band(figure, bands.at, bands.precision_low, bands.precision_high, nth(COLOURS, i), name)
        words = ("found", "of the calls right")
        _curve(figure, i, (name, name), found, (found.sensitivity, found.precision, "vh"), words, threshold)
    for share in {100 * c.sweep.positives / max(1, c.sweep.positives + c.sweep.negatives) for c in lines.values()}:
        figure.add_hline(y=share, line={"color": NEUTRAL, "dash": "dot", "width": 1})
    figure.update_xaxes(title_text=FOUND)
    figure.update_yaxes(title_text="Correct among the calls (precision)")
    return _curve_frame(figure, "Precision-recall curve", lines, subtitle)


def _curve(
    figure: go.Figure,
    i: int,
    names: tuple[str, str],
    found: Sweep,
    points: tuple[np.ndarray, np.ndarray, str],
    words: tuple[str, str],
    threshold: float | None,
) -> None:
    """Add a line and its operating point.

    Args:
        i: number of the line. names: of the line, and as the legend writes it. points: x and y, shares, and how they
            are joined. words: what x and y are shares of, as the pointer says it. threshold: as of `roc`.
    """
    (name, label), (x, y, shape), (x_name, y_name) = names, points, words
    keep = _thinned(len(found.thresholds))
    figure.add_scatter(
        x=100 * x[keep],
        y=100 * y[keep],
        mode="lines",
        line={"color": nth(COLOURS, i), "dash": nth(DASHES, i), "width": 2, "shape": shape},
        name=label,
        legendgroup=name,
        showlegend=True,
        customdata=_read(found.thresholds[keep], x[keep], y[keep]),
        hovertemplate=f"{name}<br>%{{customdata[0]}}<br>%{{customdata[2]}} {y_name}<br>"
        f"%{{customdata[1]}} {x_name}<extra></extra>",
    )
    if threshold is None:
        return
    at = operating_index(found, threshold)
    figure.add_scatter(
        x=[100 * x[at]],
        y=[100 * y[at]],
        mode="markers",
        marker={"symbol": nth(SYMBOLS, i), "size": 13, "color": nth(COLOURS, i), "line": {"width": 2}},
        showlegend=False,
        legendgroup=name,
        hovertemplate=f"{name}, operating point<br>{percent(y[at], 1)} {y_name}<br>"
        f"{percent(x[at], 1)} {x_name}<extra></extra>",
    )


def _band(figure: go.Figure, at: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str, name: str) -> None:
    figure.add_scatter(
        x=100 * np.append(at, at[::-1]),
        y=100 * np.append(high, low[::-1]),
        fill="toself",
        mode="none",
        fillcolor=colour,
        opacity=0.16,
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
    )


def _curve_frame(figure: go.Figure, title: str, lines: Mapping[str, Curve], subtitle: str) -> go.Figure:
    figure.update_xaxes(range=[-2, 102], ticksuffix=" %", zeroline=False)
    figure.update_yaxes(range=[-2, 102], ticksuffix=" %", zeroline=False)
    reading = "dotted: by chance" + ("; bands: 95 %" if any(c.bands is not None for c in lines.values()) else "")
    return frame(figure, title, 420 + 24 * len(lines), f"{subtitle}<br>{reading}").update_layout(
        margin_b=64 + 24 * len(lines),
        legend={"orientation": "v", "yref": "container", "y": 0.01, "yanchor": "bottom", "x": 0, "xanchor": "left"},
    )


def operating_index(sweep: Sweep, threshold: float) -> int:
    """Return the position in a sweep of the lowest score that is still at least `threshold`."""
    return int((sweep.thresholds >= threshold).sum()) - 1


def _read(thresholds: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[list[str]]:
    """Return what is read at each of (k,) points of a curve: its threshold and its two shares."""
    return [
        ["above every score" if np.isinf(t) else f"score at least {percent(t, 1)}", percent(a, 1), percent(b, 1)]
        for t, a, b in zip(thresholds, x, y, strict=True)
    ]


def _thinned(n: int) -> np.ndarray:
    """Return at most MAX_POINTS positions of n, the first and last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).round().astype(int))
