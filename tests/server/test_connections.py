"""Who makes room when all places are taken. The clock is the test's own."""

import pytest

from dermlens.server.connections import Connections
from dermlens.server.limits import Limits


class Server:
    """Connections of a small server, with a clock, and the names of those that were closed."""

    def __init__(self, **limits: float) -> None:
        self.now, self.closed = 0.0, list[str]()
        self.all = Connections(Limits(**limits), lambda: self.now)  # type: ignore[arg-type]

    def enter(self, *names: str) -> None:
        for name in names:
            self.now += 1
            self.all.enter(name, lambda name=name: self.closed.append(name))

    def page(self, name: str, person: str = "", address: str = "", answered: bool = False) -> None:
        self.enter(name)
        self.all.open_page(name, person, address, lambda: answered)
        self.all.hear(name)


def test_a_flood_of_connections_that_ask_for_nothing_pushes_out_itself_alone() -> None:
    server = Server(connections=5)
    server.page("a page")
    server.enter("upload")
    server.all.ask("upload")
    server.enter(*(f"silent {i}" for i in range(100)))
    assert server.closed == [f"silent {i}" for i in range(97)]
    assert len(server.all) == 5
    assert server.all.made_room == 97


def test_what_was_answered_since_is_not_the_longest_silent() -> None:
    server = Server(connections=3)
    server.enter("first", "second", "third")
    server.all.ask("first")
    server.now += 1
    server.all.answer("first")
    server.enter("fourth", "fifth")
    assert server.closed == ["second", "third"]
    server.enter("first")
    server.enter("sixth", "seventh")
    assert server.closed == ["second", "third", "fourth", "fifth"]


def test_of_pages_the_stranger_who_was_silent_longest_makes_room_and_who_has_a_case_never() -> None:
    server = Server(sockets_total=4, reserve=0.0)
    server.page("answered", answered=True)
    server.page("signed in", person="Ada")
    server.page("one")
    server.page("two")
    server.now += 1
    server.all.hear("one")
    server.page("three")
    assert server.closed == ["two"]
    server.page("four", answered=True)
    server.page("five", answered=True)
    assert server.closed == ["two", "one", "three"]
    server.page("six", answered=True)
    assert server.closed == ["two", "one", "three", "signed in"]
    server.page("stranger")
    assert server.closed[-1] == "stranger", "all others have an answered case"


def test_strangers_leave_the_reserve_free() -> None:
    server = Server(sockets_total=8, reserve=0.25)
    for i in range(7):
        server.page(f"{i}")
    assert server.closed == ["0"]


def test_a_person_and_an_address_have_limits_of_their_own() -> None:
    server = Server(sockets_person=2, sockets_address=3)
    for i in range(3):
        server.page(f"Ada {i}", person="Ada", address="10.0.0.1")
    assert server.closed == ["Ada 0"]
    server.page("Bob 0", person="Bob", address="10.0.0.1")
    server.page("Bob 1", person="Bob", address="10.0.0.1")
    assert server.closed == ["Ada 0", "Ada 1"]
    server.page("Eve", person="Eve", address="10.0.0.2")
    assert server.closed == ["Ada 0", "Ada 1"]


def test_what_says_nothing_is_closed_and_what_is_being_answered_or_has_spoken_is_not() -> None:
    server = Server(silent_seconds=10, body_seconds=100)
    server.enter("silent", "asks", "was answered")
    server.all.ask("asks")
    server.page("page")
    server.enter("page that says nothing")
    server.all.open_page("page that says nothing", "", "", lambda: False)
    server.now += 8
    server.all.ask("was answered")
    server.all.answer("was answered")
    server.now += 5
    assert server.all.sweep() == 2
    assert server.closed == ["silent", "page that says nothing"]
    server.now += 90
    server.all.sweep()
    assert server.closed == ["silent", "page that says nothing", "asks", "was answered"]
    server.all.leave("page")
    assert len(server.all) == 0


@pytest.mark.parametrize("name", ["hear", "ask", "answer", "leave", "drop"])
def test_what_is_said_of_a_connection_that_has_ended_changes_nothing(name: str) -> None:
    server = Server()
    getattr(server.all, name)("gone")
    assert len(server.all) == 0
