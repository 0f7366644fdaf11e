"""Each attack over the real protocol, against a server with short limits: nobody waits here for longer than a poll."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value
from websockets.exceptions import ConnectionClosed

from tests.browser.app import free_port, serve
from tests.conftest import encode
from tests.processes import descendants, server_of
from tests.visitor import Visitor

LIMITS = {
    "silent_seconds": "1",
    "swept_seconds": "0.2",
    "body_pause": "5",
    "connections": "40",
    "untaken_seconds": "15",
    "files_session": "1000000",
    "kept_session": str(3 * 1600**2 + 100_000),
}
LIVE_OBJECTS = Path(__file__).parents[2] / "live_objects"
SECRET = "only for this test " * 3
PATIENCE = 60.0


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strangers") / "log"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def address(published: Path, log: Path, live: Path) -> Iterator[str]:
    settings = {
        "PYTHONPATH": str(LIVE_OBJECTS),
        "LIVE_OBJECTS": str(live),
        "DERMLENS_MODELS": str(published),
        "DERMLENS_LIMITS": " ".join(f"{name}={value}" for name, value in LIMITS.items()),
        "STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL": "1",
    }
    with serve(log, settings) as running:
        yield running


def until(found: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def answers(visitor: Visitor) -> bool:
    return any(kind == "plotly_chart" for kind, _ in visitor.answer())


def picture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def raw(address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(urlsplit(address).port or 0)), timeout=PATIENCE)


def head(address: str, visitor: Visitor, path: str, length: int) -> bytes:
    return (
        f"PUT {path} HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\n{visitor.cookie()}"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_uploads_need_a_place_of_ones_own_session(address: str) -> None:
    with Visitor(address, "predict") as one, Visitor(address, "predict") as other:
        place, again = one.places(["x.png", "y.png"])
        data = ("x.png", encode(picture(0)))
        assert other.put(place.upload_url, data).status_code == 403
        invented = place.upload_url[:-4] + "0000"
        assert one.put(invented, data).status_code == 403
        assert one.put(place.upload_url, data).status_code == 204
        assert one.put(place.upload_url, data).status_code == 403, "a place is used once"
        assert one.put(again.upload_url, data).status_code == 204


def test_a_place_takes_one_file_at_a_time_and_counts_it_once(address: str) -> None:
    with Visitor(address, "predict") as visitor:
        place, again = visitor.places(["x.png", "y.png"])
        data = bytes(450_000)  # twice is below what one session may hold, and three times above it
        begin, end = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.png"\r\n\r\n', b"\r\n--b--\r\n"
        with raw(address) as connection:
            connection.sendall(head(address, visitor, place.upload_url, len(begin + data + end)) + begin + data)
            time.sleep(0.2)  # so that it is heard first, and the other one answered 409
            other = visitor.put(place.upload_url, ("x.png", data)).status_code
            connection.sendall(end)
            first = connection.recv(100)
        assert sorted((int(first[9:12]), other)) in ([204, 409], [204, 403])
        assert visitor.put(again.upload_url, ("y.png", data)).status_code == 204


def test_a_body_that_is_claimed_and_does_not_come_is_given_up(address: str) -> None:
    with Visitor(address, "predict") as visitor:
        (place,) = visitor.places(["x.png"])
        with raw(address) as connection:
            connection.sendall(head(address, visitor, place.upload_url, 50 * 2**20))
            assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_an_upload_that_is_broken_off_and_what_is_no_message_leave_no_traceback(address: str, log: Path) -> None:
    with Visitor(address, "predict") as visitor:
        (place,) = visitor.places(["x.png"])
        with raw(address) as connection:
            connection.sendall(head(address, visitor, place.upload_url, 1000) + b"half")
        for frame in (b"\x81\x84mask" + b"mask", b"\x82\x84mask" + b"\x92\x9e\x8c\x94"):
            with Visitor(address) as babbler:
                babbler.send_raw(frame)
                with pytest.raises(ConnectionClosed):
                    babbler.finish()
        requests.get(f"{address}/oauth2callback?error=%1b[2J%0aERROR%20forged" + "x" * 5000, timeout=PATIENCE)
        visitor.upload({"a.png": encode(picture(1))})
        assert answers(visitor)
    text = log.read_text()
    assert "Traceback" not in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 3000


def test_a_message_of_more_than_its_length_is_refused_before_it_is_held(address: str) -> None:
    with Visitor(address) as visitor:
        visitor.send_raw(b"\x82\xff" + (25_000_000).to_bytes(8, "big") + b"mask")
        with pytest.raises(ConnectionClosed) as caught:
            visitor.finish()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


def test_silent_connections_are_closed_and_lock_nobody_out(address: str, log: Path) -> None:
    before = log.stat().st_size
    silent = [raw(address) for _ in range(200)]  # more than there may be
    with Visitor(address, "predict") as visitor:
        visitor.upload({"a.png": encode(picture(2))})
        assert answers(visitor)
    for connection in silent:
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        connection.close()
    assert log.stat().st_size - before < 2000


def test_a_session_may_upload_its_share_and_what_its_page_never_takes_is_dropped(address: str) -> None:
    body = ("x.png", bytes(900_000))
    with Visitor(address, "predict") as visitor:
        first, second = visitor.places(["x.png", "y.png"])
        assert visitor.put(first.upload_url, body).status_code == 204
        assert visitor.put(second.upload_url, body).status_code == 413
        until(lambda: visitor.put(second.upload_url, body).status_code == 204)


def test_one_session_keeps_its_share_and_the_next_one_finds_room(address: str) -> None:
    with Visitor(address, "predict") as visitor:
        visitor.upload({f"{i}.jpg": encode(picture(i, 200, 200), ".jpg") for i in range(3)})
        assert "The case is full" in visitor.text()
        with Visitor(address, "predict") as other:
            other.upload({"a.png": encode(picture(9))})
            assert answers(other)
        visitor.press("New case")
        visitor.upload({"b.png": encode(picture(8))})
        assert answers(visitor)


def test_a_picture_is_given_to_its_own_browser_only(address: str) -> None:
    with Visitor(address, "predict") as visitor:
        visitor.upload({"a.png": encode(picture(4))})
        assert visitor.media
        paths = [f"/media/{name}" for name in visitor.media]
        found = {visitor.get(f"{path}.{kind}").status_code for path in paths for kind in ("png", "jpg", "svg")}
        assert 200 in found
        with Visitor(address, "predict") as other:
            shared = other.media  # the drawings for anyone without an image, and the mark of the project
            own = [path for path in paths if path.removeprefix("/media/") not in shared]
            assert own
            assert {other.get(f"{path}.{k}").status_code for path in own for k in ("png", "jpg")} == {403}


def test_clicks_on_a_download_wait_for_each_other_and_too_many_get_a_sentence(address: str) -> None:
    with Visitor(address, "predict") as visitor:
        visitor.upload({"a.png": encode(picture(3))})
        assert answers(visitor)
        clicks = [visitor.click_download() for _ in range(10)]
        told = visitor.answers_to(clicks)
        made = [url for url, _ in told if url]
        assert len(made) >= 5, "one is made and four wait; more, where some are there already"
        assert {sentence for url, sentence in told if not url} <= {
            "5 downloads of this page are being made. Try again once they are there."
        }
        assert visitor.get(made[-1]).status_code == 200


def holds(pids: list[int], patterns: list[bytes]) -> set[bytes]:
    """Return which patterns stand in the memory of these processes."""
    found: set[bytes] = set()
    for pid in pids:
        with (
            contextlib.suppress(ProcessLookupError, FileNotFoundError),
            Path(f"/proc/{pid}/mem").open("rb", 0) as memory,
        ):
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                span, rights, *_ = line.split()
                start, end = (int(x, 16) for x in span.split("-"))
                if "rw" not in rights or end - start > 2**32:
                    continue
                try:
                    os.lseek(memory.fileno(), start, os.SEEK_SET)
                    data = memory.read(end - start)
                except (OSError, OverflowError):
                    continue
                found.update(pattern for pattern in patterns if pattern in data)
    return found


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="looks into /proc")
def test_nothing_of_a_picture_is_in_memory_after_its_session_has_ended(address: str) -> None:
    canary = picture(77, 300, 400)
    file = encode(canary)
    patterns = [canary[row, 100:132].tobytes() for row in range(0, 300, 10)]
    patterns += [file[at : at + 64] for at in range(1000, len(file) - 64, 10_000)]
    server = server_of(address)
    pids = [server, *descendants(server)]
    try:
        Path(f"/proc/{server}/mem").open("rb").close()
    except PermissionError:
        pytest.skip("this account may not look into the memory of its own processes")
    visitor = Visitor(address, "predict")
    visitor.upload({"a.png": file})
    assert answers(visitor)
    pixels = patterns[0]
    until(lambda: holds(pids, [pixels]))  # it can be found; a mapping may go while it is read
    visitor.close()
    until(lambda: not holds(pids, [pixels]))  # quickly looked for
    until(lambda: not holds(pids, patterns))


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="asks by a signal")
def test_no_live_object_holds_a_name_or_an_answer_after_its_session_has_ended(address: str, live: Path) -> None:
    answer = ["CaseImage", "Opinion", "Prediction"]
    (live / "asked").write_text(" ".join(["canary-name-4711", *answer]))

    def held() -> list[str]:
        (live / "told").unlink(missing_ok=True)
        os.kill(server_of(address), signal.SIGUSR1)
        until((live / "told").exists)
        return (live / "told").read_text().splitlines()

    visitor = Visitor(address, "predict")
    visitor.upload({"canary-name-4711.png": encode(picture(78))})
    assert answers(visitor)
    found = held()
    assert set(answer) <= set(found)
    assert any(line.startswith("a string") for line in found)
    visitor.close()
    until(lambda: not held())


def sign_in(hours_ago: float, address: str, **more: object) -> dict[str, str]:
    user = {"is_logged_in": True, "iat": int(time.time() - 3600 * hours_ago), "sub": "7", "email": "ada@example.org"}
    content = json.dumps({**user, "origin": address, "provider": "default", **more})
    return {"_streamlit_user": create_signed_value(SECRET, "_streamlit_user", content).decode()}


@pytest.fixture(scope="module")
def closed(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard with sign-in, whose cookies this test can sign itself."""
    folder, port = tmp_path_factory.mktemp("closed"), free_port()
    secrets = folder / "secrets.toml"
    secrets.write_text(
        f'[auth]\nredirect_uri = "http://localhost:{port}/oauth2callback"\ncookie_secret = "{SECRET}"\n'
        'client_id = "x"\nclient_secret = "x"\nserver_metadata_url = "http://localhost:1/"\n'
    )
    settings = {"DERMLENS_MODELS": str(published), "STREAMLIT_SECRETS_FILES": str(secrets)}
    settings["DERMLENS_LIMITS"] = "swept_seconds=0.2"
    with serve(folder / "log", settings, port) as running:
        yield running


def is_in(visitor: Visitor) -> bool:
    return not any(e.WhichOneof("type") == "button" and e.button.label == "Sign in" for e in visitor.elements.values())


def test_a_sign_in_from_the_future_opens_nothing_and_one_of_now_does(closed: str) -> None:
    with Visitor(closed, "predict", cookies=sign_in(0, closed)) as visitor:
        assert is_in(visitor)
    for hours in (-1, 13):
        with Visitor(closed, "predict", cookies=sign_in(hours, closed)) as visitor:
            assert not is_in(visitor)


def test_a_page_and_its_parts_answer_no_more_once_the_sign_in_has_expired(closed: str) -> None:
    start = time.monotonic()
    with Visitor(closed, "predict", cookies=sign_in(1, closed)) as visitor:
        assert is_in(visitor)
    almost = 12 - (4 + 5 * (time.monotonic() - start)) / 3600
    with Visitor(closed, "predict", cookies=sign_in(almost, closed)) as visitor:
        assert is_in(visitor)
        with pytest.raises(ConnectionClosed):
            until(lambda: visitor.run(part="any part"))  # it is asked again and again, and answers until it is closed


def test_a_cookie_does_not_work_after_sign_out_and_open_pages_are_closed(closed: str) -> None:
    cookies = sign_in(1, closed, nonce="1")
    with Visitor(closed, "predict", cookies=cookies) as visitor, Visitor(closed, cookies=cookies) as other:
        assert is_in(visitor)
        requests.get(f"{closed}/auth/logout", cookies=cookies, allow_redirects=False, timeout=PATIENCE)
        for page in (visitor, other):
            with pytest.raises(ConnectionClosed):
                page.run()
    with Visitor(closed, "predict", cookies=cookies) as visitor:
        assert not is_in(visitor)
    with Visitor(closed, "predict", cookies=sign_in(1, closed, nonce="2")) as visitor:
        assert is_in(visitor), "another sign-in of the same person"


def test_nobody_uploads_into_or_looks_at_the_session_of_another_person(closed: str) -> None:
    ada, bob = sign_in(1, closed), sign_in(1, closed, sub="8")
    with Visitor(closed, "predict", cookies=ada) as visitor:
        (place,) = visitor.places(["x.png"])
        data = ("x.png", encode(picture(5)))
        with Visitor(closed, "predict", cookies=bob | visitor.browser()) as other:
            assert other.put(place.upload_url, data).status_code == 403, "of the same browser, but another person"
        with Visitor(closed, "predict", cookies=ada) as other:
            assert other.put(place.upload_url, data).status_code == 403, "the same person, in another browser"
        assert visitor.put(place.upload_url, data).status_code == 204
