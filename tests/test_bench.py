import itertools
from collections.abc import Callable

import pytest

from tests.bench import dashboard, engines
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


def test_each_processor_has_one_table_of_engines() -> None:
    empty = f"Before.\n\n{engines.START}\n{engines.END}\n\nAfter.\n"
    one = engines.written(empty, "A 1", ["| old |", "| a |"])
    assert (
        one == f"Before.\n\n{engines.START}\n\n<!-- measured on: A 1 -->\n\n| old |\n| a |\n\n{engines.END}\n\nAfter.\n"
    )
    both = engines.written(one, "B (2) \\1", ["| b |"])
    assert both.count("| a |") == both.count("| b |") == 1
    again = engines.written(both, "A 1", ["| new |"])
    assert "| old |" not in again
    assert again.index("| new |") < again.index("| b |")
    assert engines.written(again, "B (2) \\1", ["| b |"]) == again
    assert again.startswith("Before.\n")
    assert again.endswith("After.\n")


def test_a_case_that_needs_a_browser_says_that_it_was_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboard, "chromium_path", lambda: None)
    assert list(dashboard._in_the_browser(b"")) == []
    assert "left out, there is no Chromium" in capsys.readouterr().out
