"""Figures of what becomes of a model away from home: other pictures, other lights, other archives."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from dermlens.charts.style import COLOURS, NEUTRAL, SHORT, SYMBOLS, error_bars, frame, nth
from dermlens.estimate import Estimate
from dermlens.evaluation.class_mix import AT, EQUAL
from dermlens.evaluation.other_lights import OtherLights
from dermlens.labels import CLASSES, NAMES, SHOWN
from dermlens.trust.ood import Measured
from dermlens.trust.withholding import Withholding
from dermlens.wording import interval, percent

OTHERS = "pictures that are not proper dermoscopic images"


def refused(measured: Measured) -> go.Figure:
    """Draw the share refused of every kind of other picture."""
    figure = _kinds(measured, measured.refused, SYMBOLS[0]).update_xaxes(range=[-3, 103])
    return frame(figure, "Refused", 110 + 28 * len(measured.refused), OTHERS)


def auroc(measured: Measured) -> go.Figure:
    """Draw the AUROC of every kind of other picture against dermoscopic images, in the order of `refused`."""
    figure = _kinds(measured, measured.auroc, SYMBOLS[1]).update_xaxes(range=[45, 102])
    return frame(figure, "AUROC against dermoscopic images", 110 + 28 * len(measured.auroc), OTHERS)


def _kinds(measured: Measured, found: Mapping[str, Estimate], symbol: str) -> go.Figure:
    kinds = sorted(measured.refused, key=lambda kind: measured.refused[kind].value)
    estimates = [found[kind] for kind in kinds]
    return go.Figure(
        go.Scatter(
            x=[100 * f.value for f in estimates],
            y=kinds,
            mode="markers",
            marker={"color": COLOURS[0], "symbol": symbol, "size": 9},
            error_x=error_bars(estimates),
            customdata=[[percent(f.value, 1), interval(f), f.n_images, f.n_lesions] for f in estimates],
            hovertemplate="%{y}: %{customdata[0]}<br>95 %: %{customdata[1]}<br>Pictures: %{customdata[2]}, "
            "sources: %{customdata[3]}<extra></extra>",
        )
    ).update_xaxes(ticksuffix=" %")


def trade_off(rule: Withholding, names: Mapping[str, str]) -> go.Figure:
    """Draw what every rule that was tried withholds of a diagnosis at most, and refuses of other pictures.

    Args:
        rule: the one in use, drawn larger. names: what a rule goes by -> how it is written.
    """
    figure = go.Figure()
    for i, (by, name) in enumerate(names.items()):
        points = sorted((p for p in rule.curve if p.by == by), key=lambda p: p.limit)
        symbol = SYMBOLS[i % len(SYMBOLS)]
        worst = [p.worst_diagnosis for p in points]
        figure.add_scatter(
            x=[100 * p.worst for p in points],
            y=[100 * p.others for p in points],
            mode="lines+markers",
            name=name[0].upper() + name[1:],
            line={"color": COLOURS[i % len(COLOURS)], "width": 1.5},
            marker={
                "symbol": [symbol if p.photographs[0] == p.photographs[1] else f"{symbol}-open" for p in points],
                "size": [16 if p == rule.chosen else 8 for p in points],
            },
            customdata=[
                [NAMES[code], *p.withheld[code], percent(p.share, 1), *p.photographs, f"{p.limit:.2f}"]
                for p, code in zip(points, worst, strict=True)
            ],
            hovertemplate="Beyond %{customdata[6]}<br>%{customdata[0]}: %{customdata[1]} of %{customdata[2]} withheld"
            "<br>all images: %{customdata[3]}<br>photographs: %{customdata[4]} of %{customdata[5]} refused"
            "<br>other pictures: %{y:.1f} %<extra></extra>",
        )
    title = "Images of the worst-hit diagnosis<br>that are withheld (validation)"
    figure.update_xaxes(title_text=title, rangemode="tozero", ticksuffix=" %")
    figure.update_yaxes(title_text="Other pictures refused", ticksuffix=" %")
    return frame(figure, "What a rule withholds and refuses", 430, margin_t=150)


def lost(found: OtherLights) -> go.Figure:
    """Draw the balanced accuracy lost under every change, in percentage points, the mean first."""
    named = {"Mean of all": found.lost, **{c.change.name.capitalize(): c.lost for c in found.changes}}
    figure = _dots({"lost": named}, "Balanced accuracy lost", AT[EQUAL])
    figure.add_vline(0, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    return figure.update_xaxes(title_text="percentage points", zeroline=False)


def by_diagnosis(series: Mapping[str, Mapping[str, Estimate]], title: str, subtitle: str = "") -> go.Figure:
    """Draw shares by diagnosis with 95 % intervals.

    Args:
        series: name -> class code -> estimate; diagnoses that none of them has are left out.
    """
    codes = [CLASSES[i] for i in SHOWN if any(_known(found, CLASSES[i]) for found in series.values())]
    named = {name: {SHORT[c]: found[c] for c in codes if _known(found, c)} for name, found in series.items()}
    figure = _dots(named, title, subtitle, [SHORT[code] for code in codes])
    return figure.update_xaxes(range=[-2, 102], ticksuffix=" %", dtick=25, zeroline=False)


def _known(found: Mapping[str, Estimate], code: str) -> bool:
    return code in found and not np.isnan(found[code].value)


def _dots(
    series: Mapping[str, Mapping[str, Estimate]], title: str, subtitle: str, labels: Sequence[str] = ()
) -> go.Figure:
    labels = labels or list(next(iter(series.values())))
    figure = go.Figure()
    for i, (name, found) in enumerate(series.items()):
        rows = [label for label in labels if label in found]
        values = [found[label] for label in rows]
        figure.add_scatter(
            x=[100 * e.value for e in values],
            y=[labels.index(label) + 0.24 * (i - (len(series) - 1) / 2) for label in rows],
            mode="markers",
            name=name,
            showlegend=len(series) > 1,
            marker={"color": nth(COLOURS, i), "symbol": nth(SYMBOLS, i), "size": 9},
            error_x=error_bars(values),
            customdata=[
                [label.replace("<br>", " "), percent(e.value, 1), interval(e), e.n_images, e.n_lesions]
                for label, e in zip(rows, values, strict=True)
            ],
            hovertemplate=f"%{{customdata[0]}}<br>{name}: %{{customdata[1]}}<br>95 %: %{{customdata[2]}}<br>"
            "Images: %{customdata[3]}, lesions: %{customdata[4]}<extra></extra>",
        )
    figure.update_yaxes(
        tickvals=list(range(len(labels))), ticktext=list(labels), range=[len(labels) - 0.5, -0.5], zeroline=False
    )
    legend = 22 * len(series) if len(series) > 1 else 0
    figure = frame(figure, title, 130 + legend + (34 + 8 * len(series)) * len(labels), subtitle)
    place = {"orientation": "v", "yref": "container", "y": 1 - 58 / figure.layout.height, "yanchor": "top"}
    return figure.update_layout(margin_t=76 + legend, legend=place)
