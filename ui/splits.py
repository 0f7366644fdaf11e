"""The choice of a model, a split and a slice of it, with its link."""

import numpy as np
import streamlit as st

from dermlens.evaluation.predictions import SPLITS, Predictions
from dermlens.labels import INDEX
from dermlens.models.registry import Entry
from ui import cache, widgets

FINAL = "Final: not for choosing between models"
"""What is said wherever metrics of the test split are shown."""


def choose_split(available: tuple[str, ...]) -> str:
    """Let a person choose a split, validation first; test only ever on purpose and marked as final."""
    known = [s for s in SPLITS if s in available]
    others = [s for s in available if s not in SPLITS]
    return st.selectbox("Split", [*known, *others], key="split", bind="query-params", width=200)


def mark_final(split: str) -> None:
    """Say of the test split what it is for."""
    if split == "test":
        st.badge(FINAL, icon=":material/flag:", color="orange")


def measurable() -> tuple[dict[str, Entry], list[cache.Problem]]:
    """Return the models with readable predictions by id, and what is wrong with the others."""
    good, bad = {}, []
    for entry in cache.entries():
        if not entry.has_predictions:
            continue
        result = cache.predictions(entry)
        if result.value is None:
            bad.append(cache.Problem(entry.name, result.sentence))
        else:
            good[entry.id] = entry
    return good, bad


def rows_in(predictions: Predictions, true: str | None, called: str | None) -> np.ndarray:
    """Return the indices of the images of one true class (None: any) that were called one class (None: any)."""
    wanted = np.ones(len(predictions), bool)
    if true:
        wanted &= predictions.y_true == INDEX[true]
    if called:
        wanted &= predictions.y_pred == INDEX[called]
    return np.flatnonzero(wanted)


def nothing_measured() -> None:
    """Fill the page where no model has predictions."""
    widgets.nothing_here(
        "No model has predictions to measure.",
        "Publish one with `python -m training.publish`, or put a folder with a `predictions.csv` into `models/`.",
    )
