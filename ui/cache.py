"""Everything that is kept between runs and shared by sessions. Never an uploaded image: those stay in ui.state."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import streamlit as st

from dermlens import registry
from dermlens.errors import DermlensError, ModelError
from dermlens.intervals import Figure
from dermlens.published import read_figures
from dermlens.registry import Entry, Model

T = TypeVar("T")


class Problem(NamedTuple):
    """Something that cannot be used, and the sentence that says why."""

    name: str
    sentence: str


class Result(NamedTuple, Generic[T]):
    """What was read, or None and the sentence that says why not."""

    value: T | None
    sentence: str = ""


def entries() -> list[Entry]:
    """Return every model folder, those that cannot be used included."""
    return registry.discover(registry.models_dir())


def models() -> tuple[list[Model], list[Problem]]:
    """Return the models that can be asked, loaded and verified once, and what is wrong with the others."""
    ready, problems = [], []
    for entry in entries():
        if not entry.has_weights and not entry.problem:
            continue
        try:
            if entry.problem:
                raise ModelError(entry.problem)
            ready.append(_model(entry.folder, _stamp(entry)))
        except ModelError as e:
            problems.append(Problem(entry.name, str(e)))
    return ready, problems


@st.cache_resource(show_spinner="Loading a model", max_entries=16)
def _model(folder: Path, stamp: tuple[float, ...]) -> Model:
    return registry.load(registry.inspect(folder))


def _stamp(entry: Entry) -> tuple[float, ...]:
    """What changes when a model is published or built anew: the times of the files that describe it."""
    files = (entry.folder / "card.json", entry.folder / "model.keras", registry.build_dir(entry) / "manifest.json")
    return tuple(modified(file) for file in files)


def modified(file: Path) -> float:
    """Return a file's time of change, 0 if there is no such file: the key that keeps a cached reading up to date."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def figures(entry: Entry) -> Result[dict[str, dict[str, Figure]]]:
    """Return the published figures of a model, by split."""
    file = entry.folder / "metrics.json"
    return _figures(file, modified(file))


@st.cache_data(show_spinner=False, max_entries=64)
def _figures(file: Path, stamp: float) -> Result[dict[str, dict[str, Figure]]]:
    return _attempt(lambda: read_figures(file))


def _attempt(read: Callable[[], T]) -> Result[T]:
    try:
        return Result(read())
    except DermlensError as e:
        return Result(None, str(e))
