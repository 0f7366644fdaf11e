"""Figures of the record: one case over time, and months of cases."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import plotly.graph_objects as go

from dermlens.charts.style import COLOURS, DASHES, NEUTRAL, SHORT, SYMBOLS, frame, nth
from dermlens.estimate import Estimate
from dermlens.labels import CLASSES, INDEX
from dermlens.wording import percent

SHOWN_ALWAYS = ("mel",)
"""Drawn however small: what must not be missed."""
WORTH_A_LINE = 0.1
"""A diagnosis is drawn that reached so much once."""
_BELOW = {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.15, "yanchor": "top", "title": {"text": ""}}


def over_time(times: Sequence[datetime], probabilities: np.ndarray, model: str) -> go.Figure:
    """Draw the probabilities of one case over time, those that matter as lines, told apart by dash, mark and name.

    Args:
        times: of the n images. probabilities: (n, 7). model: its name, as shown.
    """
    figure = go.Figure()
    drawn = [c for c in CLASSES if c in SHOWN_ALWAYS or probabilities[:, INDEX[c]].max() >= WORTH_A_LINE]
    drawn.sort(key=lambda c: -probabilities[-1, INDEX[c]])
    for number, code in enumerate(drawn):
        shares = probabilities[:, INDEX[code]]
        figure.add_scatter(
            x=list(times),
            y=100 * shares,
            name=SHORT[code].replace("<br>", " "),
            mode="lines+markers",
            line={"color": nth(COLOURS, number), "dash": nth(DASHES, number)},
            marker={"symbol": nth(SYMBOLS, number), "size": 9},
            customdata=[percent(float(s), 1) for s in shares],
            hovertemplate=f"{SHORT[code].replace('<br>', ' ')}: %{{customdata}}<br>%{{x|%d %B %Y}}<extra></extra>",
        )
    figure.update_yaxes(range=[-2, 102], title="%")
    return frame(figure, "Probabilities over time", 360, model, legend=_BELOW)


def shares_by_month(months: Sequence[str], shares: Mapping[str, Sequence[Estimate]], title: str) -> go.Figure:
    """Draw shares month by month with their 95 % intervals.

    Args:
        months: "2026-05". shares: name -> an estimate a month. title: of the figure.
    """
    figure = go.Figure()
    for number, (name, found) in enumerate(shares.items()):
        values = [100 * e.value for e in found]
        figure.add_scatter(
            x=list(months),
            y=values,
            name=name,
            mode="lines+markers",
            line={"color": nth(COLOURS, number), "dash": nth(DASHES, number)},
            marker={"symbol": nth(SYMBOLS, number), "size": 8},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [100 * (e.high - e.value) for e in found],
                "arrayminus": [100 * (e.value - e.low) for e in found],
                "thickness": 1,
                "width": 3,
            },
            customdata=[f"{percent(e.value, 1)} of {e.n_images:,}" for e in found],
            hovertemplate=f"{name}, %{{x}}: %{{customdata}}<extra></extra>",
        )
    figure.update_yaxes(rangemode="tozero", title="%")
    figure.update_xaxes(type="category")
    return frame(figure, title, 360, legend=_BELOW)


# One outline of a body, front and back alike: x from the left, y from the top, 0..1 of a picture twice as high as wide.
_HALF = (
    (0.50, 0.015), (0.545, 0.02), (0.575, 0.05), (0.575, 0.085), (0.55, 0.12), (0.55, 0.145), (0.63, 0.165),
    (0.715, 0.19), (0.755, 0.24), (0.79, 0.34), (0.83, 0.44), (0.865, 0.52), (0.885, 0.565), (0.86, 0.59),
    (0.825, 0.565), (0.79, 0.50), (0.745, 0.40), (0.71, 0.31), (0.69, 0.28), (0.68, 0.36), (0.665, 0.43),
    (0.69, 0.51), (0.69, 0.60), (0.665, 0.70), (0.66, 0.77), (0.645, 0.87), (0.635, 0.935), (0.66, 0.965),
    (0.655, 0.985), (0.575, 0.985), (0.57, 0.94), (0.565, 0.86), (0.555, 0.76),
    (0.545, 0.67), (0.525, 0.56), (0.50, 0.535),
)  # fmt: skip
OUTLINE = np.array([*_HALF, *((1 - x, y) for x, y in reversed(_HALF[1:-1]))])
"""(n, 2): the outline, closed by its first point."""
STEP = 0.025
"""Distance of the places that can be chosen, as a share of the height."""


def places() -> np.ndarray:
    """Return the places on the body that can be chosen, (n, 2): x and y, 0..1."""
    y, x = (g.ravel() for g in np.meshgrid(np.arange(STEP / 2, 1, STEP), np.arange(STEP, 1, 2 * STEP), indexing="ij"))
    inside = [_inside(a, b) for a, b in zip(x, y, strict=True)]
    return np.round(np.stack([x, y], 1)[inside], 4)


def _inside(x: float, y: float) -> bool:
    a, b = OUTLINE, np.roll(OUTLINE, -1, axis=0)
    crosses = (a[:, 1] > y) != (b[:, 1] > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = a[:, 0] + (y - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
    return bool((crosses & (x < at)).sum() % 2)


def body_map(view: str, chosen: tuple[float, float] | None) -> go.Figure:
    """Draw a body whose places can be clicked.

    Args:
        view: "front" or "back". chosen: x and y of the lesion, 0..1; None if that is not known.
    """
    closed, grid = np.vstack([OUTLINE, OUTLINE[:1]]), places()
    figure = go.Figure()
    figure.add_scatter(
        x=closed[:, 0], y=closed[:, 1], mode="lines", line={"color": NEUTRAL, "width": 1.5}, fill="toself",
        fillcolor="rgba(123,138,145,0.15)", hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=grid[:, 0], y=grid[:, 1], mode="markers", marker={"size": 9, "color": "rgba(123,138,145,0.02)"},
        hovertemplate="Put it here<extra></extra>",
    )  # fmt: skip
    if chosen is not None:
        figure.add_scatter(
            x=[chosen[0]], y=[chosen[1]], mode="markers", hoverinfo="skip",
            marker={"size": 13, "symbol": "x", "color": COLOURS[1]},
        )  # fmt: skip
    frame(figure, view.capitalize(), 400, showlegend=False)
    figure.update_xaxes(range=[0, 1], visible=False, fixedrange=True)
    figure.update_yaxes(range=[1, 0], visible=False, fixedrange=True, scaleanchor="x", scaleratio=2)
    return figure
