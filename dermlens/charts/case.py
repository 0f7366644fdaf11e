"""Figures of one case: probabilities, their difference, and the image with what lies over it."""

from collections.abc import Collection, Mapping

import numpy as np
import plotly.graph_objects as go

from dermlens.charts.style import COLOURS, NEUTRAL, ROWS, SHORT, SYMBOLS, frame, nth
from dermlens.explain.grad_cam import colour
from dermlens.image.encode import data_uri
from dermlens.image.preprocess import Box
from dermlens.labels import CLASSES, DIAGNOSES, GROUP_TITLES, GROUPS, members
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
    frame(figure, title, height)
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
    figure = go.Figure()
    if heat:
        marker = {**EVIDENCE, "colorbar": {**EVIDENCE["colorbar"], "y": 1 - 34 / height}}
        figure.add_scatter(x=[None, None], y=[None, None], mode="markers", hoverinfo="skip", marker=marker)
    figure.add_layout_image(
        source=data_uri(pixels), x=0, y=0, sizex=w, sizey=h, xref="x", yref="y", sizing="stretch", layer="below"
    )
    if seen is not None and (seen.height, seen.width) != (h, w):
        _dim_unseen(figure, seen, h, w)
    figure.update_xaxes(range=[0, w], visible=False, constrain="domain")
    figure.update_yaxes(range=[h, 0], visible=False, scaleanchor="x", constrain="domain", constraintoward="top")
    figure = frame(figure, title, height, "" if heat else subtitle, modebar_orientation="v", showlegend=False)
    margin = {"l": 0, "r": 28, "t": TOP, "b": 0}
    return figure.update_layout(margin=margin, height=height, dragmode="zoom", uirevision="picture")


def _dim_unseen(figure: go.Figure, seen: Box, height: int, width: int) -> None:
    right, bottom = seen.left + seen.width, seen.top + seen.height
    bands = [(0, 0, width, seen.top), (0, bottom, width, height)]
    bands += [(0, seen.top, seen.left, bottom), (right, seen.top, width, bottom)]
    for x0, y0, x1, y1 in bands:
        if x1 > x0 and y1 > y0:
            figure.add_shape(
                type="rect", x0=x0, y0=y0, x1=x1, y1=y1, fillcolor="rgba(20,25,28,0.5)", line_width=0, layer="above"
            )
    figure.add_shape(
        type="rect",
        x0=seen.left,
        y0=seen.top,
        x1=right,
        y1=bottom,
        line={"color": "#ffffff", "width": 2, "dash": "dash"},
        layer="above",
    )
