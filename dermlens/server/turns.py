"""Who may begin now of many who wait, fair to each."""

import asyncio
from collections.abc import Hashable


class Turns:
    """Turns of which there are few at once. For the event loop's thread.

    As in dermlens.server.limiter, who has had least is next. Whoever asks is a name here: where all come through one
    proxy and have no other, those who come first are served first.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once, self._running, self._now = at_once, 0, 0.0
        self._finished: dict[Hashable, float] = {}
        self._queue: list[tuple[float, asyncio.Future[None]]] = []

    async def begin(self, visitor: Hashable) -> None:
        """Wait for a turn, to be ended by `end`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        start = max(self._now, self._finished.get(visitor, 0.0))
        self._finished[visitor] = start + 1
        self._queue.append((start, turn))
        self._queue.sort(key=lambda place: place[0])  # which leaves those of one start in their order
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:  # who waited has left
            if turn.done() and not turn.cancelled():
                self.end()
            raise

    def end(self) -> None:
        """Let the next one begin."""
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        self._queue = [place for place in self._queue if not place[1].done()]
        while self._queue and self._running < self._at_once:
            self._now, turn = self._queue.pop(0)
            self._running += 1
            turn.set_result(None)
        if not self._queue:
            self._finished = {who: end for who, end in self._finished.items() if end > self._now + 1}
