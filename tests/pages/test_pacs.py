"""Send to PACS on Predict: not there unless set up, what is sent, and the outbox; with a real Orthanc."""

import io
import subprocess
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from sqlalchemy import select
from streamlit.testing.v1 import AppTest

from dermlens.interchange.dicom.outbox import Outbox
from dermlens.interchange.dicom.pacs import client
from dermlens.interchange.dicom.settings import Settings
from dermlens.record import settings as record_settings
from dermlens.record.open import open_record
from dermlens.record.people import Who
from dermlens.record.store import audit
from dermlens.record.store.tables import Audit, Disclosure
from tests.browser.app import free_port
from tests.conftest import encode
from tests.dashboard import HOME, check, open_page, text
from tests.image_files import dicom, picture
from tests.interchange.dicom import orthanc
from tests.interchange.dicom.conftest import pacs  # noqa: F401


@pytest.fixture
def at(off: None, pacs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:  # noqa: F811
    for name, value in (("", pacs), ("_USER", orthanc.USER), ("_PASSWORD", orthanc.PASSWORD)):
        monkeypatch.setenv(f"DERMLENS_PACS{name}", value)
    monkeypatch.setenv("DERMLENS_OUTBOX", str(tmp_path / "outbox"))
    return Settings(pacs, orthanc.USER, orthanc.PASSWORD, tmp_path / "outbox")


def ask(data: bytes) -> AppTest:
    app = open_page("predict")
    app.file_uploader[0].set_value([("Doe Jane.png", data, "application/octet-stream")])
    return check(app.run())


def labelled(elements, label: str):
    return next(e for e in elements if e.label == label)


def emptied(folder: Path) -> None:
    waited = threading.Event()
    for _ in range(6000):
        if not Outbox(folder).waiting():
            return
        waited.wait(0.02)
    raise AssertionError(f"the outbox still holds {[e.error for e in Outbox(folder).waiting()]}")


def test_without_an_address_nothing_of_it_shows_or_is_imported(off: None, lesion: np.ndarray) -> None:
    app = ask(encode(lesion))
    assert "Send to PACS" not in [p.proto.popover.label for p in app.get("popover")]
    program = (
        "import sys; from streamlit.testing.v1 import AppTest;"
        f"app = AppTest.from_file({str(HOME)!r}, default_timeout=120).run();"
        "app.switch_page('pages/predict.py'); app.run();"
        "print(*sorted({'highdicom', 'dicomweb_client', 'fhir', 'weasyprint', 'ui.sending'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


def test_a_picture_goes_under_the_patient_who_was_typed(at: Settings, lesion: np.ndarray) -> None:
    app = ask(encode(lesion))
    assert labelled(app.button, "Send").disabled, "not without a patient ID"
    assert "A patient ID is needed" in text(app)
    assert "The picture as dermoscopic image, 120 x 90 pixels" in text(app)
    labelled(app.text_input, "Patient ID").set_value("4712")
    labelled(app.text_input, "Family name").set_value("Müller")
    check(app.run())
    labelled(app.button, "Send").click()
    check(app.run())
    assert "was handed over" in text(app)
    emptied(at.outbox)
    [study] = client(at).search_for_studies(search_filters={"PatientID": "4712"})
    uid = study["0020000D"]["Value"][0]
    assert len(client(at).search_for_instances(uid)) == 3
    assert "The PACS has it" in text(check(app.run()))
    assert "Doe" not in str(study), "the file's name goes nowhere"


def test_what_came_as_dicom_joins_its_study_under_its_own_patient(at: Settings) -> None:
    study, instance = generate_uid(prefix=None), generate_uid(prefix=None)
    data = dicom(picture(), StudyInstanceUID=study, SeriesInstanceUID=generate_uid(), SOPInstanceUID=instance)
    app = ask(data)
    assert "joins its study" in text(app)
    assert not [field for field in app.text_input if field.label == "Patient ID"]
    labelled(app.button, "Send").click()
    check(app.run())
    emptied(at.outbox)
    sent = client(at).retrieve_study(study)
    assert sorted(each.Modality for each in sent) == ["OT", "SR"]
    source = dcmread(io.BytesIO(data))
    for each in sent:
        assert (each.PatientID, each.PatientName, each.PatientBirthDate) == (
            source.PatientID,
            source.PatientName,
            source.PatientBirthDate,
        )
        if each.Modality == "SR":
            [evidence] = each.CurrentRequestedProcedureEvidenceSequence
            named = {
                i.ReferencedSOPInstanceUID for s in evidence.ReferencedSeriesSequence for i in s.ReferencedSOPSequence
            }
            assert instance in named


def tried(lesion: np.ndarray, patient: str, outbox: Path) -> AppTest:
    """Send a lesion from Predict, and wait until it has been tried once."""
    app = ask(encode(lesion))
    labelled(app.text_input, "Patient ID").set_value(patient)
    check(app.run())
    labelled(app.button, "Send").click()
    check(app.run())
    waited = threading.Event()
    while not Outbox(outbox).waiting()[0].attempts:
        waited.wait(0.02)
    return app


def test_a_pacs_that_is_down_leaves_it_in_a_visible_outbox(
    at: Settings, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_PACS", f"http://127.0.0.1:{free_port()}/dicom-web")
    app = tried(lesion, "ward-seven-4713", at.outbox)
    said = text(check(app.run()))
    assert "1 image not sent yet" in said
    assert "cannot be reached" in said
    assert "ward-seven-4713" not in said.replace("Patient ID", "")
    another = open_page("predict")
    assert "1 image not sent yet" in text(another), "in another session of the same person too"
    labelled(app.button, "Discard").click()
    check(app.run())
    assert Outbox(at.outbox).waiting() == []
    assert labelled(app.button, "Send"), "it can be sent anew"


class Taking(BaseHTTPRequestHandler):
    """A DICOMweb service that takes everything and says of each object that it has it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(b"{}")

    def do_GET(self) -> None:
        self.reply(b"[{}]")

    def reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("fate", ["discarded", "unreadable", "sent"])
def test_only_what_was_sent_is_said_to_be_there(
    fate: str, off: None, lesion: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, folder = free_port(), tmp_path / "outbox"
    monkeypatch.setenv("DERMLENS_PACS", f"http://127.0.0.1:{port}/dicom-web")
    monkeypatch.setenv("DERMLENS_OUTBOX", str(folder))
    app = tried(lesion, "4715", folder)
    [entry] = Outbox(folder).waiting()
    if fate == "discarded":
        another = open_page("predict")
        labelled(another.button, "Discard").click()
        check(another.run())
    elif fate == "unreadable":
        (folder / entry.id / "entry.json").write_bytes(b"{")
    else:
        with HTTPServer(("127.0.0.1", port), Taking) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            labelled(app.button, "Try again").click()
            check(app.run())
            emptied(folder)
            server.shutdown()
    said = text(check(app.run()))
    assert ("The PACS has it" in said) == (fate == "sent")
    assert ("taken out of the outbox and not sent" in said) == (fate == "discarded")
    assert ("cannot be read any more, so it was not sent" in said) == (fate == "unreadable")
    assert bool([b for b in app.button if b.label == "Send"]) == (fate == "discarded"), "it can be sent anew"


def test_a_wrong_setting_is_one_sentence(at: Settings, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_PACS", "ftp://pacs")
    assert "DERMLENS_PACS must be" in text(ask(encode(lesion))).replace("\\", "")


def test_an_address_that_is_not_encrypted_is_not_used_unless_allowed(
    off: None, lesion: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("DERMLENS_PACS", "http://pacs.example.org/dicom-web")
    app = ask(encode(lesion))
    assert "so nothing is sent" in text(app)
    assert not [b for b in app.button if b.label == "Send"]
    monkeypatch.setenv("DERMLENS_PACS_UNENCRYPTED", "1")
    assert "The way to this PACS is not encrypted" in text(check(app.run()))
    assert labelled(app.button, "Send")


def test_a_drawing_is_not_sent(at: Settings) -> None:
    app = open_page("predict")
    next(b for b in app.button if b.key and b.key.startswith("example-")).click()
    assert "A drawing is not sent" in text(check(app.run()))


def test_with_a_record_a_reader_does_not_send(
    at: Settings, lesion: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_DATABASE", f"sqlite:///{tmp_path}/record.db")
    monkeypatch.setattr("ui.record.session.who", lambda: Who("x", "reader", ("north",)))
    app = ask(encode(lesion))
    assert "takes the role clinician" in text(app)
    assert not [b for b in app.button if b.label == "Send"]


def test_with_a_record_what_is_sent_is_written_down_before_and_once_the_pacs_has_it(
    at: Settings, lesion: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_DATABASE", f"sqlite:///{tmp_path}/record.db")
    app = ask(encode(lesion))
    labelled(app.button, "Save to the record").click()
    check(app.run())
    check(app.run())
    labelled(app.text_input, "Patient ID").set_value("ward-seven-4714")
    check(app.run())
    before = datetime.now(UTC)
    labelled(app.button, "Send").click()
    check(app.run())
    emptied(at.outbox)
    record = open_record(record_settings.Settings(f"sqlite:///{tmp_path}/record.db"))
    with record.database.reading() as session:
        (row,) = session.scalars(select(Disclosure))
        assert (row.what, row.recipient, row.lesion_id) == ("dicom", at.host, 1)
        assert row.arrived_at is not None
        assert before <= row.at <= row.arrived_at
        lines = session.scalars(select(Audit).where(Audit.object == "disclosure:1").order_by(Audit.sequence))
        assert [line.action for line in lines] == ["disclose", "arrived"]
        assert audit.verify(session).n_problems == 0
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("record.db*"))
    assert b"ward-seven-4714" not in kept, "the patient goes to the PACS alone"


def test_what_the_record_cannot_write_down_is_not_sent(
    at: Settings, lesion: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_DATABASE", f"sqlite:///{tmp_path}/nowhere/record.db")
    app = ask(encode(lesion))
    labelled(app.text_input, "Patient ID").set_value("4715")
    check(app.run())
    labelled(app.button, "Send").click()
    check(app.run())
    assert "cannot be made" in " ".join(e.value for e in app.error)
    assert list(at.outbox.iterdir()) == []
