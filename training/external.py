"""Ask a published model about other archives: `python -m training.external ID --external DIR [--again]`.

Every image of `data/splits/external.csv` that no network trains on is asked about once, through the serving path. The
answers go into models/ID/external_predictions.csv, a file of its own, so that what was fitted on predictions.csv stays
valid. The validation parts choose data, augmentation and refusal; the test sets are looked at once a published network:
a network that has answered is asked again only with --again. An ensemble's answers are made from its members' (no
picture is needed).

Afterwards `python -m training.fit ID` measures how far the answers can be trusted there. An interrupted run goes on
where it stopped (`training.fits.embed`).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.dataset.isic2019 import CARCINOMAS, HELD_BACK, held_back, load_external
from dermlens.errors import DataError, DermlensError, ModelError
from dermlens.evaluation.predictions import EXTERNAL_FILE, Predictions, read_predictions, write_predictions
from dermlens.labels import INDEX
from dermlens.models import registry
from dermlens.models.card import read_card
from training.ensemble import combine, join
from training.finished import predictions_of
from training.fits.archives import answers
from training.model_card.write import note_hash, write


def predict(folder: Path, rows: pd.DataFrame, external: Path | None) -> Predictions:
    """Return a published model's answers.

    Args:
        folder: models/ID. rows: as `held_back` gives them.
        external: folder of ISIC 2019's training set; None for an ensemble, whose members have answered.

    Raises:
        DermlensError: the model cannot be used, an image is missing, or a member has not answered or other images.
    """
    card = read_card(folder)
    if card.get("members"):
        members = [read_predictions(folder.parent / name / EXTERNAL_FILE, splits=HELD_BACK) for name in card["members"]]
        return combine(join(members), card)
    if external is None:
        raise DataError("Pass --external DIR, the folder with the training set of ISIC 2019 (data.download gets it).")
    logits, _ = answers(registry.load(registry.inspect(folder)), rows, external, "other archives")
    return predictions_of(rows, rows["dx"].map({**INDEX, CARCINOMAS: -1}).to_numpy(np.int64), logits)


def main(argv: list[str] | None = None) -> int:
    """Ask one model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.external", description=__doc__.partition("\n")[0])
    parser.add_argument("id", help="name of the folder in models/")
    parser.add_argument("--external", type=Path, help="folder with the training set of ISIC 2019")
    parser.add_argument("--again", action="store_true", help="ask a network again that has answered already")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        entry = registry.find(args.models_dir, args.id)
        if (entry.folder / EXTERNAL_FILE).exists() and not (args.again or entry.is_ensemble):
            raise ModelError(f"{args.id} has answered already, and test sets are looked at once. --again asks it anew.")
        write_predictions(
            entry.folder / EXTERNAL_FILE, predict(entry.folder, held_back(load_external()), args.external)
        )
        note_hash(entry.folder, EXTERNAL_FILE)
        write(entry.folder)
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    print(f"Written: {entry.folder / EXTERNAL_FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
