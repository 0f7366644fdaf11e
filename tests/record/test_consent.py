"""Pictures are kept only as far as the consent goes, whichever way patient and picture came together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from dermlens.errors import RecordError
from dermlens.record import cases, consent, readings, save
from dermlens.record.open import Record, open_record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.readings import Found, Judgement
from dermlens.record.save import About, Saved
from dermlens.record.settings import Settings
from dermlens.record.store import audit
from dermlens.record.store.keys import Keys
from dermlens.record.store.pictures import Pictures
from dermlens.record.store.tables import Image, Lesion, Patient
from tests.record.filled import KEY, saving

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


@pytest.mark.parametrize("keeps_pictures", [True, False])
def test_what_was_withdrawn_while_somebody_read_is_told_and_goes_with_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_pictures: bool
) -> None:
    monkeypatch.setattr("dermlens.record.store.database.PATIENCE", 0)
    pictures = str(tmp_path / "pictures") if keeps_pictures else ""
    record = open_record(Settings(f"sqlite:///{tmp_path}/record.db", key=KEY, pictures=pictures))
    case = without(record, patient="Miller", consent="record", label="the quince-shaped one").lesion_id
    told = "is gone from the record, but may still be read in the file beside it"

    def left() -> bool:
        return b"quince-shaped" in b"".join(file.read_bytes() for file in tmp_path.glob("record.db*"))

    with record.database.reading() as reader:
        assert cases.one(reader, ME, case).lesion.label == "the quince-shaped one"
        with pytest.raises(RecordError, match=told):
            consent.withdraw(record, ME, case)
        with pytest.raises(RecordError, match=told):
            consent.expire(record)
        assert left()
    with record.database.reading() as reader:
        assert cases.one(reader, ME, case).lesion.label is None
    assert consent.expire(record) == 0
    assert not left()
    record.database.close()


def test_a_picture_is_not_told_as_erased_where_its_store_is_not(record: Record, tmp_path: Path) -> None:
    saved = with_picture(record, patient="Miller", consent="training")
    elsewhere = replace(record, pictures=Pictures(str(tmp_path / "elsewhere"), Keys(KEY)))
    later = NOW + timedelta(days=400)
    about = About("Miller", consent="record", lesion_id=saved.lesion_id)
    for attempt in (
        lambda: consent.expire(elsewhere, NOW),
        lambda: consent.withdraw(elsewhere, ME, saved.lesion_id),
        lambda: consent.expire(elsewhere, later),
        lambda: save.edit(elsewhere, ME, about),
        lambda: with_picture(elsewhere),
        lambda: consent.withdraw(elsewhere, ME, saved.lesion_id),
    ):
        with pytest.raises(RecordError, match="it is another store, or is not mounted"):
            attempt()
    assert state(record, tmp_path) == (1, 1)
    assert list((tmp_path / "elsewhere").iterdir()) == [], "nothing is kept or marked there either"
    assert consent.withdraw(record, ME, saved.lesion_id) == 1
    assert state(record, tmp_path) == (0, 0)


@pytest.mark.parametrize(
    ("other", "said"),
    [({"birth_year": 1988}, "birth year is 1950, not 1988"), ({"sex": "male"}, "sex is female, not male")],
)
def test_another_patient_of_the_same_name_is_told_and_erases_nothing(
    record: Record, tmp_path: Path, other: dict, said: str
) -> None:
    known = {"patient": "Mueller, Anna", "birth_year": 1950, "sex": "female"}
    with_picture(record, **known, consent="pictures")
    alone = with_picture(record)
    given = {**known, **other, "consent": "record"}
    for attempt in (
        lambda: without(record, **given),
        lambda: save.edit(record, ME, About(lesion_id=alone.lesion_id, **given)),
        lambda: with_picture(record, **{**given, "consent": "pictures"}),
    ):
        with pytest.raises(RecordError, match=said):
            attempt()
    assert state(record, tmp_path) == (2, 2)
    with record.database.reading() as session:
        (patient,) = session.scalars(select(Patient))
        assert (patient.birth_year, patient.sex, patient.consent_scope) == (1950, "female", "pictures")
        assert len(session.scalars(select(Lesion)).all()) == 2
    without(record, patient="Mueller, Anna", birth_year=1950)


def test_what_is_said_for_the_first_time_of_a_known_patient_is_kept(record: Record) -> None:
    without(record, patient="Miller")
    without(record, patient="Miller", birth_year=1950, sex="female")
    with record.database.reading() as session:
        (patient,) = session.scalars(select(Patient))
    assert (patient.birth_year, patient.sex) == (1950, "female")
