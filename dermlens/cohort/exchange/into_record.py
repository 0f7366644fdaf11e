"""A finished cohort as cases of the record: all of it is checked first, and what is there already is passed over."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dermlens.cohort import manifest, part, results, run
from dermlens.cohort.answer import MEASURES, networks_of, shown_path
from dermlens.cohort.manifest import Manifest
from dermlens.cohort.store import Place
from dermlens.cohort.work import MADE_FROM, model_sha256
from dermlens.errors import DataError, ModelError
from dermlens.evaluation.class_mix import HAM10000
from dermlens.evaluation.prediction_formats import PROBABILITIES
from dermlens.files.documents import canonical
from dermlens.labels import CLASSES
from dermlens.models import registry
from dermlens.models.model import AnyModel, Ensemble, fitted_hashes
from dermlens.record.exchange.imported import Answered, Kept, add
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.trust.referral_rules import RULES

_HASH = re.compile(r"[0-9a-f]{64}")
_REASONS = {rule.key: rule for rule in RULES}


@dataclass(frozen=True)
class Cohort:
    """A finished cohort whose hashes are those of its model and its list of images."""

    output: Place
    status: results.Status
    listed: Manifest
    model: AnyModel


def opened(output: Place, models_dir: Path, now: float) -> Cohort:
    """Open a finished cohort and check what its parts were made from.

    Args:
        output: its folder. models_dir: with the model that answered. now: in seconds since 1970.

    Raises:
        DataError: it is not finished, its list or a part is not the one that it was made from, or it was answered at
            another class mix than the model was fitted for. ModelError: the model is not there, or has changed since.
    """
    found = results.complete(output, now)
    made = {name: str(found.record.get(name, "")) for name in MADE_FROM}
    if made["class_mix"] != HAM10000:
        raise DataError(
            f"{output.shown} was answered at the class mix {made['class_mix']!r}. The record keeps probabilities at "
            f"the mix that the model was fitted for: run the cohort again with --class-mix {HAM10000}."
        )
    listed = manifest.read(output)
    if run.missing_shards(output, listed, made):
        raise DataError(f"{output.shown} has parts that were not made from its list: run the cohort again.")
    entry = registry.find(models_dir, made["model"])
    model = registry.load_any(entry, partial(registry.load, threads=1))
    if model_sha256(model) != made["model_sha256"]:
        raise ModelError(
            f"{output.shown} was answered by other files than those of {entry.id} in {models_dir}. Name the folder "
            "with the model that answered by --models-dir."
        )
    return Cohort(output, found, listed, model)


def unreadable(cohort: Cohort) -> list[tuple[str, str]]:
    """Return path and reason of the images without an answer, which are left out of the record."""
    columns = ["image", "error", "error_sentence"]
    return [
        (str(row["image"]), str(row["error_sentence"]))
        for table in results.batches(cohort.output, cohort.status.parts, columns)
        for row in table.to_pylist()
        if row["error"] is not None
    ]


def answers(cohort: Cohort, group: str) -> Iterator[Answered]:
    """Yield the answered images of a cohort in their order.

    Args:
        cohort: open. group: of the record, that they are for.

    Raises:
        DataError: a row is not what `python -m dermlens.cohort run` writes.
    """
    columns = [name for name in part.read_part(cohort.output, 0).column_names if not name.startswith("map")]
    constant = _constant(cohort.model, str(cohort.status.record["stored_aspect"]))
    for number in cohort.status.parts:
        footer = part.read_footer(cohort.output, number)
        if footer is None:
            raise DataError(f"{cohort.output.shown}/{part.name_of(number)} is damaged. Delete it, and run again.")
        at = datetime.fromtimestamp(footer.finished, UTC)
        wanted = cohort.listed.shard(number)
        found = part.read_part(cohort.output, number, columns).to_pylist()
        for row, expected, path in zip(found, wanted["row"].to_pylist(), wanted["path"].to_pylist(), strict=True):
            where = f"{cohort.output.shown}/{part.name_of(number)}, row {expected}"
            if row["row"] != expected or row["image"] != shown_path(path):
                raise DataError(f"{where}: it is not the row of {shown_path(path)}.")
            if row["error"] is None:
                _check(where, row)
                version = {"app_version": footer.values.get("app_version", "not known")}
                prediction = {**constant, **version, **_prediction(where, row, cohort.model)}
                yield Answered(_token(cohort, row, group), row["image"], at, _image(row), prediction)


def keep(record: Record, who: Who, cohort: Cohort) -> Iterator[Kept]:
    """Keep the answered images as cases, and yield where each is; all are checked before the first is kept.

    Raises:
        DataError: as `answers`. RecordError: they cannot be saved; what was yielded is.
    """
    for _ in answers(cohort, who.groups[0]):
        pass
    yield from add(record, who, answers(cohort, who.groups[0]))


def _constant(model: AnyModel, stored_aspect: str) -> dict[str, Any]:
    """Return the columns of tables.Prediction that all rows share."""
    calibration = model.fitted.calibration
    mix = [int(n) for n in calibration.class_mix] if calibration else None
    return {
        "lead": True,
        "model_id": model.id,
        "model_sha256": model.weights_sha256,
        "fitted": fitted_hashes(model),
        "settings": {"stored_aspect": stored_aspect, "class_mix": "", "fitted_mix": mix, "beside": []},
        "calibrated": calibration is not None,
        **dict.fromkeys(("logits", "shown", "heat_map_sha256", "milliseconds", "error")),
    }


def _image(row: dict[str, Any]) -> dict[str, Any]:
    measures = {name: row[f"quality_{name}"] for name in MEASURES}
    return {
        "pixels_sha256": row["pixels_sha256"],
        "file_sha256": "",
        "width": row["width"],
        "height": row["height"],
        "synthetic": False,
        "quality": {
            **{name: value if value is not None and np.isfinite(value) else None for name, value in measures.items()},
            "poor": row["poor"],
            "findings": row["quality"],
        },
    }


def _prediction(where: str, row: dict[str, Any], model: AnyModel) -> dict[str, Any]:
    unlike = {network.id for network in networks_of(model) if row.get(f"unlike_{network.id}")}
    reasons = row["reasons"] or []
    if strange := sorted(set(reasons) - _REASONS.keys()):
        raise DataError(f"{where}: {strange[0]!r} is no rule for referral.")
    firing = [_REASONS[key] for key in reasons]
    firing = [rule for rule in firing if rule.unreliable] or firing  # no other reason counts then
    return {
        "probabilities": [row[name] for name in PROBABILITIES],
        "called": row["call"],
        "suspect": row["suspect"],
        "prediction_set": row["not_ruled_out"],
        "refused_by": sorted(unlike | ({model.id} if row["refused"] else set())),
        "ood_score": None if isinstance(model, Ensemble) else row.get(f"unlikeness_{model.id}"),
        "refer": row["refer"],
        "reasons": [rule.reason for rule in firing],
    }


def _check(where: str, row: dict[str, Any]) -> None:
    """Raise DataError unless an answer is one that a model can have given."""
    shares = np.array([np.nan if row[name] is None else row[name] for name in PROBABILITIES], np.float64)
    called = None if row["refused"] or not np.isfinite(shares).all() else CLASSES[int(shares.argmax())]
    for right, what in (
        (np.isfinite(shares).all() and (shares >= 0).all() and abs(shares.sum() - 1) < 1e-3, "the probabilities"),
        (row["call"] == called, "the call"),
        (isinstance(row["pixels_sha256"], str) and _HASH.fullmatch(row["pixels_sha256"]), "the hash of the pixels"),
        (all(isinstance(row[name], int) and row[name] > 0 for name in ("height", "width")), "the size"),
        (set(row["not_ruled_out"] or ()) <= set(CLASSES), "what is not ruled out"),
    ):
        if not right:
            raise DataError(f"{where}: {what} cannot be right. The part was changed: delete it, and run again.")


def _token(cohort: Cohort, row: dict[str, Any], group: str) -> str:
    """Return what only this answer has, the same at every import of it."""
    record = cohort.status.record
    names = ("model_sha256", "manifest_sha256", "stored_aspect")
    told = ["cohort", group, *(str(record[name]) for name in names), row["row"], row["pixels_sha256"]]
    return hashlib.sha256(canonical(told)).hexdigest()[:32]
