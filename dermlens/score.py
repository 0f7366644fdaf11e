"""Score a folder of images into an ISIC 2018 Task 3 submission file.

`python -m dermlens.score --model ID --input DIR --output out.csv [--class-mix equal] [--server URL]`

Each row holds a model's probabilities at the stated class mix, and its largest number is the call there. It is a run of
dermlens.cohort on this machine, whose parts lie in out.csv.parts/ until the file is written: stopped, it goes on with
the same command. With --server no model is needed here: a Dermlens server with an open API (docs/api.md) is sent the
images, with the access token in DERMLENS_API_TOKEN if it has sign-in; its answers lie in out.csv.answers meanwhile.

Exit status: 0 all images scored, 2 nothing done because of bad input, 3 some images could not be read (they and the
reasons are in out.errors.csv), 130 stopped by Ctrl-C. Images that do not look like dermoscopic ones are scored, as the
format wants a row for each, and listed in out.unlike.csv. Which to refer, and by which rules, is in out.referral.csv.
"""

import argparse
import os
import shutil
import sys
import time
from functools import partial
from pathlib import Path

from tqdm import tqdm

from dermlens.cohort import lock, manifest, part, results
from dermlens.cohort.exchange.export import Submission, beside, replacing, write_isic, write_left
from dermlens.cohort.run import RECORD, Settings, work_on
from dermlens.cohort.store import place
from dermlens.errors import DataError, DermlensError
from dermlens.evaluation.class_mix import AT, HAM10000
from dermlens.files.documents import shortened
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.interchange.isic import ROW_BYTES
from dermlens.interchange.remote import Asked, File, Server, answers
from dermlens.models import registry
from dermlens.models.registry import Entry
from dermlens.trust.fitted import read_fitted
from dermlens.wording import CALIBRATED, UNCALIBRATED, counted

SHARD_ROWS = 100
"""Images that are answered again at most, for each worker, if scoring is stopped."""


def score(
    entry: Entry, folder: Path, output: Path, stored_aspect: str = "as-is", class_mix: str = HAM10000
) -> tuple[int, int, int, str, bool]:
    """Score images and write the submission file; beside it which images to refer, unreadable files, unlike images.

    Args:
        entry: the model, as found by registry.find.
        folder: of the images.
        output: the submission file; replaced only when everything is scored.
        stored_aspect: as taken by ingest.read_image.
        class_mix: key of class_mix.AT, the mix at which the probabilities are written.

    Returns:
        How many images were scored, how many could not be read, how many do not look like dermoscopic ones to the
        model, what was passed over, and whether the probabilities are calibrated.

    Raises:
        DataError: two images have one id, the file cannot be written, or the folder of its parts holds other files.
            That its disk is full is known before the first image is scored.
        ModelError: the equal mix is wanted of a model without a calibration.
    """
    listed, source, found = manifest.list_images(str(folder), SHARD_ROWS)
    results.refuse_equal_stems(found.images)
    parts = place(output.with_name(f"{output.name}.parts"))
    _refuse_strangers(Path(parts.address), output.name)
    settings = Settings(str(folder), parts, class_mix, stored_aspect)
    room = sum(len(os.fsencode(results.stem(path))) + ROW_BYTES for path in found.images)
    made = not os.path.exists(parts.address)
    try:
        os.makedirs(parts.address, exist_ok=True)
        with replacing(output, room, beside=Path(parts.address)) as file:
            work_on(entry, settings, f"Scoring with {entry.id}", listed, source, found)
            left = write_isic(parts, results.complete(parts, time.time()), file)
    finally:
        if made and not results.present(parts):
            shutil.rmtree(parts.address, ignore_errors=True)
    write_left(folder, output, left)
    shutil.rmtree(parts.address)
    failed = len(left.unreadable)
    is_calibrated = read_fitted(entry.folder, entry.card).calibration is not None
    return len(found.images) - failed, failed, len(left.unlike), found.passed_over, is_calibrated


def _refuse_strangers(parts: Path, output: str) -> None:
    """Raise DataError if a folder, which is removed in the end, holds a file that no run into this output writes."""
    for name in sorted(os.listdir(parts)) if parts.is_dir() else ():
        ours = name in (RECORD, manifest.FILE, lock.FILE) or part.number_of(name) is not None
        if not ours and not name.startswith((f".{output}.", f".{manifest.FILE}.", f".{RECORD}.", ".part-")):
            raise DataError(
                f"{parts} holds {shortened(name)}, which is not of this command. The parts of {output} would lie in "
                "that folder until it is written, and be removed with it: move the folder away, or choose another "
                "--output."
            )


def score_by_server(
    server: Server, model_id: str, folder: Path, output: Path, stored_aspect: str = "as-is", class_mix: str = HAM10000
) -> tuple[int, int, int, str, bool]:
    """Do what `score` does with the answers of a server; returns the same.

    Raises:
        DataError: as `score`, or the server cannot be reached or refuses. ModelError: the model cannot be asked there.
    """
    listed, _, found = manifest.list_images(str(folder), SHARD_ROWS)
    results.refuse_equal_stems(found.images)
    asked = Asked(server.address, model_id, server.identity(model_id), stored_aspect, class_mix, listed.paths_sha256())
    files = [
        File(os.fsdecode(path), size, at) for _, path, size, at in zip(*listed.table.to_pydict().values(), strict=True)
    ]
    kept = output.with_name(f"{output.name}.answers")
    calibrated = False
    with replacing(output, sum(len(os.fsencode(results.stem(file.path))) + ROW_BYTES for file in files)) as opened:
        submission = Submission(opened)
        said = answers(server, asked, folder, files, kept)
        for file, one in zip(files, tqdm(said, f"Scoring with {model_id}", len(files), unit="image"), strict=True):
            submission.add(file.path, one.unreadable, one.probabilities, one.refused, one.refer, one.rules)
            calibrated = calibrated or bool(one.calibrated)
    left = submission.left
    write_left(folder, output, left)
    kept.unlink()
    failed = len(left.unreadable)
    return len(files) - failed, failed, len(left.unlike), found.passed_over, calibrated


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
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    where.add_argument("--server", metavar="URL", help="have a server answer, such as http://localhost:8502")
    given = parser.parse_args(arguments)
    try:
        if given.output.is_dir() or not given.output.absolute().parent.is_dir():
            raise DataError(f"{given.output} cannot be written: it must be a file in a folder that exists.")
        if not given.input.is_dir():
            raise DataError(f"{given.input} is not a folder. Give --input a folder of images.")
        if given.server:
            server = Server(given.server, os.environ.get("DERMLENS_API_TOKEN", ""))
            ask = partial(score_by_server, server, given.model)
        else:
            ask = partial(score, registry.find(given.models_dir, given.model))
        told = ask(given.input, given.output, given.stored_aspect, given.class_mix)
    except (DermlensError, OSError) as e:
        print(f"Not scored: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. The same command goes on.", file=sys.stderr)
        return 130
    done, failed, unlike, passed_over, is_calibrated = told
    print(f"{counted(done, 'image')} scored into {given.output}; {passed_over} skipped.", file=sys.stderr)
    kind = f"a {CALIBRATED} {AT[given.class_mix]}" if is_calibrated else f"an {UNCALIBRATED}"
    print(f"Each number is {kind}.", file=sys.stderr)
    if beside(given.output, "referral").exists():
        print(f"Which images to refer, and by which rules: see {beside(given.output, 'referral')}.", file=sys.stderr)
    if unlike:
        what = f"Unlike dermoscopic images, so that their numbers mean nothing: {counted(unlike, 'image')}"
        print(f"{what}, see {beside(given.output, 'unlike')}.", file=sys.stderr)
    if failed:
        print(f"Not readable: {counted(failed, 'image')}, see {beside(given.output, 'errors')}.", file=sys.stderr)
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
