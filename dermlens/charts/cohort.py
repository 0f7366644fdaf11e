"""Figures of a cohort: what was called, how probable suspect lesions are, how far the images are from validation."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dermlens.charts.style import COLOURS, NEUTRAL, SHORT, bar_marker, frame
from dermlens.evaluation.drift import LARGE, SMALL, Drift
from dermlens.labels import CLASSES, SHOWN
from dermlens.wording import percent

BINS = 20


def calls(counts: Sequence[int], none: int) -> go.Figure:
    """Draw how often each diagnosis was called.

    Args:
        counts: (7,) images by call, in the order of labels.CLASSES. none: images without a call.
    """
    names = [SHORT[CLASSES[i]] for i in SHOWN] + ["No diagnosis"]
    values = [counts[i] for i in SHOWN] + [none]
    total = max(1, sum(values))
    figure = go.Figure()
    figure.add_bar(
        x=values,
        y=names,
        orientation="h",
        marker={**bar_marker(0), "color": [COLOURS[0]] * len(SHOWN) + [NEUTRAL]},
        text=[f"{n:,} ({percent(n / total, 1)})" if n else "none" for n in values],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure.update_xaxes(range=[0, 1.35 * max(1, *values)], title_text="images")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return frame(figure, "Calls", 360, showlegend=False)


def suspect(shares: np.ndarray) -> go.Figure:
    """Draw how many images have which probability of a malignant or pre-malignant lesion.

    Args:
        shares: (n,) 0..1.
    """
    counts, edges = np.histogram(shares, BINS, (0, 1))
    figure = go.Figure()
    figure.add_bar(
        x=100 * (edges[:-1] + edges[1:]) / 2,
        y=counts,
        width=100 / BINS,
        marker={"color": COLOURS[0], "line": {"width": 1, "color": "#ffffff"}},
        customdata=[
            [f"{100 * a:.0f} to {100 * b:.0f} %", n] for a, b, n in zip(edges, edges[1:], counts, strict=False)
        ],
        hovertemplate="%{customdata[0]}<br>Images: %{customdata[1]:,}<extra></extra>",
    )
    figure.update_xaxes(range=[0, 100], dtick=25, ticksuffix=" %", title_text="malignant or pre-malignant")
    top = np.log10(max(10, counts.max())) * 1.05
    figure.update_yaxes(title_text="images (logarithmic)", type="log", dtick=1, range=[np.log10(0.7), top])
    return frame(figure, "Suspect probability", 360, showlegend=False)


def drift(found: Sequence[tuple[str, Drift]]) -> go.Figure:
    """Draw the population stability index of every quantity, what chance gives, and the usual limits.

    Args:
        found: name -> drift, in the order they are shown.
    """
    names = [name for name, _ in found]
    figure = go.Figure()
    for limit, told in ((SMALL, "some"), (LARGE, "much")):
        figure.add_vline(limit, line={"dash": "dot", "color": NEUTRAL, "width": 1})
        figure.add_annotation(x=limit, y=1, yref="paper", yanchor="bottom", text=told, showarrow=False)
    for values, name, symbol in (
        ([d.index for _, d in found], "index", "circle"),
        ([d.by_chance for _, d in found], "by chance", "line-ns-open"),
    ):
        figure.add_scatter(
            x=values,
            y=names,
            mode="markers",
            name=name,
            marker={"symbol": symbol, "size": 10, "color": COLOURS[0] if name == "index" else NEUTRAL},
            hovertemplate=f"%{{y}}<br>{name}: %{{x:.3f}}<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(rangemode="tozero", title_text="population stability index")
    height = 160 + 26 * len(names)
    figure = frame(figure, "Distance from validation", height)
    return figure.update_layout(margin_t=92, legend={"yref": "container", "y": 1 - 38 / height, "yanchor": "top"})
