"""Figures of how well a model tells other pictures from the kind it was trained on."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dermlens.charts.style import COLOURS, error_bars, frame
from dermlens.trust.ood import Measured
from dermlens.wording import interval, percent


def refused(measured: Measured) -> go.Figure:
    """Draw, for every kind of other picture, the share refused and the AUROC against dermoscopic images."""
    kinds = sorted(measured.refused, key=lambda kind: measured.refused[kind].value)
    titles = ["Refused, %", "AUROC against dermoscopic images, %"]
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.05, subplot_titles=titles)
    for column, found in enumerate((measured.refused, measured.auroc), start=1):
        estimates = [found[kind] for kind in kinds]
        figure.add_scatter(
            row=1,
            col=column,
            x=[100 * f.value for f in estimates],
            y=kinds,
            mode="markers",
            showlegend=False,
            marker={"color": COLOURS[0], "symbol": ("circle", "diamond")[column - 1], "size": 9},
            error_x=error_bars(estimates),
            customdata=[[percent(f.value, 1), interval(f), f.n_images, f.n_lesions] for f in estimates],
            hovertemplate="%{y}: %{customdata[0]}<br>95 %: %{customdata[1]}<br>%{customdata[2]} pictures of "
            "%{customdata[3]} sources<extra></extra>",
        )
        figure.update_xaxes(range=[-3, 103] if column == 1 else [45, 102], row=1, col=column)
    return frame(figure, "Pictures that are not proper dermoscopic images", 130 + 28 * len(kinds), margin_t=90)
