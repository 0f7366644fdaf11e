"""Keeps whoever asks over HTTP to a pace."""

import time
from collections.abc import Callable

from dermlens.server.limits import LIMITS, Limits

MANY = 1000
"""Addresses beyond which those that have asked for nothing lately are forgotten."""


class Paces:
    """So many requests of an address at once, and so many a second from then on; more wait. For one thread."""

    def __init__(self, limits: Limits = LIMITS, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._rate, self._clock = float(limits.requests_burst), limits.requests_rate, clock
        self._left: dict[str, tuple[float, float]] = {}
        """address -> requests that it may make at once, and when that was so"""

    def __len__(self) -> int:
        return len(self._left)

    def wait(self, address: str) -> float:
        """Count a request that comes now; returns for how many seconds it has to wait."""
        now = self._clock()
        left, at = self._left.get(address, (self._burst, now))
        left = max(min(self._burst, left + (now - at) * self._rate) - 1, -self._burst)
        self._left[address] = left, now
        if len(self._left) > MANY:
            lately = now - 2 * self._burst / self._rate
            self._left = {who: (n, at) for who, (n, at) in self._left.items() if at > lately}
        return max(0.0, -left / self._rate)
