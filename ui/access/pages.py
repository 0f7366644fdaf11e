"""Keeps open pages within their limits: what they say, how much of it, and for how long they may stay."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.server.connections import Connections
from dermlens.server.limits import LIMITS
from dermlens.server.shares import VISITS
from ui import streamlit_internals
from ui.access.visitors import OWNERS, Visitor
from ui.streamlit_internals import AFFECTS_OTHERS

CONNECTIONS = Connections()
"""All of this server."""
PAUSE = 0.1
NOT_A_MESSAGE, NOT_ALLOWED, TOO_BIG, POLICY = 1002, 1003, 1009, 1008
"""Why a page is closed: RFC 6455, 7.4.1."""


async def serve(app: ASGIApp, visitor: Visitor, scope: Scope, receive: Receive, send: Send) -> None:
    """Connect a page with Streamlit, for as long as it keeps to the limits."""
    stalled_since: float | None = None
    is_closed = False

    async def told(message: Message) -> None:
        nonlocal stalled_since, is_closed
        if is_closed:
            return
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
            code = why_not(visitor, message)
            if code is None:
                return message
            if code:
                is_closed = True
                await send({"type": "websocket.close", "code": code})
                if code == POLICY and visitor.session:
                    streamlit_internals.close_session(visitor.session)
                return {"type": "websocket.disconnect", "code": code}

    CONNECTIONS.open_page(visitor.peer, visitor.person, visitor.address, lambda: VISITS.who(visitor.session).answered)
    await app(scope, heard, told)


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
