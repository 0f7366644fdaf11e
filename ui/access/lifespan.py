"""What the server does beside answering: ends what has expired, cleans up behind it, keeps its log short."""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import streamlit as st

from dermlens.image import examples
from dermlens.ingest import pool
from dermlens.models.engine import forget_images
from dermlens.server import memory
from dermlens.server.computing import COMPUTING
from dermlens.server.limits import LIMITS
from dermlens.server.log_lines import Guard, guard_handlers
from dermlens.server.shares import VISITS, Payer
from ui import cache, streamlit_internals
from ui.access import api, pages, uploads, uvicorn_internals
from ui.access.downloads import Downloads
from ui.access.pages import CONNECTIONS
from ui.access.visitors import OWNERS, VISITOR, Visitor, computes
from ui.settings import keeps_record

SWITCH = 0.001
"""Seconds after which a busy thread lets another one work: the one that answers has as many in its way as there are
pages being drawn."""
DOWNLOAD_SECONDS = 30.0
"""For which a download that was clicked is kept although its page was drawn anew."""
MESSAGES = 100
"""To one session in one turn of the event loop; of 500 that wait Streamlit ends the session."""
OPENING_SECONDS = 0.02
"""That opening a session computes before its page runs: the handshake, and what Streamlit makes for it."""
logger = logging.getLogger(__name__)


def prepare() -> None:
    """Do what must be done before the server opens its door."""
    memory.raise_open_files(4 * LIMITS.connections)
    sys.setswitchinterval(SWITCH)
    memory.keep_few_heaps()
    memory.wipe_what_is_freed()
    streamlit_internals.know_of_the_server()
    uvicorn_internals.believe_no_proxy()
    if keeps_record():  # tables leave by the pages' own buttons, which ask for the right and write it down
        st.set_option("client.disableDataExport", True)
    streamlit_internals.watch_runs(_charged)
    uvicorn_internals.watch_connections(CONNECTIONS.enter, CONNECTIONS.leave, LIMITS.message_bytes)


def _who(session: str) -> Payer:
    visitor = OWNERS.whose(session)
    return computes(visitor) if visitor else Payer(session)


def _charged(session: str) -> AbstractContextManager[None]:
    return COMPUTING.of(_who(session))


def _begin(session: str, scope: Mapping[str, Any]) -> None:
    visitor: Visitor = scope[VISITOR]
    OWNERS.begin(session, visitor)
    COMPUTING.charge(computes(visitor), OPENING_SECONDS)


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Run beside Streamlit's server: st.App's `lifespan`."""
    guard_handlers(Guard())
    asyncio.get_running_loop().set_exception_handler(_note)
    streamlit_internals.watch_uploads(
        lambda session, files: OWNERS.give_places(session, files, LIMITS.file_names), uploads.arrived, uploads.dropped
    )
    streamlit_internals.watch_media(OWNERS.show)
    streamlit_internals.keep_downloads(DOWNLOAD_SECONDS)
    streamlit_internals.keep_answers()
    streamlit_internals.send_at_once(MESSAGES)
    streamlit_internals.watch_downloads(Downloads(_who).turn, _charged)
    ended = asyncio.Event()

    def end(session: str) -> None:
        OWNERS.end(session)
        uploads.forget(session)
        loop.call_soon_threadsafe(ended.set)

    loop = asyncio.get_running_loop()
    sessions = streamlit_internals.watch_sessions(
        lambda session, scope: OWNERS.resumes(scope[VISITOR], session),
        _begin,
        end,
        st.get_option("server.disconnectedSessionTTL"),
    )
    beside = [
        asyncio.create_task(_sweep(sessions, ended), name="sweep"),
        asyncio.create_task(_warm(), name="warm"),
    ]
    _freeze()
    try:
        yield
    finally:
        for task in beside:
            task.cancel()


async def _warm() -> None:
    """Begin what the first visitor would wait for, all of it at once."""
    with streamlit_internals.where_no_page_runs():
        begun = (asyncio.to_thread(make) for make in (pool.warm, cache.warm, examples.draw_all))
        made = await asyncio.gather(*begun, return_exceptions=True)
    for result in made:
        if isinstance(result, Exception):
            logger.error("something could not be made before it is asked for", exc_info=result)
    if not OWNERS.begun and not api.is_open():
        _freeze()


def _freeze() -> None:
    """Leave what the server is made of out of all later collections, for which everybody waits.

    What is frozen stays for ever if it is part of a cycle: nothing of a visitor may be there yet.
    """
    gc.collect()
    gc.freeze()


async def _sweep(sessions: streamlit_internals.Sessions, ended: asyncio.Event) -> None:
    """End what has expired, with nobody else around; then see that nothing of it is left in memory."""
    told = 0
    young = gc.get_stats()[0]["collections"]
    again = 0
    """times that memory is still to be cleaned: a script that is being stopped holds its pictures a little longer"""
    forgotten = True
    loop, own = asyncio.get_running_loop(), ThreadPoolExecutor(1, "sweep")
    """a thread of its own: those of the loop may all be making downloads"""
    while True:
        await asyncio.sleep(LIMITS.swept_seconds)
        try:
            pages.sweep()
            sessions.sweep(_in_the_way)
            for session, file in uploads.overdue():
                streamlit_internals.drop_upload(session, file)
            if ended.is_set():
                ended.clear()
                again = 3
            if again:
                again, forgotten = again - 1, False
                streamlit_internals.let_go_of_the_last_session()
                streamlit_internals.drop_unused_media()
                await loop.run_in_executor(own, _clean)
            elif gc.get_stats()[0]["collections"] > young:  # pages ran; Streamlit would at each end of one
                await loop.run_in_executor(own, gc.collect)
            if not forgotten:
                forgotten = await loop.run_in_executor(own, _forget)
            young = gc.get_stats()[0]["collections"]
            if CONNECTIONS.made_room > told:
                logger.warning("all places were taken: %d connections were closed", CONNECTIONS.made_room - told)
                told = CONNECTIONS.made_room
        except Exception:
            logger.exception("what has expired could not be ended")


def _in_the_way(session: str) -> bool:
    """Whether a session that is away holds pictures while half of what there is for them is taken."""
    return VISITS.kept.held(session) > 0 and VISITS.kept.held() > LIMITS.kept_total // 2


def _clean() -> None:
    gc.collect()
    memory.give_back(now=True)


def _forget() -> bool:
    """Leave no picture in the networks; returns False if one that is at work is to be asked again."""
    forgotten = forget_images(idle=LIMITS.swept_seconds)
    memory.give_back(now=True)
    return forgotten


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Write one line for what goes wrong between the server and its connections, without a traceback."""
    reason = context.get("exception")
    if isinstance(reason, OSError):
        logger.error("%s: %s", context.get("message"), reason)
    else:
        loop.default_exception_handler(context)
