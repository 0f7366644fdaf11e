"""Figures of where a model looked: heat inside the lesion, and what taking pixels away does to its answer."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from dermlens.charts.style import COLOURS, SHORT, error_bars, frame
from dermlens.estimate import Estimate
from dermlens.explain.localisation_results import Removal, Where
from dermlens.labels import CLASSES, SHOWN
from dermlens.wording import interval, percent

ROWS = {
    "all": "All images",
    **{CLASSES[i]: SHORT[CLASSES[i]] for i in SHOWN},
    "right": "Called right",
    "wrong": "Called wrong",
}
"""Group of LocalisationResults -> its label, from top to bottom."""
LOOKS = (("circle", COLOURS[0]), ("square-open", COLOURS[1]), ("diamond-open", COLOURS[5]))
FIRST, CHANCE = "hottest pixels first", "in random order"
Series = Sequence[tuple[str, Sequence[Estimate]]]


def inside(found: Mapping[str, Where]) -> go.Figure:
    """Draw how much of the heat lies in the lesion, against two maps made without looking at the image, by group."""
    rows = [group for group in ROWS if group in found]
    series = [
        ("this image's map", [found[g].energy for g in rows]),
        ("the mean map of all images", [found[g].usual for g in rows]),
        ("an even map, so the lesion's share of the area", [found[g].area for g in rows]),
    ]
    return _framed(_dots(rows, series), rows, "Share of the heat that lies in the lesion")


def pointing(found: Mapping[str, Where]) -> go.Figure:
    """Draw how often the hottest point lies in the lesion, against always pointing to the centre, by group."""
    rows = [group for group in ROWS if group in found]
    series = [
        ("the map's hottest point", [found[g].hits for g in rows]),
        ("the centre of the picture", [found[g].centre for g in rows]),
    ]
    return _framed(_dots(rows, series), rows, "Share of images where it lies in the lesion")


def deletion(found: Mapping[str, Removal]) -> go.Figure:
    """Draw the area under the deletion curve against that of chance, by group."""
    rows = [group for group in ROWS if group in found]
    series = [(FIRST, [found[g].deletion for g in rows]), (CHANCE, [found[g].random_deletion for g in rows])]
    return _removal(_dots(rows, series), rows, "Pixels taken away: lower is better")


def insertion(found: Mapping[str, Removal]) -> go.Figure:
    """Draw the area under the insertion curve against that of chance, by group."""
    rows = [group for group in ROWS if group in found]
    series = [(FIRST, [found[g].insertion for g in rows]), (CHANCE, [found[g].random_insertion for g in rows])]
    return _removal(_dots(rows, series), rows, "Pixels put back: higher is better")


def _removal(figure: go.Figure, rows: Sequence[str], title: str) -> go.Figure:
    figure = _framed(figure, rows, title, "mean probability of the called diagnosis on the way")
    place = {"yref": "container", "y": 1 - 58 / figure.layout.height, "yanchor": "top"}
    return figure.update_layout(margin_t=96, legend=place)


def _dots(rows: Sequence[str], series: Series) -> go.Figure:
    figure = go.Figure()
    for i, (name, estimates) in enumerate(series):
        symbol, colour = LOOKS[i]
        figure.add_scatter(
            x=[100 * f.value for f in estimates],
            y=[row + 0.24 * (i - (len(series) - 1) / 2) for row in range(len(rows))],
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 9},
            error_x=error_bars(estimates),
            customdata=[
                [ROWS[g].replace("<br>", " "), percent(f.value, 1), interval(f), f.n_images, f.n_lesions]
                for g, f in zip(rows, estimates, strict=True)
            ],
            hovertemplate=f"%{{customdata[0]}}<br>{name}: %{{customdata[1]}}<br>95 %: %{{customdata[2]}}<br>"
            "Images: %{customdata[3]}, lesions: %{customdata[4]}<extra></extra>",
        )
    return figure


def _framed(figure: go.Figure, rows: Sequence[str], title: str, subtitle: str = "") -> go.Figure:
    figure.update_xaxes(range=[-2, 102], ticksuffix=" %", dtick=25, zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[ROWS[g] for g in rows], range=[len(rows) - 0.5, -0.5], zeroline=False
    )
    return frame(figure, title, 120 + 44 * len(rows), subtitle)
