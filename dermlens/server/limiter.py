"""The waiting line in front of the models: bounded, first come, first served, and a clear no when it is full."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dermlens.errors import BusyError

TOLD_EVERY = 0.5
"""Seconds between two messages to a waiting person; also how soon it is noticed that the person has left."""


class Limiter:
    """Lets a number of threads in at once, a number wait in order, and sends any others away."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once, self.waiting = at_once, waiting
        self._lock = threading.Lock()
        self._in: set[threading.Event] = set()
        self._queue: deque[threading.Event] = deque()

    @contextmanager
    def turn(self, tell: Callable[[int], None] | None = None, every: float = TOLD_EVERY) -> Iterator[None]:
        """Wait for a turn, and hold it while the block runs.

        Args:
            tell: called while waiting, in the caller's thread, with the number of turns before this one. It may
                raise, as Streamlit does once the session is closed: the place is given up then.
            every: seconds between two calls of `tell`.

        Raises:
            BusyError: so many are waiting already that this one cannot.
        """
        place = self._join()
        try:
            while not place.is_set():
                if tell:
                    tell(self._before(place))
                place.wait(every)
            yield
        finally:
            self._leave(place)

    def length(self) -> tuple[int, int]:
        """Return how many hold a turn and how many wait for one."""
        with self._lock:
            return len(self._in), len(self._queue)

    def _join(self) -> threading.Event:
        place = threading.Event()
        with self._lock:
            if len(self._in) >= self.at_once and len(self._queue) >= self.waiting:
                raise BusyError(
                    f"The server is busy: {len(self._queue)} others are waiting already. Nothing that you uploaded is "
                    "lost. Try again in a minute."
                )
            self._queue.append(place)
            self._admit()
        return place

    def _before(self, place: threading.Event) -> int:
        with self._lock:
            return len(self._in) + self._queue.index(place) if place in self._queue else 0

    def _leave(self, place: threading.Event) -> None:
        with self._lock:
            if place in self._in:
                self._in.remove(place)
            else:
                self._queue.remove(place)
            self._admit()

    def _admit(self) -> None:
        while self._queue and len(self._in) < self.at_once:
            place = self._queue.popleft()
            self._in.add(place)
            place.set()


IMAGES = Limiter(at_once=2, waiting=40)
"""For one image: read it and ask every model. Two at once, so that one is decoded while the networks answer another."""
SLOW = Limiter(at_once=1, waiting=4)
"""For what takes many seconds on every core, such as a heat map by gradients."""
