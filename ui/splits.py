"""The choice of a model, a split and a slice of it, with its link; and what is said of splits."""

from collections.abc import Callable, Mapping

import numpy as np
import streamlit as st

from dermlens.dataset.isic2019 import TEST_SETS, TITLES
from dermlens.estimate import Estimate
from dermlens.evaluation.other_archives import OfArchive, OtherArchives
from dermlens.evaluation.predictions import CHOSEN_ON, SHOWN_SPLITS, Predictions
from dermlens.labels import INDEX
from dermlens.models.registry import Entry
from dermlens.wording import joined, percent, percent_with_interval
from ui import cache, widgets

FINAL = "Final: not for choosing between models"
"""What is said wherever metrics of the test split are shown."""


def choose_split(available: tuple[str, ...]) -> str:
    """Let a person choose a split, validation first; test sets only ever on purpose and marked as final."""
    known = [s for s in SHOWN_SPLITS if s in available]
    options = [*known, *(s for s in available if s not in SHOWN_SPLITS)]
    widgets.unknown_in_link("split", (name for s in options for name in (s, TITLES.get(s, s))), "a split")
    return st.selectbox(
        "Split", options, key="split", format_func=lambda s: TITLES.get(s, s), bind="query-params", width=200
    )


def mark_final(split: str) -> None:
    """Say of a test set what it is for."""
    if split == "test" or split in TITLES:
        st.badge(FINAL, icon=":material/flag:", color="orange")


def warn_of_validation(split: str) -> None:
    """Say below metrics of the validation split that they flatter the model, as its card does."""
    if split == "validation":
        st.caption(CHOSEN_ON)


def only_elsewhere(split: str) -> bool:
    """Say, of the images of another archive, where what was fitted to HAM10000 is measured; returns whether it did."""
    if split in TITLES:
        widgets.nothing_here(
            "This is measured on HAM10000 alone, which it was fitted for.",
            f"The tab Another archive says what it does on {TITLES[split]}.",
        )
    return split in TITLES


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
        "Publish one with `python -m training.publish RUN ID`, or put a folder with a `predictions.csv` into "
        "`models/`.",
    )


def benign_referred(entry: Entry, split: str) -> str:
    """Return the share of the benign images of a split that a model's rules refer; empty if that was not measured."""
    referral = cache.fitted(entry).referral
    found = referral.measured.get(split) if referral else None
    return percent_with_interval(found.benign_referred) if found else ""


def found_elsewhere(model_id: str) -> str:
    """Say how many melanomas of other archives a model calls melanoma; empty if that was not measured."""
    shares = _elsewhere(model_id, lambda found: found.called_answered)
    if not shares:
        return ""
    said = _each({split: share for split, (share, _) in shares.items()})
    said = f"Of the melanomas of other archives that it does not refuse, it calls {said} melanoma{_refused(shares)}."
    return f"{said}{_known(model_id)}"


def not_referred_elsewhere(model_id: str) -> str:
    """Say how many melanomas of other archives a model's rules do not refer; empty if that was not measured."""
    shares = _elsewhere(model_id, lambda found: found.missed_answered)
    if not shares:
        return ""
    said = _each({split: share for split, (share, _) in shares.items()})
    return f"Of the melanomas of other archives that the model does not refuse, the rules do not refer {said}."


def _known(model_id: str) -> str:
    """Say which of the archives a model has learned from; empty if from none."""
    found = _measured(model_id)
    if not found or not found.trained_on:
        return ""
    names = joined(list(found.trained_on))
    return f" It learned from other lesions of {names}: expect less of a clinic that it does not know."


def _measured(model_id: str) -> OtherArchives | None:
    entry = _entry(model_id)
    result = cache.on_other_archives(entry) if entry else None
    return result.value if result else None


def _elsewhere(model_id: str, pick: Callable[[OfArchive], Estimate | None]) -> dict[str, tuple[Estimate, OfArchive]]:
    """Return what is picked of each test set of another archive, and all that was measured there."""
    measured = _measured(model_id)
    archives = measured.archives if measured else {}
    found = {split: (pick(archives[split]), archives[split]) for split in TEST_SETS if split in archives}
    return {split: (share, of) for split, (share, of) in found.items() if share is not None}


def _refused(shares: Mapping[str, tuple[Estimate, OfArchive]]) -> str:
    refused = {split: (of.refused or {}).get("mel") for split, (_, of) in shares.items()}
    known = {split: share for split, share in refused.items() if share is not None}
    return f"; it refuses {_each(known)}" if known else ""


def _each(shares: Mapping[str, Estimate]) -> str:
    return joined([f"{percent(share.value)} of those of {TITLES[split]}" for split, share in shares.items()])


def _entry(model_id: str) -> Entry | None:
    return next((entry for entry in cache.entries() if entry.id == model_id), None)
