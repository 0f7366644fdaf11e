import itertools
from collections.abc import Callable

import pytest

from tests.bench.__main__ import measure
from tests.bench.case import Case


def test_ratio_is_the_median_over_neighbouring_runs() -> None:
    now = 0.0

    def taking(durations: list[float]) -> Callable[[], None]:
        times = itertools.chain([99.0], durations)  # the first run warms up and does not count

        def run() -> None:
            nonlocal now
            now += next(times)

        return run

    case = Case(
        "fake", taking([3.0, 8.0, 30.0]), taking([1.0, 4.0, 10.0]), limit=1, repeats=3, before=taking([50.0] * 3)
    )
    result = measure(case, clock=lambda: now)
    assert result.ratio == pytest.approx(3)
    assert (result.subject, result.baseline) == pytest.approx((8, 4))
