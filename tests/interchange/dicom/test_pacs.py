import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dermlens.case.image import CaseImage
from dermlens.case.opinion import form
from dermlens.errors import ConfigError, DataError
from dermlens.interchange.dicom import outbox as outbox_module
from dermlens.interchange.dicom.objects import objects_of
from dermlens.interchange.dicom.outbox import Fate, Outbox
from dermlens.interchange.dicom.pacs import PacsError, client, named, send
from dermlens.interchange.dicom.sender import Sender
from dermlens.interchange.dicom.settings import Settings, read
from dermlens.models.model import Model
from tests.browser.app import free_port
from tests.interchange.dicom.conftest import TYPED
from tests.interchange.dicom.orthanc import PASSWORD, USER

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
def made(image: CaseImage, toy: Model) -> list[Dataset]:
    return objects_of(image, form([toy], image.answers), TYPED, None, NOW)


def test_what_was_sent_is_found_by_qido_and_comes_back_by_wado_as_it_was(pacs: str, made: list[Dataset]) -> None:
    settings = Settings(pacs, USER, PASSWORD)
    send(settings, made)
    send(settings, made)  # again, as after a lost answer
    asked = client(settings)
    found = asked.search_for_studies(
        search_filters={"PatientID": "P-4711", "StudyInstanceUID": made[0].StudyInstanceUID}
    )
    assert len(found) == 1
    assert Dataset.from_json(found[0]).PatientName == "Müller^Änne"
    listed = asked.search_for_instances(made[0].StudyInstanceUID)
    assert {Dataset.from_json(each).SOPInstanceUID for each in listed} == {each.SOPInstanceUID for each in made}
    for each in made:
        back = asked.retrieve_instance(each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID)
        written = BytesIO()
        each.save_as(written, enforce_file_format=True)
        assert back == dcmread(BytesIO(written.getvalue())), "every value, nested ones too"
        if "PixelData" in each:
            assert np.array_equal(back.pixel_array, each.pixel_array)


def test_a_refusal_and_a_pacs_that_is_down_are_sentences(pacs: str, made: list[Dataset]) -> None:
    with pytest.raises(PacsError, match="credentials"):
        send(Settings(pacs, USER, "wrong"), made)
    with pytest.raises(PacsError, match="cannot be reached"):
        send(Settings(f"http://127.0.0.1:{free_port()}/dicom-web"), made)
    with pytest.raises(PacsError, match="status 404"):
        send(Settings(pacs.replace("dicom-web", "nowhere"), USER, PASSWORD), made)
    broken = Dataset()
    broken.update(made[0])
    broken.file_meta = made[0].file_meta
    broken.StudyInstanceUID = ""
    with pytest.raises(PacsError):
        send(Settings(pacs, USER, PASSWORD), [broken])


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [((302, b""), "points elsewhere"), ((200, b"<html>hello"), "not of DICOMweb"), ((500, b""), "status 500")],
)
def test_what_is_no_pacs_gets_no_redirect_followed_and_is_not_believed(
    answer: tuple[int, bytes], sentence: str, made: list[Dataset]
) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.reply()

        def reply(self) -> None:
            asked.append(self.path)
            self.send_response(answer[0])
            if answer[0] == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Type", "application/dicom+json" if answer[1] else "text/plain")
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        do_GET = reply

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(PacsError, match=sentence):
            send(Settings(f"http://127.0.0.1:{server.server_port}/dicom-web"), made)
        server.shutdown()
    assert asked == ["/dicom-web/studies"]


@pytest.mark.parametrize("held", [True, False], ids=["it has them", "it has none"])
def test_a_pacs_that_refuses_what_it_has_is_asked_whether_it_has_it(held: bool, made: list[Dataset]) -> None:
    """Of a first attempt the answer was lost: some answer a second one with 409."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(409, b"")

        def do_GET(self) -> None:
            asked.append(self.path)
            self.reply(*((200, b'[{"00080018": {"vr": "UI", "Value": ["1.2"]}}]') if held else (404, b"")))

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = Settings(f"http://127.0.0.1:{server.server_port}/dicom-web")
        with nullcontext() if held else pytest.raises(PacsError, match="status 409"):
            send(at, made)
        server.shutdown()
    wanted = [
        f"/dicom-web/studies/{m.StudyInstanceUID}/series/{m.SeriesInstanceUID}/instances/{m.SOPInstanceUID}/metadata"
        for m in made
    ]
    assert asked == (wanted if held else wanted[:1])


def test_the_outbox_keeps_what_failed_tries_again_later_and_forgets_what_was_sent(
    tmp_path: Path, made: list[Dataset], pacs: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    outbox = Outbox(tmp_path / "outbox")
    assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o700
    entry = outbox.put(made, "owner", "key", NOW)

    def down(_: Sequence[Dataset]) -> None:
        raise PacsError("The PACS cannot be reached.")

    waits = []
    for _attempt in range(10):
        assert not outbox.attempt(entry, down, lambda: NOW)
        [told] = outbox.waiting("owner")
        assert (told.error, told.objects) == ("The PACS cannot be reached.", tuple(named(made)))
        waits.append((told.next_at - NOW).total_seconds())
    assert waits[:3] == [30, 60, 120]
    assert waits[-1] == 3600
    assert told.attempts == 10
    assert outbox.waiting("another") == []
    assert outbox.due(NOW) == []
    outbox.hurry("another", NOW)
    assert outbox.due(NOW) == []
    outbox.hurry("owner", NOW)
    assert outbox.due(NOW) == [entry]
    settings = Settings(pacs, USER, PASSWORD)
    sender = Sender(outbox, lambda objects: send(settings, objects), pause=0.05)
    sender.start()
    _until(lambda: not outbox.waiting())
    sender.stop()
    assert outbox.fate(entry) is Fate.SENT
    assert [list(path.iterdir()) for path in (tmp_path / "outbox").iterdir()] == [[]], "a mark, and nothing of it"
    for each in made:
        client(settings).retrieve_instance_metadata(each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID)
    for secret in ("P-4711", "Müller", "19500401", PASSWORD):
        assert secret not in caplog.text


def _until(true: object, seconds: float = 30) -> None:
    waited = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if true():  # type: ignore[operator]
            return
        waited.wait(0.02)
    raise AssertionError("not within the time")


def test_two_senders_send_an_entry_once(tmp_path: Path, made: list[Dataset]) -> None:
    outbox, sent, inside = Outbox(tmp_path), [], threading.Event()
    entry = outbox.put(made, "owner", "key")
    go_on = threading.Event()

    def slow(objects: Sequence[Dataset]) -> None:
        inside.set()
        go_on.wait(30)
        sent.append(len(objects))

    first = threading.Thread(target=outbox.attempt, args=(entry, slow))
    first.start()
    assert inside.wait(30)
    assert not Outbox(tmp_path).attempt(entry, lambda objects: sent.append(-1))
    with pytest.raises(PacsError, match="being sent"):
        outbox.discard(entry, "owner")
    go_on.set()
    first.join()
    assert sent == [len(made)]
    assert outbox.attempt(entry, slow), "gone is gone"


def test_a_person_discards_their_own_entries_alone(tmp_path: Path, made: list[Dataset]) -> None:
    outbox = Outbox(tmp_path)
    entry = outbox.put(made, "owner", "key")
    outbox.discard(entry, "another")
    assert [each.id for each in outbox.waiting()] == [entry]
    assert outbox.fate(entry) is Fate.WAITING
    outbox.discard(entry, "owner")
    assert outbox.waiting() == []
    assert outbox.fate(entry) is Fate.GONE, "discarded is not sent"


def test_an_entry_that_cannot_be_read_is_not_taken_for_sent_and_goes_once_it_can_be(
    tmp_path: Path, made: list[Dataset]
) -> None:
    outbox, sent = Outbox(tmp_path), []
    entry = outbox.put(made, "owner", "key", NOW)
    about = tmp_path / entry / "entry.json"
    whole = about.read_bytes()
    about.write_bytes(whole[:20])
    [told] = outbox.waiting("another")
    assert (told.id, told.readable, told.owner) == (entry, False, "")
    assert entry in told.error, "whoever runs the server finds it"
    assert not outbox.attempt(entry, sent.append)
    assert outbox.fate(entry) is Fate.WAITING
    outbox.discard(entry, "another")
    outbox.hurry("another", NOW)
    assert outbox.due(NOW) == []
    about.write_bytes(whole)
    [again] = outbox.due(NOW)
    assert outbox.attempt(again, sent.append)
    assert [each.SOPInstanceUID for each in sent[0]] == [each.SOPInstanceUID for each in made]
    assert outbox.fate(entry) is Fate.SENT


def test_an_entry_of_which_an_object_is_missing_is_not_sent(tmp_path: Path, made: list[Dataset]) -> None:
    outbox = Outbox(tmp_path)
    for kept in (len(made) - 1, 0):
        entry = outbox.put(made, "owner", "key")
        for file in sorted((tmp_path / entry).glob("*.dcm"))[kept:]:
            file.unlink()
        assert not outbox.attempt(entry, lambda _: pytest.fail("sent in part"))
        assert f"{kept} are found" in next(e.error for e in outbox.waiting() if e.id == entry)


def test_what_was_sent_is_known_for_a_month_and_what_a_kill_leaves_of_it_is_deleted(
    tmp_path: Path, made: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(tmp_path)
    entry = outbox.put(made, "owner", "key")
    with monkeypatch.context() as killed:
        killed.setattr(outbox_module, "_empty", lambda _: None)
        assert outbox.attempt(entry, lambda _: None)
    [left] = tmp_path.iterdir()
    assert list(left.glob("*.dcm"))
    aged(left, hours=2)
    assert Outbox(tmp_path).fate(entry) is Fate.SENT
    assert list(left.iterdir()) == []
    aged(left, hours=29 * 24)
    assert Outbox(tmp_path).fate(entry) is Fate.SENT
    aged(left, hours=31 * 24)
    outbox.put(made, "owner", "another")
    assert outbox.fate(entry) is Fate.GONE


def aged(path: Path, hours: float) -> None:
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))


def test_what_is_tried_now_is_not_written_over(tmp_path: Path, made: list[Dataset]) -> None:
    outbox = Outbox(tmp_path)
    entry = outbox.put(made, "owner", "key", NOW)

    def down(_: Sequence[Dataset]) -> None:
        outbox.hurry("owner", NOW)  # as by "Try again" in another tab
        assert outbox.waiting()[0].attempts == 0
        raise PacsError("The PACS cannot be reached.")

    assert not outbox.attempt(entry, down, lambda: NOW)
    [told] = outbox.waiting()
    assert (told.attempts, told.next_at) == (1, NOW + timedelta(seconds=30))


def test_an_outbox_that_cannot_be_read_is_a_sentence(
    tmp_path: Path, made: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(tmp_path)
    entry = outbox.put(made, "owner", "key")

    def broken(_: Path) -> None:
        raise OSError(5, "Input/output error")

    for ask, name in ((outbox.waiting, "iterdir"), (lambda: outbox.fate(entry), "lstat")):
        with monkeypatch.context() as now:
            now.setattr(Path, name, broken)
            with pytest.raises(DataError, match="cannot be read: Input/output error"):
                ask()


def test_a_kill_in_mid_write_leaves_whole_entries_and_what_is_left_over_goes(
    tmp_path: Path, made: list[Dataset]
) -> None:
    made[0].save_as(tmp_path / "object.dcm", enforce_file_format=True)
    program = (
        "import sys; from pathlib import Path; from pydicom import dcmread\n"
        "from dermlens.interchange.dicom.outbox import Outbox\n"
        "outbox, each = Outbox(Path(sys.argv[1])), dcmread(sys.argv[2])\n"
        "print('ready', flush=True)\n"
        "while True: outbox.put([each] * 20, 'owner', 'key')\n"
    )
    folder = tmp_path / "outbox"
    process = subprocess.Popen(
        [sys.executable, "-c", program, folder, tmp_path / "object.dcm"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    _until(lambda: len(Outbox(folder).waiting()) >= 2 and any(folder.glob(".*")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    entries = Outbox(folder).waiting()
    assert len(entries) >= 2
    for each in entries:
        assert len(list((folder / each.id).glob("*.dcm"))) == 20
    left = list(folder.glob(".*"))
    for path in left:
        os.utime(path, (0, 0))
    assert len(Outbox(folder).waiting()) == len(entries)
    assert list(folder.glob(".*")) == []


def test_a_full_outbox_and_a_full_disk_are_sentences(
    tmp_path: Path, made: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(tmp_path / "outbox")
    outbox.put(made, "owner", "key")
    monkeypatch.setattr(outbox_module, "MOST", 1)
    with pytest.raises(DataError, match="holds 1 entries"):
        outbox.put(made, "owner", "key")
    monkeypatch.setattr(outbox_module, "MOST", 2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outbox_module, "write_whole", full)
    with pytest.raises(DataError, match="No space left on device"):
        outbox.put(made, "owner", "key")
    assert len(list((tmp_path / "outbox").iterdir())) == 1


def test_an_entry_that_is_damaged_stops_no_other(tmp_path: Path, made: list[Dataset]) -> None:
    outbox, sent = Outbox(tmp_path / "outbox"), []
    first, second = outbox.put(made, "owner", "a", NOW), outbox.put(made, "owner", "b", NOW + timedelta(seconds=1))
    for file in (tmp_path / "outbox" / first).glob("*.dcm"):
        file.write_bytes(b"nothing")
    sender = Sender(outbox, lambda objects: sent.append(len(objects)), pause=0.05)
    sender.start()
    _until(lambda: sent)
    _until(lambda: [e.attempts for e in outbox.waiting()] == [1])
    sender.stop()
    assert not (tmp_path / "outbox" / second).exists()
    assert "broke off" in outbox.waiting()[0].error
    shutil.rmtree(tmp_path / "outbox")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "DERMLENS_PACS must be"),
        ({"DERMLENS_PACS": "ftp://pacs"}, "DERMLENS_PACS must be"),
        ({"DERMLENS_PACS": "https://me:secret@pacs/dicom-web"}, "no user"),
        ({"DERMLENS_PACS": "http://pacs/dicom-web"}, "not encrypted"),
        ({"DERMLENS_PACS": "HTTP://10.0.0.1:8042", "DERMLENS_PACS_TOKEN": "secret"}, "not encrypted"),
        ({"DERMLENS_PACS": "http://localhost.example.org"}, "not encrypted"),
        ({"DERMLENS_PACS": "http://127.0.0.1.example.org", "DERMLENS_PACS_UNENCRYPTED": "0"}, "not encrypted"),
        ({"DERMLENS_PACS": "http://pacs", "DERMLENS_PACS_UNENCRYPTED": "yes"}, "must be 1"),
        ({"DERMLENS_PACS": "https://pacs", "DERMLENS_PACS_USER": "me"}, "belong together"),
        ({"DERMLENS_PACS": "https://pacs", "DERMLENS_PACS_PASSWORD": "x"}, "belong together"),
        ({"DERMLENS_PACS": "https://pacs", "DERMLENS_PACS_TOKEN": "secret", "DERMLENS_PACS_TOKEN_FILE": "x"}, "both"),
        ({"DERMLENS_PACS": "https://pacs", "DERMLENS_PACS_TOKEN": "secret\nHost: x"}, "one word"),
        (
            {
                "DERMLENS_PACS": "https://pacs",
                "DERMLENS_PACS_TOKEN": "secret",
                "DERMLENS_PACS_USER": "me",
                "DERMLENS_PACS_PASSWORD": "secret",
            },
            "not both",
        ),
    ],
)
def test_settings_are_checked_and_no_secret_is_repeated(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as told:
        read(given)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "switch", "exposed"),
    [
        ("https://pacs/dicom-web", "", False),
        ("http://localhost:8042/dicom-web", "", False),
        ("http://127.0.0.1:8042", "0", False),
        ("http://[::1]:8042", "", False),
        ("http://pacs:8042/dicom-web", "1", True),
        ("https://pacs", "1", False),
    ],
)
def test_http_goes_to_this_machine_or_where_it_is_allowed(url: str, switch: str, exposed: bool) -> None:
    assert read({"DERMLENS_PACS": url, "DERMLENS_PACS_UNENCRYPTED": switch}).exposed == exposed


def test_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    given = {"DERMLENS_PACS": "https://pacs/dicom-web/", "DERMLENS_PACS_USER": "me"}
    found = read({**given, "DERMLENS_PACS_PASSWORD_FILE": str(tmp_path / "password"), "DERMLENS_STATE": "/srv/state"})
    assert (found.url, found.user, found.password) == ("https://pacs/dicom-web", "me", "s3cret")
    assert found.outbox == Path("/srv/state/outbox")
    assert found.host == "pacs"
    assert "s3cret" not in repr(found)
    found = read({"DERMLENS_PACS": "https://pacs/dicom-web", "DERMLENS_PACS_TOKEN_FILE": str(tmp_path / "password")})
    assert (found.user, found.password, found.token) == ("", "", "s3cret")
    assert "s3cret" not in repr(found)


def test_a_token_goes_with_every_request_and_wins_over_a_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password x\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Type", "application/dicom+json")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = client(
            Settings(f"http://127.0.0.1:{server.server_port}/dicom-web", token="abc.def")
        ).search_for_studies()
        server.shutdown()
    assert asked == []
    assert seen == ["Bearer abc.def"]
