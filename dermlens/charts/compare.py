"""Figures of two or more models on the same images."""

from collections.abc import Collection, Mapping

import numpy as np
import plotly.graph_objects as go

from dermlens.charts.style import COLOURS, NEUTRAL, SHORT, SYMBOLS, error_bars, frame, nth
from dermlens.estimate import Estimate
from dermlens.evaluation.class_mix import AT, EQUAL
from dermlens.evaluation.compare import Comparison, Difference
from dermlens.evaluation.metrics import HEADLINE
from dermlens.labels import CLASSES, SHOWN
from dermlens.wording import interval, percent


def headline(
    models: Mapping[str, Mapping[str, Estimate]], title: str, keys: Collection[str] = tuple(HEADLINE)
) -> go.Figure:
    """Draw the headline metrics of several models with their 95 % intervals, one row per metric.

    Args:
        models: model -> key of HEADLINE -> estimate.
        title: as shown.
        keys: of OVERALL, those of HEADLINE among them are drawn.
    """
    rows = {key: metric for key, metric in HEADLINE.items() if key in keys}
    figure = go.Figure()
    for i, (model, found) in enumerate(models.items()):
        values = [found[name] for name in rows]
        figure.add_scatter(
            x=[100 * f.value for f in values],
            y=[row + 0.26 * (i - (len(models) - 1) / 2) for row in range(len(rows))],
            mode="markers",
            name=model,
            marker={"color": nth(COLOURS, i), "symbol": nth(SYMBOLS, i), "size": 10},
            error_x=error_bars(values),
            customdata=[
                [metric.label, percent(f.value, 1), interval(f)]
                for metric, f in zip(rows.values(), values, strict=True)
            ],
            hovertemplate=f"{model}<br>%{{customdata[0]}}: %{{customdata[1]}}<br>"
            "95 %: %{customdata[2]}<extra></extra>",
        )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[f"{metric.name}<br>{AT[metric.mix]}" for metric in rows.values()],
        range=[len(rows) - 0.5, -0.5],
    )
    figure.update_yaxes(zeroline=False)
    figure.update_xaxes(ticksuffix=" %", zeroline=False)
    height = 150 + len(rows) * (28 + 14 * len(models)) + 22 * len(models)
    figure = frame(figure, title, height)
    return figure.update_layout(
        margin_t=50 + 22 * len(models),
        legend={"orientation": "v", "yref": "container", "y": 1 - 34 / height, "yanchor": "top", "x": 0},
    )


def differences(comparison: Comparison, names: tuple[str, str]) -> go.Figure:
    """Draw how much better A is than B, in percentage points with 95 % intervals: overall, then recall class by class,
    at the equal mix.

    A filled mark is a difference whose test gives p < 0.05, with Holm's correction among the classes.
    """
    rows: list[tuple[str, Difference]] = [
        (f"{metric.name}<br>{AT[metric.mix]}", comparison.overall[name]) for name, metric in HEADLINE.items()
    ]
    rows += [(f"Recall: {SHORT[CLASSES[i]]}", comparison.recall[CLASSES[i]]) for i in SHOWN]
    known = [(i, label, d) for i, (label, d) in enumerate(rows) if not np.isnan(d.difference)]
    figure = go.Figure(
        go.Scatter(
            x=[100 * d.difference for _, _, d in known],
            y=[i for i, _, _ in known],
            mode="markers",
            marker={
                "color": COLOURS[0],
                "size": 10,
                "line": {"width": 2},
                "symbol": ["circle" if d.p_holm < 0.05 else "circle-open" for _, _, d in known],
            },
            error_x=error_bars([Estimate(d.difference, d.low, d.high, d.n_images, d.n_lesions) for _, _, d in known]),
            customdata=[
                [label, percent(d.a, 1), percent(d.b, 1), p_value(d.p_holm), d.n_images] for _, label, d in known
            ],
            hovertemplate="%{customdata[0]}<br>"
            f"{names[0]} %{{customdata[1]}}, {names[1]} %{{customdata[2]}}<br>"
            "difference %{x:+.1f} points, %{customdata[3]}<br>Images: %{customdata[4]}<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1.5})
    figure.add_hline(y=len(HEADLINE) - 0.5, line={"color": NEUTRAL, "dash": "dot"})
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[label for label, _ in rows],
        range=[len(rows) - 0.5, -0.5],
        zeroline=False,
    )
    figure.update_xaxes(title_text=f"percentage points<br>to the right: {names[0]} better", zeroline=False)
    subtitle = f"{names[0]} minus {names[1]}; recalls {AT[EQUAL]}"
    return frame(figure, "Difference", 170 + 34 * len(rows), subtitle, showlegend=False)


def p_value(p: float) -> str:
    """Return a p value as a person reads it."""
    return "not tested" if np.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
