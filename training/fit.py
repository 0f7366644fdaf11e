"""Fit what tells how far a published model can be trusted: `python -m training.fit ID [--only STEP] [--data DIR]`.

Everything is fitted on validation and measured on test. Steps that need pictures are left out, and named, without
--data.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dermlens.dataset.ham10000 import SPLIT_TABLE, check_rows, data_root, load_split
from dermlens.dataset.isic2019 import data_root as external_root
from dermlens.errors import DermlensError
from dermlens.evaluation.other_archives import FILE as OTHER_ARCHIVES
from dermlens.evaluation.prediction_formats import TRUTH_FILE
from dermlens.explain.localisation_results import FILE as ATTENTION
from dermlens.files.documents import write_whole
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.models import registry
from dermlens.trust import embedding_map
from dermlens.trust.ood import OOD_FILE
from training.fits import calibration, conformal, embeddings, localisation, other_archives, referral, thresholds
from training.fits.subject import Subject, aspect_of
from training.model_card.write import note_hash, write


@dataclass(frozen=True)
class Step:
    """One thing to fit: what makes its files, and whether it needs the pictures."""

    make: Callable[[Subject], dict[str, bytes]]
    file: str
    """the one that says whether it was made"""
    pictures: bool
    of_ensembles: bool = True
    """whether an ensemble needs them as well"""
    weights: bool = False
    """whether a network is asked, so that predictions alone are not enough"""

    def needs_pictures(self, subject: Subject) -> bool:
        """Return whether the step needs the pictures for this model."""
        return self.pictures and (self.of_ensembles or "members" not in subject.card)


STEPS: dict[str, Step] = {
    "calibration": Step(calibration.make, "calibration.json", pictures=False),
    "conformal": Step(conformal.make, "conformal.json", pictures=False),
    "thresholds": Step(thresholds.make, "thresholds.json", pictures=False),
    "embeddings": Step(embeddings.make, OOD_FILE, pictures=True, of_ensembles=False, weights=True),
    "map": Step(embeddings.make_map, embedding_map.FILE, pictures=True, of_ensembles=False, weights=True),
    "familiarity": Step(other_archives.score, OOD_FILE, pictures=False),
    "attention": Step(localisation.make, ATTENTION, pictures=True, weights=True),
    "referral": Step(referral.make, "referral.json", pictures=False),
    "other_archives": Step(other_archives.make, OTHER_ARCHIVES, pictures=False),
}
"""In the order they build on each other."""
AGAIN: dict[str, tuple[str, ...]] = {
    "calibration": ("conformal", "thresholds"),
    "conformal": ("referral",),
    "embeddings": ("map", "familiarity"),
    "familiarity": ("referral",),
    "referral": ("other_archives",),
}
"""Step -> the steps to make again after it, where their file is there, as they are of what it made before."""


def fit(subject: Subject, steps: list[str]) -> dict[str, list[str]]:
    """Make the files of some steps and of those to make AGAIN after them, note their hashes, write the model card.

    Returns:
        What was lacking, "--data" or "weights" -> the steps left out for it.

    Raises:
        DermlensError: a file of the model is missing or damaged, or the data set is not whole.
    """
    left_out: dict[str, list[str]] = {}
    if not subject.has_weights:
        left_out["weights"] = [name for name in steps if STEPS[name].weights]
        steps = [name for name in steps if not STEPS[name].weights]
        for name in ("predictions.csv", TRUTH_FILE):  # nobody publishes these: fitted to is what lies there now
            if (subject.folder / name).exists():
                note_hash(subject.folder, name)
    if subject.data is not None and any(STEPS[name].needs_pictures(subject) for name in steps):
        check_rows(subject.data, subject.table, decode=True)
    lacking = [name for name in steps if STEPS[name].needs_pictures(subject) and subject.data is None]
    if lacking:
        left_out["--data"] = lacking
    wanted = set(steps) - set(lacking)
    for name in STEPS:
        if name not in wanted:
            continue
        wanted |= {after for after in AGAIN.get(name, ()) if (subject.folder / STEPS[after].file).exists()}
        for file, content in STEPS[name].make(subject).items():
            write_whole(subject.folder / file, content)
            note_hash(subject.folder, file)
    write(subject.folder)
    return left_out


def main(argv: list[str] | None = None) -> int:
    """Fit one model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.fit", description=__doc__.partition("\n")[0])
    parser.add_argument("id", help="name of the folder in models/")
    parser.add_argument("--only", choices=list(STEPS), action="append", help="default: every step")
    parser.add_argument("--data", type=Path, default=data_root(), help="HAM10000 folder (default: HAM10000_DIR)")
    parser.add_argument("--stored-aspect", choices=STORED_ASPECTS, help="default: as when the model was published")
    parser.add_argument(
        "--external",
        type=Path,
        default=external_root(),
        help="training set of ISIC 2019, for the refusal (default: ISIC2019_DIR)",
    )
    parser.add_argument("--split", type=Path, default=SPLIT_TABLE, help="split table")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        entry = registry.find(args.models_dir, args.id)
        aspect = aspect_of(entry.folder, args.stored_aspect)
        subject = Subject(entry.folder, load_split(args.split), args.data, aspect, args.external)
        left_out = fit(subject, args.only or list(STEPS))
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    for lacking, names in left_out.items():
        if names:
            verb = "it needs" if len(names) == 1 else "they need"
            print(f"Left out, as {verb} {lacking}: {', '.join(names)}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
