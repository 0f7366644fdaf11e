"""Keeps open pages within their limits: what they say, how much of it, and for how long they may stay."""

import asyncio
import time
from collections.abc import Coroutine

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.server.computing import COMPUTING
from dermlens.server.connections import Connections
from dermlens.server.limits import LIMITS
from dermlens.server.paces import Pace
from dermlens.server.shares import VISITS, Payer
from dermlens.server.turns import Turns
from ui import streamlit_internals
from ui.access.visitors import OWNERS, Visitor, computes
from ui.streamlit_internals import AFFECTS_OTHERS, ASKS_FOR_A_RUN, ASKS_FOR_WORK, is_end_of_run

CONNECTIONS = Connections()
"""All of this server."""
PAUSE = 0.1
NAMES_A_MESSAGE = 100
"""Names of files that count as one message more: a place is made for each while everybody waits."""
NOT_A_MESSAGE, NOT_ALLOWED, TOO_BIG, POLICY = 1002, 1003, 1009, 1008
"""Why a page is closed: RFC 6455, 7.4.1."""


async def serve(app: ASGIApp, visitor: Visitor, scope: Scope, receive: Receive, send: Send) -> None:
    """Connect a page with Streamlit, for as long as it keeps to the limits."""
    stalled_since: float | None = None
    is_closed = False
    pace = Pace(LIMITS.asks_burst, LIMITS.asks_rate, time.monotonic())
    opening = Opening(computes(visitor))

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
            kind, files = found = _said(message)
            await asyncio.sleep(pace.wait(time.monotonic(), 1 + files / NAMES_A_MESSAGE))
            code = why_not(visitor, message, found)
            if code is None and files > LIMITS.file_names:
                why = f"{files:,} files at once; at most {LIMITS.file_names:,} are taken. Upload them in parts."
                answer = streamlit_internals.no_places(message["bytes"], why)
                await told({"type": "websocket.send", "bytes": answer})
            elif code is None:
                if kind in (ASKS_FOR_A_RUN, ASKS_FOR_WORK):
                    turn = _turn(visitor, opening if kind == ASKS_FOR_A_RUN else None)
                    if not await _unless_left(turn, visitor):
                        return {"type": "websocket.disconnect", "code": 1001}
                return message
            elif code:
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


async def _turn(visitor: Visitor, opening: "Opening | None") -> None:
    while not COMPUTING.admit(computes(visitor)):
        await asyncio.sleep(PAUSE)
    if opening is not None:
        await opening.begin()


async def _unless_left(turn: Coroutine[None, None, None], visitor: Visitor) -> bool:
    """Wait for a turn as long as the connection is there; returns whether it is."""
    waiting = asyncio.ensure_future(turn)
    while not waiting.done():
        await asyncio.wait([waiting], timeout=1.0)
        if not waiting.done() and visitor.peer is not None and visitor.peer not in CONNECTIONS:
            waiting.cancel()
            return False
    return True


class Opening:
    """The first run of one page."""

    MOST = 20.0
    """Seconds after which the next one begins, whatever has become of this one."""

    def __init__(self, visitor: Payer) -> None:
        self._visitor = visitor
        self.is_held = False
        self._begun = False
        self._overdue: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        """Wait for a turn, the first time that it is called."""
        if not self._begun:
            self._begun = True
            await OPENINGS.begin(self._visitor)
            self.is_held = True
            self._overdue = asyncio.get_running_loop().call_later(self.MOST, self.end)

    def end(self) -> None:
        """Let the next one begin."""
        if self.is_held:
            self.is_held = False
            OPENINGS.end()
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


OPENINGS = Turns(LIMITS.openings)
"""The first runs of pages."""


def _said(message: Message) -> tuple[str, int]:
    """Return the kind of a message and the number of its files; an empty kind if it is none, or too long to be read."""
    frame = message.get("bytes")
    found = streamlit_internals.kind_of_message(frame) if frame and len(frame) <= LIMITS.message_bytes else None
    return found or ("", 0)


def why_not(visitor: Visitor, message: Message, said: tuple[str, int]) -> int | None:
    """Return why a message is not passed on: the code to close the page with, 0 to pass over it; None if it is."""
    if not visitor.may_stay():
        return POLICY
    frame = message.get("bytes")
    if frame is None:
        return NOT_ALLOWED
    if len(frame) > LIMITS.message_bytes:
        return TOO_BIG
    kind, files = said
    if not kind:
        return NOT_A_MESSAGE
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
