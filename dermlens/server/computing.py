"""How long each visitor's pages have computed; who has had more than a fair part waits while others want theirs."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dermlens.server.limits import LIMITS, Limits


class Computing:
    """The computing time of pages: a token bucket a visitor, filled by an even part of one core. Safe between threads.

    Python computes for one page at a time, so one core is what there is to share. Who is alone has all of it and never
    waits. Answers of the models are free: they have a line of their own (dermlens.server.limiter).
    """

    def __init__(self, limits: Limits = LIMITS, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._left: dict[str, float] = {}
        """visitor -> seconds that it may compute at once; who is not here has all of `computing_burst`"""
        self._running: dict[str, int] = {}
        self._ran: dict[str, float] = {}
        """visitor -> when a page of it ran last"""
        self._at = clock()
        self._thread = threading.local()

    @contextmanager
    def of(self, visitor: str, used: Callable[[], float] = time.thread_time) -> Iterator[None]:
        """Charge a visitor for what the block computes: the difference of `used`, in seconds."""
        with self._lock:
            self._fill()
            self._running[visitor] = self._running.get(visitor, 0) + 1
        before, self._thread.free = used(), 0.0
        try:
            yield
        finally:
            spent = used() - before - self._thread.free
            with self._lock:
                self._fill()
                self._left[visitor] = self._left.get(visitor, self._limits.computing_burst) - spent
                self._running[visitor] -= 1
                if not self._running[visitor]:
                    del self._running[visitor]
                self._ran[visitor] = self._clock()

    @contextmanager
    def free(self, used: Callable[[], float] = time.thread_time) -> Iterator[None]:
        """Charge nobody for what the block computes within one of `of`, in the same thread."""
        before = used()
        try:
            yield
        finally:
            self._thread.free = getattr(self._thread, "free", 0.0) + used() - before

    def must_wait(self, visitor: str) -> bool:
        """Return whether a visitor has used up its part, and others have run a page a moment ago or run one now."""
        with self._lock:
            self._fill()
            return self._left.get(visitor, 0.0) < 0

    def _fill(self) -> None:
        now, burst = self._clock(), self._limits.computing_burst
        passed, self._at = now - self._at, now
        self._ran = {who: at for who, at in self._ran.items() if now - at < self._limits.computing_recent}
        part = passed / max(1, len(self._ran.keys() | self._running.keys()))
        self._left = {who: left + part for who, left in self._left.items() if left + part < burst}


COMPUTING = Computing()
"""Of all pages of this server."""
