import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests.faults import __doc__ as about
from tests.faults import record, run
from tests.faults.kit import Count
from tests.faults.models import Mutants, mutated_serving_files
from tests.faults.writing import on_full_disk


def main() -> int:
    """Print a row a fault; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(about or "").partition("\n")[0])
    parser.add_argument("name", nargs="*", help="only these faults")
    parser.add_argument("--quick", action="store_true", help="only what takes seconds")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        task, *arguments = given.child
        print(json.dumps(vars(children()[task](*arguments))))
        return 0
    rows = run(not given.quick, given.name)
    for row in rows:
        print("; ".join(f"{name}: {value}" for name, value in row.items() if value is not None), flush=True)
    return min(1, sum(row["lost"] for row in rows))


def children() -> dict[str, Callable[..., Count | Mutants]]:
    """Return what a fault may have done in a process of its own."""
    found: dict[str, Callable[..., Count | Mutants]] = {
        "serving": lambda folder, cuts, changes: mutated_serving_files(Path(folder), int(cuts), int(changes), seed=11),
        "record-disk": lambda folder: record.on_full_disk(Path(folder)),
        "record-disk-postgresql": lambda folder: record.on_full_disk_of_postgresql(Path(folder)),
        "disk": lambda disk, models, images, limit="": on_full_disk(
            Path(disk), Path(models), Path(images), bool(limit)
        ),
    }
    if sys.argv[2] not in found:
        from tests.faults.training import CHILDREN

        found |= CHILDREN
    return found


if __name__ == "__main__":
    sys.exit(main())
