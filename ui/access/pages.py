"""Keeps open pages within their limits: what they say, how much of it, and for how long they may stay."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.server.connections import Connections
from dermlens.server.limits import LIMITS
from dermlens.server.shares import VISITS
from ui import streamlit_internals
from ui.access.visitors import OWNERS, Visitor
from ui.streamlit_internals import AFFECTS_OTHERS, is_end_of_run

CONNECTIONS = Connections()
"""All of this server."""
PAUSE = 0.1
NOT_A_MESSAGE, NOT_ALLOWED, TOO_BIG, POLICY = 1002, 1003, 1009, 1008
"""Why a page is closed: RFC 6455, 7.4.1."""


async def serve(app: ASGIApp, visitor: Visitor, scope: Scope, receive: Receive, send: Send) -> None:
    """Connect a page with Streamlit, for as long as it keeps to the limits."""
    stalled_since: float | None = None
    is_closed = False
    pace = Pace()
    opening = Opening()

    async def told(message: Message) -> None:
        nonlocal stalled_since, is_closed
        if is_closed:
            return
        if opening.is_held and is_end_of_run(message.get("bytes") or b""):
            opening.end()
        stalled_since = time.monotonic()
        try:
            async with asyncio.timeout(LIMITS.stalled_seconds):
                await send(message)
        except TimeoutError:
            is_closed = True
            CONNECTIONS.drop(visitor.peer)
        stalled_since = None

    async def heard() -> Message:
        nonlocal is_closed
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            CONNECTIONS.hear(visitor.peer)
            while stalled_since is not None and time.monotonic() - stalled_since > 1:  # it asks and does not listen
                await asyncio.sleep(PAUSE)
            await asyncio.sleep(pace.wait(time.monotonic()))
            code = why_not(visitor, message)
            if code is None:
                await opening.begin()
                return message
            if code:
                is_closed = True
                await send({"type": "websocket.close", "code": code})
                if code == POLICY and visitor.session:
                    streamlit_internals.close_session(visitor.session)
                return {"type": "websocket.disconnect", "code": code}

    CONNECTIONS.open_page(visitor.peer, visitor.person, visitor.address, lambda: VISITS.who(visitor.session).answered)
    try:
        await app(scope, heard, told)
    finally:
        opening.end()


class Pace:
    """So many messages at once, and so many a second from then on: a token bucket."""

    def __init__(self) -> None:
        self._left, self._at = float(LIMITS.asks_burst), 0.0

    def wait(self, now: float) -> float:
        """Count a message that comes now; returns for how many seconds it has to wait."""
        self._left = min(float(LIMITS.asks_burst), self._left + (now - self._at) * LIMITS.asks_rate) - 1
        self._at = now
        return max(0.0, -self._left / LIMITS.asks_rate)


class Opening:
    """The first run of a page, of which there are few at once; those who come first are served first."""

    MOST = 20.0
    """Seconds after which the next one begins, whatever has become of this one."""

    def __init__(self) -> None:
        self.is_held = False
        self._begun = False
        self._overdue: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        """Wait for a turn, the first time that it is called."""
        if not self._begun:
            self._begun = True
            await _openings.acquire()
            self.is_held = True
            self._overdue = asyncio.get_running_loop().call_later(self.MOST, self.end)

    def end(self) -> None:
        """Let the next one begin."""
        if self.is_held:
            self.is_held = False
            _openings.release()
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


_openings = asyncio.Semaphore(LIMITS.openings)


def why_not(visitor: Visitor, message: Message) -> int | None:
    """Return why a message is not passed on: the code to close the page with, 0 to pass over it; None if it is."""
    if not visitor.may_stay():
        return POLICY
    frame = message.get("bytes")
    if frame is None:
        return NOT_ALLOWED
    if len(frame) > LIMITS.message_bytes:
        return TOO_BIG
    found = streamlit_internals.kind_of_message(frame)
    if found is None:
        return NOT_A_MESSAGE
    kind, files = found
    if files > 10 * LIMITS.file_names:
        return TOO_BIG
    return 0 if kind in AFFECTS_OTHERS else None


def sweep() -> int:
    """Close the pages of sign-ins that have ended, and connections without a word; returns how many sessions ended."""
    ended = [visitor for visitor in OWNERS.all() if not visitor.may_stay()]
    for visitor in ended:
        CONNECTIONS.drop(visitor.peer)
        streamlit_internals.close_session(visitor.session)
    CONNECTIONS.sweep()
    return len(ended)
