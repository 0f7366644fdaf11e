"""Who is connected, how long without a word, and who makes room when all places are taken. Used by one thread only."""

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from dermlens.server.limits import LIMITS, Limits

PEER = "dermlens.peer"
"""Where an ASGI scope names the peer itself, whatever a proxy says of whom it speaks for."""


@dataclass(eq=False)
class Connection:
    """One connection; a page of a browser has one that stays open, others ask and are answered."""

    close: Callable[[], None]
    heard: float
    """when something was asked or said last, or an answer ended"""
    asking: int = 0
    """requests that are being answered"""
    asked_at: float = 0.0
    is_page: bool = False
    has_spoken: bool = False
    """of a page: whether it has said anything"""
    person: str = ""
    address: str = ""
    answered: Callable[[], bool] = field(default=lambda: False)
    """whether its session has an answered case"""

    def stranger(self) -> bool:
        """Return whether nobody knows it: not signed in, and without an answered case."""
        return not (self.person or self.answered())


class Connections:
    """All connections of a server, by what they are known by: their peer."""

    def __init__(self, limits: Limits = LIMITS, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._all: dict[Hashable, Connection] = {}
        """the longest silent first"""
        self.made_room = 0
        """connections that were closed because all places were taken"""

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, peer: Hashable) -> bool:
        return peer in self._all

    def enter(self, peer: Hashable, close: Callable[[], None]) -> None:
        """Note a new connection; where all places are taken, the one that matters least is closed, perhaps this one."""
        self._all.pop(peer, None)
        self._all[peer] = Connection(close, self._clock())
        if len(self._all) > self._limits.connections:
            self._make_room(self._all.items())

    def leave(self, peer: Hashable) -> None:
        """Forget a connection that has ended."""
        self._all.pop(peer, None)

    def ask(self, peer: Hashable) -> None:
        """Note that a request has come."""
        if found := self._all.get(peer):
            found.asking += 1
            found.asked_at = self._clock()

    def answer(self, peer: Hashable) -> None:
        """Note that a request was answered."""
        if found := self._all.get(peer):
            found.asking -= 1
            self._listen(peer, found)

    def open_page(self, peer: Hashable, person: str, address: str, answered: Callable[[], bool]) -> None:
        """Note that a connection has become that of a page, whose it is, and how to tell that its case is answered.

        Where that is one too many of this person or address, of strangers or of all, the one that matters least among
        them is closed, perhaps this one.
        """
        found = self._all.setdefault(peer, Connection(lambda: None, self._clock()))
        found.is_page, found.person, found.address, found.answered = True, person, address, answered
        self._listen(peer, found)
        most = self._limits
        strangers = int(most.sockets_total * (1 - most.reserve))
        for limit, among in (
            (most.sockets_person, lambda c: person and c.person == person),
            (most.sockets_address, lambda c: address and c.address == address),
            (strangers, lambda c: c.stranger()),
            (most.sockets_total, lambda c: True),
        ):
            pages = [(p, c) for p, c in self._all.items() if c.is_page and among(c)]
            if len(pages) > limit:
                self._make_room(pages)

    def hear(self, peer: Hashable) -> None:
        """Note that a page has said something."""
        if found := self._all.get(peer):
            found.has_spoken = True
            self._listen(peer, found)

    def drop(self, peer: Hashable) -> None:
        """Close a connection, if it is there."""
        if peer in self._all:
            self._close(peer)

    def sweep(self) -> int:
        """Close those that ask for nothing, and those that take too long to ask; returns how many."""
        now, most, closed = self._clock(), self._limits, 0
        for peer, c in list(self._all.items()):
            idle = not c.has_spoken if c.is_page else not c.asking
            if (idle and now - c.heard > most.silent_seconds) or (
                c.asking and not c.is_page and now - c.asked_at > most.body_seconds
            ):
                self._close(peer)
                closed += 1
        return closed

    def _listen(self, peer: Hashable, found: Connection) -> None:
        """Note that one is not silent now: it becomes the last of all."""
        found.heard = self._clock()
        self._all[peer] = self._all.pop(peer)

    def _make_room(self, among: Iterable[tuple[Hashable, Connection]]) -> None:
        """Close the one that matters least: that has never asked or is idle, then a stranger; the longest silent."""
        silent = (peer for peer, c in among if not c.is_page and not c.asking)  # the longest silent comes first
        peer = next(silent, None)
        if peer is None:
            peer, _ = min(among, key=lambda item: (_weight(item[1]), item[1].heard))
        self.made_room += 1
        self._close(peer)

    def _close(self, peer: Hashable) -> None:
        self._all.pop(peer).close()


def _weight(c: Connection) -> int:
    if not c.is_page:
        return 1 if c.asking else 0
    return 1 if c.stranger() else 3 if c.answered() else 2
