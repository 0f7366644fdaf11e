"""Figures of how far stated probabilities can be taken at their word."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dermlens.charts.style import BELOW, COLOURS, DASHES, NEUTRAL, SYMBOLS, error_bars, frame, nth
from dermlens.evaluation.calibration_error import Bin
from dermlens.wording import interval, percent


def diagrams(parts: Mapping[str, Sequence[Bin]], subtitle: str) -> dict[str, go.Figure]:
    """Draw a calibration diagram for every part, with the number of images in every bin below it.

    Args:
        parts: title, such as "Before calibration" -> its bins.
        subtitle: as shown.

    Returns:
        title -> figure; all on the same axes.
    """
    most = max((b.right.n_images for bins in parts.values() for b in bins), default=1)
    return {title: _diagram(i, title, bins, subtitle, most) for i, (title, bins) in enumerate(parts.items())}


def _diagram(i: int, title: str, bins: Sequence[Bin], subtitle: str, most: int) -> go.Figure:
    figure = make_subplots(rows=2, row_heights=[0.76, 0.24], vertical_spacing=0.06, shared_xaxes=True)
    colour = nth(COLOURS, i)
    figure.add_scatter(
        x=[0, 100], y=[0, 100], row=1, col=1, mode="lines", line={"color": NEUTRAL, "dash": "dot"}, hoverinfo="skip"
    )
    figure.add_scatter(
        row=1,
        col=1,
        x=[100 * b.confidence for b in bins],
        y=[100 * b.right.value for b in bins],
        mode="markers",
        marker={"color": colour, "symbol": nth(SYMBOLS, i), "size": 9},
        error_y=error_bars([b.right for b in bins]),
        customdata=[
            [
                percent(b.confidence, 1),
                percent(b.right.value, 1),
                interval(b.right),
                b.right.n_images,
                b.right.n_lesions,
            ]
            for b in bins
        ],
        hovertemplate=f"{title}<br>stated %{{customdata[0]}}, true %{{customdata[1]}}<br>"
        "95 %: %{customdata[2]}<br>Images: %{customdata[3]}, lesions: %{customdata[4]}<extra></extra>",
    )
    figure.add_bar(
        row=2,
        col=1,
        x=[50 * (b.low + b.high) for b in bins],
        y=[b.right.n_images for b in bins],
        width=[max(0.4, 100 * (b.high - b.low) * 0.9) for b in bins],
        marker={"color": colour},
        customdata=[[percent(b.low, 1), percent(b.high, 1)] for b in bins],
        hovertemplate=f"{title}<br>%{{customdata[0]}} to %{{customdata[1]}}<br>Images: %{{y}}<extra></extra>",
    )
    figure.update_xaxes(range=[-2, 102], ticksuffix=" %", zeroline=False)
    figure.update_xaxes(title_text="Stated probability", row=2)
    figure.update_yaxes(range=[-2, 102], ticksuffix=" %", zeroline=False, title_text="Share that is true", row=1)
    figure.update_yaxes(range=[0, 1.05 * most], title_text="Images", row=2)
    return frame(figure, title, 460, subtitle, showlegend=False)


def overlaid(models: Mapping[str, Sequence[Bin]], title: str, subtitle: str) -> go.Figure:
    """Draw the calibration of several models on one pair of axes, a mark a bin joined by a line.

    Args:
        models: name -> its bins.
        title, subtitle: as shown.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", line={"color": NEUTRAL, "dash": "dot"}, hoverinfo="skip", showlegend=False
    )  # fmt: skip
    for i, (name, bins) in enumerate(models.items()):
        colour = nth(COLOURS, i)
        figure.add_scatter(
            x=[100 * b.confidence for b in bins],
            y=[100 * b.right.value for b in bins],
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": nth(DASHES, i), "width": 1.2},
            marker={"color": colour, "symbol": nth(SYMBOLS, i), "size": 9},
            error_y=error_bars([b.right for b in bins]),
            customdata=[
                [percent(b.confidence, 1), percent(b.right.value, 1), interval(b.right), b.right.n_images] for b in bins
            ],
            hovertemplate=f"{name}<br>stated %{{customdata[0]}}, true %{{customdata[1]}}<br>"
            "95 %: %{customdata[2]}<br>Images: %{customdata[3]}<extra></extra>",
        )
    figure.update_xaxes(range=[-2, 102], ticksuffix=" %", zeroline=False, title_text="Stated probability")
    figure.update_yaxes(range=[-2, 102], ticksuffix=" %", zeroline=False, title_text="Share that is true")
    return frame(figure, title, 440 + 22 * len(models), subtitle).update_layout(
        margin_b=60 + 22 * len(models), legend={**BELOW, "orientation": "v", "y": -0.18}
    )
