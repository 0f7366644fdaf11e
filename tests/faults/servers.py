"""Processes of a running dashboard that are killed."""

import http.client
import os
import re
import signal
from pathlib import Path

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg

from dermlens.image.synthetic import draw_lesion
from tests.browser.app import chromium, chromium_path, free_port, serve
from tests.conftest import encode
from tests.faults.kit import PATIENCE, Count, fingerprint, until, workers
from tests.image_files import jpeg_with_many_scans
from tests.processes import alive, descendants, server_of
from tests.visitor import Visitor


class Uploader(Visitor):
    """A visitor whose upload stops half way."""

    def hand_over_half(self, name: str, data: bytes) -> http.client.HTTPConnection:
        """Send the first half of a file and leave the connection open."""
        request = BackMsg()
        request.file_urls_request.request_id = "1"
        request.file_urls_request.session_id = self.session
        request.file_urls_request.file_names.append(name)
        self._send(request)
        while (message := self._receive()).WhichOneof("type") != "file_urls_response":
            pass
        (urls,) = message.file_urls_response.file_urls
        head = f'--b\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode()
        cookies = "; ".join(f"{c.name}={c.value}" for c in self._http.cookies)
        connection = http.client.HTTPConnection(self._address.removeprefix("http://"), timeout=PATIENCE)
        connection.putrequest("PUT", urls.upload_url)
        for key, value in {
            "Content-Type": "multipart/form-data; boundary=b",
            "Content-Length": str(len(head) + len(data) + 9),
            "X-Xsrftoken": self._token,
            "Origin": self._address,
            "Cookie": cookies,
        }.items():
            connection.putheader(key, value)
        connection.endheaders()
        connection.send(head + data[: len(data) // 2])
        return connection


def server_killed(full: bool, folder: Path, models: Path) -> Count:
    """The server killed while a file arrives and while the models are asked; it starts again as if nothing had been."""
    count = Count("SIGKILL of the server in mid-upload, and a new start")
    before, temporary = fingerprint(models), folder / "tmp"
    temporary.mkdir()
    settings = {"DERMLENS_MODELS": models, "DERMLENS_RUNS": folder / "runs", "TMPDIR": temporary}
    settings |= {"XDG_CACHE_HOME": folder / "cache"}
    environment = {name: str(value) for name, value in settings.items()}
    image = encode(draw_lesion(np.random.default_rng(1), 90, 120))
    large = image + b"\0" * 3_000_000
    port, link = free_port(), ""
    for moment in ("arrives", "is examined"):
        with count.attempt(f"while a file {moment}"):
            with serve(folder / "log", environment, port) as address:
                visitor = Uploader(address, "predict")
                visitor.upload({"first.png": image})
                assert "score" in visitor.text() or "probability" in visitor.text(), visitor.text()
                link = visitor.query
                assert "image=" in link
                server = server_of(address)
                helpers = descendants(server)
                if moment == "arrives":
                    connection = visitor.hand_over_half("second.png", large)
                else:
                    visitor.begin(**visitor.hand_over({"second.png": image}))
                os.kill(server, signal.SIGKILL)
                if moment == "arrives":
                    try:
                        connection.send(large[len(large) // 2 :])
                        connection.getresponse()
                        raise AssertionError("a killed server answered")
                    except (OSError, http.client.HTTPException):
                        pass
                until(lambda pids=tuple(helpers): not any(alive(pid) for pid in pids))
            assert fingerprint(models) == before, "the models folder is not as it was"
            left = [str(f) for f in temporary.rglob("*") if f.is_file() and f.stat().st_size]
            assert not left, f"left behind: {left}"
            with serve(folder / "log", environment, port) as address, Visitor(address, "predict") as again:
                again.query = link
                again.run()
                told = next(line for line in again.text().splitlines() if "earlier session" in line)
                count.told(told, "upload it again")
                again.query = ""
                again.upload({"first.png": image})
                assert "first.png" not in str(again.query)
                assert "image=" in again.query, again.text()
    if full:
        _in_browser(count, folder, environment, port)
    return count


def _in_browser(count: Count, folder: Path, environment: dict[str, str], port: int) -> None:
    path = chromium_path()
    if path is None:
        count.notes.append("No Chromium: what the browser says was not looked at.")
        return
    with count.attempt("as the browser tells it"), chromium(path) as browser:
        page = browser.new_page(reduced_motion="reduce")
        page.set_default_timeout(PATIENCE * 1000)
        with serve(folder / "log", environment, port) as address:
            page.goto(f"{address}/predict")
            page.get_by_role("heading", level=1).wait_for()
            os.kill(server_of(address), signal.SIGKILL)
            dialog = page.get_by_text(re.compile("connection error", re.IGNORECASE)).first
            dialog.wait_for()
            count.refused += 1
        with serve(folder / "log", environment, port) as address:
            page.goto(f"{address}/predict")
            page.get_by_test_id("stFileUploader").wait_for()


def decoder_killed(full: bool, folder: Path, models: Path) -> Count:
    """The process that decodes an upload killed under it: a sentence, and the others go on."""
    count = Count("SIGKILL of the decoder at work")
    endless = jpeg_with_many_scans(4000, 20_000)
    environment = {"DERMLENS_MODELS": str(models), "DERMLENS_RUNS": str(folder / "runs")}
    port = free_port()
    with serve(folder / "log", environment, port) as address:
        server = server_of(address)
        with Visitor(address, "predict") as victim, Visitor(address, "predict") as other:
            for number in range(10 if full else 1):
                image = encode(draw_lesion(np.random.default_rng(number), 90, 120))
                with count.attempt(f"round {number}"):
                    victim.begin(**victim.hand_over({"slow.jpg": endless}))
                    killed: set[int] = set()
                    for _ in range(2):  # it is asked once more
                        worker = until(lambda done=frozenset(killed): next(iter(workers(server) - done), 0))
                        os.kill(worker, signal.SIGKILL)
                        killed.add(worker)
                    other.upload({"other.png": image})
                    assert "image=" in other.query, other.text()
                    victim.finish()
                    told = next(line for line in victim.text().splitlines() if "slow" in line)
                    count.told(told, "stopped")
                    victim.upload({"good.png": image})
                    assert "image=" in victim.query, victim.text()
                    victim.press("New case")
                    other.press("New case")
        assert alive(server)
    return count
