"""The waiting line in front of the models: bounded, fair to those in it, and a clear no when it is full.

Start-time fair queueing (Goyal, Vin and Cheng, IEEE/ACM Trans Networking 5:690, 1997): a turn counts from where the
last one of the same visitor has ended, and the one that counts from the earliest is served next. Among visitors who
have used as much as each other, the first to come is served first; one with many or slow images does not hold up those
with a single quick one. Those of one address together count as dermlens.server.shares.weights says.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dermlens.errors import BusyError
from dermlens.server.limits import LIMITS
from dermlens.server.shares import VISITS, Payer, Shares, Who, weights
from dermlens.wording import counted

TOLD_EVERY = 0.5
"""Seconds between two messages to a waiting person; also how soon it is noticed that the person has left."""
OWN = "You have {held} in the line already. Nothing that you uploaded is lost. Try again when they are answered."


@dataclass(eq=False)
class _Place:
    payer: Payer | None
    start: float
    """of its turn, in seconds of service"""
    admitted: threading.Event = field(default_factory=threading.Event)
    began: float = 0.0


class Limiter:
    """Lets a number of threads in at once, a number wait, and sends any others away."""

    def __init__(
        self,
        at_once: int,
        waiting: int,
        shares: Shares | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.at_once, self.waiting = at_once, waiting
        self._shares, self._clock = shares, clock
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._in: list[_Place] = []
        self._queue: list[_Place] = []
        self._now = 0.0
        """where the turn begins that was given last"""
        self._finished: dict[Payer, float] = {}
        """payer -> where its last turn ends, while that is ahead of the others"""

    @contextmanager
    def turn(
        self, tell: Callable[[int], None] | None = None, every: float = TOLD_EVERY, who: Who | None = None
    ) -> Iterator[None]:
        """Wait for a turn, and hold it while the block runs.

        Args:
            tell: called while waiting, in the caller's thread, with the number of turns before this one. It may
                raise, as Streamlit does once the session is closed: the place is given up then.
            every: seconds between two calls of `tell`.
            who: whose turn it is; by default somebody nobody else is.

        Raises:
            BusyError: so many are waiting already that this one cannot, or so many of this visitor.
        """
        place = self._join(who)
        try:
            while not place.admitted.is_set():
                if tell:
                    tell(self._before(place))
                place.admitted.wait(every)
            yield
        finally:
            self._leave(place)
            if who and self._shares:
                self._shares.give(who.session, 1)

    def length(self) -> tuple[int, int]:
        """Return how many hold a turn and how many wait for one."""
        with self._lock:
            return len(self._in), len(self._queue)

    def give_way(self, most: float = 0.5) -> None:
        """Wait until nobody holds a turn or waits for one, at most so many seconds: before work that is in no hurry."""
        with self._idle:
            self._idle.wait_for(lambda: not self._in and not self._queue, most)

    def _join(self, who: Who | None = None) -> _Place:
        refusal = self._shares.take(who, 1) if who and self._shares else None
        if refusal == "own" and who and self._shares:
            held = self._shares.held(who.session)
            raise BusyError(OWN.format(held=counted(held, "image") if held else "too many images"))
        with self._lock:
            if refusal or (len(self._in) >= self.at_once and len(self._queue) >= self.waiting):
                if who and self._shares and not refusal:
                    self._shares.give(who.session, 1)
                others = "one other is" if len(self._queue) == 1 else f"{len(self._queue)} others are"
                raise BusyError(
                    f"The server is busy: {others} waiting already. Nothing that you uploaded is "
                    "lost. Try again in a minute."
                )
            payer = who.payer() if who else None
            place = _Place(payer, max(self._now, self._finished.get(payer, 0.0) if payer else 0.0))
            at = next((i for i, other in enumerate(self._queue) if other.start > place.start), len(self._queue))
            self._queue.insert(at, place)
            self._admit()
        return place

    def _before(self, place: _Place) -> int:
        with self._lock:
            return len(self._in) + self._queue.index(place) if place in self._queue else 0

    def _leave(self, place: _Place) -> None:
        with self._lock:
            if place in self._in:
                self._in.remove(place)
                if place.payer:
                    there = {other.payer for other in (place, *self._in, *self._queue) if other.payer}
                    took = (self._clock() - place.began) / weights(there)[place.payer]
                    self._finished[place.payer] = place.start + took
            else:
                self._queue.remove(place)
            self._admit()
            if not self._in:
                self._idle.notify_all()
            self._finished = {payer: end for payer, end in self._finished.items() if end > self._now}

    def _admit(self) -> None:
        while self._queue and len(self._in) < self.at_once:
            place = self._queue.pop(0)
            self._now = max(self._now, place.start)
            place.began = self._clock()
            self._in.append(place)
            place.admitted.set()
        if not self._in:  # nobody is behind anybody
            self._finished.clear()


IMAGES = Limiter(at_once=2, waiting=LIMITS.line_total - 2, shares=VISITS.line)
"""For one image: read it and ask every model. Two at once, so that one is decoded while the networks answer another."""
SLOW = Limiter(at_once=1, waiting=4)
"""For what takes many seconds on every core, such as a heat map by gradients."""
