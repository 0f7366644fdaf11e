"""What the dashboard uses of Streamlit 1.67 beyond its public interface, each with what is relied on.

tests/ui/test_streamlit_internals.py says, one by one, which of it another version has changed.
"""

import functools
import inspect
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import streamlit as st
from starlette.formparsers import MultiPartParser
from streamlit import config, delta_generator, runtime
from streamlit.errors import StreamlitSecretNotFoundError
from streamlit.proto.BackMsg_pb2 import BackendOperationRequest, BackMsg
from streamlit.proto.ForwardMsg_pb2 import BackendOperationResponse, ForwardMsg
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.backend_operation_handler import DeferredFileHandler
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import RerunData, ScriptRunner, get_script_run_ctx
from streamlit.runtime.session_manager import SessionClientDisconnectedError, SessionInfo, SessionStorage
from streamlit.runtime.uploaded_file_manager import UploadedFileRec, UploadFileUrlInfo
from streamlit.typing import UploadedFile
from streamlit.web.server.starlette.starlette_app_utils import decode_xsrf_token_string
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME, XSRF_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import _get_signed_cookie_with_chunks

UPLOADS = "/_stcore/upload_file/"
"""In the path of every request that sends a file; its method is PUT."""
SIGN_OUT = "/auth/logout"
"""The path to which a browser is sent to end its sign-in."""
MEDIA = "/media/"
"""In the path of every request for a picture or a download, and of Streamlit's fonts, which lie in /static/media/."""
FOR_MACHINES = ("/_stcore/metrics", "/_stcore/agent", "/_stcore/script-health-check")
"""In the paths that only programs ask for."""
ASKS_FOR_A_RUN, ASKS_FOR_WORK = "rerun_script", "backend_operation_request"
"""Kinds of messages that have the script run, and that have something else computed: a download is made."""
AFFECTS_OTHERS = frozenset({"clear_cache", "set_run_on_save", "load_git_info"})
"""Kinds of messages with which Streamlit's developer menu reaches beyond its own session: the first has the models
of all sessions loaded again."""
NO_SECRETS = StreamlitSecretNotFoundError
"""What st.secrets raises where no secrets file exists, and where one is not TOML; an OSError."""


@functools.cache
def keep_pages_within_home() -> None:
    """Have every page opened by Home.py, the first one by a deep link too; does so once a process.

    Streamlit takes a folder pages/ for its older kind of app until PagesManager.uses_pages_directory is false, and
    would open a deep link without Home.py, and so without asking who it is. Home.py says so when the server imports it,
    before anyone is served. Where no server imports it, as in tests, the first run finds it taken so, and starts over.
    """
    taken_for_the_older_kind = PagesManager.uses_pages_directory
    PagesManager.uses_pages_directory = False
    if taken_for_the_older_kind:
        st.rerun()


def know_of_the_server() -> None:
    """Spare the first page the fifth of a second in which Streamlit looks through all callers for `streamlit run`."""
    delta_generator._use_warning_has_been_displayed = True


def optional_secrets_files() -> list[str]:
    """Return where Streamlit looks for secrets by itself: such a file may be missing, one named in the settings not."""
    return config.get_config_files("secrets.toml")


def user_of_cookies(cookies: dict[str, str]) -> bytes | None:
    """Return what a browser's cookies say of who is signed in, as JSON; None if nothing, or if the signature is wrong.

    It is what st.user holds, signed with the cookie_secret of the secrets' section [auth].
    """
    return _get_signed_cookie_with_chunks(cookies, USER_COOKIE_NAME)


def is_cookie_of_user(name: str) -> bool:
    """Return whether a cookie of this name says, by itself or with others, who is signed in, or holds their tokens."""
    return name.startswith(USER_COOKIE_NAME)


def browser_of_cookies(cookies: dict[str, str]) -> bytes | None:
    """Return what tells one browser from another: the random token that Streamlit has given it; None without one."""
    return decode_xsrf_token_string(cookies.get(XSRF_COOKIE_NAME, ""))[0]


def kind_of_message(frame: bytes) -> tuple[str, int] | None:
    """Return which kind of message the browser sends in a frame of its websocket, and for how many files it asks for a
    place to upload to; None if it is no message.
    """
    try:
        message = BackMsg.FromString(frame)
    except Exception:  # noqa: BLE001 - protobuf raises more than its DecodeError
        return None
    return message.WhichOneof("type") or "", len(message.file_urls_request.file_names)


def no_places(frame: bytes, reason: str) -> bytes:
    """Return what tells the browser that it gets no places for the files that it asks for in a frame, and why."""
    answer = ForwardMsg()
    answer.file_urls_response.response_id = BackMsg.FromString(frame).file_urls_request.request_id
    answer.file_urls_response.error_msg = reason
    answer.metadata.cacheable = False  # the browser looks at it in every message
    return answer.SerializeToString()


def is_end_of_run(frame: bytes) -> bool:
    """Return whether a frame that is sent to the browser says that the script has ended."""
    return len(frame) < 1000 and ForwardMsg.FromString(frame).WhichOneof("type") == "script_finished"


def inline_scripts() -> list[str]:
    """Return the scripts that stand in Streamlit's one HTML page itself."""
    page = Path(st.__file__).parent / "static" / "index.html"
    return re.findall(r"<script>(.*?)</script>", page.read_text(encoding="utf-8"), re.DOTALL)


def keep_uploads_in_memory(most: int) -> None:
    """Have an upload of up to `most` bytes never touch the disk: Streamlit parses it as Starlette does any form."""
    MultiPartParser.spool_max_size = most


def watch_uploads(
    given: Callable[[str, list[str]], None],
    arrived: Callable[[str, str, int], None],
    removed: Callable[[str, str, int], None],
) -> None:
    """Be told which places to upload to a session is given, and of every upload that is received whole or dropped.

    Args:
        given: called with the session and the ids of the files that it may upload.
        arrived: called with the session, the id of the file, and its bytes; not if the session has ended meanwhile.
        removed: as `arrived`.
    """
    uploads = _uploads()
    get_urls, add, remove = uploads.get_upload_urls, uploads.add_file, uploads.remove_file

    def giving(session_id: str, file_names: Sequence[str]) -> list[UploadFileUrlInfo]:
        places = get_urls(session_id, file_names)
        given(session_id, [place.file_id for place in places])
        return places

    def adding(session_id: str, file: UploadedFileRec) -> None:
        if runtime.get_instance()._session_mgr.get_session_info(session_id) is not None:  # also while it reconnects
            add(session_id, file)
            arrived(session_id, file.file_id, len(file.data))

    def removing(session_id: str, file_id: str) -> None:
        size = sum(len(file.data) for file in uploads.get_files(session_id, [file_id]))
        remove(session_id, file_id)
        if size:
            removed(session_id, file_id, size)

    uploads.get_upload_urls, uploads.add_file = giving, adding  # type: ignore[method-assign]
    uploads.remove_file = removing  # type: ignore[method-assign]


def drop_upload(session_id: str, file_id: str) -> None:
    """Drop an upload that nobody has taken."""
    _uploads().remove_file(session_id, file_id)


def watch_media(shown: Callable[[str, str], None]) -> None:
    """Be told which picture or download, by its id, is given to which session."""
    media = runtime.get_instance().media_file_mgr
    add = media.add

    def adding(*args: Any, **options: Any) -> str:
        url = add(*args, **options)
        if session := session_id():
            shown(session, media_id(url))
        return url

    media.add = adding  # type: ignore[method-assign]
    _watch_made(shown)


def _watch_made(made: Callable[[str, str], None]) -> None:
    """Be told which download, by its id, was made on a click in which session."""
    media = runtime.get_instance().media_file_mgr
    execute = media.execute_deferred

    def executing(file_id: str) -> str:
        deferred = media._deferred_callables.get(file_id)
        url = execute(file_id)
        if deferred is not None:
            made(deferred["session_id"], media_id(url))
        return url

    media.execute_deferred = executing  # type: ignore[method-assign]


def keep_downloads(seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
    """Keep what a click on a download still needs for so many seconds after a page no longer shows it.

    A page may be drawn anew between the click and the browser's request: Streamlit drops what made the file with the
    old button, and the file itself at the end of the second run of anyone's page. What a session has ends with it.
    """
    media = runtime.get_instance().media_file_mgr
    clear, inactive = media.clear_session_refs, media._get_inactive_file_ids
    made: dict[str, tuple[str, float]] = {}
    """file -> its session, and until when it is kept"""
    replaced: dict[str, float] = {}
    """what makes a file and is on no page any more -> until when it is kept"""

    def keep(session_id: str, file_id: str) -> None:
        with media._lock:
            made[file_id] = session_id, clock() + seconds

    def unused() -> set[str]:
        for file_id in [file_id for file_id, (_, until) in made.items() if until <= clock()]:
            del made[file_id]
        return inactive() - made.keys()

    def drop_replaced() -> None:
        shown = {file_id for files in media._files_by_session_and_coord.values() for file_id in files.values()}
        for file_id in media._deferred_callables.keys() - shown:
            if replaced.setdefault(file_id, clock() + seconds) <= clock():
                media._drop_deferred_id(file_id)
        for file_id in replaced.keys() - (media._deferred_callables.keys() - shown):
            del replaced[file_id]

    def clearing(session_id: str | None = None) -> None:
        clear(session_id)
        if session_id is not None:  # of a session that ends
            with media._lock:
                for file_id in [file_id for file_id, (session, _) in made.items() if session == session_id]:
                    del made[file_id]
                replaced.update(dict.fromkeys(media._deferred_ids_by_session.get(session_id, ()), clock()))

    _watch_made(keep)
    media.clear_session_refs = clearing  # type: ignore[method-assign]
    media._get_inactive_file_ids = unused  # type: ignore[method-assign]
    media._remove_orphaned_deferred_callables = drop_replaced  # type: ignore[method-assign]


def watch_downloads(
    turn: Callable[[str], AbstractAsyncContextManager[str]], around: Callable[[str], AbstractContextManager[None]]
) -> None:
    """Have every download that is made on a click wait for its turn, and be made within a context.

    Args:
        turn: the context in which a session's download is answered, on the event loop; it yields "", or the sentence
            that the browser is told instead.
        around: the context in which it is made, in a thread of its own, by the session that shows it.
    """
    media = runtime.get_instance().media_file_mgr
    execute, handle = media.execute_deferred, inspect.unwrap(DeferredFileHandler.handle)

    def executing(file_id: str) -> str:
        deferred = media._deferred_callables.get(file_id)
        with around(deferred["session_id"]) if deferred is not None else nullcontext():
            return execute(file_id)

    @functools.wraps(handle)
    async def handling(
        self: DeferredFileHandler, request: BackendOperationRequest, session_id: str
    ) -> BackendOperationResponse:
        async with turn(session_id) as refusal:
            if refusal:
                return BackendOperationResponse(request_id=request.request_id, error_msg=refusal)
            return await handle(self, request, session_id)

    media.execute_deferred = executing  # type: ignore[method-assign]
    DeferredFileHandler.handle = handling  # type: ignore[method-assign]


def send_at_once(most: int) -> None:
    """Have a session be sent so many messages in one turn of the event loop.

    Streamlit sends one a turn, of all sessions together: where many ask for much and a turn takes long, a page of a
    hundred messages takes a hundred of them, and everybody's are in its way.
    """
    server, flush = runtime.get_instance(), inspect.unwrap(AppSession.flush_browser_queue)

    @functools.wraps(flush)
    def flushing(session: AppSession) -> list[ForwardMsg]:
        messages = flush(session)
        info = server._session_mgr.get_active_session_info(session.id)
        sent = 0
        with suppress(SessionClientDisconnectedError):  # Streamlit meets it again with what is left, and sees to it
            while info is not None and sent < min(most, len(messages)):
                server._send_message(info, messages[sent])
                sent += 1
        return messages[sent:]

    AppSession.flush_browser_queue = flushing  # type: ignore[assignment, method-assign]


@functools.cache
def keep_answers() -> None:
    """Keep the answer to a click on a download that waits to be sent when a page begins to be drawn anew.

    Streamlit drops it with what is left of the old page, and nothing comes. The click itself may have begun that run.
    """
    clear = ForwardMsgQueue.clear

    @functools.wraps(clear)
    def clearing(queue: ForwardMsgQueue, retain_lifecycle_msgs: bool = False, *more: Any, **options: Any) -> None:
        answers = [m for m in queue._queue if m.WhichOneof("type") == "backend_operation_response"]
        clear(queue, retain_lifecycle_msgs, *more, **options)
        if retain_lifecycle_msgs:
            queue._queue += [answer for answer in answers if not any(answer is kept for kept in queue._queue)]

    ForwardMsgQueue.clear = clearing  # type: ignore[assignment, method-assign]


def is_media(path: str) -> bool:
    """Return whether a path is a session's picture or download; Streamlit's own fonts are in static/media/."""
    base = str(config.get_option("server.baseUrlPath") or "").strip("/")
    own = f"/{base}/static{MEDIA}".replace("//", "/")
    return MEDIA in path and (not path.startswith(own) or ".." in path)


def media_id(path: str) -> str:
    """Return the id of a picture or download from its path."""
    return PurePosixPath(path).stem


class Sessions(SessionStorage):
    """Sessions whose browser is away. They end when their time is up; Streamlit's own wait until somebody else comes.

    Used by the thread of the event loop only.
    """

    def __init__(self, seconds: float, most: int = 128, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep at most so many for so many seconds."""
        self._seconds, self._most, self._clock = seconds, most, clock
        self._kept: dict[str, tuple[float, SessionInfo]] = {}

    def get(self, session_id: str) -> SessionInfo | None:
        """Return a session that may come back."""
        until, found = self._kept.get(session_id, (0.0, None))
        return found if until > self._clock() else None

    def save(self, session_info: SessionInfo) -> None:
        """Keep a session; of one too many, that which has waited longest ends."""
        self._kept.pop(session_info.session.id, None)
        self._kept[session_info.session.id] = (self._clock() + self._seconds, session_info)
        while len(self._kept) > self._most:
            self._end(next(iter(self._kept)))

    def delete(self, session_id: str) -> None:
        """Forget a session, which has come back or is being ended."""
        del self._kept[session_id]

    def list(self) -> list[SessionInfo]:
        """Return all that may come back."""
        return [found for until, found in self._kept.values() if until > self._clock()]

    def sweep(self, in_the_way: Callable[[str], bool] = lambda session_id: False) -> int:
        """End those whose time is up, and of the rest those in the way of others; returns how many.

        Args:
            in_the_way: asked about one after the other, the longest away first.
        """
        ended = 0
        for session_id, (until, _) in list(self._kept.items()):
            if until <= self._clock() or in_the_way(session_id):
                self._end(session_id)
                ended += 1
        return ended

    def _end(self, session_id: str) -> None:
        self._kept.pop(session_id)[1].session.shutdown()


@contextmanager
def where_no_page_runs() -> Iterator[None]:
    """Let what pages keep be declared or made by the server itself; Streamlit warns that no page asks for it."""
    names = ("scriptrunner_utils.script_run_context", "caching.cache_data_api")
    noted = [logging.getLogger(f"streamlit.runtime.{name}") for name in names]
    before = [logger.level for logger in noted]
    for logger in noted:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(noted, before, strict=True):
            logger.setLevel(level)


def watch_sessions(
    may_resume: Callable[[str, Mapping[str, Any]], bool],
    connected: Callable[[str, Mapping[str, Any]], None],
    ended: Callable[[str], None],
    seconds: float,
) -> Sessions:
    """Be told of every session that begins, comes back or ends, and end those that are away for so many seconds.

    Args:
        may_resume: called with a session and the ASGI scope of a websocket that asks to go on with it, which Streamlit
            allows to whoever knows its id; where it returns False, a new one begins.
        connected: called with the session and the ASGI scope of its websocket.
        ended: called with the session, in any thread.
        seconds: that a session waits for its browser.
    """
    server = runtime.get_instance()
    connect, uploads = server.connect_session, _uploads()
    remove = uploads.remove_session_files

    def connecting(
        client: Any, user_info: Any, existing_session_id: str | None = None, *args: Any, **options: Any
    ) -> str:
        scope = client._websocket.scope
        if existing_session_id is not None and not may_resume(existing_session_id, scope):
            existing_session_id = None
        session = connect(client, user_info, existing_session_id, *args, **options)
        connected(session, scope)
        return session

    def removing(session_id: str) -> None:  # which Streamlit does only when a session ends
        remove(session_id)
        ended(session_id)

    server.connect_session = connecting  # type: ignore[method-assign]
    uploads.remove_session_files = removing  # type: ignore[method-assign]
    sessions = Sessions(seconds)
    server._session_mgr._session_storage = sessions  # type: ignore[attr-defined]
    return sessions


def close_session(session_id: str) -> None:
    """End a session at once. For the thread of the event loop."""
    runtime.get_instance().close_session(session_id)


def let_go_of_the_last_session() -> None:
    """Empty the session that Streamlit's loop has served last, if it has ended, and what it was sent.

    The loop holds on to both, in its variables, until it serves another session: for ever, if nobody comes.
    """
    server = runtime.get_instance()
    task = server._loop_coroutine_task
    frame = task.get_coro().cr_frame if task is not None else None  # type: ignore[union-attr]
    held = frame.f_locals if frame is not None else {}
    last = held.get("active_session_info")
    if last is None or server._session_mgr.get_session_info(last.session.id) is not None:
        return
    held["msg_list"].clear()
    if "msg" in held:
        held["msg"].Clear()
    last.session.session_state.clear()
    last.session._fragment_storage.clear()
    last.session._browser_queue.clear()


def drop_unused_media() -> None:
    """Drop the pictures and downloads that no session shows any more."""
    runtime.get_instance().media_file_mgr.remove_orphaned_files()


def watch_runs(around: Callable[[str], AbstractContextManager[None]]) -> None:
    """Have every run of a page, and of a part of one, happen within the context that a session gets here."""
    run = inspect.unwrap(ScriptRunner._run_script)

    @functools.wraps(run)
    def running(self: ScriptRunner, rerun_data: RerunData) -> None:
        with around(self._session_id):
            run(self, rerun_data)

    ScriptRunner._run_script = running  # type: ignore[method-assign]


def session_id() -> str:
    """Return the session whose script is being run, "" if none is."""
    context = get_script_run_ctx()
    return context.session_id if context is not None else ""


def _uploads() -> MemoryUploadedFileManager:
    uploads = runtime.get_instance().uploaded_file_mgr
    assert isinstance(uploads, MemoryUploadedFileManager)
    return uploads


def uploaded_files(value: list | None) -> list[UploadedFile]:
    """Return the files that an uploader for several holds.

    A browser that asks again while the first answer is on its way names files that were taken already; those are left
    out.
    """
    return [file for file in value or [] if isinstance(file, UploadedFile)]


def forget_upload(file: UploadedFile) -> None:
    """Have Streamlit drop an upload that was taken; it would keep it for as long as the page is open."""
    context = get_script_run_ctx()
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)


def stop_redrawing() -> None:
    """Tell the browser to ask no more for the fragment that is being run by itself; without one nothing happens.

    A run of the whole page would end it as well, and undo what was chosen since this part was last asked for.
    """
    context = get_script_run_ctx()
    if context is not None and context.fragment_ids_this_run:
        message = ForwardMsg()
        message.stop_auto_rerun.fragment_ids.extend(context.fragment_ids_this_run)
        context.enqueue(message)
