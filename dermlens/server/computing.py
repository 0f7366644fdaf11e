"""How long each visitor's pages have computed; who has had more than a fair part waits while others compute."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dermlens.server.limits import LIMITS, Limits
from dermlens.server.shares import Payer, weights

ADVANCE = 0.25
"""Seconds that a run is charged before it begins, so that those of one visitor are not all let in at once."""

FRESH = 0.01
"""Seconds for which the parts may be as they were, where many who wait ask again."""


class Computing:
    """The computing time of pages: a token bucket a visitor, filled by its part of one core (see
    dermlens.server.shares.weights). Safe between threads.

    Python computes for one page at a time, so one core is what there is to share. A visitor that has used up its part
    waits while another one's page runs; who is alone never waits. Answers of the models are free: they have a line of
    their own (dermlens.server.limiter). Who waits counts among those who share: else many who wait in turn would
    each be filled as if the others were not there.
    """

    def __init__(self, limits: Limits = LIMITS, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._left: dict[Payer, float] = {}
        """visitor -> seconds that it may compute at once; who is not here has all that it may"""
        self._running: Counter[Payer] = Counter()
        self._advanced: Counter[Payer] = Counter()
        """visitor -> runs that are paid in advance and have not begun"""
        self._seen: dict[Payer, float] = {}
        """visitor -> when it was last charged, or refused"""
        self._counts: dict[Payer, float] = {}
        """what each of those counts who share"""
        self._at = clock()
        self._thread = threading.local()

    def admit(self, visitor: Payer) -> bool:
        """Return whether a page of a visitor may run now, and charge an advance; if not, it asks again in a moment."""
        with self._lock:
            if self._is_behind(visitor):
                return False
            self._charge(visitor, ADVANCE)
            self._advanced[visitor] += 1
            return True

    def is_behind(self, visitor: Payer) -> bool:
        """Return whether a visitor has used up its part, and another one's page runs."""
        with self._lock:
            return self._is_behind(visitor)

    @contextmanager
    def of(self, visitor: Payer, used: Callable[[], float] = time.thread_time) -> Iterator[None]:
        """Charge a visitor for what the block computes: the difference of `used`, in seconds."""
        with self._lock:
            self._fill()
            paid = self._advanced[visitor] > 0
            self._advanced -= Counter([visitor])
            self._running[visitor] += 1
        before, self._thread.free = used(), 0.0
        try:
            yield
        finally:
            spent = used() - before - self._thread.free
            with self._lock:
                self._fill()
                if paid and visitor in self._left:  # who has all that it may was given the advance back
                    self._left[visitor] += ADVANCE
                self._charge(visitor, spent)
                self._running -= Counter([visitor])

    @contextmanager
    def free(self, used: Callable[[], float] = time.thread_time) -> Iterator[None]:
        """Charge nobody for what the block computes within one of `of`, in the same thread."""
        before = used()
        try:
            yield
        finally:
            self._thread.free = getattr(self._thread, "free", 0.0) + used() - before

    def charge(self, visitor: Payer, seconds: float) -> None:
        """Charge a visitor for what was computed elsewhere."""
        with self._lock:
            self._fill()
            self._charge(visitor, seconds)

    def _is_behind(self, visitor: Payer) -> bool:
        if self._clock() - self._at >= FRESH:
            self._fill()
        behind = self._left.get(visitor, 0.0) < 0 and bool(self._running.keys() - {visitor})
        if behind:
            self._seen[visitor] = self._at
        return behind

    def _charge(self, visitor: Payer, seconds: float) -> None:
        burst = self._burst(visitor)
        left = self._left.get(visitor, burst)
        debt = min(max(burst, seconds), self._limits.computing_burst)  # of many pages at once, no more is owed
        self._left[visitor] = max(left - seconds, min(left, -debt))
        self._seen[visitor] = self._at

    def _burst(self, visitor: Payer) -> float:
        return self._limits.computing_burst * self._counts.get(visitor, visitor.counts)

    def _fill(self) -> None:
        now = self._clock()
        passed, self._at = now - self._at, now
        self._seen = {who: at for who, at in self._seen.items() if now - at < self._limits.computing_recent}
        self._counts = weights(self._seen.keys() | self._running.keys())
        whole = sum(self._counts.values()) or 1.0
        for who, left in list(self._left.items()):
            counts = self._counts.get(who, who.counts)
            left += passed * min(1.0, counts / whole)
            if left < self._limits.computing_burst * counts:
                self._left[who] = left
            else:
                del self._left[who]
        self._advanced = Counter({who: n for who, n in self._advanced.items() if n > 0 and who in self._left})


COMPUTING = Computing()
"""Of all pages of this server."""
