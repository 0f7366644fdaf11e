"""Everything that is kept between runs and shared by sessions. Never an uploaded image: those stay in ui.state."""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.case.timing import Timing, time_model
from dermlens.dataset.ham10000 import SPLIT_TABLE, load_split
from dermlens.dataset.isic2019 import EXTERNAL_TABLE, load_external
from dermlens.dataset.split_audit import AUDIT, Audit, read_audit
from dermlens.errors import DermlensError, ModelError
from dermlens.estimate import Estimate
from dermlens.evaluation import other_lights
from dermlens.evaluation.compare import Comparison, compare
from dermlens.evaluation.intervals import Summary, summarise
from dermlens.evaluation.other_archives import FILE as OTHER_ARCHIVES
from dermlens.evaluation.other_archives import OtherArchives
from dermlens.evaluation.other_archives import read as read_other_archives
from dermlens.evaluation.other_lights import OtherLights
from dermlens.evaluation.prediction_formats import TRUTH_FILE
from dermlens.evaluation.predictions import CASES, EXTERNAL_FILE, Predictions, cases_of, read_cases, read_predictions
from dermlens.evaluation.slices import Slice, slices
from dermlens.explain.localisation_results import FILE as ATTENTION
from dermlens.explain.localisation_results import METHODS, LocalisationResults, offered, read_published
from dermlens.explain.localisation_results import summarise as summarise_looks
from dermlens.image.examples import EXAMPLES, draw
from dermlens.labels import CONFIRMED
from dermlens.models import registry
from dermlens.models.model import AnyModel, Model
from dermlens.models.published import MODEL_CARD, read_estimates, read_model_card
from dermlens.models.registry import Entry
from dermlens.models.runs import Run, find_runs, read_history, runs_dir
from dermlens.trust import calibration, embedding_map
from dermlens.trust.fitted import PARTS, Fitted, read_calibrated, read_fitted
from dermlens.trust.ood import OOD_FILE, SCORES_FILE, refused_by_class
from ui import brought

T = TypeVar("T")


class Problem(NamedTuple):
    """Something that cannot be used, and the sentence that says why."""

    name: str
    sentence: str


class Result(NamedTuple, Generic[T]):
    """What was read, or None and the sentence that says why not."""

    value: T | None
    sentence: str = ""


_SEEN = ("card.json", "model.keras", "predictions.csv", "metrics.json")
"""What an entry, and its place among the others, depends on."""


def entries() -> list[Entry]:
    """Return every model folder, those that cannot be used included: lowest cross-entropy on validation first.

    Models without weights come last. Cross-entropy judges the probabilities of all images, as they are shown; balanced
    accuracy hangs on a few images of the rare diagnoses, and put a member before its ensemble by chance.
    """
    folders = tuple(registry.folders(registry.models_dir()))
    return list(_entries(folders, tuple(modified(folder / name) for folder in folders for name in _SEEN)))


@st.cache_resource(show_spinner=False, max_entries=8)
def _entries(folders: tuple[Path, ...], stamp: tuple[float, ...]) -> list[Entry]:
    return sorted(registry.told_apart(map(registry.inspect, folders)), key=_rank)


def _rank(entry: Entry) -> tuple[bool, float, str]:
    published = (estimates(entry).value or {}).get("validation", {}).get("cross_entropy")
    known = published is not None and not np.isnan(published.value)
    return not entry.can_be_asked, published.value if published is not None and known else np.inf, entry.id


def models() -> tuple[list[AnyModel], list[Problem]]:
    """Return the models that can be asked, loaded and verified once, and what is wrong with the others."""
    ready, problems = [], []
    for entry in entries():
        if not entry.can_be_asked and not entry.problem:
            continue
        try:
            if entry.problem:
                raise ModelError(entry.problem)
            ready.append(_ensemble(entry.folder, _stamp(entry), entry.name) if entry.is_ensemble else _loaded(entry))
        except ModelError as e:
            problems.append(Problem(entry.name, str(e)))
    return ready, problems


def warm() -> None:
    """Load what the first answer needs."""
    for model in models()[0]:
        maps_offered(model)


def _loaded(entry: Entry) -> Model:
    return _model(entry.folder, _stamp(entry), entry.name)


def _member(entry: Entry) -> Model:
    """Load a member of an ensemble: the very network that stands among the models, under the name it has there."""
    return _loaded(next((known for known in entries() if known.id == entry.id), entry))


@st.cache_resource(show_spinner=False, max_entries=4)
def _ensemble(folder: Path, stamp: tuple[float, ...], name: str) -> AnyModel:
    return replace(registry.load_any(registry.inspect(folder), _member), name=name)


@st.cache_resource(show_spinner="Loading a model", max_entries=16)
def _model(folder: Path, stamp: tuple[float, ...], name: str) -> Model:
    return replace(registry.load(registry.inspect(folder)), name=name)


def _stamp(entry: Entry) -> tuple[float, ...]:
    """A value that changes when a model is published again; removing its built files, which are in memory, does not."""
    if entry.is_ensemble:
        names = set((entry.card or {})["members"])
        of_members = [stamp for m in entries() if m.id in names and not m.problem for stamp in _stamp(m)]
        return *(modified(file) for file in _fitted_files(entry)), *of_members
    return tuple(modified(file) for file in (entry.folder / "model.keras", *_fitted_files(entry)))


def modified(file: Path) -> float:
    """Return a number that changes when a file does, whatever the clock says; 0 if there is no such file."""
    try:
        found = file.stat()
    except OSError:
        return 0
    return hash((found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino))


def estimates(entry: Entry) -> Result[dict[str, dict[str, Estimate]]]:
    """Return the published estimates of a model, by split."""
    return _estimates(entry.folder, tuple(modified(entry.folder / name) for name in ("metrics.json", "card.json")))


@st.cache_data(show_spinner=False, max_entries=64)
def _estimates(folder: Path, stamp: tuple[float, ...]) -> Result[dict[str, dict[str, Estimate]]]:
    return _attempt(lambda: read_estimates(folder / "metrics.json", registry.inspect(folder).card))


def headline(entry: Entry) -> Result[dict[str, dict[str, Estimate]]]:
    """Return the published estimates of a model, by split; where there are none, those of its predictions."""
    if not entry.has_predictions or (entry.folder / "metrics.json").exists():
        return estimates(entry)
    found = predictions(entry)
    if found.value is None:
        return Result(None, found.sentence)
    everything = found.value
    return Result({s: summary(entry, (s,), everything.of_split(s)).overall for s in everything.splits})


def model_card(entry: Entry) -> Result[str] | None:
    """Return the model card of a model as Markdown, None if it has none."""
    file = entry.folder / MODEL_CARD
    return _attempt(lambda: read_model_card(file)) if file.exists() else None


def predictions(entry: Entry) -> Result[Predictions]:
    """Return the predictions of a model as users get them, calibrated if it can be; read and checked once."""
    if own := brought.of(entry):
        return Result(own.predictions)
    return _predictions(entry.folder, stamp_of_answers(entry))


@st.cache_resource(show_spinner="Reading predictions", max_entries=16)
def _predictions(folder: Path, stamp: tuple[float, ...]) -> Result[Predictions]:
    return _attempt(lambda: read_calibrated(folder, registry.inspect(folder).card))


def raw_predictions(entry: Entry) -> Result[Predictions]:
    """Return the published predictions of a model with the logits as its network gave them."""
    return _raw_predictions(entry.folder, stamp_of_answers(entry))


@st.cache_resource(show_spinner="Reading predictions", max_entries=16)
def _raw_predictions(folder: Path, stamp: tuple[float, ...]) -> Result[Predictions]:
    return _attempt(lambda: read_predictions(folder / "predictions.csv", registry.inspect(folder).card))


def unseen(entry: Entry, split: str) -> Result[tuple[Predictions, np.ndarray]]:
    """Return a split's predictions and the calibrated probabilities (n, 7) of images that calibration has not seen."""
    return _unseen(entry.folder, stamp_of_answers(entry), split)


@st.cache_resource(show_spinner="Calibrating on other lesions", max_entries=32)
def _unseen(folder: Path, stamp: tuple[float, ...], split: str) -> Result[tuple[Predictions, np.ndarray]]:
    def read() -> tuple[Predictions, np.ndarray]:
        card = registry.inspect(folder).card
        raw = read_predictions(folder / "predictions.csv", card).of_split(split)
        found = read_fitted(folder, card)
        if found.calibration is None:
            raise ModelError(f"The model is not calibrated. {found.missing_sentence('calibration')}")
        return raw, calibration.unseen(raw, found.calibration)

    return _attempt(read)


def fitted(entry: Entry) -> Fitted:
    """Return what was fitted to a model, which need not have weights."""
    return _fitted(entry.folder, tuple(modified(file) for file in _fitted_files(entry)))


@st.cache_resource(show_spinner=False, max_entries=16)
def _fitted(folder: Path, stamp: tuple[float, ...]) -> Fitted:
    return read_fitted(folder, registry.inspect(folder).card)


def _fitted_files(entry: Entry) -> list[Path]:
    names = ["card.json", *(part.file for part in PARTS.values())]
    return [*(entry.folder / name for name in names), *_cards_of_members(entry)]


def _cards_of_members(entry: Entry) -> list[Path]:
    """Return the cards on which it depends whether what was fitted to an ensemble still belongs to it."""
    return [entry.folder.parent / str(name) / "card.json" for name in (entry.card or {}).get("members", ())]


def stamp_of_answers(entry: Entry) -> tuple[float, ...]:
    """Return what changes when the predictions of a model change, or what they are calibrated with."""
    names = ("predictions.csv", TRUTH_FILE, EXTERNAL_FILE, "calibration.json", "card.json")
    return tuple(modified(file) for file in (*(entry.folder / name for name in names), *_cards_of_members(entry)))


def cases() -> Result[pd.DataFrame]:
    """Return what is known of every image beside the picture: age, sex, site, way of confirmation."""
    return _cases(CASES, modified(CASES))


@st.cache_resource(show_spinner=False, max_entries=2)
def _cases(file: Path, stamp: float) -> Result[pd.DataFrame]:
    return _attempt(lambda: read_cases(file))


def split_table() -> Result[pd.DataFrame]:
    """Return the committed split table."""
    return _split_table(SPLIT_TABLE, modified(SPLIT_TABLE))


@st.cache_data(show_spinner=False, max_entries=2)
def _split_table(file: Path, stamp: float) -> Result[pd.DataFrame]:
    return _attempt(lambda: load_split(file))


def external_table() -> Result[pd.DataFrame]:
    """Return the committed table of the images of other archives."""
    return _external_table(EXTERNAL_TABLE, modified(EXTERNAL_TABLE))


@st.cache_data(show_spinner=False, max_entries=2)
def _external_table(file: Path, stamp: float) -> Result[pd.DataFrame]:
    return _attempt(lambda: load_external(file))


def audit() -> Result[Audit]:
    """Return what the audit of the split table found."""
    return _audit(AUDIT, modified(AUDIT), modified(SPLIT_TABLE))


@st.cache_data(show_spinner=False, max_entries=2)
def _audit(file: Path, *stamps: float) -> Result[Audit]:
    return _attempt(lambda: read_audit(file, load_split()))


def facts_of(image_id: str) -> dict[str, str]:
    """Return what is known of one image beside the picture, in words; nothing if it is not in the table."""
    known = cases().value
    if known is None or image_id not in known.index:
        return {}
    row = known.loc[image_id]
    age = {} if pd.isna(row["age"]) else {"age": f"{row['age']:.0f}"}
    return {
        **age,
        "sex": row["sex"],
        "site": row["localization"],
        "confirmed by": CONFIRMED.get(row["dx_type"], row["dx_type"]),
    }


def row_of(entry: Entry, image_id: str) -> int | None:
    """Return where an image stands in a model's predictions, None if it is not there."""
    found = predictions(entry).value
    if found is None:
        return None
    at = np.flatnonzero(found.image_id == image_id)
    return int(at[0]) if len(at) else None


@st.cache_data(show_spinner="Measuring, with intervals", max_entries=256)
def _summary(folder: Path, stamp: tuple[float, ...], key: Hashable, _predictions: Predictions) -> Summary:
    return summarise(_predictions)


def summary(entry: Entry, key: Hashable, chosen: Predictions) -> Summary:
    """Return all estimates of a selection of a model's predictions with intervals; `key` names the selection."""
    if own := brought.of(entry):
        found: Summary = brought.once(own, key, lambda: summarise(chosen))
        return found
    return _summary(entry.folder, stamp_of_answers(entry), key, chosen)


@st.cache_data(show_spinner="Measuring the slices", max_entries=64)
def _slices(
    folder: Path, stamp: tuple[float, ...], key: Hashable, _parts: tuple[Predictions, pd.DataFrame, str]
) -> tuple[Slice, ...]:
    chosen, known, by = _parts
    return slices(chosen, cases_of(chosen, known), by)


def slices_of(entry: Entry, key: Hashable, chosen: Predictions, known: pd.DataFrame, by: str) -> tuple[Slice, ...]:
    """Return the measured slices of a selection of a model's predictions; `key` names selection and slicing."""
    return _slices(entry.folder, stamp_of_answers(entry), key, (chosen, known, by))


@st.cache_data(show_spinner="Comparing, with intervals", max_entries=64)
def _comparison(folders: tuple[Path, ...], stamps: tuple[tuple[float, ...], ...], split: str) -> Result[Comparison]:
    return _compared([_predictions(folder, stamp) for folder, stamp in zip(folders, stamps, strict=True)], split)


def _compared(both: Sequence[Result[Predictions]], split: str) -> Result[Comparison]:
    for result in both:
        if result.value is None:
            return Result(None, result.sentence)
    return _attempt(lambda: compare(*(r.value.of_split(split) for r in both if r.value is not None)))


def comparison(a: Entry, b: Entry, split: str) -> Result[Comparison]:
    """Return two models compared on one split, with intervals and tests."""
    if own := brought.of(a) or brought.of(b):
        key = (split, *((e.id, stamp_of_answers(e)) for e in (a, b)))
        found: Result[Comparison] = brought.once(own, key, lambda: _compared([predictions(a), predictions(b)], split))
        return found
    return _comparison((a.folder, b.folder), (stamp_of_answers(a), stamp_of_answers(b)), split)


@st.cache_data(show_spinner="Measuring where it looked, with intervals", max_entries=16)
def _evidence(folder: Path, stamp: tuple[float, ...]) -> Result[LocalisationResults]:
    return _attempt(lambda: summarise_looks(read_published(folder, registry.inspect(folder).card)))


@st.cache_data(show_spinner=False, max_entries=16)
def _other_lights(folder: Path, stamp: tuple[float, ...]) -> Result[tuple[OtherLights, pd.DataFrame]]:
    card = registry.inspect(folder).card
    return _attempt(lambda: (other_lights.read(folder, card), other_lights.read_calls(folder, card)))


def under_other_lights(entry: Entry) -> Result[tuple[OtherLights, pd.DataFrame]] | None:
    """Return what a model loses under other lights, and its calls of every image there; None if not measured."""
    if not (entry.folder / other_lights.FILE).exists():
        return None
    names = (other_lights.FILE, other_lights.CALLS_FILE, "card.json")
    return _other_lights(entry.folder, tuple(modified(entry.folder / name) for name in names))


@st.cache_data(show_spinner=False, max_entries=16)
def _other_archives(folder: Path, stamp: tuple[float, ...]) -> Result[OtherArchives]:
    return _attempt(lambda: read_other_archives(folder, registry.inspect(folder).card))


def on_other_archives(entry: Entry) -> Result[OtherArchives] | None:
    """Return what refusal, sets and rules of a model do on other archives; None if not measured."""
    if not (entry.folder / OTHER_ARCHIVES).exists():
        return None
    return _other_archives(entry.folder, tuple(modified(entry.folder / name) for name in (OTHER_ARCHIVES, "card.json")))


def evidence(entry: Entry) -> Result[LocalisationResults]:
    """Return the estimates of where a model looked."""
    return _evidence(entry.folder, tuple(modified(entry.folder / name) for name in (ATTENTION, "card.json")))


@st.cache_data(show_spinner=False, max_entries=16)
def _embedding_map(folder: Path, stamp: tuple[float, ...]) -> Result[pd.DataFrame]:
    return _attempt(lambda: embedding_map.read_map(folder, registry.inspect(folder).card))


def map_of(entry: Entry) -> Result[pd.DataFrame] | None:
    """Return where a network puts validation and test images on two axes; None if that was not made."""
    if not (entry.folder / embedding_map.FILE).exists():
        return None
    return _embedding_map(entry.folder, tuple(modified(entry.folder / n) for n in (embedding_map.FILE, "card.json")))


@st.cache_data(show_spinner=False, max_entries=16)
def _offered(folder: Path, stamp: tuple[float, ...]) -> tuple[str, ...]:
    found = _attempt(lambda: offered(read_published(folder, registry.inspect(folder).card)))
    return tuple(METHODS) if found.value is None else found.value


def maps_offered(model: AnyModel) -> tuple[str, ...]:
    """Return the heat map methods that find the lesion no less well than a blob in the middle does; all of them if that
    has not been measured for the model."""
    return _offered(model.folder, tuple(modified(model.folder / name) for name in (ATTENTION, "card.json")))


@st.cache_data(show_spinner=False, max_entries=16)
def _refused_by_class(folder: Path, split: str, stamp: tuple[float, ...]) -> Result[dict[str, Estimate]]:
    card = registry.inspect(folder).card
    return _attempt(lambda: refused_by_class(folder, card, split, load_split(SPLIT_TABLE)))


def refused_of(folder: Path, split: str) -> dict[str, Estimate]:
    """Return the share of dermoscopic images of a split that a model refuses, by diagnosis; empty if not measured."""
    stamp = tuple(modified(folder / name) for name in (SCORES_FILE, OOD_FILE, "card.json"))
    return _refused_by_class(folder, split, stamp).value or {}


@st.cache_resource(show_spinner=False)
def prober() -> ThreadPoolExecutor:
    """Return the one thread that probes how steady answers are, for all sessions in turn."""
    return ThreadPoolExecutor(1, thread_name_prefix="probe")


@st.cache_data(show_spinner="Timing the model on this machine", max_entries=32)
def _timing(model_id: str, model_hash: str, _model: AnyModel) -> Timing:
    return time_model(_model, draw(EXAMPLES[0]))


def timing(model: AnyModel) -> Timing:
    """Return how long a model takes for one image on this machine, measured once."""
    return _timing(model.id, model.identity, model)


def runs() -> tuple[list[Run], list[Problem]]:
    """Return every training run and published model, newest first, and the folders that cannot be read."""
    found, problems = find_runs(runs_dir(), registry.models_dir())
    return found, [Problem(name, sentence) for name, sentence in problems.items()]


def history(run: Run) -> Result[pd.DataFrame]:
    """Return the history of a run, read again when an epoch is added."""
    return _history(run.folder, tuple(modified(run.folder / name) for name in ("history.csv", "card.json")))


@st.cache_data(show_spinner=False, max_entries=256)
def _history(folder: Path, stamp: tuple[float, ...]) -> Result[pd.DataFrame]:
    return _attempt(lambda: read_history(folder / "history.csv", registry.inspect(folder).card))


def _attempt(read: Callable[[], T]) -> Result[T]:
    try:
        return Result(read())
    except DermlensError as e:
        return Result(None, str(e))
