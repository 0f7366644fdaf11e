"""Figures of the parts of a split, by age, sex, site and way of confirmation, and of the months of a record."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from dermlens.charts.style import BELOW, COLOURS, DASHES, SEQUENTIAL, SYMBOLS, TILTED, cells, error_bars, frame, nth
from dermlens.estimate import Estimate
from dermlens.evaluation.class_mix import AT, EQUAL
from dermlens.evaluation.intervals import FEW_LESIONS
from dermlens.evaluation.metrics import OVERALL
from dermlens.evaluation.slices import Slice
from dermlens.labels import CLASSES, SHOWN
from dermlens.wording import counted, interval, percent


def balanced_accuracy(slices: Sequence[Slice], subtitle: str) -> go.Figure:
    """Draw the balanced accuracy of every slice with its 95 % interval; subtitle: as shown."""
    return _dots(
        [f"{s.name}<br>{counted(s.n_images, 'image')}" for s in slices],
        [s.balanced_accuracy for s in slices],
        ("one class only", COLOURS[0], "circle"),
        (OVERALL["balanced_accuracy"].label, subtitle),
    )


def melanoma_recall(slices: Sequence[Slice], subtitle: str) -> go.Figure:
    """Draw the melanoma recall of every slice with its 95 % interval; subtitle: as shown."""
    found = [s.recall["mel"] for s in slices]
    return _dots(
        [f"{s.name}<br>{counted(f.n_lesions, 'melanoma')}" for s, f in zip(slices, found, strict=True)],
        found,
        ("no melanoma", COLOURS[1], "diamond"),
        (OVERALL["melanoma_recall_equal"].label, subtitle),
    )


def _dots(
    labels: Sequence[str], estimates: Sequence[Estimate | None], look: tuple[str, str, str], title: tuple[str, str]
) -> go.Figure:
    """Draw one estimate a slice; a hollow mark rests on fewer than FEW_LESIONS lesions.

    Args:
        labels: of the rows. estimates: None or NaN where there is none.
        look: what is written in place of an estimate, colour and symbol. title: and subtitle.
    """
    without, colour, symbol = look
    known = [(i, f) for i, f in enumerate(estimates) if f is not None and not np.isnan(f.value)]
    figure = go.Figure(
        go.Scatter(
            x=[100 * f.value for _, f in known],
            y=[i for i, _ in known],
            mode="markers",
            marker={
                "color": colour,
                "size": 9,
                "symbol": [f"{symbol}-open" if f.n_lesions < FEW_LESIONS else symbol for _, f in known],
            },
            error_x=error_bars([f for _, f in known]),
            customdata=[
                [labels[i].split("<br>")[0], percent(f.value, 1), interval(f), f.n_images, f.n_lesions]
                for i, f in known
            ],
            hovertemplate=f"%{{customdata[0]}}<br>{title[0]}: %{{customdata[1]}}<br>95 %: %{{customdata[2]}}<br>"
            "Images: %{customdata[3]}, lesions: %{customdata[4]}<extra></extra>",
        )
    )
    for i in sorted(set(range(len(labels))) - {i for i, _ in known}):
        figure.add_annotation(x=50, y=i, text=without, showarrow=False)
    figure.update_xaxes(range=[-2, 102], ticksuffix=" %", dtick=25, zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=list(labels), range=[len(labels) - 0.5, -0.5], zeroline=False
    )
    return frame(figure, title[0], 110 + 46 * len(labels), title[1])


def class_mix(slices: Sequence[Slice]) -> go.Figure:
    """Draw which diagnoses each slice is made of, in shares of its images."""
    shares = np.array([s.class_mix / max(1, s.n_images) for s in slices])[:, list(SHOWN)]
    text = np.vectorize(percent)(shares)
    details = [[f"{int(s.class_mix[i]):,} of {counted(s.n_images, 'image')}" for i in SHOWN] for s in slices]
    return _table(slices, shares, text, details, "What each slice is made of", "in % of its images")


def recall(slices: Sequence[Slice]) -> go.Figure:
    """Draw the recall of every class in every slice; empty where a slice has no image of the class."""
    found = [[s.recall[CLASSES[i]] for i in SHOWN] for s in slices]
    values = np.array([[f.value for f in row] for row in found])
    text = np.array([[f"{percent(f.value)}<br>of {f.n_images}" if f.n_images else "" for f in row] for row in found])
    details = [
        [f"{percent(f.value, 1)} of {counted(f.n_images, 'image')} found<br>95 %: {interval(f)}" for f in row]
        for row in found
    ]
    return _table(slices, values, text, details, "Recall by class", f"{AT[EQUAL]}, in % of the class's images")


def _table(
    slices: Sequence[Slice], shade: np.ndarray, text: np.ndarray, details: list[list[str]], title: str, subtitle: str
) -> go.Figure:
    x, y = [TILTED[CLASSES[i]] for i in SHOWN], [f"{s.name}<br>{counted(s.n_images, 'image')}" for s in slices]
    figure = cells(shade, text, x, y, SEQUENTIAL, 0.0, 1.0)
    figure.data[1].update(hoverinfo=None, customdata=[d for row in details for d in row])
    figure.data[1].update(hovertemplate="%{y}<br>%{x}<br>%{customdata}<extra></extra>")
    figure.update_xaxes(tickangle=-50)
    return frame(figure, title, 190 + 46 * len(slices), subtitle)


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
    figure.update_yaxes(rangemode="tozero", ticksuffix=" %")
    figure.update_xaxes(type="category")
    return frame(figure, title, 360, legend=BELOW)
