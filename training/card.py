"""The figures and the model card of a published model, made from its files: `python -m training.card [ID...]`.

Says where metrics.json, README.md, a hash or what training.fit fitted on predictions is not what predictions.csv,
run.json and history.csv give; --write makes the first three anew. No figure of a model card is typed by hand.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dermlens import registry
from dermlens.calibration import calibrate
from dermlens.errors import DermlensError
from dermlens.familiarity import FAMILIARITY_FILE, SCORES_FILE, read_scores
from dermlens.files import read_object, write_whole
from dermlens.fitted import read_fitted
from dermlens.ham10000 import load_split
from dermlens.intervals import summarise
from dermlens.predictions import read_predictions
from training.fits.embeddings import measure
from training.readme import render
from training.subject import Subject

HASHED_OF_ENSEMBLE = ("predictions.csv", "metrics.json")
HASHED = ("model.keras", *HASHED_OF_ENSEMBLE, "run.json", "history.csv")
TOLERANCE = 1e-5
"""Largest difference of a figure that another processor's rounding may make."""
FITTED_TOLERANCE = 1e-3
"""The same of what an optimiser found, and of figures that count images in bins."""


def figures(folder: Path) -> dict[str, Any]:
    """Return metrics.json: every figure of every split with its interval, of the answers as users get them.

    Of predictions.csv as it is now: unlike a page, this is asked what a changed file would give.
    """
    predictions = read_predictions(folder / "predictions.csv")
    found = read_fitted(folder, registry.inspect(folder).card).calibration
    predictions = calibrate(predictions, found) if found else predictions
    return {split: summarise(predictions.of_split(split)).to_dict() for split in predictions.splits}


def problems(folder: Path) -> list[str]:
    """Compare what a published model says of itself with what its files give.

    Args:
        folder: models/ID. Files that a folder with predictions only has not are not asked for.

    Returns:
        One sentence a difference; empty if all is right.

    Raises:
        DermlensError: a file cannot be read.
    """
    found = []
    if (folder / "metrics.json").is_file():
        found += list(_differences(read_object(folder / "metrics.json"), figures(folder), "metrics.json"))
    card = read_object(folder / "card.json") if (folder / "card.json").is_file() else {}
    for name, expected in card.get("files", {}).items():
        if not (folder / name).is_file():
            found.append(f"{name} is missing, card.json lists it")
        elif registry.sha256(folder / name) != expected:
            found.append(f"{name} is not the file whose hash is in card.json")
    found += [*_refitted(folder), *_remeasured(folder)]
    if "members" in card:
        from training.ensemble import problems as of_members  # imports this module

        found += of_members(folder, card)
    if ((folder / "run.json").is_file() or "members" in card) and not found:
        readme = folder / "README.md"
        if not readme.is_file() or readme.read_text(encoding="utf-8") != render(folder):
            found.append("README.md is not what card.json, run.json, history.csv and metrics.json give")
    return found


def write(folder: Path) -> None:
    """Make metrics.json and its hash, hashes that card.json lacks, and README.md from the other files.

    Raises:
        DermlensError: a file is missing or cannot be read.
    """
    _write(folder / "metrics.json", figures(folder))
    card = read_object(folder / "card.json")
    known = {name: value for name, value in card["files"].items() if name != "metrics.json"}
    needed = HASHED_OF_ENSEMBLE if "members" in card else HASHED
    hashes = {name: registry.sha256(folder / name) for name in needed if name not in known}
    card["files"] = {name: {**known, **hashes}[name] for name in sorted({**known, **hashes})}
    _write(folder / "card.json", card)
    write_whole(folder / "README.md", render(folder).encode())


def note_hash(folder: Path, name: str) -> None:
    """Put the SHA-256 of a file of the folder into its card.json."""
    card = read_object(folder / "card.json")
    hashes = {**card["files"], name: registry.sha256(folder / name)}
    card["files"] = {key: hashes[key] for key in sorted(hashes)}
    _write(folder / "card.json", card)


def _refitted(folder: Path) -> list[str]:
    """Make every JSON file that is fitted on predictions alone again, and return where it is another one."""
    from training.fit import STEPS  # imports this module

    subject, found = Subject(folder, load_split()), []
    for name, step in STEPS.items():
        if step.pictures or not (folder / f"{name}.json").is_file():
            continue
        try:
            made = {file: json.loads(content) for file, content in step.make(subject).items() if file.endswith(".json")}
        except DermlensError as e:
            found.append(f"{name}.json cannot be made again: {e}")
            continue
        for file, content in made.items():
            found += _differences(read_object(folder / file), content, file, FITTED_TOLERANCE)
    return found


def _remeasured(folder: Path) -> Iterator[str]:
    """Measure familiarity.csv again, and yield where familiarity.json says otherwise."""
    if (folder / FAMILIARITY_FILE).is_file():
        stored, measured = read_object(folder / FAMILIARITY_FILE), measure(*read_scores(folder))
        yield from _differences(stored["measured"], measured, f"{FAMILIARITY_FILE}, measured", TOLERANCE, SCORES_FILE)


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


def _write(file: Path, value: dict[str, Any]) -> None:
    write_whole(file, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def main(argv: list[str] | None = None) -> int:
    """Check, or make anew, the cards of some or all published models; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.card", description=__doc__.partition("\n")[0])
    parser.add_argument("id", nargs="*", help="models by the name of their folder; all by default")
    parser.add_argument("--write", action="store_true", help="make metrics.json, hashes and README.md anew")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    given = parser.parse_args(argv)
    status = 0
    try:
        ids = given.id or [e.id for e in registry.discover(given.models_dir)]
        for folder in [registry.find(given.models_dir, model_id).folder for model_id in ids]:
            if given.write:
                write(folder)
            wrong = problems(folder)
            print(f"{folder.name}: {'; '.join(wrong) or 'every figure is what its files give'}")
            status = max(status, int(bool(wrong)))
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
