"""Score a folder of images into an ISIC 2018 Task 3 submission file.

`python -m dermlens.score --model ID --input DIR --output out.csv [--class-mix equal]`

Each row holds a model's probabilities at the stated class mix, and its largest number is the call there.

Exit status: 0 all images scored, 2 nothing done because of bad input, 3 some images could not be read (they and the
reasons are in out.errors.csv). Images that do not look like dermoscopic ones are scored, as the format wants a row
for each, and listed in out.unlike.csv.
"""

import argparse
import contextlib
import csv
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
from tqdm import tqdm

from dermlens.case.decision import decide
from dermlens.case.opinion import form
from dermlens.case.predict import predict
from dermlens.case.summary import quantity
from dermlens.errors import DataError, DermlensError, ImageError, ModelError
from dermlens.evaluation.class_mix import AT, EQUAL, EVEN, HAM10000, reweight
from dermlens.files.documents import unwritable
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.ingest.formats import IMAGE_SUFFIXES
from dermlens.ingest.read import read_file
from dermlens.labels import INDEX
from dermlens.models import registry
from dermlens.models.model import AnyModel, Ensemble
from dermlens.wording import counted

ROW_BYTES = 80
"""Bytes of a row of the submission file beside the id of the image, at most."""
ISIC_COLUMNS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def find_images(folder: Path) -> tuple[list[Path], int]:
    """Find the images in a folder and all folders below it.

    Returns:
        The paths with an image suffix, in order of their names, and how many other or hidden files were skipped.

    Raises:
        DataError: the folder is missing, cannot be listed, holds no image, or two images have the same id.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give --input a folder of images.")
    files = sorted(_walk(folder))
    images = [f for f in files if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith(".")]
    if not images:
        raise DataError(f"{folder} holds no image: none of its {len(files)} files has an image suffix.")
    counts = Counter(f.stem for f in images)
    doubles = [f for f in images if counts[f.stem] > 1]
    if doubles:
        shown = ", ".join(str(f.relative_to(folder)) for f in sorted(doubles, key=lambda f: (f.stem, f))[:6])
        ids = sum(n > 1 for n in counts.values())
        raise DataError(
            f"{ids} image ids occur more than once ({shown}). Ids are file names without suffix: rename them."
        )
    return images, len(files) - len(images)


def score(
    model: AnyModel,
    images: Sequence[Path],
    output: Path,
    stored_aspect: str = "as-is",
    class_mix: str = HAM10000,
) -> tuple[int, int]:
    """Score images and write the submission file; beside it which images to refer, unreadable files, unlike images.

    Args:
        model: as loaded by registry.load_any.
        images: as found by `find_images`.
        output: the submission file; replaced only when everything is scored.
        stored_aspect: as taken by ingest.read_image.
        class_mix: key of class_mix.AT, the mix at which the probabilities are written.

    Returns:
        How many images could not be read, and how many do not look like dermoscopic ones to the model.

    Raises:
        DataError: the file cannot be written. That its disk is full is known before the first image is scored.
        ModelError: the equal mix is wanted of a model without a calibration.
    """
    calibration = model.fitted.calibration
    if class_mix == EQUAL and calibration is None:
        said = model.fitted.missing_sentence("calibration")
        raise ModelError(f"{model.id} is not calibrated, so it cannot be re-weighted for another class mix. {said}")
    errors, unlike, referrals = [], [], []
    members = model.members if isinstance(model, Ensemble) else ()
    room = sum(len(os.fsencode(path.stem)) + ROW_BYTES for path in images)
    with replacing(output, room) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("image", *ISIC_COLUMNS))
        for path in tqdm(images, unit="image", desc=f"Scoring with {model.id}"):
            try:
                pixels = read_file(path, stored_aspect=stored_aspect).pixels
            except ImageError as e:
                errors.append((str(path), str(e)))
                continue
            answers = {member.id: predict(member, pixels) for member in members}
            answer = answers[model.id] = predict(model, pixels, answers)
            opinion = form([model], answers)
            if opinion.refused:
                unlike.append((str(path),))
            decision = decide(opinion)
            if decision is not None:
                fired = ";".join(rule for rule, fires in decision.fired.items() if fires)
                referrals.append((path.stem, int(decision.refer), fired))
            probabilities = answer.probabilities
            if class_mix == EQUAL and calibration is not None:
                probabilities = reweight(probabilities, np.array(calibration.class_mix), EVEN)
            table.writerow((path.stem, *(f"{probabilities[INDEX[c.lower()]]:.8f}" for c in ISIC_COLUMNS)))
    for place, head, rows in (
        (beside(output, "errors"), ("file", "reason"), errors),
        (beside(output, "unlike"), ("file",), unlike),
        (beside(output, "referral"), ("image", "refer", "rules"), referrals),
    ):
        if rows:
            with replacing(place) as file:
                csv.writer(file, lineterminator="\n").writerows([head, *rows])
        else:
            place.unlink(missing_ok=True)
    return len(errors), len(unlike)


def beside(output: Path, what: str) -> Path:
    """Return where a list that belongs to a submission file is: such as out.errors.csv for out.csv."""
    return output.with_name(f"{output.stem}.{what}.csv")


@contextlib.contextmanager
def replacing(path: Path, room: int = 0) -> Iterator[TextIO]:
    """Give a file that takes the place of `path` once it is written; if anything fails, what was there stays.

    Args:
        path: the file to replace.
        room: bytes that are taken on the disk at once, so that a full one is met before hours of work, not after them.

    Raises:
        DataError: it cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            # File names that are not valid text are written back as the bytes they are.
            with os.fdopen(handle, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                if room and hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(handle, 0, room)
                yield file
                file.truncate()
            os.chmod(name, 0o644)
            os.replace(name, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    except OSError as e:
        raise DataError(unwritable(path, e)) from e


def _walk(folder: Path) -> Iterable[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed: {error.strerror}.") from error

    for parent, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in names)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dermlens.score", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, metavar="ID", help="name of a folder in models/")
    parser.add_argument("--input", required=True, type=Path, metavar="DIR", help="folder of images, with those below")
    parser.add_argument("--output", required=True, type=Path, metavar="CSV", help="submission file to write")
    parser.add_argument(
        "--stored-aspect",
        choices=sorted(STORED_ASPECTS),
        default="as-is",
        help="width:height that the pictures had before they were squeezed (default: %(default)s)",
    )
    parser.add_argument(
        "--class-mix",
        choices=list(AT),
        default=HAM10000,
        help="how frequent the diagnoses are taken to be: as in HAM10000, which accuracy asks about, or all the same, "
        "which balanced accuracy does (default: %(default)s)",
    )
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    given = parser.parse_args(arguments)
    try:
        if given.output.is_dir() or not given.output.absolute().parent.is_dir():
            raise DataError(f"{given.output} cannot be written: it must be a file in a folder that exists.")
        images, skipped = find_images(given.input)
        model = registry.load_any(registry.find(given.models_dir, given.model))
        failed, unlike = score(model, images, given.output, given.stored_aspect, given.class_mix)
    except (DermlensError, OSError) as e:
        print(f"Not scored: {e}", file=sys.stderr)
        return 2
    is_calibrated = model.fitted.calibration is not None
    what = quantity({model.name: is_calibrated})
    done = counted(len(images) - failed, "image")
    print(f"{done} scored into {given.output}; {counted(skipped, 'other file')} skipped.", file=sys.stderr)
    at = f" {AT[given.class_mix]}" if is_calibrated else ""
    print(f"Each number is {'a' if is_calibrated else 'an'} {what}{at}.", file=sys.stderr)
    if model.fitted.referral is not None:
        print(f"Which images to refer, and by which rules: see {beside(given.output, 'referral')}.", file=sys.stderr)
    if unlike:
        told = f"Unlike dermoscopic images, so that their numbers mean nothing: {counted(unlike, 'image')}"
        print(f"{told}, see {beside(given.output, 'unlike')}.", file=sys.stderr)
    if failed:
        print(f"Not readable: {counted(failed, 'image')}, see {beside(given.output, 'errors')}.", file=sys.stderr)
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
