import argparse
import json
import sys
from pathlib import Path

from tests.faults import __doc__ as about
from tests.faults import run
from tests.faults.models import mutated_serving_files
from tests.faults.writing import on_full_disk


def main() -> int:
    """Print a row a fault; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(about or "").partition("\n")[0])
    parser.add_argument("name", nargs="*", help="only these faults")
    parser.add_argument("--quick", action="store_true", help="only what takes seconds")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        task, *arguments = given.child
        TASKS[task](*arguments)
        return 0
    rows = run(not given.quick, given.name)
    for row in rows:
        print("; ".join(f"{name}: {value}" for name, value in row.items() if value is not None), flush=True)
    return min(1, sum(row["lost"] for row in rows))


def serving(folder: str, cuts: str, changes: str) -> None:
    print(json.dumps(vars(mutated_serving_files(Path(folder), int(cuts), int(changes), seed=11))))


def disk(point: str, models: str, images: str, limit: str = "") -> None:
    count = on_full_disk(Path(point), Path(models), Path(images), bool(limit))
    found = {"tried": count.tried, "refused": count.refused, "wrong": count.wrong}
    print(json.dumps({**found, "seconds": count.worst_seconds}))


TASKS = {"serving": serving, "disk": disk}

if __name__ == "__main__":
    sys.exit(main())
