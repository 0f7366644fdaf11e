"""Whether training on other archives gained: `python -m training.gains BEFORE AFTER`, two runs or published models.

Compared on the validation parts of the other archives and on HAM10000's validation split, paired: intervals draw the
same lesions for both. Images of other archives are kept if balanced accuracy gains there (the interval lies above 0)
and HAM10000's validation loses at most LOSS. The exit status is 0 if they are, 1 if not. Runs are measured before by
`training.evaluate RUN --external DIR`, models by `training.external ID --external DIR`.
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dermlens.dataset.isic2019 import HELD_BACK, VALIDATION_SETS
from dermlens.errors import DermlensError
from dermlens.estimate import Estimate
from dermlens.evaluation import metrics
from dermlens.evaluation.class_mix import AT, EQUAL
from dermlens.evaluation.compare import align
from dermlens.evaluation.intervals import bootstrap, percentile_interval
from dermlens.evaluation.predictions import EXTERNAL_FILE, Predictions, read_predictions
from dermlens.labels import MELANOMA
from dermlens.models import registry
from dermlens.trust import calibration
from dermlens.wording import number_with_interval
from training.asked import check
from training.finished import find_run

LOSS = 0.01
"""Balanced accuracy on HAM10000's validation that other archives may cost."""


def gain(before: Predictions, after: Predictions) -> dict[str, Estimate]:
    """Return what the second of two models gains over the first on their common images, -1..1, paired.

    Returns:
        "balanced_accuracy" at the equal class mix, and "melanoma_auc"; NaN without a melanoma.

    Raises:
        DataError: they share no image, or disagree on one.
    """
    a, b, _ = align(before, after)
    found = {}
    draws = [bootstrap(p, ranks="auc") for p in (a, b)]
    values = [metrics.measure(p.y_true, p.logits, p.at_equal_mix.logits) for p in (a, b)]
    for name, pick in {"balanced_accuracy": lambda m: m["balanced_accuracy"], "melanoma_auc": _melanoma_auc}.items():
        low, high = percentile_interval(pick(draws[1]) - pick(draws[0]))
        difference = float(pick(values[1]) - pick(values[0]))
        found[name] = Estimate(difference, float(low), float(high), len(a), a.n_lesions)
    return found


def _melanoma_auc(measured: dict) -> np.ndarray:
    return measured["auc"][..., MELANOMA]


def kept(elsewhere: Estimate, home: Estimate) -> bool:
    """Return whether images of other archives are worth it, from the gains in balanced accuracy there and at home."""
    return elsewhere.low > 0 and home.value >= -LOSS


def answers(folder: Path) -> tuple[Predictions, Predictions]:
    """Return a run's or model's answers to HAM10000's validation split and to the other archives' validation parts.

    Calibrated: HAM10000's are cross-fitted, so that none was calibrated on itself. What has no calibration yet, as a
    run, gets one as `training.fit` would make it.

    Raises:
        DermlensError: a file is missing or damaged, or a run's two files are not known to be of one network.
    """
    if not (folder / "card.json").is_file():  # what is published is replaced whole
        check(folder)
    home = read_predictions(folder / "predictions.csv").of_split("validation")
    everything = read_predictions(folder / EXTERNAL_FILE, splits=HELD_BACK)
    elsewhere = everything.select(np.isin(everything.split.astype(str), VALIDATION_SETS))
    file = folder / "calibration.json"
    fitted = calibration.read(file) if file.exists() else calibration.fit(home, calibration.try_all(home))
    cross_fitted = np.log(np.maximum(calibration.unseen(home, fitted), np.finfo(float).tiny))
    return (
        replace(home, logits=cross_fitted, class_mix=np.array(fitted.class_mix)),
        calibration.calibrate(elsewhere, fitted),
    )


def folder_of(name: str, models: Path) -> Path:
    """Return the folder of a published model, or else of a run, of that name; raises DataError if there is neither."""
    return models / name if (models / name / "card.json").is_file() else find_run(name)


def main(argv: Iterable[str] | None = None) -> int:
    """Compare two runs or models; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.gains", description=__doc__.partition("\n")[0])
    parser.add_argument("before", help="run or published model, trained on HAM10000 alone")
    parser.add_argument("after", help="run or published model, trained on other archives too")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    args = parser.parse_args(None if argv is None else list(argv))
    try:
        (home_a, away_a), (home_b, away_b) = (answers(folder_of(n, args.models_dir)) for n in (args.before, args.after))
        rows = {"HAM10000 validation": gain(home_a, home_b), "other archives' validation": gain(away_a, away_b)}
        for split in VALIDATION_SETS:
            if split in away_a.splits and split in away_b.splits:
                rows[f"  {split}"] = gain(away_a.of_split(split), away_b.of_split(split))
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    print(f"{args.after} less {args.before}: balanced accuracy {AT[EQUAL]}, AUC of melanoma")
    for name, found in rows.items():
        ba, auc = found["balanced_accuracy"], found["melanoma_auc"]
        print(f"  {name:28} {number_with_interval(ba)}   {number_with_interval(auc)}   {ba.n_images} images")
    worth = kept(
        rows["other archives' validation"]["balanced_accuracy"], rows["HAM10000 validation"]["balanced_accuracy"]
    )
    print("Other archives are kept." if worth else f"Other archives are not kept: no gain there, or over {LOSS} lost.")
    return 0 if worth else 1


if __name__ == "__main__":
    sys.exit(main())
