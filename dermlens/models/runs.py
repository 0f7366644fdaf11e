"""Training runs as they stand on disk: found, read, grouped and compared. A run may be training while it is read."""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.errors import DataError
from dermlens.files.documents import read_object, shortened, shown
from dermlens.files.hashes import listed
from dermlens.files.tables import MAX_BYTES, numbers, read_csv, refuse

HISTORY = (
    *("epoch", "phase", "learning_rate", "loss", "val_loss", "accuracy", "val_accuracy", "balanced_accuracy"),
    *("val_balanced_accuracy", "val_melanoma_recall", "val_cross_entropy", "seconds"),
)
ELSEWHERE = ("external_balanced_accuracy", "external_melanoma_auc", "external_cross_entropy")
"""Further columns where a run measures validation images of other archives as well."""
MAX_EPOCHS = 1_000_000
PROGRESS_FILE = "progress.json"
"""How far a run is within its epoch, replaced every few seconds."""
LAST_EPOCHS = 3
"""How many of the last epochs say how long one takes."""
SILENCE = (2 * 3600, 24 * 3600)
"""Least and most seconds without a sign of life after which a run counts as stopped."""
LOSS_SETTINGS = (
    *("loss", "label_smoothing", "focal_alpha", "focal_gamma", "class_weight_power", "logit_adjustment"),
    "augment.mixup_alpha",
)
REMOVED = {"logit_adjustment": 0.0}
"""Settings that are no more, and the value of each that changed nothing."""
_EPOCHS = re.compile(r"phases\.\d+\.epochs")


@dataclass(frozen=True)
class Run:
    """One training run: a folder with run.json and history.csv."""

    id: str
    folder: Path
    config_name: str
    settings: Mapping[str, object]
    """the run's config, flat: {"phases.0.epochs": 8, ...}"""
    started: str
    finished: bool
    """whether it came to its end, be it by patience: not so where it was stopped, even if it was published then"""
    touched: float
    """when its files were last written, in seconds since 1970; 0 for a published model's copy, which never trains"""
    measured_weights: str
    """"EMA" or "raw": which weights the validation metrics are of"""
    published_as: str
    """id of the published model, "" if it is not published"""
    interpolated: str = ""
    """of weights between two others (`training.interpolate`): the run whose history this one brings along; else """ ""

    @property
    def loss(self) -> tuple[object, ...]:
        """What the training loss depends on; losses of runs that differ here cannot be compared."""
        teacher = self.settings.get("teacher")  # "" where there is none; older runs do not have the setting
        taught = (teacher, self.settings.get("teacher_share")) if teacher else ()
        return (*(self.settings.get(name) for name in LOSS_SETTINGS), *taught)

    @property
    def planned(self) -> int:
        """The number of epochs that its phases have together; 0 if the settings do not say."""
        epochs = [v for k, v in self.settings.items() if _EPOCHS.fullmatch(k)]
        whole = [v for v in epochs if type(v) is int and 1 <= v <= MAX_EPOCHS]
        return sum(whole) if len(whole) == len(epochs) else 0

    @property
    def tried_on(self) -> int:
        """How many images a run that only tries the pipeline took (`--smoke`); 0 for one that took all."""
        most = self.settings.get("max_images")
        return most if type(most) is int else 0

    @property
    def group(self) -> tuple[tuple[str, str], ...]:
        """What runs that differ only by their seed have in common."""
        alone = [("interpolated as", repr(self.id))] if self.interpolated else []
        return tuple(sorted([*alone, *((k, repr(v)) for k, v in self.settings.items() if k != "seed")]))


def runs_dir() -> Path:
    """Return $DERMLENS_RUNS, or runs/ beside the code."""
    return Path(os.environ.get("DERMLENS_RUNS") or Path(__file__).parents[2] / "runs")


def find_runs(runs: Path, models: Path) -> tuple[list[Run], dict[str, str]]:
    """Find every run in `runs` and every published model that brings its run along.

    Returns:
        The runs, newest first, and {folder name: sentence} for folders whose run.json cannot be used. A run that is
        there both as itself and as a published model appears once.
    """
    found: dict[str, Run] = {}
    problems: dict[str, str] = {}
    for root in (models, runs):
        for file in sorted(root.glob("*/run.json")) if root.is_dir() else []:
            try:
                run = read_run(file, file.parent.name if root == models else "")
            except DataError as e:
                problems[file.parent.name] = str(e)
                continue
            known = found.get(run.id)
            found[run.id] = run if known is None else _as_published(run, known.published_as)
    return sorted(found.values(), key=lambda r: r.started, reverse=True), problems


def read_run(file: Path, published_as: str = "") -> Run:
    """Read one run.json.

    Raises:
        DataError: it is damaged or has no settings.
    """
    record = read_object(file)
    between = record.get("interpolated")
    text = ((name, str, "text") for name in ("id", "config_name", "started", "measured_weights"))
    for name, kind, what in (("config", dict, "an object with the settings"), *text):
        if not isinstance(record.get(name, "" if kind is str else None), kind):
            raise DataError(f"{shown(file)}: {name!r} must be {what}, received {shortened(repr(record.get(name)))}.")
    return Run(
        id=record.get("id") or file.parent.name,
        folder=file.parent,
        config_name=record.get("config_name", ""),
        settings=flat(without_removed(record["config"])),
        started=record.get("started", ""),
        finished=bool(record.get("finished")),
        touched=0.0 if published_as else _touched(file.parent),
        measured_weights=record.get("measured_weights", ""),
        published_as=published_as,
        interpolated=str(between.get("run") or "another run") if isinstance(between, dict) else "",
    )


def read_history(file: Path, card: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Read history.csv.

    Args:
        file: path of history.csv.
        card: card.json of a published model's folder, if the file must be the one that it lists.

    Returns:
        One row per epoch, float64 columns as in HISTORY (NaN where empty; further columns of the file are passed over),
        epochs numbered as written, and `hours` since the start.

    Raises:
        DataError: the file is missing, not the one that the card lists, has no epoch yet, lacks a column, holds
            something that is not a number, or its epochs and phases do not count up. The message names the line and
            column.
    """
    if not file.exists():
        raise DataError(f"{shown(file)}: there is no such file; the run has not finished an epoch yet.")
    table = read_csv(listed(file, card, MAX_BYTES), dict.fromkeys(HISTORY, str), empty="no epoch is finished yet")
    found = pd.DataFrame({name: numbers(table[name]) for name in HISTORY})
    for name in HISTORY:
        wrong = np.isnan(found[name]) & ~table[name].str.strip().str.lower().isin(["", "nan"]).to_numpy()
        refuse(file, table, name, wrong, "is not a number")
    for name, least in (("epoch", 1), ("phase", 0)):
        counted = found[name].to_numpy()
        whole = (counted >= 1) & (counted <= MAX_EPOCHS) & (counted % 1 == 0)
        refuse(file, table, name, ~whole, f"must be a whole number from 1 to {MAX_EPOCHS}")
        refuse(file, table, name, np.diff(counted, prepend=0) < least, "does not follow the row before")
    return found.assign(hours=found["seconds"].fillna(0).cumsum() / 3600)


def is_training(run: Run, history: pd.DataFrame | None, now: float) -> bool:
    """Whether a run is not finished and gave a sign of life lately: within three times its longest epoch.

    Args:
        run: as found. history: as read, None if it has none. now: in seconds since 1970.
    """
    longest = 0.0 if history is None else float(np.nan_to_num(history["seconds"].max()))
    return not run.finished and not run.interpolated and abs(now - run.touched) < np.clip(3 * longest, *SILENCE)


def state(run: Run, history: pd.DataFrame | None, now: float) -> str:
    """Say whether a run is finished or training, or after which epoch it stopped; arguments as for `is_training`."""
    if run.interpolated:
        return f"interpolated with {run.interpolated}, not trained"
    if run.finished or is_training(run, history, now):
        return "finished" if run.finished else "training"
    if history is None:
        return "stopped"
    return f"stopped after epoch {history['epoch'].iloc[-1]:.0f}" + (f" of {run.planned}" if run.planned else "")


@dataclass(frozen=True)
class Progress:
    """How far a run is within an epoch that is not finished."""

    epoch: int
    """counts from 1"""
    step: int
    steps: int
    loss: float
    """mean over the steps so far"""
    accuracy: float
    """share of the training images of these steps that were called right, as they are augmented"""


def read_progress(run: Run, history: pd.DataFrame | None) -> Progress | None:
    """Return how far a run is within its epoch; None where it does not say, or what it says is of a finished epoch."""
    try:
        found = read_object(run.folder / PROGRESS_FILE)
        numbers = [found[name] for name in ("epoch", "step", "steps", "loss", "accuracy")]
    except (DataError, KeyError):
        return None
    if not all(type(n) in (int, float) and np.isfinite(n) for n in numbers):
        return None
    epoch, step, steps = (int(n) for n in numbers[:3])
    done = 0 if history is None else int(history["epoch"].iloc[-1])
    if not (epoch == done + 1 and 1 <= step <= steps):
        return None
    return Progress(epoch, step, steps, float(numbers[3]), float(numbers[4]))


def seconds_left(run: Run, history: pd.DataFrame | None, progress: Progress | None) -> float | None:
    """Return how long a run still takes at the pace of its last epochs, in seconds; None where nothing says so.

    With patience it may end sooner, and an epoch of a later phase may take longer.
    """
    if history is None or not run.planned:
        return None
    pace = history["seconds"].tail(LAST_EPOCHS).median()
    done = len(history) + (progress.step / progress.steps if progress else 0)
    return None if np.isnan(pace) else float(max(0.0, run.planned - done) * pace)


def without_removed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's settings without those of REMOVED that changed nothing: an older run is read as a new one."""
    return {name: value for name, value in config.items() if name not in REMOVED or value != REMOVED[name]}


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Flatten nested settings: {"phases": [{"epochs": 8}]} becomes {"phases.0.epochs": 8}."""
    result: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            result |= flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            result |= flat({str(i): v for i, v in enumerate(value)}, f"{name}.")
        else:
            result[name] = value
    return result


def differences(runs: Iterable[Run]) -> pd.DataFrame:
    """Return the settings in which runs differ: one row per setting, one text column per run, "" where it has none."""
    runs = list(runs)
    names = sorted({name for run in runs for name in run.settings})
    rows = {name: [str(run.settings.get(name, "")) for run in runs] for name in names}
    return pd.DataFrame.from_dict(
        {name: row for name, row in rows.items() if len(set(row)) > 1}, orient="index", columns=[r.id for r in runs]
    ).rename_axis("setting")


def smoothed(values: pd.Series, weight: float) -> pd.Series:
    """Return an exponential moving average; `weight` (0 to below 1) is the share of the past, 0 changes nothing."""
    return values.ewm(alpha=1 - weight, adjust=True, ignore_na=True).mean().where(values.notna())


def best_epoch(history: pd.DataFrame) -> int | None:
    """Return the row with the lowest validation cross-entropy; None if there is none.

    In a balanced accuracy one image of a rare diagnosis weighs as much as a hundred of a common one.
    """
    column = history["val_cross_entropy"]
    return None if column.isna().all() else int(np.nanargmin(column.to_numpy()))


def best_row(history: pd.DataFrame) -> pd.Series:
    """Return the row that `best_epoch` finds; raises DataError if there is none."""
    best = best_epoch(history)
    if best is None:
        raise DataError("The history gives no epoch a cross-entropy on validation, so none is the best.")
    return history.iloc[best]


def mean_and_range(histories: Iterable[pd.DataFrame], column: str) -> pd.DataFrame:
    """Put several seeds of one config together: columns mean, low and high by epoch, over the runs that got so far."""
    joined = pd.concat([h.set_index("epoch")[column] for h in histories], axis=1)
    return pd.DataFrame({"mean": joined.mean(axis=1), "low": joined.min(axis=1), "high": joined.max(axis=1)})


def _touched(folder: Path) -> float:
    """Return when a run last wrote one of its files, 0 if it has none."""
    found = 0.0
    for name in ("run.json", "history.csv", PROGRESS_FILE):
        with contextlib.suppress(OSError):
            found = max(found, (folder / name).stat().st_mtime)
    return found


def _as_published(run: Run, model_id: str) -> Run:
    return Run(**{**run.__dict__, "published_as": model_id})
