"""Measure speed as ratios: `python -m tests.bench [WORD]` runs the cases whose name holds WORD.

A case is timed against a baseline of its own, turn by turn in one run, so that a slow or busy machine slows both.
A module of PARTS offers `cases() -> Iterable[Case]`; what it prepares it prepares in there.
"""

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from tests.bench.case import Case

PARTS = ("answer", "cohort", "dashboard", "ingest", "record", "stability", "training")


@dataclass(frozen=True)
class Result:
    """Median seconds of both sides, and the median of the ratios of neighbouring runs."""

    subject: float
    baseline: float
    ratio: float


def measure(case: Case, clock: Callable[[], float] = time.perf_counter) -> Result:
    """Time both sides in turn, after one unmeasured run of each."""

    def seconds(run: Callable[[], object]) -> float:
        start = clock()
        run()
        return clock() - start

    def pair() -> tuple[float, float]:
        case.before()
        return seconds(case.subject), seconds(case.baseline)

    pair()
    pairs = [pair() for _ in range(case.repeats)]
    return Result(median(s for s, _ in pairs), median(b for _, b in pairs), median(s / b for s, b in pairs))


def main(word: str = "") -> int:
    """Print a line a case; return the number of cases over their limit."""
    over = 0
    for part in PARTS:
        for case in importlib.import_module(f"tests.bench.{part}").cases():
            if word not in case.name:
                continue
            result = measure(case)
            over += result.ratio > case.limit
            print(
                f"{case.name:<48} {1000 * result.subject:9.1f} ms / {1000 * result.baseline:9.1f} ms = "
                f"{result.ratio:5.2f}   limit {case.limit:.2f}   {'OVER' if result.ratio > case.limit else 'ok'}",
                flush=True,
            )
    return over


if __name__ == "__main__":
    sys.exit(min(1, main(*sys.argv[1:])))
