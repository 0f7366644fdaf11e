"""How accurate a model is on the images of which it is surest."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from dermlens.charts.style import COLOURS, DASHES, NEUTRAL, frame, nth
from dermlens.wording import percent

POINTS = 400
"""More than a screen can show apart."""


def coverage(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], kept: float | None = None) -> go.Figure:
    """Draw coverage-accuracy curves.

    Args:
        curves: name -> coverage and accuracy as `dermlens.trust.referral.coverage_curve` gives them.
        kept: share of the images that the rules do not refer, marked by a line; None marks nothing.
    """
    figure = go.Figure()
    for i, (name, (share, accuracy)) in enumerate(curves.items()):
        rows = np.unique(np.linspace(0, len(share) - 1, POINTS).round().astype(int))
        figure.add_scatter(
            x=100 * share[rows],
            y=100 * accuracy[rows],
            name=name,
            line={"color": nth(COLOURS, i), "dash": nth(DASHES, i), "width": 2.2},
            customdata=[[percent(share[row]), percent(accuracy[row], 1)] for row in rows],
            hovertemplate=f"{name}<br>the surest %{{customdata[0]}} of the images: %{{customdata[1]}} right"
            "<extra></extra>",
        )
    if kept is not None:
        figure.add_vline(100 * kept, line={"color": NEUTRAL, "dash": "dot"}, annotation_text="not referred")
    figure.update_xaxes(title="Share of the images kept, surest first (%)", range=[0, 101])
    figure.update_yaxes(title="Correct calls among them (%)", rangemode="normal")
    return frame(figure, "Accuracy against coverage", 380)
