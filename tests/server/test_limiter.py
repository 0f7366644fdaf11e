"""Nothing here sleeps: a thread is known to wait because the line has told it so."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.errors import BusyError
from dermlens.server.limiter import Limiter
from dermlens.server.shares import Shares, Who

PATIENCE = 30.0  # seconds after which a test fails rather than hangs


class SessionClosed(BaseException):
    """As Streamlit's StopException, which is no Exception."""


class Person:
    """A thread that takes a turn, and keeps it until it is let go."""

    def __init__(self, line: Limiter, name: str, served: list[str], tell: Callable[[int], None] | None = None) -> None:
        self.told: list[int] = []
        self.waits, self.is_in, self.may_go = threading.Event(), threading.Event(), threading.Event()
        self.error: SessionClosed | None = None
        self._tell = tell
        self._thread = threading.Thread(target=self._run, args=(line, name, served), daemon=True)
        self._thread.start()

    def _run(self, line: Limiter, name: str, served: list[str]) -> None:
        try:
            with line.turn(self._hear, every=0.001):
                served.append(name)
                self.is_in.set()
                assert self.may_go.wait(PATIENCE)
        except SessionClosed as e:
            self.error = e

    def _hear(self, before: int) -> None:
        self.told.append(before)
        self.waits.set()
        if self._tell:
            self._tell(before)

    def end(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the thread hangs"


@contextmanager
def held(line: Limiter, turns: int = 1) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(turns):
            stack.enter_context(line.turn())
        yield


def test_who_came_first_is_served_first_and_told_how_many_are_before() -> None:
    line, served, people = Limiter(1, 10), [], []
    with held(line):
        for i in range(5):
            people.append(Person(line, str(i), served))
            assert people[-1].waits.wait(PATIENCE)
            assert people[-1].told[0] == i + 1
        assert line.length() == (1, 5)
    for person in people:
        assert person.is_in.wait(PATIENCE)
        assert line.length()[0] == 1
        person.may_go.set()
        person.end()
        assert person.told == sorted(person.told, reverse=True), "nobody is overtaken"
    assert served == ["0", "1", "2", "3", "4"]
    assert line.length() == (0, 0)


def test_beyond_the_limit_one_is_sent_away_at_once_and_can_come_again() -> None:
    line, served = Limiter(2, 1), []
    with held(line, 2):
        waiting = Person(line, "waits", served)
        assert waiting.waits.wait(PATIENCE)
        with pytest.raises(BusyError, match="one other is waiting"), line.turn():
            pytest.fail("the line is full")
        assert line.length() == (2, 1)
    assert waiting.is_in.wait(PATIENCE)
    with line.turn():
        assert line.length() == (2, 0)
    waiting.may_go.set()
    waiting.end()


def divide(by: int) -> float:
    return 1 / by


def test_an_error_inside_gives_the_turn_back() -> None:
    line = Limiter(1, 0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), line.turn():
            divide(line.length()[1])
    assert line.length() == (0, 0)


def test_who_leaves_while_waiting_gives_the_place_up_and_the_next_moves_on() -> None:
    line, served = Limiter(1, 5), []
    close, next_in_line = threading.Event(), threading.Event()

    def stop(before: int) -> None:
        if close.is_set():
            raise SessionClosed

    def hear(before: int) -> None:
        if before == 1:
            next_in_line.set()

    with held(line):
        leaves = Person(line, "leaves", served, stop)
        assert leaves.waits.wait(PATIENCE)
        stays = Person(line, "stays", served, hear)
        assert stays.waits.wait(PATIENCE)
        assert stays.told[0] == 2
        close.set()
        leaves.end()
        assert isinstance(leaves.error, SessionClosed)
        assert line.length() == (1, 1)
        assert next_in_line.wait(PATIENCE)
    assert stays.is_in.wait(PATIENCE)
    assert served == ["stays"]
    stays.may_go.set()
    stays.end()


def test_who_is_stopped_at_the_very_moment_of_being_let_in_gives_the_turn_back() -> None:
    line = Limiter(1, 1)
    first = line.turn()
    first.__enter__()

    def stop(before: int) -> None:
        first.__exit__(None, None, None)  # the place becomes a turn, and only then the session is closed
        raise SessionClosed

    with pytest.raises(SessionClosed), line.turn(stop):
        pytest.fail("was stopped")
    assert line.length() == (0, 0)
    with line.turn():
        pass


def test_many_threads_are_all_served_never_more_than_allowed_at_once() -> None:
    line, threads, rounds = Limiter(3, 40), 32, 25
    start = threading.Barrier(threads)
    lock = threading.Lock()
    now, most, done = 0, 0, 0

    def work() -> None:
        nonlocal now, most, done
        start.wait(PATIENCE)
        for _ in range(rounds):
            with line.turn():
                with lock:
                    now += 1
                    most = max(most, now)
                with lock:
                    now -= 1
                    done += 1

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work) for _ in range(threads)]:
            future.result(PATIENCE)
    assert done == threads * rounds
    assert most <= 3
    assert line.length() == (0, 0)


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(0, 3), st.lists(st.sampled_from(["come", "go", "leave"]), max_size=20))
def test_whatever_the_order_the_limits_hold_and_no_turn_is_lost(at_once: int, waiting: int, events: list[str]) -> None:
    line = Limiter(at_once, waiting)
    inside, queue = [], []
    for event in events:
        if event == "come" and len(inside) + len(queue) < at_once + waiting:
            place = line._join()
            (inside if place.admitted.is_set() else queue).append(place)
        elif event == "come":
            with pytest.raises(BusyError):
                line._join()
        elif event == "go" and inside:
            line._leave(inside.pop(0))
            if queue:
                inside.append(queue.pop(0))
        elif event == "leave" and queue:
            line._leave(queue.pop())
        assert line.length() == (len(inside), len(queue))
        assert all(p.admitted.is_set() for p in inside)
        assert not any(p.admitted.is_set() for p in queue)
        assert [line._before(p) for p in queue] == [len(inside) + i for i in range(len(queue))]


def test_who_has_used_much_waits_for_who_has_used_little_and_among_equals_the_first_to_come_is_first() -> None:
    now = [0.0]
    line = Limiter(1, 10, clock=lambda: now[0])
    greedy, modest, newcomer = Who("greedy"), Who("modest"), Who("newcomer")

    def serve(who: Who, seconds: float) -> None:
        place = line._join(who)
        assert place.admitted.is_set()
        now[0] += seconds
        blocker = line._join(Who("blocker"))  # so that the line is never empty and nothing is forgotten
        line._leave(place)
        line._leave(blocker)

    first = line._join(Who("first"))
    waiting = [line._join(greedy), line._join(greedy), line._join(modest)]
    now[0] += 1.0
    line._leave(first)  # greedy is served, for 10 s
    now[0] += 10.0
    last = line._join(newcomer)
    again = line._join(greedy)
    line._leave(waiting[0])
    order = []
    names = {id(waiting[1]): "greedy joined early", id(waiting[2]): "modest", id(last): "newcomer", id(again): "again"}
    while line._in:
        order.append(names[id(line._in[0])])
        line._leave(line._in[0])
    assert order == ["greedy joined early", "modest", "newcomer", "again"], "turns taken together count as one"
    serve(greedy, 1.0)


def test_a_visitor_with_slow_images_gets_no_more_time_than_each_of_those_with_quick_ones() -> None:
    now = [0.0]
    line = Limiter(1, 20, clock=lambda: now[0])
    cost = {"slow": 10.0, **{f"quick {i}": 1.0 for i in range(9)}}
    used = dict.fromkeys(cost, 0.0)
    for name in cost:
        line._join(Who(name))
    for _ in range(1000):
        place = line._in[0]
        assert place.payer
        name = place.payer.name
        now[0] += cost[name]
        used[name] += cost[name]
        line._leave(place)
        line._join(Who(name))  # it comes again at once
    assert max(used.values()) <= min(used.values()) + 2 * cost["slow"]


def test_sixteen_sessions_of_one_address_get_four_times_what_one_of_another_gets() -> None:
    now = [0.0]
    line = Limiter(1, 40, clock=lambda: now[0])
    visitors = {f"many {i}": Who(f"many {i}", peer="192.0.2.1") for i in range(16)}
    visitors |= {f"one {i}": Who(f"one {i}", peer=f"198.51.100.{i}") for i in range(4)}
    used = dict.fromkeys(visitors, 0)
    for who in visitors.values():
        line._join(who)
    for _ in range(8000):
        place = line._in[0]
        assert place.payer
        now[0] += 1.0
        used[place.payer.name] += 1
        line._leave(place)
        line._join(visitors[place.payer.name])
    assert sum(n for name, n in used.items() if name.startswith("many")) == pytest.approx(4000, rel=0.03)
    assert [n for name, n in used.items() if name.startswith("one")] == [pytest.approx(1000, rel=0.03)] * 4


def test_places_in_the_line_are_shared_and_given_back() -> None:
    shares = Shares(total=10, session=2, person=3, address=10)
    line = Limiter(1, 10, shares)
    who = Who("a", "Ada")
    with line.turn(who=who):
        line._join(who)
        with pytest.raises(BusyError, match="You have 2 images in the line already"), line.turn(who=who):
            pytest.fail("has its share")
        line._join(Who("b", "Ada"))
        with pytest.raises(BusyError, match="in the line already"), line.turn(who=Who("c", "Ada")):
            pytest.fail("the person has her share")
    assert shares.held("a") == 1


def test_what_is_in_no_hurry_gives_way_while_anybody_has_a_turn_and_not_for_ever() -> None:
    line, served = Limiter(at_once=1, waiting=1), list[str]()
    line.give_way(PATIENCE)  # nobody is there
    first = Person(line, "first", served)
    assert first.is_in.wait(PATIENCE)
    second = Person(line, "second", served)
    line.give_way(0.001)  # it goes on, although both are there still
    gone_on = threading.Event()

    def go_on() -> None:
        line.give_way(PATIENCE)
        gone_on.set()

    threading.Thread(target=go_on, daemon=True).start()
    first.may_go.set()
    assert second.is_in.wait(PATIENCE)
    assert not gone_on.is_set()
    second.may_go.set()
    assert gone_on.wait(PATIENCE)
