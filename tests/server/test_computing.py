"""Who has computed more than a fair part waits while others compute. The clock is the test's own."""

import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from dermlens.server.computing import ADVANCE, STRANGER, Computing
from dermlens.server.limits import Limits


class Clock:
    """Shows what it is set to; of the thread's computing time too."""

    def __init__(self) -> None:
        self.now = self.used = 0.0


def shared(clock: Clock) -> Computing:
    return Computing(replace(Limits(), computing_burst=4.0, computing_recent=5.0), lambda: clock.now)


def run(pages: Computing, clock: Clock, visitor: str, seconds: float, free: float = 0.0) -> None:
    with pages.of(visitor, lambda: clock.used):
        clock.used += seconds
        with pages.free(lambda: clock.used):
            clock.used += free


def test_who_has_used_up_its_part_waits_until_an_even_part_of_one_core_has_made_up_for_it() -> None:
    clock = Clock()
    pages = shared(clock)
    with pages.of("other"):
        for _ in range(2):
            assert pages.admit("greedy")
            run(pages, clock, "greedy", 3.0)
        assert not pages.admit("greedy"), "4 - 6 = -2 seconds are left"
        clock.now = 3.9
        assert not pages.admit("greedy"), "of two that share, each gets half a second a second"
        clock.now = 4.0
        assert pages.admit("greedy")
        assert pages.admit("other")


def test_who_is_alone_never_waits_however_long_its_pages_compute() -> None:
    clock = Clock()
    pages = shared(clock)
    for _ in range(5):
        assert pages.admit("alone")
        run(pages, clock, "alone", 12.0)
    with pages.of("other"):
        assert not pages.admit("alone")
    assert pages.admit("alone")


def test_what_the_models_take_is_free() -> None:
    clock = Clock()
    pages = shared(clock)
    with pages.of("other"):
        run(pages, clock, "batch", 3.0, free=100.0)
        assert pages.admit("batch")
        run(pages, clock, "batch", 1.5)
        assert not pages.admit("batch"), "what was free once is not taken off another time"


def test_pages_of_one_visitor_are_not_all_let_in_at_once() -> None:
    """As those of many people behind one proxy are, where no session has an answered case yet."""
    clock = Clock()
    pages = shared(clock)
    with pages.of("other"):
        admitted = 0
        while pages.admit("proxy"):
            admitted += 1
        assert admitted == 4 / ADVANCE + 1
        for _ in range(admitted):
            run(pages, clock, "proxy", 0.5)
        waited = 0.0
        while not pages.admit("proxy"):
            clock.now += 0.5
            waited += 0.5
        assert waited <= 2 * 4.0, "a debt is never more than what may be computed at once"


def test_an_advance_is_given_back_by_the_run_that_it_was_paid_for() -> None:
    clock = Clock()
    pages = shared(clock)
    with pages.of("other"):
        for _ in range(10):
            assert pages.admit("quick")
            run(pages, clock, "quick", 0.1)
        assert pages._left["quick"] == pytest.approx(4.0 - 1.0)


def test_one_whose_last_page_was_a_while_ago_does_not_share_any_more_and_all_is_forgotten_in_the_end() -> None:
    clock = Clock()
    pages = shared(clock)
    run(pages, clock, "gone", 0.1)
    run(pages, clock, "greedy", 6.0)
    clock.now = 2.0
    run(pages, clock, "greedy", 0.0)
    assert pages._left["greedy"] == pytest.approx(-1), "two share: -2 + 1 seconds are left"
    clock.now = 5.5
    run(pages, clock, "greedy", 3.0)
    assert pages._left["greedy"] == pytest.approx(-0.5), "it has the whole core now: -1 + 3.5 - 3"
    assert pages.admit("greedy")
    clock.now += 60.0
    assert pages.admit("other")
    clock.now += 60.0
    run(pages, clock, "last", 0.0)
    clock.now += 60.0
    with pages.of("last", lambda: 0.0):
        pass
    assert (dict(pages._running), dict(pages._advanced), list(pages._ran)) == ({}, {}, ["last"])
    assert pages._left == {"last": 4.0}


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_a_page_that_fails_is_charged_as_well(error: type[Exception] | None) -> None:
    clock = Clock()
    pages = shared(clock)
    with pages.of("other"):
        with suppress(RuntimeError), pages.of("greedy", lambda: clock.used):
            clock.used += 5.0
            if error:
                raise error
        assert not pages.admit("greedy")
        assert pages._running == {"other": 1}


def test_pages_of_one_visitor_in_several_threads_are_charged_together() -> None:
    clock = Clock()
    pages = shared(clock)
    inside, over = threading.Barrier(3), threading.Event()

    def page() -> None:
        values = iter([0.0, 3.0])
        with pages.of("greedy", lambda: next(values)):
            inside.wait(10)
            over.wait(10)

    threads = [threading.Thread(target=page) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    assert pages._running == {"greedy": 2}
    over.set()
    for thread in threads:
        thread.join(10)
    with pages.of("other"):
        assert not pages.admit("greedy")


def test_strangers_count_a_quarter_when_the_time_is_shared_out() -> None:
    clock = Clock()
    pages = shared(clock)
    strangers = [f"{STRANGER}{i}" for i in range(8)]
    for who in [*strangers, "known"]:
        run(pages, clock, who, 5.0)
    clock.now = 3.0
    assert pages.admit("known")
    assert pages._left["known"] == pytest.approx(-1 + 3.0 / 3 - ADVANCE), "eight of them count as two"
    assert pages._left[strangers[0]] == pytest.approx(-1 + 3.0 / 12)


def test_a_stranger_who_is_alone_has_the_whole_core() -> None:
    clock = Clock()
    pages = shared(clock)
    alone = f"{STRANGER}1"
    run(pages, clock, alone, 5.0)
    clock.now = 2.0
    run(pages, clock, alone, 0.0)
    assert pages._left[alone] == pytest.approx(1.0)


def test_what_was_computed_elsewhere_is_charged_too() -> None:
    clock = Clock()
    pages = shared(clock)
    with pages.of("other"):
        for _ in range(41):
            pages.charge("opens many", 0.1)
        assert not pages.admit("opens many")
