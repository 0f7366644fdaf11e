"""What pages read of a cohort, kept until its folder changes."""

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from dermlens.cohort import drift, results
from dermlens.cohort.answer import MEASURES
from dermlens.cohort.drift import Compared
from dermlens.cohort.results import Status
from dermlens.cohort.store import Place
from dermlens.cohort.work import entry_sha256
from dermlens.errors import DermlensError, ModelError
from dermlens.models import registry
from ui import cache
from ui.cache import Result

SHOWN = ("row", "image", "call", "suspect", "refused", "refer", "reasons", "quality", "error", "error_sentence")
UNLIKE = "Unlike dermoscopic images"
NOT_COMPARED = ", so there is nothing to compare with."


def stamp(output: Place) -> tuple:
    """Return what changes when a file of a cohort does."""
    return tuple(output.items())


def status(output: Place) -> Result[Status]:
    """Return how far a cohort is; whether it still runs is judged by the clock each time."""
    try:
        return Result(results.status(output, time.time()))
    except DermlensError as e:
        return Result(None, str(e))


@st.cache_resource(show_spinner="Reading the rows", max_entries=2)
def _rows(address: str, stamp: tuple, parts: tuple[int, ...], columns: tuple[str, ...]) -> Result[pa.Table]:
    try:
        return Result(results.rows(Place(address), parts, list(columns)))
    except DermlensError as e:
        return Result(None, str(e))


def rows(output: Place, found: Status) -> Result[pa.Table]:
    """Return the rows that are done, with the columns that the page and the comparison need."""
    networks = _networks(found)
    columns = dict.fromkeys([*SHOWN, *(f"quality_{name}" for name in MEASURES), *drift.columns_needed(networks)])
    return _rows(output.address, stamp(output), found.parts, tuple(columns))


def diagnosed(table: pa.Table) -> pa.Table:
    """Return the rows with a diagnosis: the image was read and not refused."""
    return table.filter(pc.fill_null(pc.invert(table["refused"]), False))


def refused(table: pa.Table) -> pa.Table:
    """Return the rows whose image was refused: their probabilities mean nothing, and nothing goes by them."""
    return table.filter(pc.fill_null(table["refused"], False))


@st.cache_data(show_spinner="Comparing with validation", max_entries=4)
def _compared(folder: Path, model_sha256: str, class_mix: str, stamp: tuple, _rows: pa.Table) -> list[Compared]:
    return drift.compare(registry.inspect(folder), class_mix, _rows)


def compared(output: Place, found: Status, table: pa.Table) -> Result[list[Compared]]:
    """Return a cohort compared with the validation images of the model that answered it, if that is the one here."""
    folder = registry.models_dir() / str(found.record.get("model"))
    if not (folder / "card.json").is_file():
        return Result(None, f"The model of this cohort is not among those published here{NOT_COMPARED}")
    try:
        now = entry_sha256(registry.inspect(folder), cache.fitted)
    except ModelError as e:
        return Result(None, f"The model of this cohort cannot be used{NOT_COMPARED} {e}")
    if now != found.record.get("model_sha256"):
        return Result(None, f"The model of this name has other files now than when it answered{NOT_COMPARED}")
    made = (*stamp(output), cache.modified(folder / "card.json"))
    return Result(_compared(folder, now, str(found.record.get("class_mix")), made, table))


def _networks(found: Status) -> tuple[str, ...]:
    folder = registry.models_dir() / str(found.record.get("model"))
    return drift.networks_of(registry.inspect(folder)) if folder.is_dir() else ()
