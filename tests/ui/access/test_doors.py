"""What a stranger may not do to another one's session, over the real protocol, against a server without models."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from websockets.typing import Subprotocol

from tests import visitor as visitors
from tests.browser.app import serve
from tests.visitor import PATIENCE, Visitor


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("doors")
    (folder / "models").mkdir()
    settings = {"DERMLENS_MODELS": str(folder / "models"), "DERMLENS_LIMITS": "requests_burst=30 requests_rate=1"}
    with serve(folder / "log", settings) as running:
        yield running


def come_back(address: str, session: str, monkeypatch: pytest.MonkeyPatch, cookies: dict[str, str]) -> Visitor:
    """Open a page that asks to go on with a session, as a browser does whose connection was lost."""
    connect = visitors.connect
    with monkeypatch.context() as patch:
        patch.setattr(
            visitors,
            "connect",
            lambda url, subprotocols=(), **options: connect(
                url, subprotocols=[*subprotocols, Subprotocol(session)], **options
            ),
        )
        return Visitor(address, "predict", cookies=cookies)


def test_a_browser_goes_on_with_its_own_session_and_nobody_else_with_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Visitor(address, "predict") as owner:
        with come_back(address, owner.session, monkeypatch, {}) as stranger:
            assert stranger.session != owner.session
        owner.run()  # it is still connected
        owner._socket.close()
        with come_back(address, owner.session, monkeypatch, {}) as stranger:
            assert stranger.session != owner.session
        with come_back(address, owner.session, monkeypatch, owner.browser()) as again:
            assert again.session == owner.session


def test_a_place_for_an_upload_has_one_name(address: str) -> None:
    with Visitor(address, "predict") as visitor:
        (place,) = visitor.places(["x.png"])
        session, _, file = place.upload_url.rpartition("/")
        assert visitor.put(f"{session}/%25{ord(file[0]):x}{file[1:]}", ("x.png", b"x")).status_code == 403
        assert visitor.put(f"{session}/%{ord(file[0]):x}{file[1:]}", ("x.png", b"x")).status_code == 204
        assert visitor.put(place.upload_url, ("x.png", b"x")).status_code == 403, "the place was used"


def test_the_connection_of_a_long_body_that_is_refused_is_closed(address: str) -> None:
    with Visitor(address, "predict") as visitor:
        parts = urlsplit(address)
        with socket.create_connection(("127.0.0.1", int(parts.port or 0)), timeout=PATIENCE) as connection:
            connection.sendall(
                f"PUT /_stcore/upload_file/{visitor.session}/invented HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                f"{visitor.cookie()}Content-Length: {2**30}\r\n\r\n".encode()
            )
            answer = b""
            while more := connection.recv(4096):
                answer += more
        assert answer.startswith(b"HTTP/1.1 403")


def test_too_many_names_of_files_get_a_sentence_and_no_places(address: str) -> None:
    with Visitor(address, "predict") as visitor:
        assert len(visitor.places(["x"] * 2000)) == 2000
        assert len(visitor.places(["x"] * 2001)) == 0
        visitor.run()  # the page is still there


def test_a_flood_of_requests_waits(address: str) -> None:
    with Visitor(address, source="127.20.0.1") as flood:
        assert any(flood.get("/_stcore/health").elapsed.total_seconds() > 0.5 for _ in range(100))
