"""The record in the dashboard: not there unless switched on, saving from Predict, studies, the page itself."""

import hashlib
import logging
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df
from streamlit.testing.v1 import AppTest

from dermlens.errors import RecordError
from dermlens.image import examples
from dermlens.record import cases, consent, readings
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.readings import Judgement
from dermlens.record.save import save
from dermlens.record.store import audit
from dermlens.record.store.tables import Disclosure, Image
from tests.conftest import encode
from tests.dashboard import HOME, check, open_page, text
from tests.record.filled import fill, saving

SAVE = "Save to the record"


def ask() -> AppTest:
    app = open_page("predict")
    next(b for b in app.button if b.key and b.key.startswith("example-")).click()
    return check(app.run())


def button(app: AppTest, label: str):
    return next(b for b in app.button if b.label == label)


def listed(record: Record) -> list:
    with record.database.reading() as session:
        return cases.listed(session, ME)["case"].tolist()


def test_without_a_database_nothing_of_it_shows_or_is_imported(off: None) -> None:
    app = ask()
    assert SAVE not in [b.label for b in app.button]
    assert "Record" not in [link.proto.label.strip("*") for link in open_page("home").get("page_link")]
    assert "record" not in str(open_page("metrics").get("selectbox")[1].proto.options)
    program = (
        "import sys; from streamlit.testing.v1 import AppTest;"
        f"app = AppTest.from_file({str(HOME)!r}, default_timeout=120).run();"
        "app.switch_page('pages/predict.py'); app.run();"
        "own = ('dermlens.record', 'ui.record', 'sqlalchemy', 'alembic', 'psycopg');"
        "print(*sorted(m for m in sys.modules if m.startswith(own)))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=HOME.parent, check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


def left(record: Record) -> list[Disclosure]:
    with record.database.reading() as session:
        assert audit.verify(session).n_problems == 0
        return list(session.scalars(select(Disclosure).order_by(Disclosure.id)))


def test_every_file_that_leaves_predict_or_the_record_is_written_down(kept: Record, offered: dict) -> None:
    fill(kept, 20)
    app = ask()
    button(app, SAVE).click()
    check(app.run())
    check(app.run())
    (saved,) = (number for number in listed(kept) if number > 20)
    on_predict = dict(offered)
    for part in ("Worth a second look", "In and out"):
        open_page("record", part=part)
    open_page("record", case="3")
    assert len(on_predict) >= 4, "the report twice, FHIR and the tables"
    assert {"Open cases (CSV)", "Answers (CSV)", "Readings (Parquet)", "List to label (CSV)"} <= offered.keys()
    del offered["Data (CSV)"]  # the numbers behind a chart, which stand on the page
    for number, (label, make) in enumerate(offered.items(), start=1):
        data = make()
        row = left(kept)[-1]
        assert len(left(kept)) == number, label
        assert (row.sha256, row.recipient) == (hashlib.sha256(data).hexdigest(), "download")
        if label in on_predict and "All images" not in label and label != "Save as FHIR R4 (JSON)":
            assert (row.lesion_id, len(row.pixels_sha256)) == (saved, 64)
    assert {row.lesion_id for row in left(kept) if row.what == "fhir"} == {3}, "the page of the case came last"


def test_what_cannot_be_written_down_does_not_leave(
    kept: Record, offered: dict, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ask()

    def down(*_: object, **__: object) -> int:
        raise RecordError("The record is locked. Nothing was saved. Try again.")

    monkeypatch.setattr("dermlens.record.disclosures.note", down)
    with pytest.raises(RecordError, match="locked"):
        offered["Save the report (HTML, to print)"]()
    assert "not handed out, as it cannot be written into the record: The record is locked" in caplog.text


def test_who_has_no_role_is_told_why_no_file_is_offered(kept: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> None:
        raise RecordError("You have no role in the record.")

    monkeypatch.setattr("ui.record.session.who", nobody)
    app = ask()
    assert "You have no role in the record" in text(app)
    assert "save-report" not in str(app.get("download_button"))


def test_a_case_is_saved_with_patient_and_place_and_its_name_reaches_no_log(
    kept: Record, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app = ask()
    fields = {element.label: element for element in (*app.text_input, *app.selectbox, *app.checkbox)}
    fields["Patient"].set_value("Miller, Anna")
    fields["Site"].set_value("back")
    fields["The patient agreed to"].set_value("pictures")
    fields["Label"].set_value("wrist band")
    fields["Keep the picture too, encrypted"].set_value(True)
    check(app.run())
    button(app, SAVE).click()
    check(app.run())
    check(app.run())
    assert "Saved to the record as case 1." in text(app)
    assert SAVE not in [b.label for b in app.button]
    with kept.database.reading() as session:
        case = cases.one(session, ME, 1)
    assert case.patient.pseudonym == kept.keys.pseudonym("miller, anna")
    assert (case.lesion.site, case.lesion.label) == ("back", "wrist band")
    assert len(kept.pictures.read(case.images[0].picture).shape) == 3
    logged = caplog.text.lower()
    assert not [word for word in ("miller", "wrist band", case.patient.pseudonym) if word in logged]


def test_a_database_that_is_down_gives_a_sentence_and_a_second_attempt_and_the_answer_stands(
    kept: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = kept.settings.database
    monkeypatch.setenv("DERMLENS_DATABASE", url.replace("record.db", "nowhere/record.db"))
    app = ask()
    before = text(app)
    button(app, SAVE).click()
    check(app.run())
    check(app.run())
    assert "cannot be made: No such file or directory" in text(app).replace("\\", "")
    assert "The answer above stands." in text(app)
    assert before.splitlines()[0] in text(app)
    monkeypatch.setenv("DERMLENS_DATABASE", url)
    button(app, "Try again").click()
    check(app.run())
    check(app.run())
    assert "Saved to the record as case 1." in text(app)
    assert listed(kept) == [1]


def test_a_case_is_kept_with_the_aspect_it_was_read_with_and_one_read_anew_is_another(kept: Record) -> None:
    app = open_page("predict")
    data = encode(examples.draw(examples.EXAMPLES[0])[:90, :90])

    def save_case() -> str:
        button(app, SAVE).click()
        check(app.run())
        check(app.run())
        with kept.database.reading() as session:
            case = cases.one(session, ME, max(cases.listed(session, ME)["case"]))
        (image,) = case.images
        assert len({row.settings["stored_aspect"] for row in case.predictions[image.id]}) == 1
        return f"{image.width} {case.predictions[image.id][0].settings['stored_aspect']}"

    def take(aspect: str) -> None:
        app.selectbox(key="stored_aspect").set_value(aspect)
        app.run()
        app.file_uploader[0].set_value([("a.png", data, "image/png")])
        check(app.run())

    take("as-is")
    app.selectbox(key="stored_aspect").set_value("4:3")
    check(app.run())
    assert save_case() == "90 as-is", "the menu says how the next file is read"
    take("4:3")
    assert "Saved to the record" not in text(app)
    assert save_case() == "120 4:3"


def test_in_a_study_the_answer_comes_after_the_reading_and_once_more_with_it(
    kept: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_RECORD_STUDY", "1")
    app = ask()
    assert "Your reading first" in text(app)
    assert "No rules for referral" not in text(app)
    assert not app.get("plotly_chart")
    compare = app.switch_page("pages/compare.py").run()
    assert "Your reading comes first." in text(check(compare))
    app.switch_page("pages/predict.py")
    check(app.run())
    button(app, "Put down, and see the answer").click()
    check(app.run())
    assert "Diagnosis and management are needed" in text(app)

    put_down(app, "Put down, and see the answer", "nv")
    check(app.run())
    assert "No rules for referral" in text(app)
    assert "Your reading now" in text(app)
    put_down(app, "Put down", "mel")
    check(app.run())
    assert "Your reading now" not in text(app)
    with kept.database.reading() as session:
        case = cases.one(session, ME, 1)
    said = [(r.stage, r.diagnosis, r.management) for r in case.readings[case.images[0].id]]
    assert said == [("before", "nv", "excision"), ("after", "mel", "excision")]
    assert all(r.seconds is not None and r.seconds > 0 for r in case.readings[case.images[0].id])


def put_down(app: AppTest, label: str, diagnosis: str) -> None:
    fields = {element.label: element for element in app.selectbox}
    fields["Diagnosis"].set_value(diagnosis)
    fields["What would you do?"].set_value("excision")
    button(app, label).click()
    check(app.run())


def said_of_case_1(record: Record) -> list[tuple[str, str]]:
    with record.database.reading() as session:
        case = cases.one(session, ME, 1)
        assert len(case.images) == 1
        return [(r.stage, r.diagnosis) for r in case.readings[case.images[0].id]]


@pytest.mark.parametrize("first", [0, 1], ids=["in order", "the other way round"])
def test_a_reading_with_the_answer_is_kept_that_was_put_down_while_the_image_was_being_saved(
    kept: Record, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setenv("DERMLENS_RECORD_STUDY", "1")
    begun, both = list[int](), threading.Event()
    may, done = (threading.Event(), threading.Event()), (threading.Event(), threading.Event())

    def slow(*given: object) -> object:
        number = len(begun)
        begun.append(number)
        if number == 1:
            both.set()
        assert may[number].wait(60)
        try:
            return save(*given)
        finally:
            done[number].set()

    monkeypatch.setattr("ui.record.session.save", slow)
    monkeypatch.setattr("ui.record.session.USUAL", 0.02)
    app = ask()
    put_down(app, "Put down, and see the answer", "nv")
    assert "Saving to the record" in text(app)
    put_down(app, "Put down", "mel")
    assert both.wait(60)
    assert begun == [0, 1]
    for number in (first, 1 - first):
        may[number].set()
        assert done[number].wait(60)
    check(app.run())
    check(app.run())
    assert "Saved to the record as case 1." in text(app)
    assert said_of_case_1(kept) == [("before", "nv"), ("after", "mel")]


def test_a_reading_with_the_answer_that_could_not_be_saved_is_tried_again(
    kept: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_RECORD_STUDY", "1")
    app = ask()
    put_down(app, "Put down, and see the answer", "nv")
    check(app.run())

    def down(*_: object) -> None:
        raise RecordError("The record is locked. Nothing was saved. Try again.")

    with monkeypatch.context() as while_down:
        while_down.setattr("ui.record.session.save", down)
        put_down(app, "Put down", "mel")
        check(app.run())
    assert "Your reading with the answer is not saved. The record is locked" in text(app)
    assert "Saved to the record as case 1." in text(app)
    assert said_of_case_1(kept) == [("before", "nv")]
    button(app, "Try again").click()
    check(app.run())
    check(app.run())
    assert "not saved" not in text(app)
    assert said_of_case_1(kept) == [("before", "nv"), ("after", "mel")]


def test_in_a_study_no_table_holds_an_image_that_is_not_read_yet(
    kept: Record, offered: dict, monkeypatch: pytest.MonkeyPatch, lesion: np.ndarray
) -> None:
    monkeypatch.setenv("DERMLENS_RECORD_STUDY", "1")
    files = {"one": encode(lesion), "two": encode(np.ascontiguousarray(lesion[:, ::-1]))}
    app = open_page("predict", **{"show-research": "true"})
    app.file_uploader[0].set_value([(f"{name}.png", data, "image/png") for name, data in files.items()])
    check(app.run())
    assert not offered
    put_down(app, "Put down, and see the answer", "nv")
    check(app.run())
    with kept.database.reading() as session:
        (read,) = session.scalars(select(Image.file_sha256))
    (name,) = (name for name, data in files.items() if hashlib.sha256(data).hexdigest() == read)
    made = {label: make().decode() for label, make in offered.items() if "ISIC CSV" in label}
    assert {label.split(" images")[0] for label in made} == {"Read"}
    assert [[line.split(",")[0] for line in table.splitlines()] for table in made.values()] == [["image", name]] * 2
    assert "1 image that you have not read yet: left out" in text(app)


def test_the_page_lists_cases_shows_one_and_takes_outcomes(kept: Record) -> None:
    assert "No case is kept yet." in text(open_page("record"))
    fill(kept, 30, known=0)
    app = open_page("record")
    assert "**30 cases**" in text(app)
    for part in ("Worth a second look", "In and out", "Upkeep"):
        assert not open_page("record", part=part).exception
    case = open_page("record", case="7")
    assert "Case 7" in text(case)
    assert "note 6" in text(case)
    fields = {element.label: element for element in case.selectbox}
    fields["It turned out to be"].set_value("mel")
    fields["By"].set_value("histology")
    check(case.run())
    button(case, "Enter").click()
    check(case.run())
    assert "Melanoma, by histology" in text(case)
    consent.withdraw(kept, ME, 7)
    closed = open_page("record", case="7")
    assert "consent withdrawn" in text(closed)
    assert not {"It turned out to be", "By"} & {element.label for element in closed.selectbox}, "nothing is added to it"
    assert "There is no such case" in text(open_page("record", case="99"))
    assert "There is no such case" in text(open_page("record", case="7 or 1"))


def test_metrics_measures_the_record(kept: Record) -> None:
    fill(kept, 60)
    with kept.database.writing() as session:
        from sqlalchemy import text as sql

        session.execute(sql("UPDATE prediction SET model_id = 'toy' WHERE lead"))
    app = open_page("metrics", of="toy", split="record", patience=120)
    assert "mostly where something was cut out" in text(app)
    assert "Record split" in text(app)
    app.session_state["record-show"] = "Month by month"
    assert "Against validation, month by month" in text(check(app.run()))


def test_a_case_shows_call_and_probabilities_at_one_class_mix(kept: Record) -> None:
    one = saving(np.random.default_rng(0), 4)
    for values in one.predictions:
        values["settings"] = {**values["settings"], "class_mix": "Re-weighted for 50 % suspect."}
        values.update(probabilities=[0.02, 0.02, 0.03, 0.01, 0.3, 0.61, 0.01], suspect=0.34, called="mel")
        values.update(shown=[0.03, 0.05, 0.02, 0.01, 0.67, 0.21, 0.01], refused_by=[])
    one.predictions[2].update(called=None, refused_by=["two"])
    saved = save(kept, ME, one)
    app = open_page("record", case=str(saved.lesion_id))
    table = next(t.value for t in app.dataframe if "Call" in t.value)
    assert table["Call"].tolist() == ["Melanoma", "Melanoma", "No diagnosis"]
    assert table["Probability"].tolist() == pytest.approx([67, 67, float("nan")], nan_ok=True)
    assert table["Malignant or pre-malignant"].tolist() == pytest.approx([75, 75, float("nan")], nan_ok=True)
    assert "those that were shown, at the class mix that was set. Re-weighted for 50 % suspect." in text(app).replace(
        "\\", ""
    )


def displayed(app: AppTest, column: str) -> tuple[list[str], Any]:
    """Return what a column of the first table that has it shows, and what it is sorted by."""
    table = next(t for t in app.dataframe if column in t.value)
    shown = convert_arrow_bytes_to_pandas_df(table.proto.arrow_data.styler.display_values)
    return shown[column].tolist(), table.value[column].tolist()


def test_no_table_says_none_or_all_of_what_is_neither(kept: Record) -> None:
    for suspect in (0.0004, 0.9996, 0.12):
        one = saving(np.random.default_rng(0), 5)
        shares = [0.0, 0.0, 0.0, 0.0, suspect, 1 - suspect, 0.0]
        called = "mel" if suspect > 0.5 else "nv"
        for values in one.predictions:
            values.update(probabilities=shares, suspect=suspect, shown=None, called=called, refused_by=[])
        saved = save(kept, ME, one)
        readings.read(kept, ME, saved.image_id, Judgement("before", "bcc", 50, "none"))
    both = displayed(open_page("record"), "Malignant or pre-malignant")
    assert both == (["12 %", ">99 %", "<1 %"], pytest.approx([12, 99.96, 0.04]))
    case = open_page("record", case="1")
    assert displayed(case, "Malignant or pre-malignant") == (["<1 %"] * 3, pytest.approx([0.04] * 3))
    assert displayed(case, "Probability") == ([">99 %"] * 3, pytest.approx([99.96] * 3))
    look = displayed(open_page("record", part="Worth a second look"), "Probability")
    assert look == (["88 %", ">99 %", ">99 %"], pytest.approx([88, 99.96, 99.96]))
