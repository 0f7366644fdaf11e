"""Pictures are kept only as far as the consent goes, whichever way patient and picture came together."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from dermlens.errors import RecordError
from dermlens.record import cases, consent, readings, save
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.readings import Found, Judgement
from dermlens.record.save import About, Saved
from dermlens.record.store import audit
from dermlens.record.store.tables import Image, Lesion, Patient
from tests.record.filled import saving

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 60, 3), np.uint8)
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def with_picture(record: Record, **about: object) -> Saved:
    given = About(keep_picture=True, **about)  # type: ignore[arg-type]
    return save.save(record, ME, saving(RNG, 5, given, picture=PIXELS), NOW)


def without(record: Record, **about: object) -> Saved:
    return save.save(record, ME, saving(RNG, 5, About(**about)), NOW)  # type: ignore[arg-type]


def state(record: Record, folder: Path) -> tuple[int, int]:
    """Return how many pictures images name, and how many lie in the store; the chain is whole."""
    with record.database.reading() as session:
        assert audit.verify(session).n_problems == 0
        named = session.scalars(select(Image.picture).where(Image.picture.is_not(None))).all()
    return len(named), len(list((folder / "pictures").rglob("*.sealed*")))


@pytest.mark.parametrize("agreed", ["record", None])
def test_a_picture_is_not_added_to_the_case_of_a_patient_who_did_not_agree_to_pictures(
    record: Record, tmp_path: Path, agreed: str | None
) -> None:
    case = without(record, patient="Miller", consent=agreed).lesion_id
    with pytest.raises(RecordError, match="only if the consent includes pictures"):
        with_picture(record, lesion_id=case)
    assert state(record, tmp_path) == (0, 0)
    without(record, lesion_id=case)
    with record.database.reading() as session:
        assert len(cases.one(session, ME, case).images) == 2


@pytest.mark.parametrize("agreed", ["pictures", "training"])
def test_a_picture_is_added_to_the_case_of_a_patient_who_agreed(record: Record, tmp_path: Path, agreed: str) -> None:
    case = without(record, patient="Miller", consent=agreed).lesion_id
    with_picture(record, lesion_id=case)
    assert state(record, tmp_path) == (1, 1)


@pytest.mark.parametrize("patient", [{"patient": "Miller", "consent": "training"}, {}], ids=["patient", "none"])
def test_nothing_is_added_to_a_case_whose_consent_was_withdrawn(record: Record, tmp_path: Path, patient: dict) -> None:
    saved = with_picture(record, label="wrist band", **patient)
    consent.withdraw(record, ME, saved.lesion_id, NOW)
    attempts = (
        lambda: with_picture(record, lesion_id=saved.lesion_id),
        lambda: without(record, lesion_id=saved.lesion_id, label="left cheek"),
        lambda: without(record, lesion_id=saved.lesion_id, patient="Miller", consent="training"),
        lambda: save.edit(record, ME, About(lesion_id=saved.lesion_id, label="left cheek")),
        lambda: save.edit(record, ME, About("Miller", consent="training", lesion_id=saved.lesion_id)),
        lambda: readings.read(record, ME, saved.image_id, Judgement("after", "nv", 50, "none", note="Miller")),
        lambda: readings.enter_outcome(record, ME, saved.lesion_id, Found("nv", "histology", source="report 17")),
    )
    for attempt in attempts:
        with pytest.raises(RecordError, match=f"consent of case {saved.lesion_id} is withdrawn"):
            attempt()
    assert state(record, tmp_path) == (0, 0)
    with record.database.reading() as session:
        case = cases.one(session, ME, saved.lesion_id)
        assert (len(case.images), case.lesion.label, len(case.readings[saved.image_id])) == (1, None, 0)
        assert session.scalars(select(Patient.pseudonym)).all() == [None] * len(patient.keys() & {"patient"})


@pytest.mark.parametrize("agreed", ["record", None])
def test_a_patient_who_is_named_later_and_did_not_agree_takes_the_picture_along(
    record: Record, tmp_path: Path, agreed: str | None
) -> None:
    kept, edited, added = (with_picture(record) for _ in range(3))
    named = About("Miller", consent=agreed, lesion_id=edited.lesion_id)
    assert save.edit(record, ME, named, NOW) == 1
    assert state(record, tmp_path) == (2, 2)
    saved = without(record, patient="Miller", consent=agreed, lesion_id=added.lesion_id)
    assert saved.notices == ("1 kept picture of this patient was erased: the consent does not include pictures.",)
    assert state(record, tmp_path) == (1, 1)
    with record.database.reading() as session:
        (image,) = session.scalars(select(Image).where(Image.picture.is_not(None)))
        assert (image.id, image.delete_after is None) == (kept.image_id, False)
        assert cases.one(session, ME, edited.lesion_id).history[-1].action == "erase"


def test_a_patient_who_is_named_later_and_agreed_keeps_the_picture(record: Record, tmp_path: Path) -> None:
    saved = with_picture(record)
    assert save.edit(record, ME, About("Miller", consent="pictures", lesion_id=saved.lesion_id)) == 0
    assert state(record, tmp_path) == (1, 1)


def test_a_consent_that_is_narrowed_erases_the_pictures_in_all_cases_of_the_patient(
    record: Record, tmp_path: Path
) -> None:
    for patient in ("Miller", "Miller", "Smith"):
        with_picture(record, patient=patient, consent="training")
    without(record, patient="Miller", consent="pictures")
    assert state(record, tmp_path) == (3, 3)
    saved = without(record, patient="Miller", consent="record")
    assert saved.notices == ("2 kept pictures of this patient were erased: the consent does not include pictures.",)
    assert state(record, tmp_path) == (1, 1)
    with record.database.reading() as session:
        (case,) = session.scalars(select(Lesion.patient_id).join(Image).where(Image.picture.is_not(None)))
        assert session.get(Patient, case).pseudonym == record.keys.pseudonym("Smith")


def test_pictures_that_cannot_be_erased_leave_the_consent_as_it_was(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_picture(record, patient="Miller", consent="training")

    def denied(name: str) -> None:
        raise RecordError("The store of pictures cannot delete: Permission denied.")

    monkeypatch.setattr(record.pictures, "delete", denied)
    with pytest.raises(RecordError, match="Permission denied"):
        without(record, patient="Miller", consent="record")
    assert state(record, tmp_path) == (1, 1)
    with record.database.reading() as session:
        assert session.scalars(select(Patient.consent_scope)).all() == ["training"]
        assert len(session.scalars(select(Image)).all()) == 1


def test_what_was_withdrawn_is_in_no_file_of_the_database(record: Record, tmp_path: Path) -> None:
    about = {"patient": "Miller", "consent": "record", "label": "the quince-shaped one", "device": "Quincescope 7"}
    case = without(record, **about).lesion_id
    files = lambda: b"".join(file.read_bytes() for file in tmp_path.glob("record.db*"))  # noqa: E731
    if record.database.is_file:
        assert b"quince-shaped" in files()
    consent.withdraw(record, replace(ME, role="admin"), case, NOW)
    if record.database.is_file:
        left = files()
        assert not [word for word in (b"quince-shaped", b"Quincescope") if word in left]
    assert state(record, tmp_path) == (0, 0)
