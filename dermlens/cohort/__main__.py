"""Answer many images: `python -m dermlens.cohort run|status|export|record`.

    python -m dermlens.cohort run --model ID --input DIR --output DIR
    python -m dermlens.cohort status DIR
    python -m dermlens.cohort export DIR --to rows.parquet
    python -m dermlens.cohort record DIR --cases cases.csv

A run that was stopped goes on with the same command. Exit status: 0 done, 2 not done, 3 done but for images that could
not be read, each of which is a row with its reason, 130 stopped by Ctrl-C.
"""

import argparse
import math
import sys
import time
from pathlib import Path

from dermlens.cohort import results
from dermlens.cohort.exchange.export import FORMATS, write_list
from dermlens.cohort.part import JUDGED
from dermlens.cohort.results import Status
from dermlens.cohort.run import Settings, run
from dermlens.cohort.store import Place, place
from dermlens.errors import DermlensError
from dermlens.evaluation.class_mix import AT, HAM10000
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.models import registry
from dermlens.record import settings
from dermlens.wording import counted, duration

MOST_TOLD = 20
"""Images without an answer that are named."""


def summary(found: Status) -> str:
    """Return what is known of a run, a line each."""
    counts = {name: f"{number:,}" for name, number in found.counts.items()}
    counts |= {name: "not judged" for name, judged in JUDGED.items() if not found.counts[judged]}
    lines = [
        f"{found.record.get('model')}: {found.state}, {found.done:,} of {counted(found.rows, 'image')} "
        f"in {len(found.parts):,} of {counted(found.shards, 'shard')}",
        f"not readable: {counts['unreadable']}; unlike dermoscopic images: {counts['refused']}; "
        f"referred: {counts['referred']}; poor pictures: {counts['poor']}",
    ]
    if not math.isnan(found.rate):
        left = "" if found.finished else f", about {duration(found.seconds_left)} left"
        lines.append(f"{found.rate:.1f} images a second{left}")
    return "\n".join(lines)


def keep(output: Place, group: str, cases: Path | None, models_dir: Path) -> None:
    """Keep the answers of a finished cohort as cases of the record, and say what became of them."""
    settings.need_packages()
    from dermlens.cohort.exchange import into_record
    from dermlens.record.open import open_record
    from dermlens.record.people import Who

    record, new, there, lines = open_record(settings.read()), 0, 0, []
    cohort = into_record.opened(output, models_dir, time.time())
    for kept in into_record.keep(record, Who("command", "admin", (group,)), cohort):
        new, there = new + kept.new, there + (not kept.new)
        if cases:
            lines.append((kept.lesion_id, kept.name))
    if cases:
        write_list(cases, ("case", "image"), lines)
    left = into_record.unreadable(cohort)
    for path, why in left[:MOST_TOLD]:
        print(f"{path}: {why}", file=sys.stderr)
    if len(left) > MOST_TOLD:
        print(f"and {len(left) - MOST_TOLD:,} more.", file=sys.stderr)
    print(f"New cases: {new:,}; kept before: {there:,}; left out, as they could not be read: {len(left):,}.")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dermlens.cohort", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    begin = commands.add_parser("run", help="answer every image; goes on where it was stopped")
    begin.add_argument("--model", required=True, metavar="ID", help="name of a folder in models/")
    begin.add_argument("--input", required=True, help="folder, address (s3://, gs://), or list (.txt, .parquet)")
    begin.add_argument("--output", required=True, help="folder or address for the parts")
    begin.add_argument("--ray", default="", metavar="ADDRESS", help="a Ray cluster, or 'local'")
    begin.add_argument("--workers", type=int, metavar="N", help="processes, one a core by default")
    begin.add_argument("--class-mix", choices=list(AT), default=HAM10000, help="default: %(default)s")
    begin.add_argument("--stored-aspect", choices=sorted(STORED_ASPECTS), default="as-is", help="default: %(default)s")
    begin.add_argument("--maps", action="store_true", help="keep the heat map of each call")
    begin.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    look = commands.add_parser("status", help="say how far a run is")
    look.add_argument("output", help="folder or address of the parts")
    out = commands.add_parser("export", help="write all rows as one file")
    out.add_argument("output", help="folder or address of the parts")
    out.add_argument("--to", required=True, type=Path, metavar="FILE")
    out.add_argument("--format", choices=list(FORMATS), help="default: parquet for .parquet, else csv")
    into = commands.add_parser("record", help="keep all answers as cases of the record that DERMLENS_DATABASE names")
    into.add_argument("output", help="folder or address of the parts")
    into.add_argument("--group", default="local", help="whose cases (default: local, of those who do not sign in)")
    into.add_argument("--cases", type=Path, metavar="FILE", help="write which image is which case, as CSV")
    into.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    given = parser.parse_args(arguments)
    if given.command == "run" and given.workers is not None and given.workers < 1:
        parser.error("--workers must be 1 or more")
    try:
        output = place(given.output)
        if given.command == "run":
            chosen = Settings(
                given.input, output, given.class_mix, given.stored_aspect, given.maps, given.workers, given.ray
            )
            entry = registry.find(given.models_dir, given.model)
            found = run(entry, chosen, f"Answering with {entry.id}")
            print(f"Passed over: {found.passed_over}.", file=sys.stderr)
        elif given.command == "export":
            kind = given.format or ("parquet" if given.to.suffix == ".parquet" else "csv")
            FORMATS[kind](output, results.complete(output, time.time()), given.to)
        elif given.command == "record":
            keep(output, given.group, given.cases, given.models_dir)
        status = results.status(output, time.time())
    except (DermlensError, OSError) as e:
        print(f"Not done: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. The same command goes on.", file=sys.stderr)
        return 130
    print(summary(status))
    return 3 if given.command == "run" and status.counts["unreadable"] else 0


if __name__ == "__main__":
    sys.exit(main())
