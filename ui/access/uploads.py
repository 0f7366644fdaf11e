"""Takes uploads: only those that a page was given a place for, counted as they come, and not for ever."""

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.ingest.formats import LIMITS as FILE
from dermlens.server.computing import COMPUTING
from dermlens.server.limits import LIMITS
from dermlens.server.shares import VISITS
from ui.access.visitors import OWNERS, Visitor, computes
from ui.streamlit_internals import UPLOADS

RETRY = 0.2
"""Seconds between two looks whether there is room."""
REFUSED_SECONDS = 1.0
"""That who is refused for want of room waits for the answer, unread, so that trying again at once gains nothing."""
SECONDS_PER_BYTE = 3e-3 / 2**20
"""That taking a body computes."""
SECONDS_PER_PIECE = 1e-4
"""That taking a piece of it computes at least, however small it is."""
CHARGED_SECONDS = 1e-3
"""That are charged at once, as charging, and asking whether a visitor is behind, compute too."""
_arrived: dict[tuple[str, str], tuple[float, int]] = {}
"""session and id of each file that was received and not taken yet -> when, and its bytes"""


class _RefusedError(Exception):
    """The upload is not taken; with the status and the sentence for whoever sends it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


async def say(send: Send, status: int, sentence: str, close: bool = False) -> None:
    """Answer with a sentence; with `close`, the connection ends with it."""
    body = sentence.encode()
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    head += [(b"connection", b"close")] if close else []
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def take(app: ASGIApp, visitor: Visitor, scope: Scope, receive: Receive, send: Send) -> None:
    """Let an upload, or the removal of one, through to Streamlit if it is this visitor's to make."""
    session, _, file = str(scope["path"]).partition(UPLOADS)[2].partition("/")
    if not OWNERS.owns(visitor, session):
        await say(send, 403, "This upload belongs to another session. Load the page again.")
    elif scope["method"] == "DELETE":
        await app(scope, receive, send)
    elif not OWNERS.may_upload(session, file):
        await say(send, 403, f"No page has asked for this upload, or for more than {LIMITS.file_names} at once.")
    elif not OWNERS.claim(session, file):
        await say(send, 409, "This file is on its way already.")
    else:
        try:
            await _Upload(OWNERS.whose(session) or visitor, session, file, receive).run(app, scope, send)
        finally:
            OWNERS.release(session, file)


class _Upload:
    """One body on its way."""

    def __init__(self, visitor: Visitor, session: str, file: str, receive: Receive) -> None:
        self._visitor, self._session, self._file, self._receive = visitor, session, file, receive
        self._received = 0
        self._began = self._window = time.monotonic()
        self._owed = CHARGED_SECONDS
        """seconds that are to be charged, or for an upload that begins, to be asked for"""
        self._in_window = 0
        """bytes that came since the window has begun, over which the rate is taken"""

    async def run(self, app: ASGIApp, scope: Scope, send: Send) -> None:
        status = kept = 0

        async def noted(message: Message) -> None:
            nonlocal status, kept
            status = int(message.get("status", status))
            if status == 204 and message["type"] == "http.response.start":  # before the page can take the file
                kept = _arrived.get((self._session, self._file), (0.0, 0))[1]
            await send(message)

        try:
            await app(scope, self._counted, noted)
        except _RefusedError as e:
            if not status:
                if e.status != 408:
                    VISITS.files.give(self._session, self._received)
                    self._received = 0
                    await asyncio.sleep(REFUSED_SECONDS)
                await say(send, e.status, e.sentence, close=e.status == 408)  # else the rest is read and forgotten
        finally:
            VISITS.files.give(self._session, self._received - kept)

    async def _counted(self) -> Message:
        """Return the next piece of the body, once its sender may and there is room for it."""
        if self._owed >= CHARGED_SECONDS:
            self._owed = 0.0
            await self._wait(
                lambda: not COMPUTING.is_behind(computes(self._visitor)),
                "The server is busy. Try again in a minute.",
            )
        while True:
            left = self._window + LIMITS.body_pause - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    message = await self._receive()
            except TimeoutError:
                self._check_rate()
                continue
            break
        size = len(message.get("body") or b"")
        self._owed += max(size * SECONDS_PER_BYTE, SECONDS_PER_PIECE)
        if self._owed >= CHARGED_SECONDS or not message.get("more_body"):
            COMPUTING.charge(computes(self._visitor), self._owed)
        self._received += size  # what is given back in the end, so it must be taken below or not be counted
        try:
            await self._make_room(size)
        except BaseException:
            self._received -= size
            raise
        self._in_window += size
        if message.get("more_body") and time.monotonic() - self._window >= LIMITS.body_pause:
            self._check_rate()
        return message

    def _check_rate(self) -> None:
        now = time.monotonic()
        if self._in_window < LIMITS.body_rate * LIMITS.body_pause or now - self._began > LIMITS.body_seconds:
            raise _RefusedError(408, "The file came too slowly and was given up. Try again over a faster connection.")
        self._window, self._in_window = now, 0

    async def _make_room(self, size: int) -> None:
        if self._received > FILE.bytes + 2**20:
            raise _RefusedError(413, f"The file is larger than {FILE.bytes / 2**20:.0f} MiB.")

        def there_is() -> bool:
            refusal = VISITS.files.take(VISITS.who(self._session), size) if size else None
            if refusal == "own":
                most = f"{LIMITS.files_session / 2**20:.0f} MiB"
                raise _RefusedError(413, f"More than {most} at once. Upload the rest once these were examined.")
            return refusal is None

        await self._wait(there_is, "The server cannot hold any more files now. Try again in a minute.")

    async def _wait(self, over: Callable[[], bool], sentence: str) -> None:
        """Wait until the server lets the upload go on; of that time, it is not the sender who was slow."""
        begun = time.monotonic()
        while not over():
            if time.monotonic() - begun > LIMITS.body_waits:
                raise _RefusedError(503, sentence)
            await asyncio.sleep(RETRY)
        waited = time.monotonic() - begun
        self._window += waited
        self._began += waited


def arrived(session: str, file: str, size: int) -> None:
    """Note that a file was received whole."""
    _arrived[session, file] = (time.monotonic(), size)
    OWNERS.uploaded(session, file)


def dropped(session: str, file: str, size: int) -> None:
    """Note that a file was taken by its page or removed."""
    _arrived.pop((session, file), None)
    VISITS.files.give(session, size)


def overdue() -> list[tuple[str, str]]:
    """Return session and id of the files that were received and that nobody has taken for too long."""
    now = time.monotonic()
    return [key for key, (since, _) in list(_arrived.items()) if now - since > LIMITS.untaken_seconds]


def forget(session: str) -> None:
    """Forget the files of a session that has ended."""
    for key in [key for key in list(_arrived) if key[0] == session]:
        _arrived.pop(key, None)
