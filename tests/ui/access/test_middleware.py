import asyncio
import json
import re
import time
import tomllib
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from dermlens.ingest.formats import LIMITS
from ui import streamlit_internals
from ui.access import middleware
from ui.access.sign_in import SIGNED_IN_HOURS

ROOT = Path(__file__).parents[3]


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a thread of its own: this one may have a loop running, Playwright's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


async def app(scope: dict, receive: object, send) -> None:
    """Stands for Streamlit's server: answers everything, and says to keep it."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    head = [(b"cache-control", b"public"), (b"X-Frame-Options", b"ALLOW")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"ok"})


def ask(path: str = "/", kind: str = "http", method: str = "GET", **headers: str) -> list[dict]:
    """Return what is sent for one request through the shield."""
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "websocket.connect" if kind == "websocket" else "http.request"}

    async def send(message: dict) -> None:
        sent.append(dict(message))

    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    finish(middleware.Shield(app)({"type": kind, "method": method, "path": path, "headers": named}, receive, send))
    return sent


def test_every_answer_carries_the_headers_once() -> None:
    head = [(name.decode().lower(), value.decode()) for name, value in ask()[0]["headers"]]
    assert len(head) == len(dict(head))
    for name, value in middleware.headers().items():
        assert dict(head)[name] == value
    assert dict(head)["cache-control"] == "public"


def test_nothing_may_come_from_elsewhere() -> None:
    policy = middleware.headers()["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    allowed = {word for rule in rules.values() for word in rule.split()}
    assert {w for w in allowed if not w.startswith("'")} == {"data:", "blob:"}
    assert "'unsafe-eval'" not in allowed
    assert "'unsafe-inline'" not in rules["script-src"]


def test_every_script_that_stands_in_the_page_itself_is_known_by_its_hash() -> None:
    page = (Path(middleware.st.__file__).parent / "static" / "index.html").read_text()
    inline = re.findall(r"<script(?![^>]*src=)[^>]*>", page)
    assert (
        len(inline)
        == len(streamlit_internals.inline_scripts())
        == middleware.headers()["content-security-policy"].count("sha256-")
    )


def test_pictures_of_a_case_are_not_kept_by_the_browser() -> None:
    assert dict(ask("/media/0123.png")[0]["headers"])[b"cache-control"] == b"private, no-store"


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/_stcore/agent/interact", "/base/_stcore/agent/mcp"])
def test_what_the_dashboard_does_not_need_is_closed(path: str) -> None:
    assert ask(path, method="POST")[0]["status"] == 404


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        ({}, True),
        ({"origin": "http://localhost:8501"}, True),
        ({"origin": "https://localhost:8501"}, True),
        ({"origin": "http://localhost:3000"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
    ],
)
def test_only_a_page_of_this_server_may_connect(origin: dict, accepted: bool) -> None:
    first = ask("/_stcore/stream", "websocket", host="localhost:8501", **origin)[0]
    assert first["type"] == ("websocket.accept" if accepted else "websocket.close")


@pytest.mark.parametrize("path", ["/_stcore/upload_file/session/file", "/media/0123.png"])
def test_where_sign_in_is_set_up_files_come_and_go_only_with_its_cookie(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamlit.runtime.secrets import Secrets
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    secrets = Secrets()
    secrets._secrets = {"auth": {"cookie_secret": "x" * 40}}
    monkeypatch.setattr("streamlit.secrets", secrets)
    monkeypatch.setattr("streamlit.web.server.starlette.starlette_websocket.get_cookie_secret", lambda: "x" * 40)

    def status(secret: str, content: str, name: str = "_streamlit_user") -> int:
        signed = create_signed_value(secret * 40, name, content).decode()
        return ask(path, method="PUT", cookie=f"{name}={signed}")[0]["status"]

    def person(hours_ago: float) -> str:
        return json.dumps({"is_logged_in": True, "iat": int(time.time() - 3600 * hours_ago)})

    assert ask(path, method="PUT")[0]["status"] == 403
    assert status("y", person(0)) == 403, "forged"
    assert status("x", person(0), "another") == 403
    assert status("x", "{}") == status("x", "no JSON") == 403
    assert status("x", person(SIGNED_IN_HOURS + 1)) == 403, "too long ago, as for the pages"
    assert status("x", person(SIGNED_IN_HOURS - 1)) == 200
    assert ask("/static/js/index.js")[0]["status"] == 200


def test_nobody_can_have_the_models_of_all_sessions_loaded_anew() -> None:
    frames = [BackMsg(clear_cache=True), BackMsg(set_run_on_save=True), BackMsg(stop_script=True)]
    incoming = [m.SerializeToString() for m in frames] + [b"\xff\xff"]
    messages = iter(
        [{"type": "websocket.connect"}, *({"type": "websocket.receive", "bytes": frame} for frame in incoming)]
    )
    heard: list[bytes | None] = []

    async def streamlit(scope: dict, receive, send: object) -> None:
        while len(heard) < 3:
            heard.append((await receive()).get("bytes"))

    async def receive() -> dict:
        return next(messages)

    async def send(message: dict) -> None:
        raise AssertionError(message)

    finish(middleware.Shield(streamlit)({"type": "websocket", "path": "/", "headers": []}, receive, send))
    assert heard == [None, *incoming[2:]]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> MemoryUploadedFileManager:
    """What Streamlit holds, of which it may hold 1,000 bytes."""
    manager = MemoryUploadedFileManager("/upload")
    monkeypatch.setattr(streamlit_internals.runtime, "exists", lambda: True)
    monkeypatch.setattr(streamlit_internals.runtime, "get_instance", lambda: SimpleNamespace(uploaded_file_mgr=manager))
    monkeypatch.setattr(middleware, "MAX_UPLOADED", 1000)
    monkeypatch.setattr(middleware, "UPLOAD_WAITS", 0.0)
    return manager


def upload(size: int) -> int:
    return ask("/_stcore/upload_file/session/file", method="PUT", **{"content-length": str(size)})[0]["status"]


def test_uploads_are_refused_while_the_server_holds_too_many(held: MemoryUploadedFileManager) -> None:
    assert upload(1000) == 200
    held.add_file("session", UploadedFileRec("1", "a.png", "image/png", bytes(900)))
    assert upload(100) == 200
    assert upload(101) == 503
    assert ask("/_stcore/upload_file/session/file", method="DELETE")[0]["status"] == 200
    held.remove_session_files("session")
    assert upload(1000) == 200


def test_an_upload_of_unknown_size_counts_as_the_largest(held: MemoryUploadedFileManager) -> None:
    assert ask("/_stcore/upload_file/session/file", method="PUT")[0]["status"] == 503


def test_uploads_that_are_being_taken_count_and_who_comes_after_waits_for_room(
    held: MemoryUploadedFileManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "UPLOAD_WAITS", 30.0)
    taken: list[str] = []
    may_end = asyncio.Event()

    async def streamlit(scope: dict, receive: object, send: object) -> None:
        taken.append(scope["path"])
        if scope["path"].endswith("first"):
            await may_end.wait()

    async def pause(seconds: float) -> None:
        assert taken == ["/_stcore/upload_file/s/first"], "the second one waits, its body unread"
        may_end.set()
        await real(0)

    real = asyncio.sleep
    monkeypatch.setattr(middleware.asyncio, "sleep", pause)
    guard = middleware.Shield(streamlit)

    def put(name: str) -> Coroutine:
        headers = [(b"content-length", b"600")]
        scope = {"type": "http", "method": "PUT", "path": f"/_stcore/upload_file/s/{name}", "headers": headers}
        return guard(scope, pause, pause)

    async def both() -> None:
        await asyncio.gather(put("first"), put("second"))

    finish(both())
    assert [path[-6:] for path in taken] == ["/first", "second"]


def test_the_settings_are_closed_by_default() -> None:
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    server, client = settings["server"], settings["client"]
    assert server["address"] == "localhost"
    assert server["allowedHosts"] == ["localhost", "127.0.0.1"]
    assert server["enableCORS"] is server["enableXsrfProtection"] is True
    assert server["enableAgentApi"] is server["enableStaticServing"] is False
    assert settings["browser"]["gatherUsageStats"] is False
    assert client["showErrorDetails"] == "none"
    assert client["allowedOrigins"] == []
    assert server["maxUploadSize"] * 2**20 == LIMITS.bytes, "what the server takes is what can be read"


def test_an_upload_stays_in_memory_and_never_touches_the_disk() -> None:
    middleware.middleware()
    body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.png"\r\n\r\n'
    body += b"\0" * 4_000_000 + b"\r\n--b--\r\n"
    pieces = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict:
        return pieces.pop()

    scope = {"type": "http", "method": "PUT", "headers": [(b"content-type", b"multipart/form-data; boundary=b")]}

    async def upload() -> bool:
        async with Request(scope, receive).form() as form:
            file = form["f"]
            assert file.size == 4_000_000
            return bool(file.file._rolled)  # a SpooledTemporaryFile that has gone to the disk

    assert finish(upload()) is False
