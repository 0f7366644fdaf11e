"""What all figures share: colours, class order, wrapping, and the frame of a figure.

Text and grid lines take the page's theme. Every colour set here has at least 3:1 contrast with the white and with the
dark page (WCAG 2.2, 1.4.11), and no two things are told apart by colour alone.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dermlens.estimate import Estimate
from dermlens.explain.grad_cam import colour
from dermlens.labels import NAMES

# Okabe & Ito's colour-blind-safe hues (jfly.uni-koeln.de/color), the pale ones darkened, and a violet: one a diagnosis.
COLOURS = ("#0079b8", "#d55e00", "#009467", "#b8659a", "#8c6d1f", "#6f7f87", "#8845e6")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
PATTERNS = ("", "/", ".", "x", "-", "|")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross", "star")
NEUTRAL = "#7b8a91"
SEQUENTIAL = colour(np.linspace(0, 1, 33)[None], "cividis")[0]
"""Cividis, (33, 3) uint8: from few to many."""
DIVERGING = np.array([[179, 88, 6], [241, 163, 64], [247, 247, 247], [103, 169, 207], [11, 92, 158]], np.uint8)
"""Orange through white to blue: apart with any colour vision; the sign is written too."""

SHORT = {**NAMES, "akiec": "Actinic keratosis<br>or Bowen's disease"}
ROWS = {**NAMES, "akiec": "Actinic k. or Bowen's"}
"""For rows one line high."""
TILTED = {**SHORT, "akiec": "Actinic k. / Bowen", "bcc": "Basal cell ca.", "vasc": "Vascular"}
"""For the narrow places under a column."""


SUBTITLE = 20  # pixels a line

BELOW = {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.22, "yanchor": "top", "title": {"text": ""}}
"""A legend under the figure, where a phone has room for it."""


def nth(values: tuple[str, ...], i: int) -> str:
    """Return the colour, dash, pattern or symbol of the i-th thing; they repeat past the last."""
    return values[i % len(values)]


def bar_marker(i: int) -> dict:
    """Return the look of the i-th model's bars: its own colour and its own pattern."""
    pattern = {"shape": nth(PATTERNS, i), "fillmode": "overlay", "fgcolor": "#ffffff", "fgopacity": 0.5, "size": 6}
    return {"color": nth(COLOURS, i), "pattern": {**pattern, "solidity": 0.25}}


def frame(figure: go.Figure, title: str, height: int, subtitle: str = "", **layout: object) -> go.Figure:
    """Return a figure with its title, height and quiet frame."""
    lines = 1 + subtitle.count("<br>") if subtitle else 0
    height += SUBTITLE * lines
    quiet = {
        "title": {
            "text": title,
            "x": 0,
            "xanchor": "left",
            "yref": "container",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 8},
            "font": {"size": 15},
            "subtitle": {"text": subtitle, "font": {"size": 13}},
        },
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 56 + SUBTITLE * lines, "b": 8},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "title": {"text": ""}},
        "hoverlabel": {"align": "left"},
        "dragmode": False,
        "uirevision": title + subtitle,
    }
    return _laid_out(figure, _merged(quiet, layout), {"automargin": True})


def ink(figure: go.Figure, text: str) -> go.Figure:
    """Return a figure with titles, axes and legend in the page's text colour; Streamlit's own grey is too pale."""
    written = {"font": {"color": text}}
    annotations = [_merged(written, a.to_plotly_json()) for a in figure.layout.annotations]
    title = {**written, "subtitle": written}
    layout = {**written, "title": title, "legend": written, "annotations": annotations}
    return _laid_out(figure, layout, {"tickfont": {"color": text}, "title": written})


def _laid_out(figure: go.Figure, layout: Mapping[str, Any], axis: Mapping[str, Any]) -> go.Figure:
    """Return a figure with more said of its layout, and of each of its axes. Made anew, as Plotly's own update of one
    that is there takes ten times as long: a page that shows one picture spent half of its time in it.
    """
    known = {name: value for name, value in figure.layout.to_plotly_json().items() if name != "template"}
    axes = {"xaxis", "yaxis"} | {name for name in known if re.fullmatch(r"[xy]axis\d+", name)}
    return go.Figure(figure.data, _merged(_merged(known, layout), dict.fromkeys(axes, axis)))


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    both = {k: _merged(first[k], v) for k, v in second.items() if isinstance(v, Mapping) and k in first}
    return {**first, **second, **both}


def readable_on(colours: np.ndarray) -> np.ndarray:
    """Return black or white for text on (..., 3) colours of 0..255, whichever has the higher contrast (WCAG 2.2)."""
    linear = np.where(colours <= 10, colours / 255 / 12.92, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    return np.where(linear @ np.array([0.2126, 0.7152, 0.0722]) > 0.179, "#020202", "#ffffff")


def cells(
    shade: np.ndarray, text: np.ndarray, x: list[str], y: list[str], scale: np.ndarray, low: float, high: float
) -> go.Figure:
    """Draw a table of coloured cells with their text.

    Args:
        shade: (rows, columns) float, what is coloured; NaN leaves a cell empty.
        text: (rows, columns) str.
        x, y: labels of columns and rows.
        scale: (k, 3) uint8 RGB, from `low` to `high`.
        low, high: ends of the colour scale.
    """
    place = np.clip((np.nan_to_num(shade, nan=low) - low) / ((high - low) or 1.0), 0, 1)
    ramp = np.linspace(0, 1, len(scale))
    colours = np.stack([np.interp(place, ramp, scale[:, i]) for i in range(3)], -1)
    ink = np.where(np.isnan(shade), NEUTRAL, readable_on(colours))
    figure = go.Figure(
        go.Heatmap(
            z=shade,
            x=x,
            y=y,
            colorscale=[[float(p), "rgb({},{},{})".format(*c)] for p, c in zip(ramp, scale.tolist(), strict=True)],
            zmin=low,
            zmax=high,
            showscale=False,
            hoverinfo="skip",
            xgap=1,
            ygap=1,
        )
    )
    figure.add_scatter(
        x=[label for _ in y for label in x],
        y=[label for label in y for _ in x],
        text=text.ravel().tolist(),
        textfont={"color": ink.ravel().tolist()},
        mode="text",
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_xaxes(range=[-0.5, len(x) - 0.5], showgrid=False, ticks="", fixedrange=True)
    figure.update_yaxes(range=[len(y) - 0.5, -0.5], showgrid=False, ticks="", fixedrange=True)
    return figure


def error_bars(estimates: Sequence[Estimate]) -> dict:
    """Return horizontal error bars in percent from the 95 % intervals of shares."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (f.high - f.value) for f in estimates],
        "arrayminus": [100 * (f.value - f.low) for f in estimates],
        "thickness": 1.5,
        "width": 4,
    }
