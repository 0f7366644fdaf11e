"""Measure speed as ratios: `python -m tests.bench [WORD]` runs the cases of tests/bench_*.py whose name holds WORD.

A case is timed against a baseline of its own, turn by turn in one run, so that a slow or busy machine slows both.
A module bench_*.py offers `cases() -> Iterable[Case]`; what it prepares it prepares in there.
"""

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Case:
    """What is timed, what it is compared with, and how many times as long it may take."""

    name: str
    subject: Callable[[], object]
    baseline: Callable[[], object]
    limit: float
    repeats: int = 15
    before: Callable[[], object] = lambda: None
    """Makes ready for the subject; not timed."""


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
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        for case in importlib.import_module(f"tests.{path.stem}").cases():
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
