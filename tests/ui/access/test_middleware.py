import asyncio
import json
import re
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.requests import ClientDisconnect, Request
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.web.server.starlette.starlette_app_utils import generate_xsrf_token_string

from dermlens.ingest.formats import LIMITS as FILE
from dermlens.server.computing import Computing
from dermlens.server.limits import LIMITS
from dermlens.server.shares import VISITS, Payer, Shares, Who
from tests.conftest import finish
from ui import streamlit_internals
from ui.access import middleware, sign_in, uploads
from ui.access.sign_in import SIGNED_IN_HOURS
from ui.access.visitors import OWNERS, Visitor, computes

ROOT = Path(__file__).parents[3]


def many_names(count: int) -> bytes:
    message = BackMsg()
    message.file_urls_request.file_names.extend(["x"] * count)
    return message.SerializeToString()


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
    assert len(inline) == len(streamlit_internals.inline_scripts())
    ours = 2  # the question before unsaved answers are closed, and what keeps steps in the history
    assert middleware.headers()["content-security-policy"].count("sha256-") == len(inline) + ours


@pytest.fixture
def mine() -> Iterator[str]:
    """A session of a browser without cookies, which shows the picture 0123 and may upload the files a and b."""
    visits = VISITS.files
    OWNERS.begin("mine", Visitor(None, None, None, ""))
    OWNERS.show("mine", "0123")
    OWNERS.give_places("mine", ["a", "b"], 2)
    yield "mine"
    OWNERS.end("mine")
    uploads.forget("mine")
    assert visits.held("mine") == 0


def test_pictures_of_a_case_are_not_kept_by_the_browser(mine: str) -> None:
    assert dict(ask("/media/0123.png")[0]["headers"])[b"cache-control"] == b"private, no-store"


def test_fonts_and_icons_are_no_pictures_of_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("/static/media/font.woff2")[0]["status"] == 200
    monkeypatch.setattr(streamlit_internals.config, "get_option", lambda name: "static")
    assert streamlit_internals.is_media("/static/media/0123.png"), "a dashboard at /static has its pictures there"
    assert not streamlit_internals.is_media("/static/static/media/font.woff2")


def test_a_picture_is_shown_to_the_browser_that_it_was_made_for_alone(mine: str) -> None:
    assert ask("/media/0123.png")[0]["status"] == 200
    assert ask("/media/4567.png")[0]["status"] == 403
    other = f"_streamlit_xsrf={generate_xsrf_token_string()}"
    assert ask("/media/0123.png", cookie=other)[0]["status"] == 403
    OWNERS.end(mine)
    assert ask("/media/0123.png")[0]["status"] == 403


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
    path: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
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

    def person(hours_ago: float, name: str = "Ada") -> str:
        return json.dumps({"is_logged_in": True, "iat": int(time.time() - 3600 * hours_ago), "sub": name})

    ada = person(SIGNED_IN_HOURS - 1, f"Ada {path}")
    OWNERS.begin("session", Visitor(None, ada.encode(), None, ""))
    OWNERS.show("session", "0123")
    OWNERS.give_places("session", ["file"], 1)
    request.addfinalizer(lambda: OWNERS.end("session"))
    assert ask(path, method="PUT")[0]["status"] == 403
    assert status("y", person(0)) == 403, "forged"
    assert status("x", person(0), "another") == 403
    assert status("x", "{}") == status("x", "no JSON") == 403
    assert status("x", person(SIGNED_IN_HOURS + 1)) == 403, "too long ago, as for the pages"
    assert status("x", person(-1)) == 403, "from the future"
    assert status("x", person(SIGNED_IN_HOURS - 1, "Bob")) == 403, "another person's"
    assert status("x", ada) == 200
    sign_in.end(ada.encode())
    assert status("x", ada) == 403, "signed out"
    assert ask("/static/js/index.js")[0]["status"] == 200
    assert ask("/static/media/MaterialSymbols.woff2")[0]["status"] == 200, "a font, in a folder called media"
    for path in ("/media/a.png", "/static/media/../../media/a.png", "/x/static/media/a.png"):
        assert ask(path)[0]["status"] == 403


def test_a_link_of_another_site_signs_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bytes] = []
    signed_in = Visitor(None, b"{}", None, "")
    monkeypatch.setattr(middleware, "visitor_of", lambda scope: signed_in)
    monkeypatch.setattr(Visitor, "may_stay", lambda visitor: True)
    monkeypatch.setattr(middleware.sign_in, "end", ended.append)
    assert ask("/auth/logout", **{"sec-fetch-site": "cross-site"})[0]["status"] == 403
    assert ended == []
    for site in ({}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}):
        assert ask("/auth/logout", **site)[0]["status"] == 200
    assert len(ended) == 3


@pytest.mark.parametrize(
    ("path", "method", "said", "closes"),
    [
        ("/_stcore/upload_file/mine/invented", "PUT", {"content-length": f"{2**20 + 1}"}, True),
        ("/_stcore/upload_file/mine/invented", "PUT", {"content-length": f"{2**20}"}, False),
        ("/_stcore/upload_file/mine/invented", "PUT", {"transfer-encoding": "chunked"}, True),
        ("/media/4567.png", "POST", {"content-length": f"{2**30}"}, True),
        ("/_stcore/metrics", "POST", {"content-length": f"{2**30}"}, True),
        ("/", "POST", {"content-length": f"{2**30}"}, False),
    ],
)
def test_the_rest_of_a_long_body_that_is_refused_is_not_read(
    path: str, method: str, said: dict, closes: bool, mine: str
) -> None:
    (first, _) = ask(path, method=method, **said)
    assert ((b"connection", b"close") in first["headers"]) == closes


def test_of_an_upload_that_finds_no_room_as_much_is_read_as_a_file_may_have(small: Shares, mine: str) -> None:
    assert (b"connection", b"close") not in put(Sender(bytes(401)), said=FILE.bytes)["headers"]
    assert (b"connection", b"close") in put(Sender(bytes(401)), said=FILE.bytes + 2**21)["headers"]


def test_requests_wait_at_the_pace_of_their_address(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, waited = list[str](), list[float]()

    class Slow:
        def wait(self, address: str) -> float:
            asked.append(address)
            return 0.5

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(middleware, "PACES", Slow())
    monkeypatch.setattr(middleware.asyncio, "sleep", sleep)
    for peer in ("127.0.0.1", "192.0.2.1"):
        monkeypatch.setattr(middleware, "visitor_of", lambda scope, peer=peer: Visitor((peer, 1), None, None, ""))
        assert ask()[0]["status"] == 200
    assert (asked, waited) == (["192.0.2.1"], [0.5])


def test_nobody_can_have_the_models_of_all_sessions_loaded_anew() -> None:
    frames = [BackMsg(clear_cache=True), BackMsg(set_run_on_save=True), BackMsg(stop_script=True)]
    incoming = [m.SerializeToString() for m in [*frames, BackMsg(app_heartbeat=True)]]
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


def talk(*frames: dict) -> list[dict]:
    """Return what a page is sent that says these frames, after Streamlit has heard as many as reach it."""
    sent: list[dict] = []
    messages = iter([{"type": "websocket.connect"}, *({"type": "websocket.receive", **frame} for frame in frames)])

    async def streamlit(scope: dict, receive, send) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def receive() -> dict:
        return next(messages)

    async def send(message: dict) -> None:
        sent.append(message)

    finish(middleware.Shield(streamlit)({"type": "websocket", "path": "/", "headers": []}, receive, send))
    return sent


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"text": "hello"}, 1003),
        ({"bytes": b"\xff\xff"}, 1002),
        ({"bytes": bytes(LIMITS.message_bytes + 1)}, 1009),
        ({"bytes": many_names(10 * LIMITS.file_names + 1)}, 1009),
    ],
    ids=["text", "no message", "too long", "too many files"],
)
def test_a_page_that_says_what_it_may_not_is_closed_without_a_word_to_streamlit(frame: dict, code: int) -> None:
    assert talk(frame) == [{"type": "websocket.close", "code": code}]


class Sender:
    """Sends a body in pieces; waits for ever after the last one, if it is not the end."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self._pieces, self._ends = list(pieces), ends

    async def receive(self) -> dict:
        if not self._pieces and not self._ends:
            await asyncio.Event().wait()
        body = self._pieces.pop(0) if self._pieces else b""
        return {"type": "http.request", "body": body, "more_body": bool(self._pieces) or not self._ends}


def put(
    sender: Sender, file: str = "a", session: str = "mine", keep: int | None = 0, said: int = 0, **limits: float
) -> dict:
    """Return the answer to an upload, of which Streamlit keeps so many bytes (None: it is still reading).

    `said` is the length that its head says, 0 for none.
    """
    sent: list[dict] = []

    async def streamlit(scope: dict, receive, send) -> None:
        while (await receive())["more_body"]:
            pass
        if keep:
            uploads.arrived(session, file, keep)
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def send(message: dict) -> None:
        sent.append(dict(message))

    headers = [(b"content-length", str(said).encode())] if said else []
    scope = {"type": "http", "method": "PUT", "path": f"/_stcore/upload_file/{session}/{file}", "headers": headers}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "LIMITS", replace(LIMITS, **limits))  # type: ignore[arg-type]
        patch.setattr(uploads, "RETRY", 0.001)
        patch.setattr(uploads, "REFUSED_SECONDS", 0.001)
        finish(middleware.Shield(streamlit)(scope, sender.receive, send))
    return sent[0]


def test_only_an_upload_that_a_page_was_given_a_place_for_is_taken_and_only_once(mine: str) -> None:
    assert put(Sender(b"x"), "a", keep=1)["status"] == 204
    assert put(Sender(b"x"), "a")["status"] == 403, "the place was used"
    assert put(Sender(b"x"), "invented")["status"] == 403
    assert put(Sender(b"x"), "a", "another session")["status"] == 403


def test_places_are_given_up_to_the_limit(mine: str) -> None:
    OWNERS.give_places(mine, ["c"], 2)
    assert put(Sender(b"x"), "a")["status"] == 403, "the oldest of two that nothing came to"
    assert put(Sender(b"x"), "b", keep=1)["status"] == 204
    assert put(Sender(b"x"), "c", keep=1)["status"] == 204


def test_an_upload_counts_by_what_was_received_and_then_by_what_is_kept(mine: str) -> None:
    assert put(Sender(bytes(600), bytes(500)), "a", keep=1000)["status"] == 204
    assert VISITS.files.held(mine) == 1000
    uploads.dropped(mine, "a", 1000)
    assert VISITS.files.held(mine) == 0


def test_two_uploads_to_one_place_at_once_are_one(mine: str) -> None:
    sent: list[tuple[str, int]] = []
    both = asyncio.Event()

    async def streamlit(scope: dict, receive, send) -> None:
        while (await receive())["more_body"]:
            pass
        await both.wait()
        uploads.arrived(mine, "a", 1000)
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def one(name: str) -> None:
        async def send(message: dict) -> None:
            if message["type"] == "http.response.start":
                sent.append((name, message["status"]))
            if message.get("status") != 204:
                both.set()

        scope = {"type": "http", "method": "PUT", "path": f"/_stcore/upload_file/{mine}/a", "headers": []}
        await middleware.Shield(streamlit)(scope, Sender(bytes(600), bytes(500)).receive, send)

    async def at_once() -> None:
        await asyncio.gather(one("first"), one("second"))

    finish(at_once())
    assert sent == [("second", 409), ("first", 204)]
    assert VISITS.files.held(mine) == 1000
    uploads.dropped(mine, "a", 1000)
    assert VISITS.files.held(mine) == 0
    assert put(Sender(b"x"), "a")["status"] == 403, "the place was used"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Shares:
    """What all may hold together: 1,000 bytes, of which one session may hold 400."""
    shares = Shares(1000, 400, 400, 400)
    monkeypatch.setattr(VISITS, "files", shares)
    return shares


def test_one_session_may_not_hold_more_than_its_share_and_what_was_refused_does_not_count(
    small: Shares, mine: str
) -> None:
    assert put(Sender(bytes(200), bytes(201)))["status"] == 413
    assert small.held() == 0
    assert put(Sender(bytes(200), bytes(200)), keep=400)["status"] == 204
    assert put(Sender(bytes(1)), "b")["status"] == 413


def test_where_all_hold_too_much_an_upload_waits_and_is_refused_in_the_end(small: Shares, mine: str) -> None:
    others = [Who(str(i)) for i in range(4)]
    while [who for who in others if small.take(who, 10) is None]:
        pass
    assert put(Sender(bytes(250)), body_waits=0.01)["status"] == 503
    assert small.held(mine) == 0

    class Leaves(Sender):
        async def receive(self) -> dict:
            for other in others:
                asyncio.get_running_loop().call_later(0.01, small.end, other.session)
            return await super().receive()

    assert put(Leaves(bytes(250)), "b", body_waits=60, keep=250)["status"] == 204


def test_a_body_that_does_not_come_or_comes_too_slowly_is_given_up(mine: str) -> None:
    answer = put(Sender(ends=False), body_pause=0.01)
    assert answer["status"] == 408
    assert (b"connection", b"close") in answer["headers"]
    assert put(Sender(*[b"x"] * 10, ends=False), body_pause=0.01)["status"] == 408
    assert VISITS.files.held(mine) == 0
    assert put(Sender(b"x"), keep=1)["status"] == 204, "a small one that ends is not slow"


def test_what_is_taken_is_charged_and_who_is_behind_waits_unread_for_others_who_are_at_work(
    mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing = Computing(clock=lambda: 0.0)
    visitor = OWNERS.whose(mine)
    assert visitor is not None
    looks: list[bool] = []

    def is_behind(who: Payer) -> bool:
        looks.append(computing.is_behind(who) and len(looks) < 3)
        return looks[-1]

    monkeypatch.setattr(uploads, "COMPUTING", SimpleNamespace(is_behind=is_behind, charge=computing.charge))
    with computing.of(Payer("other")):
        assert put(Sender(bytes(2**20)), keep=2**20)["status"] == 204
        uploads.dropped(mine, "a", 2**20)
        assert looks == [False]
        for _ in range(int(1 / (2**20 * uploads.SECONDS_PER_BYTE)) + 1):  # what a stranger may compute at once
            computing.charge(computes(visitor), 2**20 * uploads.SECONDS_PER_BYTE)
        looks.clear()
        assert put(Sender(b"x"), "b", keep=1, body_pause=1e-3)["status"] == 204, "the wait does not count as slow"
    assert looks == [True, True, True, False]


def test_a_body_is_not_longer_than_any_file(mine: str) -> None:
    assert put(Sender(*[bytes(2**20)] * 52))["status"] == 413
    assert VISITS.files.held(mine) == 0


def test_who_leaves_in_the_middle_of_an_upload_is_no_error(mine: str) -> None:
    async def streamlit(scope: dict, receive, send) -> None:
        await receive()
        raise ClientDisconnect

    scope = {"type": "http", "method": "PUT", "path": "/_stcore/upload_file/mine/a", "headers": []}
    finish(middleware.Shield(streamlit)(scope, Sender(b"x", ends=False).receive, streamlit))  # type: ignore[arg-type]
    assert VISITS.files.held(mine) == 0


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
    assert server["maxUploadSize"] * 2**20 == FILE.bytes, "what the server takes is what can be read"


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
