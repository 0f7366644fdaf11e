"""Figures of training runs: any number of histories overlaid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from dermlens.charts.style import COLOURS, DASHES, NEUTRAL, frame, nth
from dermlens.evaluation.metrics import OVERALL
from dermlens.models.runs import Run, best_epoch, mean_and_range, smoothed
from dermlens.wording import counted


@dataclass(frozen=True)
class Panel:
    """One figure: what is drawn, for validation and for training (None: there is no such column)."""

    key: str
    title: str
    validation: str | None
    train: str | None
    unit: str = ""
    log: bool = False


PANELS = (
    Panel("loss", "Loss, as trained with", "val_loss", "loss", "nats"),
    Panel("cross_entropy", "Plain validation cross-entropy", "val_cross_entropy", None, "nats"),
    Panel("balanced_accuracy", OVERALL["balanced_accuracy"].name, "val_balanced_accuracy", "balanced_accuracy", "%"),
    Panel("accuracy", OVERALL["accuracy"].name, "val_accuracy", "accuracy", "%"),
    Panel("melanoma", OVERALL["melanoma_recall"].name, "val_melanoma_recall", None, "%"),
    Panel("learning_rate", "Learning rate", None, "learning_rate", "", True),
)


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a figure: one run, or several seeds of one config drawn as mean and range."""

    name: str
    histories: tuple[pd.DataFrame, ...]


def lines_of(runs: Sequence[Run], histories: Mapping[str, pd.DataFrame], together: bool) -> list[Line]:
    """Return a line a run, or a line a group of runs that differ only by their seed.

    Args:
        runs: what is overlaid. histories: by run id. together: whether seeds are put together.
    """
    groups: dict[object, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group if together else run.id, []).append(run)
    return [
        Line(own[0].config_name if len(own) > 1 else own[0].id, tuple(histories[r.id] for r in own))
        for own in groups.values()
    ]


def axis(lines: Sequence[Line], wanted: str) -> str:
    """Return what the lines are drawn by: as wanted, "epoch" or "hours", but seeds drawn together go by epoch alone."""
    return "epoch" if any(len(line.histories) > 1 for line in lines) else wanted


def reading(lines: Sequence[Line], with_train: bool) -> str:
    """Return the sentence that explains what `draw` draws; arguments as there."""
    alone, together = (any((len(line.histories) == 1) == one for line in lines) for one in (True, False))
    parts = {
        "validation is drawn thick, training thin": with_train,
        "a star marks the epoch of the lowest cross-entropy on validation": alone,
        "a band spans the seeds around their mean, epoch by epoch": together,
        "an upright line marks where a phase begins": bool(_begins(lines)),
    }
    return f"{'; '.join(part for part, is_drawn in parts.items() if is_drawn).capitalize()}."


def draw(panel: Panel, lines: Sequence[Line], x: str, smoothing: float, with_train: bool) -> go.Figure:
    """Draw one panel.

    Args:
        panel: one of PANELS.
        lines: what is overlaid; a line keeps its colour and dash in every panel.
        x: "epoch" or "hours"; see `axis`.
        smoothing: as in runs.smoothed; the unsmoothed values stay visible, pale.
        with_train: whether the training metrics are drawn too, thin.
    """
    figure, x = go.Figure(), axis(lines, x)
    for i, line in enumerate(lines):
        look = {"color": nth(COLOURS, i), "dash": nth(DASHES, i)}
        columns = [c for c in (panel.validation, panel.train if with_train or not panel.validation else None) if c]
        for column in columns:
            thin = column == panel.train and panel.validation is not None
            name = line.name + (" (training)" if thin else "")
            width = 1.2 if thin else 2.2
            if len(line.histories) > 1:
                _seeds(figure, line, panel, column, name, {**look, "width": width})
            else:
                _single(figure, line.histories[0], panel, column, name, {**look, "width": width}, x, smoothing)
    for row in _begins(lines):
        figure.add_vline(
            x=row[x],
            line={"color": NEUTRAL, "width": 1},
            annotation_text=f"phase {row['phase']:.0f}",
            annotation_position="top left",
        )
    figure.update_xaxes(title_text="Epoch" if x == "epoch" else "Hours of training")
    figure.update_yaxes(type="log" if panel.log else "linear")
    if panel.unit == "%":
        figure.update_yaxes(ticksuffix=" %")
    else:
        figure.update_yaxes(title_text=panel.unit)
    if panel.log:
        figure.update_yaxes(exponentformat="power", dtick=1)
    rows = -(-len(figure.data) // 2) if len(lines) > 1 or with_train else 0
    figure = frame(figure, panel.title, 320 + 22 * rows, showlegend=len(lines) > 1 or with_train)
    return figure.update_layout(
        legend={"orientation": "h", "y": -0.24, "yanchor": "top", "x": 0},
        hovermode="x unified",
        margin_b=30 + 22 * rows,
    )


def _scaled(values: pd.Series, panel: Panel) -> pd.Series:
    return 100 * values if panel.unit == "%" else values


def _single(
    figure: go.Figure, history: pd.DataFrame, panel: Panel, column: str, name: str, look: dict, x: str, weight: float
) -> None:
    values = _scaled(history[column], panel)
    if weight:
        figure.add_scatter(
            x=history[x],
            y=values,
            mode="lines",
            line={**look, "width": 1},
            opacity=0.3,
            hoverinfo="skip",
            showlegend=False,
        )
    drawn = smoothed(values, weight)
    hover = f"{name}: %{{y:.4g}} {panel.unit}<extra></extra>"
    few = len(history) < 2
    mode = "markers" if few else "lines"
    figure.add_scatter(x=history[x], y=drawn, mode=mode, name=name, line=look, hovertemplate=hover)
    best = best_epoch(history)
    if best is not None and column == panel.validation:
        figure.add_scatter(
            x=[history[x].iloc[best]],
            y=[drawn.iloc[best]],
            mode="markers",
            marker={"symbol": "star", "size": 13, "color": look["color"]},
            hovertemplate=f"{name}: best epoch, {history['epoch'].iloc[best]:.0f}<extra></extra>",
            showlegend=False,
        )


def _seeds(figure: go.Figure, line: Line, panel: Panel, column: str, name: str, look: dict) -> None:
    table = mean_and_range(line.histories, column)
    figure.add_scatter(
        x=[*table.index, *table.index[::-1]],
        y=[*_scaled(table["high"], panel), *_scaled(table["low"], panel)[::-1]],
        fill="toself",
        mode="none",
        fillcolor=look["color"],
        opacity=0.18,
        hoverinfo="skip",
        showlegend=False,
    )
    count = len(line.histories)
    hover = f"{name}, mean of {count}: %{{y:.4g}} {panel.unit}<extra></extra>"
    figure.add_scatter(
        x=table.index,
        y=_scaled(table["mean"], panel),
        mode="lines",
        line=look,
        name=f"{name} ({counted(count, 'seed')})",
        hovertemplate=hover,
    )


def _begins(lines: Sequence[Line]) -> list[pd.Series]:
    """Return the rows of a history that begin a phase, but for the first; none if there is more than one line."""
    if len(lines) != 1 or len(lines[0].histories) != 1:
        return []
    history = lines[0].histories[0]
    return [row for _, row in history[history["phase"].diff().fillna(0) > 0].iterrows()]
