"""Write metrics.json, the hashes in card.json and the model card from what a model folder holds."""

from pathlib import Path
from typing import Any

from dermlens.dataset.isic2019 import HELD_BACK, TEST_SETS
from dermlens.evaluation.intervals import summarise
from dermlens.evaluation.prediction_formats import TRUTH_FILE
from dermlens.evaluation.predictions import EXTERNAL_FILE, SPLITS, read_predictions
from dermlens.files.documents import read_object, write_object, write_whole
from dermlens.models import registry
from dermlens.trust.calibration import calibrate
from dermlens.trust.fitted import read_fitted
from training.model_card.render import render

HASHED_OF_ENSEMBLE = ("predictions.csv", "metrics.json")


HASHED = ("model.keras", *HASHED_OF_ENSEMBLE, "run.json", "history.csv")


def metrics_of(folder: Path) -> dict[str, Any]:
    """Return metrics.json: every metric of every split with its interval, of the answers as users get them.

    Of both files of predictions as they are now: unlike a page, this is asked what a changed file would give.
    """
    found = read_fitted(folder, registry.inspect(folder).card).calibration
    summaries = {}
    for file, splits in {"predictions.csv": SPLITS, EXTERNAL_FILE: HELD_BACK}.items():
        if file == EXTERNAL_FILE and not (folder / file).exists():
            continue
        predictions = read_predictions(folder / file, splits=splits)
        predictions = calibrate(predictions, found) if found else predictions
        for split in (s for s in predictions.splits if s in (*SPLITS, *TEST_SETS)):
            summaries[split] = summarise(predictions.of_split(split)).to_dict()
    return summaries


def write(folder: Path, models: Path | None = None) -> None:
    """Make metrics.json and its hash, hashes that card.json lacks, and README.md from the other files.

    A folder with predictions alone keeps its own README.md, if it has one.

    Args:
        folder: of the model. models: where an ensemble's members are; by default beside it.

    Raises:
        DermlensError: a file is missing or cannot be read.
    """
    write_object(folder / "metrics.json", metrics_of(folder))
    card = card_of(folder)
    known = {name: value for name, value in card["files"].items() if name != "metrics.json"}
    is_model = "members" in card or (folder / "model.keras").is_file()
    needed = HASHED if is_model and "members" not in card else HASHED_OF_ENSEMBLE
    needed = (*needed, TRUTH_FILE) if (folder / TRUTH_FILE).is_file() else needed
    hashes = {name: registry.sha256(folder / name) for name in needed if name not in known}
    card["files"] = {name: {**known, **hashes}[name] for name in sorted({**known, **hashes})}
    write_object(folder / "card.json", card)
    if is_model:
        write_whole(folder / "README.md", render(folder, models).encode())


def card_of(folder: Path) -> dict[str, Any]:
    """Return card.json with its `files`; of a folder with predictions alone there need not be one."""
    card = read_object(folder / "card.json") if (folder / "card.json").exists() else {"name": folder.name}
    return {**card, "files": card.get("files", {})}


def note_hash(folder: Path, name: str) -> None:
    """Put the SHA-256 of a file of the folder into its card.json."""
    card = card_of(folder)
    hashes = {**card["files"], name: registry.sha256(folder / name)}
    card["files"] = {key: hashes[key] for key in sorted(hashes)}
    write_object(folder / "card.json", card)
