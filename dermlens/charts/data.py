"""Figures of the data set: classes, splits, and what a careless split would leak."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dermlens.charts.style import BELOW, COLOURS, SHORT, SYMBOLS, bar_marker, frame, nth
from dermlens.dataset.ham10000 import SPLITS
from dermlens.evaluation.slices import in_order
from dermlens.labels import CLASSES, SHOWN
from dermlens.wording import percent


def class_balance(table: pd.DataFrame) -> go.Figure:
    """Draw the images of every class in every split, on a logarithmic scale.

    Args:
        table: as ham10000.load_split gives it.
    """
    counts = class_counts(table)
    figure = go.Figure()
    for i, split in enumerate(SPLITS):
        images = counts[split].iloc[list(SHOWN)]
        figure.add_bar(
            y=[SHORT[CLASSES[c]] for c in SHOWN],
            x=images,
            orientation="h",
            name=split,
            marker=bar_marker(i),
            text=images.map("{:,}".format),
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"%{{y}}<br>Images in {split}: %{{x:,}}<extra></extra>",
        )
    figure.update_xaxes(type="log", title_text="images (logarithmic)", dtick=1, range=[0, 4.1])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure = frame(figure, "Images of each diagnosis in each split", 560, barmode="group", bargap=0.25)
    return figure.update_layout(margin_t=90, legend={"yref": "container", "y": 0.93, "yanchor": "top"})


def class_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the number of images by class (rows, in the order of labels.CLASSES) and split (columns)."""
    return pd.crosstab(table["dx"], table["split"]).reindex(index=list(CLASSES), columns=list(SPLITS), fill_value=0)


def leakage(rows: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Draw how much of the test split a network has already seen in training, for this split and for a naive one.

    Args:
        rows: what is counted -> name of the split -> share, 0..1.
    """
    names = list(next(iter(rows.values())))
    figure = go.Figure()
    for i, name in enumerate(names):
        shares = np.array([found[name] for found in rows.values()])
        figure.add_bar(
            x=100 * shares,
            y=list(rows),
            orientation="h",
            name=name,
            marker={**bar_marker(i), "color": COLOURS[i]},
            text=[percent(s, 1) if s else "none" for s in shares],
            textposition="outside",
            cliponaxis=False,
            customdata=[percent(s, 1) for s in shares],
            hovertemplate=f"{name}<br>%{{y}}: %{{customdata}}<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(range=[0, 108], ticksuffix=" %", zeroline=True)
    height = 150 + 64 * len(rows)
    figure = frame(figure, "Already seen in training", height, barmode="group", bargap=0.35)
    return figure.update_layout(margin_t=90, legend={"yref": "container", "y": 1 - 38 / height, "yanchor": "top"})


def subgroups(table: pd.DataFrame, names: np.ndarray, title: str) -> go.Figure:
    """Draw how each split is shared out among subgroups, in % of its images.

    Args:
        table: as ham10000.load_split gives it.
        names: (n,) str, the subgroup of each row.
        title: as shown.
    """
    shares = pd.crosstab(names, table["split"], normalize="columns")
    order = in_order(table.groupby(names).size().to_dict())
    figure = go.Figure()
    for i, split in enumerate(SPLITS):
        values = shares[split].reindex(order)
        figure.add_bar(
            y=order,
            x=100 * values,
            orientation="h",
            name=split,
            marker=bar_marker(i),
            customdata=[percent(s, 1) for s in values],
            hovertemplate=f"%{{y}}<br>{split}: %{{customdata}} of its images<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(ticksuffix=" %", title_text="of the split's images")
    height = 150 + 44 * len(order)
    figure = frame(figure, title, height, barmode="group", bargap=0.25)
    return figure.update_layout(margin_t=90, legend={"yref": "container", "y": 1 - 38 / height, "yanchor": "top"})


def embedding_map(
    places: np.ndarray,
    group: np.ndarray,
    names: Sequence[str],
    details: Sequence[tuple[str, str]],
    title: str,
    ground: str,
) -> go.Figure:
    """Draw images as points that can be clicked, the largest group beneath.

    Args:
        places: (n, 2) float. group: (n,) int, row of `names`. names: of the groups, told apart by colour and symbol.
        details: of every image its id, which is what a click gives, and what is said of it.
        title: as shown. ground: colour of the page, which outlines the marks.
    """
    figure = go.Figure()
    for i in np.argsort(-np.bincount(group, minlength=len(names)), kind="stable"):
        rows = np.flatnonzero(group == i)
        if not len(rows):
            continue
        figure.add_scatter(
            x=places[rows, 0],
            y=places[rows, 1],
            mode="markers",
            name=f"{names[i]} ({len(rows):,})",
            marker={
                "color": nth(COLOURS, i),
                "symbol": nth(SYMBOLS, i + i // len(SYMBOLS)),
                "size": 8,
                "opacity": 1,
                "line": {"color": ground, "width": 0.7},
            },
            customdata=[details[row] for row in rows.tolist()],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        )
    figure.update_xaxes(title_text="First principal axis", zeroline=False, showticklabels=False)
    figure.update_yaxes(title_text="Second principal axis", zeroline=False, showticklabels=False)
    return frame(figure, title, 620, clickmode="event+select", hovermode="closest").update_layout(
        margin_b=120, legend={**BELOW, "y": -0.1}
    )
