"""Downloads that are made on a click: one of a session at a time, few at once, and in turn."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

from dermlens.server.limits import LIMITS, Limits
from dermlens.server.turns import Turns


class Downloads:
    """What is being made, and what waits. For the event loop's thread."""

    def __init__(self, who: Callable[[str], Hashable], limits: Limits = LIMITS) -> None:
        """Ask `who` stands behind a session: they take turns."""
        self._who, self._most = who, limits.downloads_session
        self._turns = Turns(limits.downloads)
        self._locks: dict[str, asyncio.Lock] = {}
        self._asked: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, session: str) -> AsyncIterator[str]:
        """Wait until a session's download may be made; yields "", or the sentence why it is not."""
        if self._asked[session] >= self._most:
            yield f"{self._most} downloads of this page are being made. Try again once they are there."
            return
        self._asked[session] += 1
        try:
            async with self._locks.setdefault(session, asyncio.Lock()):
                await self._turns.begin(self._who(session))
                try:
                    yield ""
                finally:
                    self._turns.end()
        finally:
            self._asked[session] -= 1
            if not self._asked[session]:
                del self._asked[session], self._locks[session]
