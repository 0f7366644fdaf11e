"""A study on Predict: what is read before the answer, what is shown then, and what the record keeps of both."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select
from streamlit.testing.v1 import AppTest

from dermlens.case import opinion
from dermlens.case.opinion import Opinion
from dermlens.record import cases
from dermlens.record.learning import measured
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.store.tables import Prediction, Reading
from dermlens.trust.calibration import Calibration
from dermlens.trust.fitted import Fitted
from tests.conftest import encode
from tests.dashboard import check, open_page, text
from tests.pages.test_record import button, put_down

MIX = (300, 500, 1000, 100, 1100, 6700, 140)
MELANOMA_AT_HAM = (0.02, 0.02, 0.02, 0.02, 0.52, 0.38, 0.02)
"""At 5 % malignant or pre-malignant, of 19.31 % in MIX: melanoma 0.52 * 5 / 19.31 and nevus 0.38 * 95 / 80.69, of a sum
of 0.6630, so 0.2031 and 0.6748."""
FIRST, SECOND = "Put down, and see the answer", "Put down"


@pytest.fixture
def study(kept: Record, monkeypatch: pytest.MonkeyPatch) -> Record:
    """A study with one calibrated model, which calls every image melanoma, and nevus where melanomas are rare."""
    monkeypatch.setenv("DERMLENS_RECORD_STUDY", "1")
    usual = opinion.form

    def formed(models: tuple, answers: dict, synthetic: bool = False) -> Opinion:
        one = replace(
            next(iter(models)), fitted=Fitted(calibration=Calibration("temperature", (1.0,) * 7, (0.0,) * 7, MIX))
        )
        shares = np.array(MELANOMA_AT_HAM, np.float32)
        answer = replace(answers[one.id], logits=np.log(shares), probabilities=shares, calibrated=True)
        return usual([one], {one.id: answer}, synthetic)

    monkeypatch.setattr(opinion, "form", formed)
    return kept


def upload(*pixels: np.ndarray) -> AppTest:
    app = open_page("predict")
    app.file_uploader[0].set_value([(f"{n}.png", encode(p), "image/png") for n, p in enumerate(pixels)])
    return check(app.run())


def two(lesion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return lesion, np.ascontiguousarray(lesion[:, ::-1])


def go_to(app: AppTest, number: int) -> AppTest:
    app.session_state["image"] = list(app.session_state["case_images"])[number]
    return check(app.run())


def prevalence(app: AppTest) -> list:
    return [slider for slider in app.slider if slider.key == "prevalence"]


def rows(record: Record) -> list[Prediction]:
    with record.database.reading() as session:
        return list(session.scalars(select(Prediction).where(Prediction.lead).order_by(Prediction.id)))


def test_a_study_keeps_the_call_that_was_shown(study: Record, lesion: np.ndarray) -> None:
    app = upload(*two(lesion))
    put_down(go_to(app, 0), FIRST, "nv")
    assert "Melanoma" in text(app)
    assert not prevalence(app), "the answer stays as it was kept until it is read"
    assert "Class mix and models can be changed once" in text(app)
    put_down(app, SECOND, "mel")
    check(app.run())
    (slider,) = prevalence(app)
    slider.set_value(5.0)
    check(app.run())
    put_down(go_to(app, 1), FIRST, "nv")
    assert "5.0 % are malignant" in text(app).replace("\N{NO-BREAK SPACE}", " ")
    put_down(app, SECOND, "nv")
    check(app.run())
    first, second = rows(study)
    assert (first.called, first.shown, second.called) == ("mel", None, "nv")
    assert second.shown is not None
    assert second.shown[4] == pytest.approx(0.2031, abs=1e-4)
    assert "re-weighted for images of which" in second.settings["class_mix"]
    with study.database.reading() as session:
        changed = measured.changed(measured.paired_readings(session, ME))
    assert (changed.agreed_after.value, changed.overridden.value) == (1, 0)
    assert changed.followed.value == 1, "of the two, only the first one differed from what was shown"


def test_the_class_mix_waits_for_every_image_of_the_case(study: Record, lesion: np.ndarray) -> None:
    app = upload(*two(lesion))
    put_down(go_to(app, 0), FIRST, "nv")
    put_down(go_to(app, 1), FIRST, "nv")
    put_down(app, SECOND, "mel")
    check(app.run())
    assert not prevalence(app), "the other image is not read with the answer yet"
    put_down(go_to(app, 0), SECOND, "mel")
    check(app.run())
    assert prevalence(app)


def test_in_a_study_an_image_is_added_to_a_case_and_a_patient(study: Record, lesion: np.ndarray) -> None:
    app = upload(lesion)
    put_down(app, FIRST, "nv")
    app = upload(two(lesion)[1])
    next(e for e in app.text_input if e.label == "Patient").set_value("4711")
    next(e for e in app.number_input if e.label == "Add to case no.").set_value(1)
    check(app.run())
    assert "Patient named · case 1" in text(app)
    put_down(app, FIRST, "mel")
    check(app.run())
    with study.database.reading() as session:
        case = cases.one(session, ME, 1)
    assert len(case.images) == 2
    assert case.patient.pseudonym == study.keys.pseudonym("4711")


def test_a_picture_whose_answer_was_seen_is_not_read_before_it_again(study: Record, lesion: np.ndarray) -> None:
    app = upload(lesion)
    put_down(app, FIRST, "nv")
    put_down(app, SECOND, "mel")
    check(app.run())
    button(app, "New case").click().run()
    app.file_uploader[0].set_value([("again.png", encode(lesion), "image/png")])
    check(app.run())
    assert "Your reading first" not in text(app)
    assert "You have read or saved this picture before" in text(app)
    elsewhere = upload(lesion)
    assert "Your reading first" not in text(elsewhere), "nor in another session"
    button(elsewhere, "Save to the record").click()
    check(elsewhere.run())
    check(elsewhere.run())
    assert "Your reading now" not in text(elsewhere)
    with study.database.reading() as session:
        assert session.scalars(select(Reading.stage).order_by(Reading.id)).all() == ["before", "after"]


def test_somebody_else_reads_the_same_picture_before_the_answer(
    study: Record, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_down(upload(lesion), FIRST, "nv")
    monkeypatch.setattr("ui.record.session.NOBODY_SIGNED_IN", replace(ME, subject="another"))
    assert "Your reading first" in text(upload(lesion))


def test_what_cannot_be_saved_of_patient_and_lesion_is_told_and_put_right(study: Record, lesion: np.ndarray) -> None:
    app = upload(lesion)
    next(e for e in app.number_input if e.label == "Birth year").set_value(1950)
    put_down(app, FIRST, "nv")
    assert "belong to a patient: name the patient too" in text(app).replace("\\", "")
    assert "Your reading first" in text(app)
    next(e for e in app.text_input if e.label == "Patient").set_value("4711")
    next(e for e in app.number_input if e.label == "Add to case no.").set_value(99)
    put_down(app, FIRST, "nv")
    check(app.run())
    assert "There is no such case" in text(app)
    next(e for e in app.number_input if e.label == "Add to case no.").set_value(None)
    check(app.run())
    button(app, "Try again").click()
    check(app.run())
    check(app.run())
    assert "Saved to the record as case 1." in text(app)
    with study.database.reading() as session:
        case = cases.one(session, ME, 1)
    assert (case.patient.birth_year, len(case.readings[case.images[0].id])) == (1950, 1)
