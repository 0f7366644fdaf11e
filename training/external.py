"""Ask a published model about other archives: `python -m training.external ID --external DIR [--only SPLIT]`.

Every image of `data/splits/external.csv` that no network trains on is asked about once, through the serving path. The
answers go into models/ID/external_predictions.csv, a file of its own, so that what was fitted on predictions.csv stays
valid. The validation parts choose data, augmentation and refusal; the test sets are looked at once a published network:
a split that a network has answered is asked about again only with --again. An ensemble's answers are made from its
members' (no picture is needed), of the splits that all of them have answered.

Afterwards `python -m training.fit ID` measures how far the answers can be trusted there. An interrupted run goes on
where it stopped (`training.fits.embed`).
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.dataset.isic2019 import CARCINOMAS, HELD_BACK, data_root, held_back, load_external
from dermlens.errors import DataError, DermlensError, ModelError
from dermlens.evaluation.predictions import (
    EXTERNAL_FILE,
    Predictions,
    concatenate,
    read_predictions,
    write_predictions,
)
from dermlens.files.documents import read_object, write_object
from dermlens.labels import INDEX
from dermlens.models import registry
from dermlens.models.card import read_card
from dermlens.models.model import Model
from dermlens.models.runs import runs_dir
from training.archives import answers
from training.ensemble import combine, join
from training.finished import predictions_of
from training.model_card.write import note_hash, write
from training.origin import check_external_table


def predict(model: Model, rows: pd.DataFrame, external: Path) -> Predictions:
    """Return a published network's answers.

    Args:
        model: as loaded by registry.load. rows: as `held_back` gives them, of some splits.
        external: folder of ISIC 2019's training set.

    Raises:
        DataError: an image is missing or cannot be read.
    """
    logits, _ = answers(model, rows, external)
    return predictions_of(rows, rows["dx"].map({**INDEX, CARCINOMAS: -1}).to_numpy(np.int64), logits)


def of_network(folder: Path, external: Path, wanted: list[str], again: bool) -> Predictions:
    """Return a network's answers: those it has given already, and those to the wanted splits that it has not.

    Args:
        folder: models/ID. external: as for `predict`. wanted: of HELD_BACK.
        again: ask anew about those wanted that have been answered.

    Raises:
        DermlensError: as `predict`, or all of them have been answered.
    """
    file = folder / EXTERNAL_FILE
    known = read_predictions(file, splits=HELD_BACK) if file.exists() else None
    parts = {split: known.of_split(split) for split in known.splits} if known else {}
    asked = [split for split in wanted if again or split not in parts]
    if not asked:
        raise ModelError(f"{folder.name} has answered already, and test sets are looked at once. --again asks it anew.")
    check_external_table(_record(folder))
    note(folder, asked)
    rows = held_back(load_external())
    rows = rows[rows["split"].isin(asked)].reset_index(drop=True)
    found = predict(registry.load(registry.inspect(folder)), rows, external)
    parts |= {split: found.of_split(split) for split in found.splits}
    return concatenate([parts[split] for split in HELD_BACK if split in parts])


def note(folder: Path, splits: list[str]) -> None:
    """Add to a published network's run.json, and to its run's where that is kept, that it is asked, before it is."""
    file, record = folder / "run.json", _record(folder)
    new = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "run": record.get("id"), "splits": splits}
    of_run = runs_dir() / str(record.get("id")) / "run.json"
    for noted in [file, *([of_run] if of_run.is_file() else [])]:
        known = read_object(noted) if noted.is_file() else {}
        write_object(noted, {**known, "external_evaluations": [*known.get("external_evaluations", []), new]})
    note_hash(folder, file.name)


def _record(folder: Path) -> dict[str, Any]:
    file = folder / "run.json"
    return read_object(file) if file.is_file() else {}


def of_members(folder: Path) -> Predictions:
    """Return an ensemble's answers from those of its members, of the splits that all of them have answered.

    Args:
        folder: models/ID.

    Raises:
        DataError: a member has not answered yet. ModelError: they have answered different images.
    """
    card = read_card(folder)
    members = [read_predictions(folder.parent / name / EXTERNAL_FILE, splits=HELD_BACK) for name in card["members"]]
    common = [split for split in HELD_BACK if all(split in p.splits for p in members)]
    return combine(join([p.select(np.isin(p.split.astype(str), common)) for p in members]), card)


def main(argv: list[str] | None = None) -> int:
    """Ask one model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.external", description=__doc__.partition("\n")[0])
    parser.add_argument("id", help="name of the folder in models/")
    parser.add_argument(
        "--external", type=Path, default=data_root(), help="training set of ISIC 2019 (default: ISIC2019_DIR)"
    )
    parser.add_argument("--only", choices=HELD_BACK, action="append", help="default: every split")
    parser.add_argument("--again", action="store_true", help="ask anew about what was answered already")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        entry = registry.find(args.models_dir, args.id)
        if entry.is_ensemble:
            found = of_members(entry.folder)
        elif args.external is None:
            raise DataError("Pass --external DIR or set ISIC2019_DIR: the training set of ISIC 2019 (data.download).")
        else:
            found = of_network(entry.folder, args.external, args.only or list(HELD_BACK), args.again)
        write_predictions(entry.folder / EXTERNAL_FILE, found)
        note_hash(entry.folder, EXTERNAL_FILE)
        write(entry.folder)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    print(f"Written: {entry.folder / EXTERNAL_FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
