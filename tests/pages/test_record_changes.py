"""What is changed of a case on the pages: withdrawn, corrected, entered by CSV, and filled in before it is saved."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import RecordError
from dermlens.record import cases, readings
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.readings import Found
from dermlens.record.save import About, edit, save
from tests.conftest import encode
from tests.dashboard import HOME, check, open_page, text
from tests.pages.test_record import SAVE, button
from tests.record.filled import fill, saving


def test_what_is_withdrawn_on_the_page_is_in_no_file_of_the_database(kept: Record, tmp_path: Path) -> None:
    saved = save(kept, ME, saving(np.random.default_rng(0), 5, About(label="the quince-shaped one")))
    app = open_page("record", case=str(saved.lesion_id))
    next(box for box in app.checkbox if box.label == "Consent is withdrawn").set_value(True)
    check(app.run())
    assert b"quince-shaped" in b"".join(file.read_bytes() for file in tmp_path.glob("record.db*"))
    button(app, "Erase").click()
    check(app.run())
    assert "quince-shaped" not in text(app)
    assert not [file.name for file in tmp_path.glob("record.db*") if b"quince-shaped" in file.read_bytes()]
    assert not list(app.error)


def test_a_withdrawal_that_fails_is_told_on_the_page(kept: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(kept, 1)
    app = open_page("record", case="1")
    next(box for box in app.checkbox if box.label == "Consent is withdrawn").set_value(True)
    check(app.run())

    def other(*_: object) -> int:
        raise RecordError("It is another store.")

    monkeypatch.setattr("dermlens.record.consent.withdraw", other)
    button(app, "Erase").click()
    check(app.run())
    assert "It is another store" in text(app)


def test_a_change_that_came_too_late_is_told_on_the_page(kept: Record) -> None:
    fill(kept, 1)
    app = open_page("record", case="1")

    def site():
        return next(box for box in app.selectbox if box.label == "Site")

    edit(kept, ME, About(lesion_id=1, site="scalp"))
    site().set_value("hand")
    button(app, "Keep").click()
    check(app.run())
    assert "somebody changed the site meanwhile, and it is scalp now. Yours was hand" in text(app).replace("\\", "")
    assert site().value == "scalp"
    site().set_value("hand")
    button(app, "Keep").click()
    check(app.run())
    with kept.database.reading() as session:
        assert cases.one(session, ME, 1).lesion.site == "hand"


def test_outcomes_that_stand_there_are_marked_and_replaced_only_where_that_is_ticked(kept: Record) -> None:
    fill(kept, 3, known=0)
    readings.enter_outcome(kept, ME, 1, Found("mel", "histology"))
    readings.enter_outcome(kept, ME, 2, Found("nv", "consensus"))
    app = open_page("record", part="In and out")
    filled_in = b"case,diagnosis,basis,words,source\n1,nv,follow-up,,\n2,nv,consensus,,\n3,bcc,histology,,\n"
    app.file_uploader[0].set_value([("t.csv", filled_in, "text/csv")])
    check(app.run())
    table = next(t.value for t in app.dataframe if "In the record" in t.value)
    assert table["In the record"].tolist() == ["Melanoma, by histology", "the same", ""]
    assert button(app, "Enter 2 outcomes").disabled
    next(box for box in app.checkbox if box.label == "Replace 1 outcome that the record has").set_value(True)
    check(app.run())
    button(app, "Enter 2 outcomes").click()
    check(app.run())
    with kept.database.reading() as session:
        assert [cases.one(session, ME, n).outcome.diagnosis for n in (1, 2, 3)] == ["nv", "nv", "bcc"]


@pytest.mark.parametrize(("database", "closed"), [("sqlite:///record.db", "True"), ("", "False")])
def test_no_table_leaves_by_a_button_of_streamlit_where_a_record_is_kept(database: str, closed: str) -> None:
    program = (
        "import streamlit as st; from ui.access import lifespan; lifespan.prepare(); "
        "print(st.get_option('client.disableDataExport'))"
    )
    environment = {**os.environ, "DERMLENS_DATABASE": database}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=HOME.parent
    )
    assert run.stdout.strip() == closed, run.stderr


def test_what_was_typed_is_there_after_a_look_at_another_image_and_gone_with_the_case(
    kept: Record, lesion: np.ndarray
) -> None:
    app = open_page("predict")
    files = [
        ("one.png", encode(lesion), "image/png"),
        ("two.png", encode(np.ascontiguousarray(lesion[::-1])), "image/png"),
    ]
    app.file_uploader[0].set_value(files)
    check(app.run())
    first, second = app.session_state["case_images"]

    def look(key: str) -> dict:
        app.session_state["image"] = key
        check(app.run())
        return {element.label: element for element in (*app.text_input, *app.selectbox, *app.number_input)}

    fields = look(first)
    assert "No patient · a new case" in text(app)
    fields["Patient"].set_value("4711")
    fields["The patient agreed to"].set_value("record")
    fields["Birth year"].set_value(1950)
    check(app.run())
    assert look(second)["Patient"].value == "", "another image may be another patient's"
    fields = look(first)
    assert (fields["Patient"].value, fields["Birth year"].value) == ("4711", 1950)
    assert "Patient named · a new case" in text(app)
    button(app, SAVE).click()
    check(app.run())
    check(app.run())
    with kept.database.reading() as session:
        assert cases.one(session, ME, 1).patient.pseudonym == kept.keys.pseudonym("4711")
    button(app, "New case").click().run()
    app.file_uploader[0].set_value(files)
    check(app.run())
    assert {look(key)["Patient"].value for key in app.session_state["case_images"]} == {""}
