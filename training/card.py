"""The metrics and the model card of a published model, made from its files: `python -m training.card [ID...]`.

Says where metrics.json, README.md, a hash or what training.fit fitted on predictions is not what predictions.csv,
run.json and history.csv give; --write makes these again, and measures again what familiarity, other lights and other
archives came to. No number of a model card is typed by hand.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dermlens.dataset.ham10000 import load_split
from dermlens.errors import DermlensError
from dermlens.evaluation.other_archives import FILE as ARCHIVES_FILE
from dermlens.evaluation.other_lights import CALLS_FILE
from dermlens.evaluation.other_lights import FILE as LIGHTS_FILE
from dermlens.explain.localisation_results import FILE as ATTENTION
from dermlens.explain.localisation_results import read_attention
from dermlens.files.documents import Document, read_object, write_object
from dermlens.models import registry
from dermlens.trust.fitted import read_calibrated
from dermlens.trust.ood import MEMBERS, OOD_FILE, SCORES_FILE, read_scores
from training import ensemble, other_lights
from training.fit import STEPS
from training.fits import other_archives
from training.fits.embeddings import limit, measure
from training.fits.subject import Subject
from training.model_card.render import render
from training.model_card.write import metrics_of, note_hash, write

TOLERANCE = 1e-5
"""Largest difference of a number that another processor's rounding may make."""
FITTED_TOLERANCE = 1e-3
"""The same of what an optimiser found, and of metrics that count images in bins."""
KEPT_LATER = {"member_familiarities", "conformal_sha256", "familiarity_sha256"}
"""Sources that files fitted before they were kept do not name."""


def problems(folder: Path) -> list[str]:
    """Compare what a published model says of itself with what its files give.

    Args:
        folder: models/ID. Files that a folder with predictions only has not are not asked for.

    Returns:
        One sentence per difference; empty if all is right.

    Raises:
        DermlensError: a file cannot be read.
    """
    found = []
    if (folder / "metrics.json").is_file():
        found += list(_differences(read_object(folder / "metrics.json"), metrics_of(folder), "metrics.json"))
    card = read_object(folder / "card.json") if (folder / "card.json").is_file() else {}
    for name, expected in card.get("files", {}).items():
        if not (folder / name).is_file():
            found.append(f"{name} is missing, card.json lists it")
        elif registry.sha256(folder / name) != expected:
            found.append(f"{name} is not the file whose hash is in card.json")
    found += [*_refitted(folder), *_remeasured(folder), *_other_lights(folder), *_looked_at(folder, card)]
    if "members" in card:
        found += ensemble.problems(folder, card)
    if ((folder / "run.json").is_file() or "members" in card) and not found:
        readme = folder / "README.md"
        if not readme.is_file() or readme.read_text(encoding="utf-8") != render(folder):
            found.append("README.md is not what card.json, run.json, history.csv and metrics.json give")
    return found


def _refitted(folder: Path) -> list[str]:
    """Make every JSON file that is fitted on predictions alone again, and return where it differs."""
    subject = Subject(folder, load_split())
    found: list[str] = []
    for step in STEPS.values():
        if not (folder / step.file).is_file() or step.needs_pictures(subject):
            continue
        try:
            made = {file: content for file, content in step.make(subject).items() if file.endswith(".json")}
        except DermlensError as e:
            found.append(f"{step.file} cannot be made again: {e}")
            continue
        for file, content in made.items():
            stored, again = read_object(folder / file), read_object(Document(folder / file, content))
            for source in KEPT_LATER - stored.get("fitted_on", {}).keys():
                again.get("fitted_on", {}).pop(source, None)
            found += _differences(stored, again, file, FITTED_TOLERANCE)
    return found


def _remeasured(folder: Path) -> Iterator[str]:
    """Take limit and measurements from familiarity.csv again, and yield where familiarity.json says otherwise."""
    if not (folder / OOD_FILE).is_file():
        return
    stored, (table, threshold) = read_object(folder / OOD_FILE), read_scores(folder)
    again: dict[str, Any] = {"measured": measure(table, threshold)}
    if stored["method"] != MEMBERS:
        again["threshold"] = limit(table, elsewhere="n_train_other_archives" in stored)
    for name, found in again.items():
        yield from _differences(stored[name], found, f"{OOD_FILE}, {name}", TOLERANCE, SCORES_FILE)


def remeasure(folder: Path) -> None:
    """Measure again, from the answers that are kept, what familiarity, other lights and other archives came to.

    What is not there is left out, and what was fitted stays.
    """
    subject = Subject(folder, load_split())
    if (folder / OOD_FILE).is_file():
        _put(folder, OOD_FILE, {**read_object(folder / OOD_FILE), "measured": measure(*read_scores(folder))})
    if (folder / LIGHTS_FILE).is_file():
        _put(folder, LIGHTS_FILE, other_lights.remeasured(subject))
    if (folder / ARCHIVES_FILE).is_file():
        for name, content in other_archives.make(subject).items():
            _put(folder, name, read_object(Document(folder / name, content)))


def _put(folder: Path, name: str, content: dict[str, Any]) -> None:
    write_object(folder / name, content)
    note_hash(folder, name)


def _other_lights(folder: Path) -> Iterator[str]:
    """Measure the calls under other lights again, and yield where other_lights.json says otherwise."""
    if (folder / LIGHTS_FILE).is_file():
        stored = read_object(folder / LIGHTS_FILE)
        again = other_lights.remeasured(Subject(folder, load_split()))
        yield from _differences(stored, again, LIGHTS_FILE, TOLERANCE, CALLS_FILE)


def _looked_at(folder: Path, card: dict[str, Any]) -> Iterator[str]:
    """Yield whether heat maps were measured for other calls than those that the model gives as it is calibrated now."""
    if not (folder / ATTENTION).is_file() or not (folder / "predictions.csv").is_file():
        return
    table, p = read_attention(folder / ATTENTION), read_calibrated(folder, card)
    called = dict(zip(p.image_id, p.probabilities.argmax(1), strict=True))
    other = [row.image_id for row in table.itertuples() if called.get(row.image_id, row.called) != row.called]
    if len(other) > len(table) * FITTED_TOLERANCE:
        yield f"{ATTENTION} is of other calls than {folder.name} gives now, of {other[0]} first. Make it again."


def _differences(
    stored: Any, measured: Any, where: str, tolerance: float = TOLERANCE, source: str = "predictions.csv"
) -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(measured, dict) and stored.keys() == measured.keys():
        for key in measured:
            yield from _differences(stored[key], measured[key], f"{where}, {key}", tolerance, source)
    elif isinstance(stored, list) and isinstance(measured, list) and len(stored) == len(measured):
        for i, (a, b) in enumerate(zip(stored, measured, strict=True)):
            yield from _differences(a, b, f"{where}, {i}", tolerance, source)
    elif isinstance(stored, (int, float)) and isinstance(measured, (int, float)):
        if not abs(stored - measured) <= tolerance:
            yield f"{where} is {stored}, {source} gives {measured}"
    elif stored != measured:
        yield f"{where} is {_short(stored)}, {source} gives {_short(measured)}"


def _short(value: Any) -> str:
    return f"an object with {', '.join(value)}" if isinstance(value, dict) else repr(value)


def main(argv: list[str] | None = None) -> int:
    """Check, or make again, the model cards of some or all published models; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.card", description=__doc__.partition("\n")[0])
    parser.add_argument("id", nargs="*", help="models by the name of their folder; all by default")
    parser.add_argument("--write", action="store_true", help="make metrics.json, hashes and README.md again")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    given = parser.parse_args(argv)
    status = 0
    try:
        ids = given.id or [e.id for e in registry.discover(given.models_dir)]
        for folder in [registry.find(given.models_dir, model_id).folder for model_id in ids]:
            if given.write:
                remeasure(folder)
                write(folder)
            wrong = problems(folder)
            print(f"{folder.name}: {'; '.join(wrong) or 'every number is what its files give'}")
            status = max(status, int(bool(wrong)))
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
