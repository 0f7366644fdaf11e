"""What a part of the benchmark offers."""

from collections.abc import Callable
from dataclasses import dataclass


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
