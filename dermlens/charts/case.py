"""Figures of one case: probabilities, their difference, and the image with what lies over it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import numpy as np
import plotly.graph_objects as go

from dermlens.charts.style import BELOW, COLOURS, DASHES, NEUTRAL, ROWS, SHORT, SYMBOLS, frame, nth
from dermlens.explain.grad_cam import colour
from dermlens.image.encode import data_uri
from dermlens.image.preprocess import Box
from dermlens.labels import CLASSES, DIAGNOSES, GROUP_TITLES, GROUPS, INDEX, members
from dermlens.wording import percent

# In pixels.
ROW = 23
"""Height of a row."""
TOP = 76
"""Height of what stands above a picture."""

EVIDENCE: dict = {
    "color": [0, 1],
    "cmin": 0,
    "cmax": 1,
    "colorscale": [[i / 8, "rgb({},{},{})".format(*colour(np.full((1, 1), i / 8))[0, 0])] for i in range(9)],
    "showscale": True,
    "colorbar": {
        "orientation": "h",
        "yref": "container",
        "yanchor": "top",
        "xanchor": "left",
        "x": 0.03,
        "thickness": 8,
        "len": 0.5,
        "ypad": 0,
        "tickvals": [0, 1],
        "ticktext": ["none", "most"],
        "outlinewidth": 0,
    },
}


def probabilities(
    answers: Mapping[str, np.ndarray], title: str, unit: str, refused: Collection[str] = (), lead: str = ""
) -> go.Figure:
    """Draw the probabilities of every model, a row a diagnosis and a mark a model, by clinical group.

    Args:
        answers: model name -> (7,) probabilities.
        title, unit: as shown; the unit says whether the numbers are calibrated.
        refused: names of the models that call nothing, drawn grey and hollow.
        lead: name of the model whose numbers are written at the end of the rows; by default the first one.
    """
    lead = lead or next(iter(answers))
    rows: list[int | str] = []
    for group in reversed(GROUPS):
        rows += [GROUP_TITLES[group], *members(group)]
    of_class = {i: row for row, i in enumerate(rows) if isinstance(i, int)}
    order = list(of_class)
    figure = go.Figure()
    for n, (name, values) in enumerate(answers.items()):
        known = name not in refused
        offset = 0.22 * (n - (len(answers) - 1) / 2) if len(answers) > 1 else 0.0
        figure.add_scatter(
            x=[100 * float(values[i]) for i in order],
            y=[of_class[i] + offset for i in order],
            mode="markers",
            name=name if known else f"{name} (calls nothing)",
            marker={
                "symbol": nth(SYMBOLS, n) if known else f"{nth(SYMBOLS, n)}-open",
                "color": nth(COLOURS, n) if known else NEUTRAL,
                "size": 8,
                "line": {"width": 1.5, "color": nth(COLOURS, n) if known else NEUTRAL},
            },
            customdata=[[DIAGNOSES[i].name, DIAGNOSES[i].group, percent(float(values[i]), 1)] for i in order],
            hovertemplate=f"{name}<br>%{{customdata[0]}} (%{{customdata[1]}}): %{{customdata[2]}} {unit}"
            "<extra></extra>",
            cliponaxis=False,
        )
    if lead not in refused:
        for i, row in of_class.items():
            figure.add_annotation(
                text=percent(float(answers[lead][i])),
                x=1,
                xref="paper",
                xanchor="left",
                xshift=8,
                y=row,
                showarrow=False,
            )
    labels = [f"<b>{row}</b>" if isinstance(row, str) else ROWS[CLASSES[row]] for row in rows]
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=labels,
        range=[len(rows) - 0.4, -0.6],
        zeroline=False,
        ticks="",
    )
    ticks = [0, 25, 50, 75, 100]
    figure.update_xaxes(range=[-2, 102], tickvals=ticks, ticktext=[f"{t} %" for t in ticks], zeroline=False)
    height = 104 + ROW * len(rows)
    figure = frame(figure, title, height)
    legend = {"xref": "container", "x": 0, "yref": "container", "y": 1 - 32 / height, "yanchor": "top"}
    return figure.update_layout(margin={"r": 52, "t": 64}, legend=legend)


def difference(name_a: str, a: np.ndarray, name_b: str, b: np.ndarray) -> go.Figure:
    """Draw the difference a - b of two (7,) probabilities in percentage points, class by class."""
    order = [i for group in reversed(GROUPS) for i in members(group)]
    points = 100 * (a - b)[order]
    figure = go.Figure(
        go.Bar(
            x=points,
            y=[SHORT[CLASSES[i]] for i in order],
            orientation="h",
            marker={"color": np.where(points >= 0, COLOURS[0], COLOURS[1])},
            text=[f"{p:+.0f}".replace("-", "−") if abs(p) >= 0.5 else "0" for p in points],
            textposition="outside",
            cliponaxis=False,
            customdata=[[DIAGNOSES[i].group, percent(a[i], 1), percent(b[i], 1)] for i in order],
            hovertemplate=f"%{{y}} (%{{customdata[0]}})<br>{name_a} %{{customdata[1]}}<br>{name_b} %{{customdata[2]}}"
            "<extra></extra>",
        )
    )
    limit = max(10.0, float(np.abs(points).max()) * 1.25)
    figure.update_xaxes(
        range=[-limit, limit], title_text=f"percentage points<br>to the right: {name_a} higher", zeroline=True
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return frame(figure, "Difference", 460, f"{name_a} minus {name_b}", showlegend=False)


def picture(
    pixels: np.ndarray, title: str, subtitle: str = "", seen: Box | None = None, heat: bool = False, height: int = 430
) -> go.Figure:
    """Show an image that can be zoomed by dragging a box over it.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        title, subtitle: as shown; with `heat` the colour scale takes the place of the subtitle.
        seen: the part the network sees; what lies outside is dimmed.
        heat: whether a heat map lies over the image.
        height: of the figure, in pixels.
    """
    h, w = pixels.shape[:2]
    data = []
    if heat:
        marker = {**EVIDENCE, "colorbar": {**EVIDENCE["colorbar"], "y": 1 - 34 / height}}
        data = [go.Scatter(x=[None, None], y=[None, None], mode="markers", hoverinfo="skip", marker=marker)]
    place = {"x": 0, "y": 0, "sizex": w, "sizey": h, "xref": "x", "yref": "y", "sizing": "stretch", "layer": "below"}
    layout = {
        "images": [{"source": data_uri(pixels), **place}],
        "shapes": _dim_unseen(seen, h, w) if seen is not None and (seen.height, seen.width) != (h, w) else [],
        "xaxis": {"range": [0, w], "visible": False, "constrain": "domain"},
        "yaxis": {
            "range": [h, 0],
            "visible": False,
            "scaleanchor": "x",
            "constrain": "domain",
            "constraintoward": "top",
        },
        "modebar": {"orientation": "v"},
        "showlegend": False,
    }
    margin = {"l": 0, "r": 28, "t": TOP, "b": 0}
    subtitle = "" if heat else subtitle
    own = {"dragmode": "zoom", "uirevision": "picture", "margin": margin}
    figure = frame(go.Figure(data, layout), title, height, subtitle, **own)
    figure.layout.height = height
    return figure


def _dim_unseen(seen: Box, height: int, width: int) -> list[dict]:
    right, bottom = seen.left + seen.width, seen.top + seen.height
    bands = [(0, 0, width, seen.top), (0, bottom, width, height)]
    bands += [(0, seen.top, seen.left, bottom), (right, seen.top, width, bottom)]
    dimmed = {"type": "rect", "fillcolor": "rgba(20,25,28,0.5)", "line": {"width": 0}, "layer": "above"}
    edge = {"type": "rect", "line": {"color": "#ffffff", "width": 2, "dash": "dash"}, "layer": "above"}
    shapes = [{"x0": x0, "y0": y0, "x1": x1, "y1": y1, **dimmed} for x0, y0, x1, y1 in bands if x1 > x0 and y1 > y0]
    return [*shapes, {"x0": seen.left, "y0": seen.top, "x1": right, "y1": bottom, **edge}]


SHOWN_ALWAYS = ("mel",)
"""Drawn however small: what must not be missed."""
WORTH_A_LINE = 0.1
"""A diagnosis is drawn that reached so much once."""


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
    figure.update_yaxes(range=[-2, 102], ticksuffix=" %")
    return frame(figure, "Probabilities over time", 360, model, legend=BELOW)


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
    figure = frame(figure, view.capitalize(), 400, showlegend=False)
    figure.update_xaxes(range=[0, 1], visible=False, fixedrange=True)
    figure.update_yaxes(range=[1, 0], visible=False, fixedrange=True, scaleanchor="x", scaleratio=2)
    return figure
