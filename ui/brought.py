"""Predictions that a person brought for the session: held in it alone, and gone with it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from dermlens.evaluation.predictions import Predictions
from dermlens.models.registry import Entry

_HELD = "brought_predictions"
MOST = 4
"""How many a session may hold at once."""
MOST_IMAGES = 100_000
"""Most images of one of them."""
FOLDER = Path("brought")
"""Stands for the folder that these have not: nothing is read or written there."""


@dataclass(frozen=True, eq=False)
class Brought:
    """One table of predictions, and what was measured of it."""

    entry: Entry
    predictions: Predictions
    measured: dict[Any, Any] = field(default_factory=dict)


def held() -> dict[str, Brought]:
    """Return what the session holds, by id, in the order it came."""
    found: dict[str, Brought] = st.session_state.setdefault(_HELD, {})
    return found


def hold(model_id: str, name: str, predictions: Predictions) -> None:
    """Keep predictions for the session."""
    entry = Entry(model_id, FOLDER / model_id, {"name": name}, None, has_weights=False, has_predictions=True)
    held()[model_id] = Brought(entry, predictions)


def drop(model_id: str) -> None:
    """Forget one of them, and what was measured with it."""
    held().pop(model_id, None)
    for other in held().values():
        other.measured.clear()


def of(entry: Entry) -> Brought | None:
    """Return what is behind an entry if it was brought."""
    return held().get(entry.id) if entry.folder.parent == FOLDER else None


def once(found: Brought, key: Any, measure: Callable[[], Any]) -> Any:
    """Return what `measure` gives, worked out once a session for a key."""
    if key not in found.measured:
        with st.spinner("Measuring, with intervals"):
            found.measured[key] = measure()
    return found.measured[key]
