"""Streamlit still does what ui/streamlit_internals.py relies on. Each test says what to look at where it does not."""

import ast
import inspect
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import streamlit as st
from starlette.formparsers import MultiPartParser
from starlette.requests import Request
from starlette.responses import Response
from streamlit import delta_generator, runtime
from streamlit.proto.BackMsg_pb2 import BackendOperationRequest, BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime import Runtime, media_file_manager
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.backend_operation_handler import DeferredFileHandler
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.runtime.media_file_storage import MediaFileStorageError
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import RerunException, ScriptRunner, StopException
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext
from streamlit.runtime.secrets import Secrets
from streamlit.runtime.session_manager import SessionClientDisconnectedError, SessionInfo
from streamlit.runtime.uploaded_file_manager import DeletedFile, UploadedFileRec
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager
from streamlit.testing.v1 import AppTest
from streamlit.web.server.app_discovery import discover_asgi_app
from streamlit.web.server.starlette import (
    starlette_app_utils,
    starlette_auth_routes,
    starlette_routes,
    starlette_websocket,
)
from streamlit.web.server.starlette.starlette_app import create_streamlit_routes

from tests.conftest import finish
from tests.dashboard import HOME, check
from ui import streamlit_internals

ROOT = HOME.parent
STATIC = Path(st.__file__).parent / "static"
AUTH = {"auth": {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "x" * 40}}


def test_nothing_else_reaches_into_streamlit() -> None:
    for path in [HOME, *(ROOT / "pages").glob("*.py"), *(ROOT / "ui").rglob("*.py")]:
        if path.name == "streamlit_internals.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [f"{node.module}."] if isinstance(node, ast.ImportFrom) else []
            inner = [name for name in names if name.startswith("streamlit.")]
            assert not inner, f"{path.relative_to(ROOT)} imports {inner}: let ui/streamlit_internals.py do it"


def test_streamlit_finds_the_app_in_home_and_imports_it_before_it_serves_anyone() -> None:
    found = discover_asgi_app(HOME)
    assert found.import_string == "Home:app", "st.App in Home.py is not found: no middleware, and pages without sign-in"


def test_a_page_is_opened_without_home_until_the_flag_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    streamlit_internals.keep_pages_within_home()
    app = AppTest.from_file(str(HOME), default_timeout=60)  # it switches the flag on before every run
    app.secrets.update(AUTH)
    app.user = {"is_logged_in": False}
    assert [button.label for button in check(app.run()).button] == ["Sign in"]
    app.switch_page("pages/metrics.py")
    assert "Sign in" not in [button.label for button in check(app.run()).button], (
        "Streamlit does not take pages/ for its older kind of app any more: keep_pages_within_home can go"
    )
    streamlit_internals.keep_pages_within_home.cache_clear()  # as in a process that has opened no page yet
    assert [button.label for button in check(app.run()).button] == ["Sign in"], (
        "PagesManager.uses_pages_directory does not keep pages within Home.py: a deep link shows them to anyone"
    )
    assert PagesManager.uses_pages_directory is False


def test_the_first_element_of_a_server_looks_at_no_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(delta_generator.env_util, "is_repl", lambda: looked.append(True))
    monkeypatch.setattr(delta_generator, "_use_warning_has_been_displayed", False)
    AppTest.from_string("import streamlit as st; st.text('a')").run(timeout=60)
    assert looked.pop(), "Streamlit does not look through all callers any more: know_of_the_server can go"
    streamlit_internals.know_of_the_server()
    AppTest.from_string("import streamlit as st; st.text('a')").run(timeout=60)
    assert not looked


def test_every_run_of_a_page_and_of_a_part_of_it_happens_within_the_context_of_its_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def page() -> None:
        import streamlit as st

        @st.fragment
        def part() -> None:
            st.button("in a part")

        part()
        st.button("in the page")

    seen: list[str] = []

    @contextmanager
    def around(session: str) -> Iterator[None]:
        seen.append(f"begins {session}")
        yield
        seen.append(f"ends {session}")

    monkeypatch.setattr(ScriptRunner, "_run_script", ScriptRunner._run_script)  # put back afterwards
    for _ in range(2):
        streamlit_internals.watch_runs(around)
    app = AppTest.from_function(page, default_timeout=60)
    check(app.run())
    app.button[0].click()
    check(app.run())
    assert len(seen) == 4
    assert seen[:2] * 2 == seen, "once a run, however often it is asked for"


def test_what_ends_a_script_passes_by_those_who_catch_exceptions() -> None:
    for kind in (RerunException, StopException):
        assert not issubclass(kind, Exception), "ui/access/frame.py would show it as an error"


@pytest.mark.parametrize("content", [None, b"[auth\n", b"\xff\xfe"], ids=["missing", "not TOML", "not UTF-8"])
def test_reading_secrets_that_are_missing_or_damaged_raises(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secrets.toml"
    if content is not None:
        file.write_bytes(content)
    before = st.get_option("secrets.files")
    st.config.set_option("secrets.files", [str(file)])
    try:
        with pytest.raises((OSError, ValueError)) as caught:
            _ = "auth" in Secrets()
    finally:
        st.config.set_option("secrets.files", before)
    if content is None:
        assert caught.type is streamlit_internals.NO_SECRETS, "without secrets nobody would see a page"


def test_the_optional_secrets_files_are_those_of_the_default_settings() -> None:
    default = st.get_option("secrets.files")
    assert streamlit_internals.optional_secrets_files() == default, "without secrets nobody would see a page"


@pytest.mark.parametrize("name", ["Ada", "Ada " * 2000], ids=["one cookie", "in several"])
def test_who_signed_in_is_read_from_the_cookies_that_streamlit_writes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = Secrets()
    secrets._secrets = AUTH
    monkeypatch.setattr(secrets, "load_if_toml_exists", lambda: True)
    monkeypatch.setattr("streamlit.web.server.server_util.secrets_singleton", secrets)
    user = {"is_logged_in": True, "iat": 1_700_000_000, "name": name}
    response = Response()
    finish(starlette_auth_routes._set_auth_cookie(response, user, {}))
    written = SimpleCookie()
    for cookie in response.headers.getlist("set-cookie"):
        written.load(cookie)
    cookies = {key: found.value for key, found in written.items()}
    held = streamlit_internals.user_of_cookies(cookies)
    assert held is not None, f"no user in {list(cookies)}: signed-in people would be refused their pictures"
    assert json.loads(held) == user
    secrets._secrets = {"auth": {"cookie_secret": "y" * 40}}
    assert streamlit_internals.user_of_cookies(cookies) is None, "a cookie signed by somebody else is taken"
    assert streamlit_internals.user_of_cookies({}) is None


def test_every_endpoint_is_known() -> None:
    known = {
        *("/_stcore/health", "/_stcore/host-config", "/_stcore/stream", "/component/", "/_stcore/bidi-components/"),
        *("/auth/login", "/auth/logout", "/oauth2callback"),
        *(streamlit_internals.UPLOADS, streamlit_internals.MEDIA, *streamlit_internals.FOR_MACHINES),
    }
    routes: list[Any] = create_streamlit_routes(MagicMock())
    routes += starlette_routes.create_script_health_routes(MagicMock(), "")
    paths = {str(route.path) for route in routes if getattr(route, "path", None)}  # the page itself has none
    assert {p for p in paths if not p.startswith(tuple(known))} == set(), "new endpoints: should the shield close them?"
    assert {k for k in known if not any(p.startswith(k) for p in paths)} == set(), "what the shield looks for is gone"


def test_every_kind_of_message_is_known() -> None:
    kinds = {field.name for field in BackMsg.DESCRIPTOR.oneofs_by_name["type"].fields}
    of_a_session = {"rerun_script", "stop_script", "file_urls_request", "app_heartbeat", "backend_operation_request"}
    refused_by_streamlit = {"debug_disconnect_websocket", "debug_shutdown_runtime"}
    assert kinds == of_a_session | refused_by_streamlit | streamlit_internals.AFFECTS_OTHERS, (
        "Streamlit's browser says other things now: do they affect other sessions?"
    )
    frame = BackMsg(clear_cache=True).SerializeToString()
    assert streamlit_internals.kind_of_message(frame) == ("clear_cache", 0)
    assert streamlit_internals.kind_of_message(b"\xff\xff") is None
    assert {streamlit_internals.ASKS_FOR_A_RUN, streamlit_internals.ASKS_FOR_WORK} <= of_a_session


def test_the_browser_is_told_that_it_gets_no_places_and_why() -> None:
    asks = BackMsg()
    asks.file_urls_request.request_id = "7"
    answer = ForwardMsg.FromString(streamlit_internals.no_places(asks.SerializeToString(), "Too many."))
    assert (answer.file_urls_response.response_id, answer.file_urls_response.error_msg) == ("7", "Too many.")
    assert not answer.file_urls_response.file_urls


def test_every_script_of_the_page_is_found_or_comes_from_a_file() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    without_file = re.findall(r"<script(?![^>]*src=)[^>]*>", page)
    assert len(without_file) == len(streamlit_internals.inline_scripts()) > 0, "the security policy would forbid one"


def test_an_upload_never_touches_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def rollover(file: object) -> None:
        pytest.fail("Streamlit wrote an upload to the disk, whatever MultiPartParser.spool_max_size says")

    monkeypatch.setattr(SpooledTemporaryFile, "rollover", rollover)
    monkeypatch.setattr(MultiPartParser, "spool_max_size", 1)
    monkeypatch.setattr(starlette_routes, "is_xsrf_enabled", lambda: False)
    streamlit_internals.keep_uploads_in_memory(5_000_000)
    manager = MemoryUploadedFileManager("/upload")
    routes: list[Any] = starlette_routes.create_upload_routes(MagicMock(), manager, "")
    (put,) = [route for route in routes if "PUT" in route.methods]
    body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.png"\r\n\r\n'
    messages = iter(
        [
            {"type": "http.request", "body": body + b"\0" * 4_000_000, "more_body": True},
            {"type": "http.request", "body": b"\r\n--b--\r\n", "more_body": False},
        ]
    )

    async def receive() -> dict:
        return next(messages)

    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "headers": headers, "path_params": {"session_id": "s", "file_id": "f"}}
    assert finish(put.endpoint(Request(scope, receive))).status_code == 204
    assert len(manager.get_files("s", ["f"])[0].data) == 4_000_000


def takes_uploads() -> None:
    import streamlit as st

    from ui import streamlit_internals

    for file in streamlit_internals.uploaded_files(st.file_uploader("Files", accept_multiple_files=True)):
        st.text(file.name)
        streamlit_internals.forget_upload(file)


def test_an_upload_that_was_taken_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[UploadedFileRec] = []
    remove = MemoryUploadedFileManager.remove_file

    def removing(manager: MemoryUploadedFileManager, session_id: str, file_id: str) -> None:
        remove(manager, session_id, file_id)
        left[:] = manager.file_storage[session_id].values()

    monkeypatch.setattr(MemoryUploadedFileManager, "remove_file", removing)
    app = AppTest.from_function(takes_uploads, default_timeout=60).run()
    left.append(UploadedFileRec("0", "none was dropped", "", b""))
    app.file_uploader[0].set_value([("a.png", b"a", "image/png"), ("b.png", b"b", "image/png")])
    assert [text.value for text in check(app.run()).text] == ["a.png", "b.png"]
    assert left == [], "Streamlit keeps uploads past New case"


def test_uploads_that_were_dropped_are_not_taken_again() -> None:
    assert streamlit_internals.uploaded_files([DeletedFile("1")]) == []
    assert streamlit_internals.uploaded_files(None) == []


def redraws() -> None:
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    from ui import streamlit_internals

    streamlit_internals.stop_redrawing()  # of a whole page: nothing to stop
    context = get_script_run_ctx()
    assert context is not None
    assert not context.fragment_ids_this_run
    context.fragment_ids_this_run = ["part"]
    streamlit_internals.stop_redrawing()
    context.fragment_ids_this_run = None


def test_the_browser_is_told_to_redraw_a_part_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[ForwardMsg] = []
    enqueue = ScriptRunContext.enqueue

    def enqueuing(context: ScriptRunContext, message: ForwardMsg) -> None:
        sent.append(message)
        enqueue(context, message)

    monkeypatch.setattr(ScriptRunContext, "enqueue", enqueuing)
    check(AppTest.from_function(redraws).run(timeout=60))
    stopped = [list(m.stop_auto_rerun.fragment_ids) for m in sent if m.WhichOneof("type") == "stop_auto_rerun"]
    assert stopped == [["part"]], "a part of a page that waits for something would redraw itself for ever"


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[float]]:
    """Streamlit's media manager, whose calls belong to the session "a", keeping downloads for 30 s; and its clock."""
    media, now = MediaFileManager(MemoryMediaFileStorage("/media")), [0.0]
    monkeypatch.setattr(media_file_manager, "_get_session_id", lambda: "a")
    monkeypatch.setattr(streamlit_internals.runtime, "get_instance", lambda: MagicMock(media_file_mgr=media))
    streamlit_internals.keep_downloads(30, lambda: now[0])
    return media, now


def _draw_anew(media: Any) -> str:
    """Run the page that has one download; returns what makes it."""
    media.clear_session_refs()
    made: str = media.add_deferred(lambda: b"report", "text/plain", "button", file_name="report.txt")
    media.remove_orphaned_files()
    return made


def test_a_download_is_there_although_the_page_was_drawn_anew(downloads: tuple[Any, list[float]]) -> None:
    media, now = downloads
    clicked = _draw_anew(media)
    _draw_anew(media)
    file = streamlit_internals.media_id(media.execute_deferred(clicked))
    for _ in range(3):
        _draw_anew(media)
    assert media._storage.get_file(f"{file}.txt").content == b"report"
    now[0] = 31
    for _ in range(2):
        _draw_anew(media)
    with pytest.raises(MediaFileStorageError):
        media.execute_deferred(clicked)
    with pytest.raises(MediaFileStorageError):
        media._storage.get_file(f"{file}.txt")
    now[0] = 62
    _draw_anew(media)
    assert len(media._deferred_callables) == 2  # the one shown, and the one that it has just replaced


@pytest.mark.parametrize("fragments", [None, ["a"]])
def test_the_answer_to_a_click_is_not_lost_when_a_run_begins(
    monkeypatch: pytest.MonkeyPatch, fragments: list[str] | None
) -> None:
    def left(**options: Any) -> list[str]:
        queue = ForwardMsgQueue()
        for number in (1, 2):
            message = ForwardMsg()
            message.delta.fragment_id = "a"
            message.metadata.delta_path[:] = [0, number]
            queue.enqueue(message)
            answer = ForwardMsg()
            answer.backend_operation_response.request_id = f"click {number}"
            queue.enqueue(answer)
        queue.clear(**options)
        assert not [m for m in queue._queue if m.WhichOneof("type") == "delta"]
        return [m.backend_operation_response.request_id for m in queue._queue]

    monkeypatch.setattr(ForwardMsgQueue, "clear", inspect.unwrap(ForwardMsgQueue.clear))
    if not fragments:
        assert left(retain_lifecycle_msgs=True) == [], "Streamlit keeps it now: keep_answers can go"
    streamlit_internals.keep_answers.__wrapped__()
    assert left(retain_lifecycle_msgs=True, fragment_ids_this_run=fragments) == ["click 1", "click 2"]
    assert left() == []


class Server:
    """As Streamlit's server: one session is there, and its connection breaks off after some messages."""

    def __init__(self, connected: bool = True, takes: int = 1000) -> None:
        self._session_mgr = self
        self.sent: list[int] = []
        self._connected, self._takes = connected, takes

    def get_active_session_info(self, session_id: str) -> str | None:
        return session_id if self._connected else None

    def _send_message(self, info: str, message: ForwardMsg) -> None:
        assert info == "a"
        if len(self.sent) == self._takes:
            raise SessionClientDisconnectedError
        self.sent.append(message.metadata.delta_path[0])


@pytest.mark.parametrize(
    ("server", "sent", "left"),
    [
        (Server(), [0, 1, 2], [3, 4]),
        (Server(takes=1), [0], [1, 2, 3, 4]),
        (Server(connected=False), [], [0, 1, 2, 3, 4]),
    ],
)
def test_many_messages_are_sent_at_once_and_those_that_cannot_be_are_left_to_streamlit(
    server: Server, sent: list[int], left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AppSession, "flush_browser_queue", inspect.unwrap(AppSession.flush_browser_queue))
    monkeypatch.setattr(runtime, "get_instance", lambda: server)
    session: Any = SimpleNamespace(id="a", _browser_queue=ForwardMsgQueue())
    for number in range(5):
        message = ForwardMsg()
        message.metadata.delta_path[:] = [number]
        message.delta.new_element.markdown.body = "said"
        session._browser_queue.enqueue(message)
    streamlit_internals.send_at_once(3)
    assert [message.metadata.delta_path[0] for message in AppSession.flush_browser_queue(session)] == left
    assert server.sent == sent
    assert AppSession.flush_browser_queue(session) == []


def test_no_download_is_kept_of_a_session_that_ended(downloads: tuple[Any, list[float]]) -> None:
    media, _ = downloads
    clicked = _draw_anew(media)
    _draw_anew(media)
    media.execute_deferred(clicked)
    media.clear_session_refs("a")
    for _ in range(2):
        media.remove_orphaned_files()
    assert not media._deferred_callables
    assert not media._file_metadata


def test_a_download_waits_for_its_turn_and_is_made_within_the_context_of_its_session(
    downloads: tuple[Any, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    media, _ = downloads
    monkeypatch.setattr(DeferredFileHandler, "handle", DeferredFileHandler.handle)  # put back afterwards
    seen, refusals = list[str](), ["", "Not now."]

    @asynccontextmanager
    async def turn(session: str) -> AsyncIterator[str]:
        seen.append(f"turn of {session}")
        yield refusals.pop(0)
        seen.append(f"end of {session}")

    @contextmanager
    def around(session: str) -> Iterator[None]:
        seen.append(f"made for {session}")
        yield

    streamlit_internals.watch_downloads(turn, around)
    request = BackendOperationRequest(request_id="1")
    request.deferred_file.file_id = _draw_anew(media)
    handler = DeferredFileHandler(lambda: media)
    assert finish(handler.handle(request, "a")).deferred_file.url
    assert finish(handler.handle(request, "a")).error_msg == "Not now."
    assert seen == ["turn of a", "made for a", "end of a", "turn of a", "end of a"]


def test_what_the_style_sheet_names_is_on_the_page() -> None:
    named = set(re.findall(r'data-testid="(\w+)"', (ROOT / "ui" / "theme.css").read_text(encoding="utf-8")))
    built = "".join(path.read_text(encoding="utf-8") for path in (STATIC / "static" / "js").glob("*.js"))
    assert named
    assert {name for name in named if f'"{name}"' not in built and f"`{name}`" not in built} == set()


class Session:
    """Stands for a session of Streamlit's, which is ended by a call."""

    def __init__(self, name: str, ended: list[str]) -> None:
        self.id, self._ended = name, ended

    def shutdown(self) -> None:
        self._ended.append(self.id)


def test_a_session_ends_when_its_time_is_up_with_nobody_else_around() -> None:
    now, ended = [0.0], list[str]()
    kept = streamlit_internals.Sessions(100.0, 3, lambda: now[0])
    for i in range(4):
        now[0] = float(i)
        kept.save(SessionInfo(None, Session(f"{i}", ended), 0))  # type: ignore[arg-type]
    assert ended == ["0"], "of one too many the oldest"
    assert kept.get("1") is not None
    kept.delete("2")  # it has come back
    now[0] = 101.0
    assert kept.get("1") is None
    assert kept.sweep() == 1
    assert ended == ["0", "1"]
    assert [info.session.id for info in kept.list()] == ["3"]
    now[0] = 200.0
    assert kept.sweep() == 1
    assert kept.sweep() == 0
    assert ended == ["0", "1", "3"]


def test_a_session_that_is_away_ends_sooner_where_it_is_in_the_way_the_longest_away_first() -> None:
    ended = list[str]()
    kept = streamlit_internals.Sessions(100.0, 5, lambda: 0.0)
    for i in range(4):
        kept.save(SessionInfo(None, Session(f"{i}", ended), 0))  # type: ignore[arg-type]
    held = {"0": 0, "1": 5, "2": 5, "3": 5}
    total = lambda: sum(amount for name, amount in held.items() if name not in ended)  # noqa: E731
    assert kept.sweep(lambda session: held[session] > 0 and total() > 8) == 2
    assert ended == ["1", "2"]
    assert [info.session.id for info in kept.list()] == ["0", "3"]


def test_what_the_server_is_watched_by_is_there() -> None:
    resumes = inspect.signature(Runtime.connect_session).parameters
    assert list(resumes)[1:4] == ["client", "user_info", "existing_session_id"], (
        "whose session it is would not be asked"
    )
    assert "remove_session_files" in inspect.getsource(AppSession.shutdown), "nobody would be told that a session ended"
    assert "client=client" in inspect.getsource(starlette_websocket), "nobody would be told that one began"
    assert "_websocket" in inspect.getsource(starlette_websocket.StarletteSessionClient)
    assert "self._session_storage.get(" in inspect.getsource(WebsocketSessionManager), "sessions would not come back"
    names = Runtime._loop_coroutine.__code__.co_varnames
    assert {"active_session_info", "msg_list", "msg"} <= set(names), "the last session's answers would stay in memory"


def test_the_browser_is_told_by_the_cookie_of_its_token_and_the_user_by_those_of_one_name() -> None:
    token = starlette_app_utils.generate_xsrf_token_string(b"0123456789abcdef")
    assert streamlit_internals.browser_of_cookies({"_streamlit_xsrf": token}) == b"0123456789abcdef"
    assert streamlit_internals.browser_of_cookies({}) is None
    written = ("_streamlit_user", "_streamlit_user_1", "_streamlit_user__1", "_streamlit_user_tokens")
    assert all(map(streamlit_internals.is_cookie_of_user, written))
    assert not streamlit_internals.is_cookie_of_user("_streamlit_xsrf")


def test_the_end_of_a_run_is_known() -> None:
    end = ForwardMsg(script_finished=ForwardMsg.FINISHED_SUCCESSFULLY).SerializeToString()
    assert streamlit_internals.is_end_of_run(end)
    assert not streamlit_internals.is_end_of_run(ForwardMsg().SerializeToString())


def test_no_run_of_a_page_ends_in_a_full_collection() -> None:
    from streamlit import config

    assert config.get_option("runner.postScriptGC") is False, "four pages asked for again and again held up everybody"


def test_what_the_server_makes_for_pages_is_made_without_a_warning() -> None:
    noted = logging.getLogger(ScriptRunContext.__module__)
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    noted.addHandler(handler)
    try:
        with streamlit_internals.where_no_page_runs():
            st.cache_resource(lambda: 1)()
        assert not said
        st.cache_resource(lambda: 2)()
    finally:
        noted.removeHandler(handler)
    assert "missing ScriptRunContext" in said[0]
