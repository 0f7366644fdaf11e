"""Who has computed more than a fair part waits while others compute. The clock is the test's own."""

import threading
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from dermlens.server.computing import ADVANCE, Computing
from dermlens.server.limits import Limits
from dermlens.server.shares import STRANGER, Payer


class Clock:
    """Shows what it is set to; of the thread's computing time too."""

    def __init__(self) -> None:
        self.now = self.used = 0.0


def shared(clock: Clock) -> Computing:
    return Computing(replace(Limits(), computing_burst=4.0, computing_recent=5.0), lambda: clock.now)


def run(pages: Computing, clock: Clock, visitor: Payer, seconds: float, free: float = 0.0) -> None:
    with pages.of(visitor, lambda: clock.used):
        clock.used += seconds
        with pages.free(lambda: clock.used):
            clock.used += free


def test_who_has_used_up_its_part_waits_until_an_even_part_of_one_core_has_made_up_for_it() -> None:
    clock = Clock()
    pages = shared(clock)
    with pages.of(Payer("other")):
        for _ in range(2):
            assert pages.admit(Payer("greedy"))
            run(pages, clock, Payer("greedy"), 3.0)
        assert not pages.admit(Payer("greedy")), "4 - 6 = -2 seconds are left"
        clock.now = 3.9
        assert not pages.admit(Payer("greedy")), "of two that share, each gets half a second a second"
        clock.now = 4.0
        assert pages.admit(Payer("greedy"))
        assert pages.admit(Payer("other"))


def test_who_is_alone_never_waits_however_long_its_pages_compute() -> None:
    clock = Clock()
    pages = shared(clock)
    for _ in range(5):
        assert pages.admit(Payer("alone"))
        run(pages, clock, Payer("alone"), 12.0)
    with pages.of(Payer("other")):
        assert not pages.admit(Payer("alone"))
    assert pages.admit(Payer("alone"))


def test_what_the_models_take_is_free() -> None:
    clock = Clock()
    pages = shared(clock)
    with pages.of(Payer("other")):
        run(pages, clock, Payer("batch"), 3.0, free=100.0)
        assert pages.admit(Payer("batch"))
        run(pages, clock, Payer("batch"), 1.5)
        assert not pages.admit(Payer("batch")), "what was free once is not taken off another time"


def test_pages_of_one_visitor_are_not_all_let_in_at_once() -> None:
    """As those of many people behind one proxy are, where no session has an answered case yet."""
    clock = Clock()
    pages = shared(clock)
    with pages.of(Payer("other")):
        admitted = 0
        while pages.admit(Payer("proxy")):
            admitted += 1
        assert admitted == 4 / ADVANCE + 1
        for _ in range(admitted):
            run(pages, clock, Payer("proxy"), 0.5)
        waited = 0.0
        while not pages.admit(Payer("proxy")):
            clock.now += 0.5
            waited += 0.5
        assert waited <= 2 * 4.0, "a debt is never more than what may be computed at once"


def test_an_advance_is_given_back_by_the_run_that_it_was_paid_for() -> None:
    clock = Clock()
    pages = shared(clock)
    with pages.of(Payer("other")):
        for _ in range(10):
            assert pages.admit(Payer("quick"))
            run(pages, clock, Payer("quick"), 0.1)
        assert pages._left[Payer("quick")] == pytest.approx(4.0 - 1.0)


def test_one_whose_last_page_was_a_while_ago_does_not_share_any_more_and_all_is_forgotten_in_the_end() -> None:
    clock = Clock()
    pages = shared(clock)
    run(pages, clock, Payer("gone"), 0.1)
    run(pages, clock, Payer("greedy"), 6.0)
    clock.now = 2.0
    run(pages, clock, Payer("greedy"), 0.0)
    assert pages._left[Payer("greedy")] == pytest.approx(-1), "two share: -2 + 1 seconds are left"
    clock.now = 5.5
    run(pages, clock, Payer("greedy"), 3.0)
    assert pages._left[Payer("greedy")] == pytest.approx(-0.5), "it has the whole core now: -1 + 3.5 - 3"
    assert pages.admit(Payer("greedy"))
    clock.now += 60.0
    assert pages.admit(Payer("other"))
    clock.now += 60.0
    run(pages, clock, Payer("last"), 0.0)
    clock.now += 60.0
    with pages.of(Payer("last"), lambda: 0.0):
        pass
    assert (dict(pages._running), dict(pages._advanced), list(pages._seen)) == ({}, {}, [Payer("last")])
    assert pages._left == {Payer("last"): 4.0}


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_a_page_that_fails_is_charged_as_well(error: type[Exception] | None) -> None:
    clock = Clock()
    pages = shared(clock)
    with pages.of(Payer("other")):
        with suppress(RuntimeError), pages.of(Payer("greedy"), lambda: clock.used):
            clock.used += 5.0
            if error:
                raise error
        assert not pages.admit(Payer("greedy"))
        assert pages._running == {Payer("other"): 1}


def test_pages_of_one_visitor_in_several_threads_are_charged_together() -> None:
    clock = Clock()
    pages = shared(clock)
    inside, over = threading.Barrier(3), threading.Event()

    def page() -> None:
        values = iter([0.0, 3.0])
        with pages.of(Payer("greedy"), lambda: next(values)):
            inside.wait(10)
            over.wait(10)

    threads = [threading.Thread(target=page) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    assert pages._running == {Payer("greedy"): 2}
    over.set()
    for thread in threads:
        thread.join(10)
    with pages.of(Payer("other")):
        assert not pages.admit(Payer("greedy"))


def test_strangers_count_a_quarter_when_the_time_is_shared_out() -> None:
    clock = Clock()
    pages = shared(clock)
    strangers = [Payer(str(i), counts=STRANGER) for i in range(8)]
    for who in [*strangers, Payer("known")]:
        run(pages, clock, who, 5.0)
    clock.now = 3.0
    assert pages.admit(Payer("known"))
    assert pages._left[Payer("known")] == pytest.approx(-1 + 3.0 / 3 - ADVANCE), "eight of them count as two"
    assert pages._left[strangers[0]] == pytest.approx(1 - 5 + 3.0 / 12)


def test_four_sessions_of_one_address_count_as_two() -> None:
    clock = Clock()
    pages = shared(clock)
    many = [Payer(f"session {i}", "192.0.2.1") for i in range(4)]
    for who in [*many, Payer("elsewhere", "198.51.100.1"), Payer("signed in")]:
        run(pages, clock, who, 6.0)
    clock.now = 4.0
    pages.charge(Payer("elsewhere", "198.51.100.1"), 0.0)
    assert pages._left[Payer("elsewhere", "198.51.100.1")] == pytest.approx(-2 + 4.0 / 4)
    assert pages._left[Payer("signed in")] == pytest.approx(-2 + 4.0 / 4)
    assert pages._left[many[0]] == pytest.approx(-2 + 4.0 / 8), "each of the four a half"


def test_twenty_five_sessions_of_one_address_count_as_five_for_as_long_as_they_come() -> None:
    """All draw one page after the other, those who are let in at once with an even part of one core. Most wait for
    longer than one counts who has gone, and a page may compute more than one of them may owe for many.
    """
    clock, rng = Clock(), np.random.default_rng(0)
    pages = shared(clock)
    many = [Payer(f"session {i}", "192.0.2.1") for i in range(25)]
    others = [Payer(f"elsewhere {i}", f"198.51.100.{i}") for i in range(4)]
    running: dict[Payer, tuple[AbstractContextManager[None], float]] = {}
    used: dict[Payer, float] = dict.fromkeys([*many, *others], 0.0)
    before = 0.0
    while clock.now < 500.0:
        for who in used:
            if who not in running and pages.admit(who):
                running[who] = pages.of(who, partial(used.__getitem__, who)), used[who] + rng.uniform(0.1, 2.0)
                running[who][0].__enter__()
        clock.now += 0.5
        part = 0.5 / len(running)
        for who, (page, until) in list(running.items()):
            used[who] += part
            if used[who] >= until:
                page.__exit__(None, None, None)
                del running[who]
        if clock.now == 200.0:
            before = sum(used[who] for who in many)
    assert sum(used.values()) == pytest.approx(500.0)
    assert (sum(used[who] for who in many) - before) / 300.0 == pytest.approx(5 / 9, abs=0.04)


def test_a_debt_is_not_less_when_others_come_from_the_same_address() -> None:
    clock = Clock()
    pages = shared(clock)
    first, *others = [Payer(f"session {i}", "192.0.2.1") for i in range(16)]
    run(pages, clock, first, 6.0)
    assert pages._left[first] == -2.0
    for who in others:
        run(pages, clock, who, 0.0)
    run(pages, clock, first, 0.1)
    assert pages._left[first] == -2.0, "of many small pages, 4 / 4 seconds are the most that it can come to owe now"
    run(pages, clock, first, 0.1)
    assert pages._left[first] == -2.0


def test_a_page_is_owed_whole_however_little_its_visitor_may_compute_at_once() -> None:
    """Else pages that compute for long would be cheaper than short ones, for many sessions of one address."""
    clock = Clock()
    pages = shared(clock)
    many = [Payer(f"session {i}", "192.0.2.1") for i in range(64)]
    for who in many:
        run(pages, clock, who, 0.0)
    run(pages, clock, many[0], 0.5)
    assert pages.admit(many[0])
    run(pages, clock, many[0], 3.0)
    assert pages._left[many[0]] == -3.0
    run(pages, clock, many[1], 30.0)
    assert pages._left[many[1]] == -4.0, "but never more than one alone may compute at once"


def test_an_advance_that_the_bucket_has_made_up_for_is_not_given_back_again() -> None:
    clock = Clock()
    pages = shared(clock)
    assert pages.admit(Payer("quick"))
    with pages.of(Payer("quick"), lambda: clock.used):
        clock.now += 10.0
        clock.used += 3.0
    assert pages._left[Payer("quick")] == 1.0


def test_who_is_charged_elsewhere_counts_among_those_who_share() -> None:
    clock = Clock()
    pages = shared(clock)
    run(pages, clock, Payer("greedy"), 6.0)
    pages.charge(Payer("uploads"), 0.001)
    clock.now = 2.0
    run(pages, clock, Payer("greedy"), 0.0)
    assert pages._left[Payer("greedy")] == pytest.approx(-1.0)


def test_many_sessions_of_one_address_may_not_each_compute_as_much_at_once_as_one_alone() -> None:
    clock = Clock()
    pages = shared(clock)
    many = [Payer(f"session {i}", "192.0.2.1") for i in range(16)]
    for who in many:
        run(pages, clock, who, 0.0)
    for who in many:
        run(pages, clock, who, 0.9)
    with pages.of(Payer("other")):
        assert pages.admit(many[0]), "0.1 of 4 / 4 seconds are left"
        assert pages.is_behind(many[0]), "and the advance is more than that"
        assert not pages.is_behind(Payer("other"))
        pages.charge(Payer("stranger", counts=STRANGER), 1.1)
        assert pages.is_behind(Payer("stranger", counts=STRANGER))


def test_a_stranger_who_is_alone_has_the_whole_core() -> None:
    clock = Clock()
    pages = shared(clock)
    alone = Payer("1", counts=STRANGER)
    run(pages, clock, alone, 5.0)
    clock.now = 2.0
    run(pages, clock, alone, 0.0)
    assert pages._left[alone] == pytest.approx(1 - 5 + 2.0)


def test_what_was_computed_elsewhere_is_charged_too() -> None:
    clock = Clock()
    pages = shared(clock)
    with pages.of(Payer("other")):
        for _ in range(41):
            pages.charge(Payer("opens many"), 0.1)
        assert not pages.admit(Payer("opens many"))
