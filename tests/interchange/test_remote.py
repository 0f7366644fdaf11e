"""Answers over the API from a server that this test writes: what is asked, waited for, kept and refused."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dermlens.errors import ConfigError, DataError, ModelError
from dermlens.interchange import remote
from dermlens.interchange.remote import Answer, Asked, File, Server, answers
from dermlens.labels import CLASSES

SHARES = (0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1)


def prediction(**changed: Any) -> dict[str, Any]:
    model = {
        "id": "toy",
        "sha256": "s",
        "failure": None,
        "call": "bkl",
        "calibrated": True,
        "probabilities": dict(zip(CLASSES, SHARES, strict=True)),
    }
    referral = {"refer": True, "rules": ["suspect"]}
    return {"models": [model | changed], "referral": referral}


class Scripted(ThreadingHTTPServer):
    """Answers with what `replies` holds for the body that is sent, in turn; the last one again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: dict[bytes, list[tuple[int, Any]]] = {}
        self.asked: list[tuple[str, bytes, str]] = []
        self.address_shown = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, body, self.headers.get("authorization", "")))
        replies = self.server.replies.get(body, [(200, prediction())])
        status, said = replies.pop(0) if len(replies) > 1 else replies[0]
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("retry-after", "0.01")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.headers["content-length"] = "0"
        self.do_POST()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(remote, "WAIT", (0.0, 0.01))
    with Scripted() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def question(server: Scripted) -> Asked:
    return Asked(server.address_shown, "toy", "s", "4:3", "equal", "list")


def folder_of(tmp_path: Path, *names: str) -> list[File]:
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    return [File(name, len(name), 1) for name in names]


def problem(kind: str) -> dict[str, str]:
    return {"type": f"urn:dermlens:{kind}", "detail": f"It is {kind}."}


def ask(server: Scripted, folder: Path, files: list[File]) -> list[Answer]:
    kept = folder / "answers"
    return list(answers(Server(server.address_shown, "secret"), question(server), folder, files, kept))


def test_each_file_is_sent_with_its_settings_and_token_and_answers_come_in_order(
    there: Scripted, tmp_path: Path
) -> None:
    files = folder_of(tmp_path, "a", "b", "c", "d")
    there.replies = {b"b": [(422, problem("image"))], b"c": [(200, prediction(call=None))]}
    a, b, c, d = ask(there, tmp_path, files)
    assert a == d == Answer(SHARES, False, True, ("suspect",), calibrated=True)
    assert b == Answer(unreadable="It is image.")
    assert c.refused
    assert sorted(there.asked) == [
        ("/api/v1/predictions?model=toy&stored_aspect=4%3A3&class_mix=equal", body, "Bearer secret")
        for body in (b"a", b"b", b"c", b"d")
    ]


def test_a_busy_or_failing_server_is_asked_again_and_a_missing_file_is_an_answer(
    there: Scripted, tmp_path: Path
) -> None:
    files = [*folder_of(tmp_path, "a", "b"), File("gone", -1, 1)]
    there.replies = {
        b"a": [(429, problem("busy"))] * 5 + [(200, prediction())],
        b"b": [(500, problem("failed")), (408, problem("slow")), (200, prediction())],
    }
    a, b, gone = ask(there, tmp_path, files)
    assert a.probabilities == b.probabilities == SHARES
    assert gone.unreadable == "The file cannot be read: no such file or directory."


@pytest.mark.parametrize(
    ("status", "said", "error", "words"),
    [
        (500, problem("failed"), DataError, "It is failed. The same command goes on once it answers."),
        (503, b"<html>", DataError, "HTTP 503, which is no answer of Dermlens' API"),
        (401, problem("token"), DataError, "It is token."),
        (302, b"", DataError, "HTTP 302"),
        (404, problem("model"), ModelError, "It is model."),
        (200, prediction(sha256="t"), ModelError, "is another one by now"),
        (200, prediction(failure="It fell over."), ModelError, "It fell over."),
        (200, b"<html>Please sign in</html>", DataError, "HTTP 200, which is no answer of Dermlens' API"),
        (200, {"models": []}, DataError, "HTTP 200, which is no answer of Dermlens' API"),
        (200, prediction(probabilities={"mel": 1.0}), DataError, "HTTP 200, which is no answer of Dermlens' API"),
    ],
    ids=["fails", "no-json", "token", "moved", "model", "replaced", "failure", "page", "empty", "shares"],
)
def test_what_cannot_be_answered_ends_with_a_sentence_and_the_rest_is_kept(
    there: Scripted, tmp_path: Path, status: int, said: Any, error: type[Exception], words: str
) -> None:
    files = folder_of(tmp_path, "a", "b", "c", "d")
    there.replies = {b"c": [(status, said)]}
    with pytest.raises(error, match=words):
        ask(there, tmp_path, files)
    there.asked.clear()
    there.replies = {}
    assert len(ask(there, tmp_path, files)) == 4
    assert {body for _, body, _ in there.asked} == {b"c", b"d"}, "what was answered is not asked again"


def test_a_disk_that_fails_is_no_fault_of_the_image(
    there: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [*folder_of(tmp_path, "a", "b"), File("gone", 3, 1)]
    with pytest.raises(
        DataError, match=r"gone cannot be read now: no such file or directory\. The same command goes on"
    ):
        ask(there, tmp_path, files)

    def failing(path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    (tmp_path / "answers").unlink()
    monkeypatch.setattr(remote, "file_bytes", failing)
    with pytest.raises(DataError, match="a cannot be read now: input/output error"):
        ask(there, tmp_path, files)


def test_a_pipe_and_a_folder_are_answers_and_hold_nothing_up(there: Scripted, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    (tmp_path / "y.jpg").mkdir()
    files = [File("x.jpg", 0, 1), File("y.jpg", 4096, 1), *folder_of(tmp_path, "a")]
    pipe, below, a = ask(there, tmp_path, files)
    assert pipe.unreadable == "The file cannot be read: it is no regular file."
    assert below.unreadable == "The file cannot be read: is a directory."
    assert a.probabilities == SHARES


def test_what_was_being_written_or_has_changed_is_asked_again(there: Scripted, tmp_path: Path) -> None:
    files = folder_of(tmp_path, "a", "b", "c")
    ask(there, tmp_path, files)
    kept = tmp_path / "answers"
    kept.write_bytes(kept.read_bytes()[:-5])
    there.asked.clear()
    assert len(ask(there, tmp_path, files)) == 3
    assert [body for _, body, _ in there.asked] == [b"c"]
    files[1] = File("b", 1, 2)
    there.asked.clear()
    assert len(ask(there, tmp_path, files)) == 3
    assert sorted(body for _, body, _ in there.asked) == [b"b", b"c"]


def test_two_runs_do_not_write_the_same_answers_and_none_goes_to_another_file(there: Scripted, tmp_path: Path) -> None:
    files = [file._replace(bytes=1) for file in folder_of(tmp_path, "a", "b")]
    server = Server(there.address_shown)
    first = answers(server, question(there), tmp_path, files, tmp_path / "answers")
    next(first)
    with pytest.raises(DataError, match="being written by another run"):
        ask(there, tmp_path, files)
    first.close()
    there.asked.clear()
    ask(there, tmp_path, files[::-1])
    assert {body for _, body, _ in there.asked} == {b"a", b"b"}, "of one size and time, but in another order"
    lines = (tmp_path / "answers").read_text().splitlines(keepends=True)
    (tmp_path / "answers").write_text("".join([lines[0], *lines]))
    with pytest.raises(DataError, match="answers is damaged"):
        ask(there, tmp_path, files[::-1])


def test_answers_to_another_question_are_not_mixed_in(there: Scripted, tmp_path: Path) -> None:
    files = folder_of(tmp_path, "a")
    ask(there, tmp_path, files)
    other = Asked(there.address_shown, "toy", "another", "4:3", "equal", "list")
    with pytest.raises(DataError, match="another server, model, images or setting"):
        list(answers(Server(there.address_shown), other, tmp_path, files, tmp_path / "answers"))
    (tmp_path / "answers").write_text("Notes of somebody")
    with pytest.raises(DataError, match="another server, model, images or setting"):
        ask(there, tmp_path, files)
    assert (tmp_path / "answers").read_text() == "Notes of somebody"


def test_the_model_is_looked_up_first(there: Scripted) -> None:
    entry = {"id": "toy", "ready": True, "sha256": "s", "problem": None}
    there.replies = {b"": [(200, [entry]), (200, [entry]), (200, [entry | {"ready": False, "problem": "It is torn."}])]}
    server = Server(there.address_shown)
    assert server.identity("toy") == "s"
    with pytest.raises(ModelError, match="no model other. It has: toy"):
        server.identity("other")
    with pytest.raises(ModelError, match="It is torn"):
        server.identity("toy")
    there.replies = {b"": [(200, b"<html>")]}
    with pytest.raises(DataError, match="no answer of Dermlens' API"):
        server.identity("toy")
    there.replies = {b"": [(200, {"models": []})]}
    with pytest.raises(DataError, match="no answer of Dermlens' API"):
        server.identity("toy")


def test_a_server_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES", ())
    with pytest.raises(DataError, match="cannot be reached"):
        Server("http://127.0.0.1:9").identity("toy")


@pytest.mark.parametrize("address", ["localhost:8502", "ftp://a", "http://", "http://u:p@a", "http://a?b"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a server"):
        Server(address)


def test_a_token_is_not_sent_unencrypted() -> None:
    with pytest.raises(ConfigError, match="not encrypted"):
        Server("http://elsewhere.example", "secret")
    assert Server("http://localhost:8502", "secret").address == "http://localhost:8502"
