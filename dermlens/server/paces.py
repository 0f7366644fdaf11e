"""Keeps whoever asks to a pace."""

import time
from collections.abc import Callable

from dermlens.server.limits import LIMITS, Limits

MANY = 1000
"""Addresses beyond which those that have asked for nothing lately are forgotten."""


class Pace:
    """So many at once, and so many a second from then on: a token bucket."""

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst, self._rate = burst, rate
        self._left, self.at = burst, now
        """how many may come at once, and when that was so"""

    def wait(self, now: float, many: float = 1.0, most: float = float("inf")) -> float:
        """Count what comes now, as one or as several; returns for how many seconds it has to wait.

        Args:
            now: in seconds. many: as how many it counts. most: that may be ahead; what comes then is not counted.
        """
        self._left = max(min(self._burst, self._left + (now - self.at) * self._rate) - many, -most)
        self.at = now
        return max(0.0, -self._left / self._rate)


class Paces:
    """A pace for the requests of each address; more wait. For one thread."""

    def __init__(self, limits: Limits = LIMITS, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._rate, self._clock = float(limits.requests_burst), limits.requests_rate, clock
        self._of: dict[str, Pace] = {}

    def __len__(self) -> int:
        return len(self._of)

    def wait(self, address: str) -> float:
        """Count a request that comes now; returns for how many seconds it has to wait."""
        now = self._clock()
        pace = self._of.setdefault(address, Pace(self._burst, self._rate, now))
        found = pace.wait(now, most=self._burst)
        if len(self._of) > MANY:
            lately = now - 2 * self._burst / self._rate
            self._of = {who: pace for who, pace in self._of.items() if pace.at > lately}
        return found
