"""Who holds how much of what the server has: one visitor, one share. Knows no web framework.

Besides its own limit, nobody may hold more than what would still be free for the others: dynamic thresholds (Choudhury
and Hahne, IEEE/ACM Trans Networking 6:130, 1998). One greedy visitor gets at most half of what is not in reserve,
n of them get 1/(n + 1) each, and as much stays free for whoever comes next.
"""

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from dermlens.server.limits import LIMITS, Limits

LITTLE = 1 / 8
"""Share of a reserve that one session may hold and still use it: it is there for many."""
STRANGER = 1 / 4
"""What one counts who is known by nothing but an address, neither signed in nor with an answer, against one who is."""
Refusal = Literal["own", "all"]
"""Which limit is reached: the visitor's own, which is that of everybody where nobody else holds anything; or that of
everybody."""


class Payer(NamedTuple):
    """Who stands for all that one visitor does, where time is shared out."""

    name: str
    among: str = ""
    """the address of the connection, "" where it says nothing: n who come from one together count as √n"""
    counts: float = 1.0


def weights(payers: Iterable[Payer]) -> dict[Payer, float]:
    """Return what each of those who are there counts when time is shared out among them."""
    there = set(payers)
    beside = Counter(payer.among for payer in there if payer.among)
    return {payer: payer.counts / math.sqrt(beside[payer.among] or 1) for payer in there}


@dataclass(frozen=True)
class Who:
    """Whose share it is."""

    session: str
    person: str = ""
    """who signed in, "" if nobody did"""
    address: str = ""
    """as a trusted proxy gives it, "" if none does"""
    peer: str = ""
    """the address of the connection, "" where it may be that of many"""
    answered: bool = False
    """whether the session has an answered case: while it holds LITTLE, it may use the reserve"""

    def payer(self) -> Payer:
        """Return who stands for all that one visitor does: the person, else the address, else the session."""
        if self.person:
            return Payer(f"person {self.person}")
        return Payer(f"address {self.address}") if self.address else Payer(self.session, self.peer)


class Shares:
    """One resource: so much for everybody, so much for each session, person and address. Safe between threads."""

    def __init__(self, total: int, session: int, person: int, address: int, reserve: float = 0.0) -> None:
        self._total, self._reserve = total, int(total * reserve)
        self._most = {"session": session, "person": person, "address": address}
        self._lock = threading.Lock()
        self._held: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        """session -> what it holds, on which accounts"""
        self._accounts: Counter[tuple[str, str]] = Counter()
        self._used = 0

    def take(self, who: Who, amount: int) -> Refusal | None:
        """Take so much for a visitor; returns None, or why nothing was taken."""
        accounts = [(kind, key) for kind in self._most if (key := getattr(who, kind))]
        with self._lock:
            little = self._accounts["session", who.session] + amount <= self._reserve * LITTLE
            free = self._total - (0 if who.answered and little else self._reserve) - self._used - amount
            for kind, key in accounts:
                holds = self._accounts[kind, key] + amount
                if holds > self._most[kind]:
                    return "own"
                if holds > free:
                    alone = 0 < self._used == self._accounts["session", who.session]
                    return "own" if alone else "all"
            self._used += amount
            for account in accounts:
                self._accounts[account] += amount
                self._held[who.session][account] += amount
        return None

    def give(self, session: str, amount: int) -> None:
        """Give back so much of what a session holds; of a session that has ended, there is nothing left to give."""
        with self._lock:
            held = self._held.get(session)
            if held is None:
                return
            amount = min(amount, held["session", session])
            for account in held:  # of one that came back under another address, some of it is on either
                part = min(amount, held[account])
                self._release(account, part)
                held[account] -= part
            self._used -= amount
            if not held["session", session]:
                del self._held[session]

    def end(self, session: str) -> None:
        """Give back all that a session holds."""
        with self._lock:
            held = self._held.pop(session, Counter())
            self._used -= held["session", session]
            for account, amount in held.items():
                self._release(account, amount)

    def held(self, session: str | None = None) -> int:
        """Return how much a session holds, or all together."""
        with self._lock:
            return self._used if session is None else self._accounts["session", session]

    def _release(self, account: tuple[str, str], amount: int) -> None:
        self._accounts[account] -= amount
        if self._accounts[account] <= 0:
            del self._accounts[account]


class Visits:
    """The sessions that are there, each with whose it is, and what they share."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        def shares(name: str) -> Shares:
            total, session, person, address = (
                getattr(limits, f"{name}_{kind}") for kind in ("total", "session", "person", "address")
            )
            return Shares(total, session, person, address, limits.reserve)

        self.files, self.kept, self.line = map(shares, ("files", "kept", "line"))
        self._who: dict[str, Who] = {}
        self._lock = threading.Lock()

    def begin(self, who: Who) -> None:
        """Note whose a session is; one that comes back keeps what it holds."""
        with self._lock:
            before = self._who.get(who.session)
            self._who[who.session] = replace(who, answered=before is not None and before.answered)

    def answered(self, session: str) -> None:
        """Note that a session has an answered case."""
        with self._lock:
            if who := self._who.get(session):
                self._who[session] = replace(who, answered=True)

    def who(self, session: str) -> Who:
        """Return whose a session is; where nobody is known, as in a test of one page, the session itself."""
        with self._lock:
            return self._who.get(session) or Who(session)

    def known(self, session: str) -> bool:
        """Return whether a session is there."""
        with self._lock:
            return session in self._who

    def end(self, session: str) -> None:
        """Give back all that a session holds, and forget it."""
        for shares in (self.files, self.kept, self.line):
            shares.end(session)
        with self._lock:
            self._who.pop(session, None)


VISITS = Visits()
"""Of this server."""
