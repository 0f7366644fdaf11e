import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dermlens.dataset import isic_archive
from dermlens.errors import DownloadError, ImageError
from dermlens.ingest.formats import Limits

IMAGE = "ISIC_0024306"


@pytest.fixture
def archive() -> Iterator[Callable[..., str]]:
    """Start a server with the paths it answers; returns its address."""
    servers = []

    def start(pages: dict[str, tuple[int, bytes | Callable[[str], bytes]]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = pages.get(self.path, (404, b""))
                data = body(address) if callable(body) else body
                self.send_response(status)
                if status in (301, 302):
                    self.send_header("Location", data.decode())
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return address

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def names(path: str) -> Callable[[str], bytes]:
    return lambda address: json.dumps({"files": {"full": {"url": f"{address}{path}"}}}).encode()


def test_an_image_is_fetched_by_its_id(archive: Callable[..., str]) -> None:
    host = archive({f"/api/v2/images/{IMAGE}/": (200, names("/file.jpg")), "/file.jpg": (200, b"bytes")})
    assert isic_archive.fetch(IMAGE, host, (host,)) == b"bytes"


@pytest.mark.parametrize("bad", ["", "ISIC_1", "../../etc/passwd", "ISIC_0024306/", "isic_0024306", "ISIC_0024306\n"])
def test_what_is_no_id_is_never_asked_for(bad: str) -> None:
    with pytest.raises(ImageError, match="seven digits"):
        isic_archive.fetch(bad, "http://127.0.0.1:9")


def test_an_unknown_id_is_named(archive: Callable[..., str]) -> None:
    with pytest.raises(DownloadError, match=f"no public image {IMAGE}"):
        isic_archive.fetch(IMAGE, archive({}))


def test_no_network_is_said_plainly() -> None:
    with pytest.raises(DownloadError, match="cannot be reached"):
        isic_archive.fetch(IMAGE, "http://127.0.0.1:9")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"files": {}}', b'{"files": null}'])
def test_another_answer_is_refused(archive: Callable[..., str], body: bytes) -> None:
    with pytest.raises(DownloadError, match="did not answer as expected"):
        isic_archive.fetch(IMAGE, archive({f"/api/v2/images/{IMAGE}/": (200, body)}))


def test_an_address_elsewhere_is_not_followed(archive: Callable[..., str]) -> None:
    host = archive({f"/api/v2/images/{IMAGE}/": (200, names("/file.jpg")), "/file.jpg": (200, b"bytes")})
    with pytest.raises(DownloadError, match="outside"):
        isic_archive.fetch(IMAGE, host)


def test_a_redirect_is_not_followed(archive: Callable[..., str]) -> None:
    pages = {f"/api/v2/images/{IMAGE}/": (200, names("/file.jpg")), "/file.jpg": (302, b"/other.jpg")}
    host = archive({**pages, "/other.jpg": (200, b"bytes")})
    with pytest.raises(DownloadError, match="not followed"):
        isic_archive.fetch(IMAGE, host, (host,))


def test_a_file_over_the_limit_is_not_read(archive: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isic_archive, "LIMITS", Limits(bytes=1 << 20))
    pages = {f"/api/v2/images/{IMAGE}/": (200, names("/file.jpg")), "/file.jpg": (200, bytes((1 << 20) + 1))}
    host = archive(pages)
    with pytest.raises(DownloadError, match="over 1 MB"):
        isic_archive.fetch(IMAGE, host, (host,))
