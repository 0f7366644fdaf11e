"""Figures of the parts of a split, by age, sex, site and way of confirmation, and of the months of a record."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dermlens.charts.style import BELOW, COLOURS, DASHES, SEQUENTIAL, SYMBOLS, TILTED, cells, error_bars, frame, nth
from dermlens.estimate import Estimate
from dermlens.evaluation.metrics import OVERALL
from dermlens.evaluation.slices import Slice
from dermlens.labels import CLASSES, SHOWN
from dermlens.wording import counted, interval, percent


def overview(slices: Sequence[Slice], title: str) -> go.Figure:
    """Draw balanced accuracy and melanoma recall of every slice with 95 % intervals; a hollow mark means small.

    Args:
        slices: as slices.slices gives them.
        title: as shown.
    """
    labels = [f"{s.name}<br>{counted(s.n_images, 'image')}" for s in slices]
    panels: tuple[tuple[str, list[Estimate | None], str, str], ...] = (
        (OVERALL["balanced_accuracy"].label, [s.balanced_accuracy for s in slices], COLOURS[0], "circle"),
        (OVERALL["melanoma_recall_equal"].label, [s.recall["mel"] for s in slices], COLOURS[1], "diamond"),
    )
    figure = make_subplots(cols=2, shared_yaxes=True, subplot_titles=[p[0] for p in panels], horizontal_spacing=0.05)
    for column, (name, estimates, colour, symbol) in enumerate(panels, start=1):
        known = [(i, f) for i, f in enumerate(estimates) if f is not None and not np.isnan(f.value)]
        figure.add_scatter(
            row=1,
            col=column,
            x=[100 * f.value for _, f in known],
            y=[i for i, _ in known],
            mode="markers",
            marker={
                "color": colour,
                "size": 9,
                "symbol": [f"{symbol}-open" if slices[i].small else symbol for i, _ in known],
            },
            error_x=error_bars([f for _, f in known]),
            customdata=[[slices[i].name, percent(f.value, 1), interval(f), f.n_images, f.n_lesions] for i, f in known],
            hovertemplate=f"%{{customdata[0]}}<br>{name}: %{{customdata[1]}}<br>95 %: %{{customdata[2]}}<br>"
            "Images: %{customdata[3]}, lesions: %{customdata[4]}<extra></extra>",
            showlegend=False,
        )
        for i in sorted(set(range(len(slices))) - {i for i, _ in known}):
            figure.add_annotation(
                row=1, col=column, x=50, y=i, text="one class only" if column == 1 else "no melanoma", showarrow=False
            )
    figure.update_xaxes(range=[-2, 102], ticksuffix=" %", dtick=25, zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(slices))), ticktext=labels, range=[len(slices) - 0.5, -0.5], zeroline=False
    )
    return frame(figure, title, 130 + 46 * len(slices)).update_layout(margin_t=84)


def class_mix(slices: Sequence[Slice]) -> go.Figure:
    """Draw which diagnoses each slice is made of, in shares of its images."""
    shares = np.array([s.class_mix / max(1, s.n_images) for s in slices])[:, list(SHOWN)]
    text = np.vectorize(percent)(shares)
    details = [[f"{int(s.class_mix[i]):,} of {counted(s.n_images, 'image')}" for i in SHOWN] for s in slices]
    return _table(slices, shares, text, details, "What each slice is made of, in % of its images")


def recall(slices: Sequence[Slice]) -> go.Figure:
    """Draw the recall of every class in every slice; empty where a slice has no image of the class."""
    found = [[s.recall[CLASSES[i]] for i in SHOWN] for s in slices]
    values = np.array([[f.value for f in row] for row in found])
    text = np.array([[f"{percent(f.value)}<br>of {f.n_images}" if f.n_images else "" for f in row] for row in found])
    details = [
        [f"{percent(f.value, 1)} of {counted(f.n_images, 'image')} found<br>95 %: {interval(f)}" for f in row]
        for row in found
    ]
    return _table(
        slices, values, text, details, "Recall by class at an equal mix, in % of the class's images in the slice"
    )


def _table(
    slices: Sequence[Slice], shade: np.ndarray, text: np.ndarray, details: list[list[str]], title: str
) -> go.Figure:
    x, y = [TILTED[CLASSES[i]] for i in SHOWN], [f"{s.name}<br>{counted(s.n_images, 'image')}" for s in slices]
    figure = cells(shade, text, x, y, SEQUENTIAL, 0.0, 1.0)
    figure.data[1].update(hoverinfo=None, customdata=[d for row in details for d in row])
    figure.data[1].update(hovertemplate="%{y}<br>%{x}<br>%{customdata}<extra></extra>")
    figure.update_xaxes(tickangle=-50)
    return frame(figure, title, 190 + 46 * len(slices))


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
    return frame(figure, title, 360, legend=BELOW)
