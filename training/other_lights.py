"""What a published model loses under other lights: `python -m training.other_lights ID --data DIR`.

Every validation image is asked about as it is and under each of CHANGES, through the serving path. Written into
models/ID/: other_lights.json with the balanced accuracy lost at the equal class mix, paired by lesion, and
other_lights.csv with every call, so that the estimates can be made again (`training.card`). An ensemble's answers are
made from those of its members, which are asked if they were not yet. An interrupted run goes on where it stopped.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.dataset.ham10000 import SPLIT_TABLE, check_rows, data_root, image_path, load_split
from dermlens.errors import DataError, DermlensError
from dermlens.evaluation.other_lights import CALLS_FILE, FILE, UNCHANGED, measure, read, read_calls
from dermlens.evaluation.predictions import Predictions
from dermlens.files.documents import encode_object, write_whole
from dermlens.files.tables import encode_csv
from dermlens.image.other_light import Change
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.image.tta import VIEWS
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES, INDEX
from dermlens.models import registry
from dermlens.models.card import bias_of, read_card
from dermlens.models.ensemble import mean_logits
from dermlens.trust import calibration
from dermlens.wording import number_with_interval
from training.fits.embed import ask, named
from training.fits.subject import Subject, aspect_of
from training.model_card.write import note_hash, write

CHANGES = (
    Change("warm light", gains=(1.08, 1.0, 0.92)),
    Change("cool light", gains=(0.92, 1.0, 1.08)),
    Change("green tint", gains=(0.95, 1.05, 0.95)),
    Change("magenta tint", gains=(1.05, 0.95, 1.05)),
    Change("yellow tint", gains=(1.05, 1.05, 0.9)),
    Change("more light", gains=(1.15, 1.15, 1.15)),
    Change("less light", gains=(0.85, 0.85, 0.85)),
    Change("lighter tones", gamma=0.8),
    Change("darker tones", gamma=1.25),
    Change("nearer", zoom=0.8),
    Change("out of focus", blur=0.008),
    Change("compressed", jpeg=40),
)
"""What another dermatoscope, lamp, distance, focus or camera brings; published figures go by these twelve."""


def logits_under(change: Change | None, subject: Subject, p: Predictions, views: int | None) -> np.ndarray:
    """Return a model's logits of images under a change, (n, 7) float64.

    Args:
        change: None for the images as they are. subject: the model and the data. p: of the images.
        views: flips and turns to average over; None for the model's own.
    """
    if subject.card.get("members"):
        members = [
            Subject(subject.folder.parent / name, subject.table, subject.data, subject.stored_aspect)
            for name in subject.card["members"]
        ]
        weights = list(subject.card["members"].values())
        return mean_logits([logits_under(change, m, p, views) for m in members], weights, bias_of(subject.card))
    data = subject.data
    if data is None:
        raise DataError("Pass --data DIR or set HAM10000_DIR.")
    model = subject.model if views is None else replace(subject.model, views=views)
    files = [image_path(data, name) for name in p.image_id]

    def load(i: int) -> np.ndarray:
        pixels = read_file(files[i], stored_aspect=subject.stored_aspect).pixels
        return pixels if change is None else change(pixels)

    said = "" if change is None else f" {change.to_dict()}"
    names = [f"{named(file, subject.stored_aspect)}{said}" for file in files]
    return ask(model, names, load, change.name if change else UNCHANGED)[0].astype(np.float64)


def calls(subject: Subject, p: Predictions, logits: np.ndarray) -> np.ndarray:
    """Return the classes (n,) int that logits (n, 7) call at the equal class mix, calibrated if they can be."""
    own = replace(p, logits=logits)
    file = subject.folder / "calibration.json"
    return (calibration.calibrate(own, calibration.read(file)) if file.exists() else own).at_equal_mix.y_pred


def make(subject: Subject, views: int | None = None) -> dict[str, bytes]:
    """Return the two files, other_lights.json and other_lights.csv; arguments as for `logits_under`."""
    p = subject.predictions.of_split("validation")
    under = {c.name if c else UNCHANGED: logits_under(c, subject, p, views) for c in (None, *CHANGES)}
    called = {name: calls(subject, p, logits) for name, logits in under.items()}
    table = pd.DataFrame({"image_id": p.image_id, **{name: np.array(CLASSES)[y] for name, y in called.items()}})
    shown = views or _views(subject)
    content = {**measure(p, called, CHANGES, shown).to_dict(), "fitted_on": _fitted_on(subject)}
    return {FILE: encode_object(content), CALLS_FILE: encode_csv(table)}


def remeasured(subject: Subject) -> dict[str, Any]:
    """Return what other_lights.json should hold by the calls in other_lights.csv.

    Raises:
        DermlensError: a file cannot be read, or the calls are of other images than those of validation.
    """
    found, table = read(subject.folder), read_calls(subject.folder)
    changes = tuple(c.change for c in found.changes)
    p = subject.predictions.of_split("validation")
    if table["image_id"].tolist() != p.image_id.tolist():
        raise DataError(f"{CALLS_FILE} is not of the validation images of predictions.csv. Make it again.")
    called = {name: column.map(INDEX).to_numpy(np.int64) for name, column in table.drop(columns="image_id").items()}
    return {**measure(p, called, changes, found.views).to_dict(), "fitted_on": _fitted_on(subject)}


def _fitted_on(subject: Subject) -> dict[str, Any]:
    file = subject.folder / "calibration.json"
    return {
        "split": "validation",
        "predictions_sha256": subject.predictions_file.sha256,
        "calibration_sha256": registry.sha256(file) if file.exists() else None,
    }


def _views(subject: Subject) -> int:
    """Return the number of views that a model, or every member of an ensemble, is served with."""
    members = subject.card.get("members") or [subject.folder.name]
    return max(int(read_card(subject.folder.parent / name)["views"]) for name in members)


def main(argv: list[str] | None = None) -> int:
    """Measure one model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.other_lights", description=__doc__.partition("\n")[0])
    parser.add_argument("id", help="name of the folder in models/")
    parser.add_argument("--views", type=int, choices=VIEWS, help="flips and turns to average over; default: as served")
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, help="default: as when the model was published")
    parser.add_argument("--split", type=Path, default=SPLIT_TABLE, help="split table")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        table = load_split(args.split)
        folder = registry.find(args.models_dir, args.id).folder
        subject = Subject(folder, table, args.data, aspect_of(folder, args.stored_aspect))
        if args.data is not None:
            check_rows(args.data, table[table["split"] == "validation"])
        for name, content in make(subject, args.views).items():
            write_whole(subject.folder / name, content)
            note_hash(subject.folder, name)
        write(subject.folder)
        found = read(subject.folder)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    print(f"Balanced accuracy at an equal mix, unchanged: {number_with_interval(found.unchanged)}. Lost:")
    for under in found.changes:
        print(f"  {under.change.name:16} {number_with_interval(under.lost)}   {under.change.values()}")
    print(f"  {'mean':16} {number_with_interval(found.lost)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
