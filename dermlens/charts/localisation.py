"""Figures of where a model looked: heat inside the lesion, and what taking pixels away does to its answer."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

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
Series = Sequence[tuple[str, Sequence[Estimate]]]


def inside(found: Mapping[str, Where]) -> go.Figure:
    """Draw how much of the heat lies in the lesion, against two maps made without looking at the image, by group."""
    rows = [group for group in ROWS if group in found]
    series = [
        ("this image's map", [found[g].energy for g in rows]),
        ("the mean map of all images", [found[g].usual for g in rows]),
        ("an even map, so the lesion's share of the area", [found[g].area for g in rows]),
    ]
    return _framed(_dots(rows, [series]), rows, "Share of the heat that lies in the lesion")


def pointing(found: Mapping[str, Where]) -> go.Figure:
    """Draw how often the hottest point lies in the lesion, against always pointing to the centre, by group."""
    rows = [group for group in ROWS if group in found]
    series = [
        ("the map's hottest point", [found[g].hits for g in rows]),
        ("the centre of the picture", [found[g].centre for g in rows]),
    ]
    return _framed(_dots(rows, [series]), rows, "Share of images where it lies in the lesion")


def removal(found: Mapping[str, Removal]) -> go.Figure:
    """Draw the areas under the deletion and insertion curves against those of chance, by group."""
    rows = [group for group in ROWS if group in found]
    own = "hottest pixels first"
    chance = "in random order"
    deletion = [(own, [found[g].deletion for g in rows]), (chance, [found[g].random_deletion for g in rows])]
    insertion = [(own, [found[g].insertion for g in rows]), (chance, [found[g].random_insertion for g in rows])]
    titles = ["Pixels taken away: lower is better", "Pixels put back: higher is better"]
    figure = _dots(rows, [deletion, insertion], titles)
    _framed(figure, rows, "Mean probability of the called diagnosis on the way")
    place = {"yref": "container", "y": 1 - 34 / figure.layout.height, "yanchor": "top"}
    return figure.update_layout(margin_t=104, legend=place)


def _dots(rows: Sequence[str], panels: Sequence[Series], titles: Sequence[str] = ()) -> go.Figure:
    figure = make_subplots(
        cols=len(panels), shared_yaxes=True, horizontal_spacing=0.05, subplot_titles=list(titles) or None
    )
    for column, series in enumerate(panels, start=1):
        for i, (name, estimates) in enumerate(series):
            symbol, colour = LOOKS[i]
            figure.add_scatter(
                row=1,
                col=column,
                x=[100 * f.value for f in estimates],
                y=[row + 0.24 * (i - (len(series) - 1) / 2) for row in range(len(rows))],
                mode="markers",
                name=name,
                legendgroup=name,
                showlegend=column == 1,
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


def _framed(figure: go.Figure, rows: Sequence[str], title: str) -> go.Figure:
    figure.update_xaxes(range=[-2, 102], ticksuffix=" %", dtick=25, zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[ROWS[g] for g in rows], range=[len(rows) - 0.5, -0.5], zeroline=False
    )
    return frame(figure, title, 120 + 44 * len(rows))
