import hashlib
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from dermlens.case.image import examine
from dermlens.case.opinion import form
from dermlens.errors import RecordError
from dermlens.evaluation.class_mix import mix_at
from dermlens.labels import INDEX, SUSPECT
from dermlens.models import registry
from dermlens.models.card import identity_of
from dermlens.models.model import Ensemble
from dermlens.record import cases, consent, save
from dermlens.record.open import Record, open_record
from dermlens.record.people import NOBODY_SIGNED_IN
from dermlens.record.readings import Judgement
from dermlens.record.save import About, prepare
from dermlens.record.settings import Settings
from dermlens.record.store import audit
from dermlens.record.store.tables import Image, Patient
from dermlens.trust.calibration import Calibration
from dermlens.trust.fitted import Fitted
from tests.conftest import encode
from tests.record.filled import saving

RNG = np.random.default_rng(0)
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MIX = (300, 500, 1000, 100, 1100, 6700, 140)


@pytest.fixture
def answered(pair: Path, lesion: np.ndarray):
    one, two = (registry.load(registry.find(pair, name)) for name in ("toy", "toy2"))
    fitted = Fitted(calibration=Calibration("temperature", (1.0,) * 7, (0.0,) * 7, MIX))
    one = replace(one, fitted=fitted)
    both = Ensemble("both", "Both", (one, two), (0.5, 0.5), (0.0,) * 7, {"files": {}}, pair, Fitted())
    models = [both, one, two]
    image = examine(encode(lesion), "Miller Anna.png", models)
    return image, form(models, image.answers)


def counted(record: Record) -> tuple[int, int]:
    with record.database.reading() as session:
        found = audit.verify(session)
        assert found.n_problems == 0
        return found.rows, found.lines


def test_what_is_kept_is_what_was_answered(record: Record, answered, lesion: np.ndarray) -> None:
    image, opinion = answered
    mixed = opinion.at_mix(mix_at(np.array(MIX), 0.5), "half of them")
    saved = save.save(record, NOBODY_SIGNED_IN, prepare(image, mixed, stored_aspect="4:3"), NOW)
    with record.database.reading() as session:
        case = cases.one(session, NOBODY_SIGNED_IN, saved.lesion_id)
    (kept,) = case.images
    assert kept.file_sha256 == hashlib.sha256(encode(lesion)).hexdigest()
    assert kept.pixels_sha256 == hashlib.sha256(b"90 x 120\n" + lesion.tobytes()).hexdigest()
    assert (kept.width, kept.height, kept.saved_at, kept.picture) == (120, 90, NOW, None)
    assert kept.quality["short_side"] == 90
    rows = {row.model_id: row for row in case.predictions[kept.id]}
    assert list(rows) == ["both", "toy", "toy2"]
    assert [row.lead for row in rows.values()] == [True, False, False]
    for model in opinion.models:
        row, answer = rows[model.id], opinion.answers[model.id]
        assert row.logits == [float(x) for x in answer.logits]
        assert row.probabilities == [float(x) for x in answer.probabilities]
        assert row.called == mixed.call(model).code
        assert row.suspect == pytest.approx(float(answer.probabilities[list(SUSPECT)].sum()))
        assert row.model_sha256 == model.weights_sha256
        assert identity_of(row.model_sha256, row.fitted) == model.identity, "as Predict tells it"
        assert row.called is not None
        assert row.heat_map_sha256 == hashlib.sha256(answer.maps[INDEX[row.called]].tobytes()).hexdigest()
        assert row.settings["stored_aspect"] == "4:3"
        assert row.settings["class_mix"] == "half of them"
        assert row.error is None
    assert rows["toy"].shown == [float(x) for x in mixed.shown["toy"].probabilities]
    assert rows["toy2"].shown is None  # not calibrated: no mix moves it
    assert "Miller" not in json.dumps([audit.content(r) for r in (kept, *rows.values())], default=str)
    assert counted(record) == (6, 6)  # a person, a case, an image, three answers


def test_an_answer_that_failed_or_was_refused_is_kept_as_such(record: Record, answered) -> None:
    image, opinion = answered
    image.failures["toy2"] = "It broke."
    refused = replace(
        opinion,
        answers={k: v for k, v in opinion.answers.items() if k != "toy2"},
        accepted={"toy": False},
        refused=frozenset({"both", "toy"}),
    )
    saved = save.save(record, NOBODY_SIGNED_IN, prepare(image, refused))
    with record.database.reading() as session:
        rows = {
            r.model_id: r for r in cases.one(session, NOBODY_SIGNED_IN, saved.lesion_id).predictions[saved.image_id]
        }
        assert (rows["toy2"].error, rows["toy2"].logits, rows["toy2"].called) == ("It broke.", None, None)
        assert (rows["toy"].called, rows["toy"].refused_by, rows["toy"].heat_map_sha256) == (None, ["toy"], None)
        assert rows["toy"].logits is not None
        assert cases.listed(session, NOBODY_SIGNED_IN)["refused"].tolist() == [True]


def test_the_same_saving_made_twice_is_kept_once(record: Record) -> None:
    one = saving(RNG, 5)
    first, second = (save.save(record, NOBODY_SIGNED_IN, one) for _ in range(2))
    assert (first.lesion_id, first.image_id) == (second.lesion_id, second.image_id)
    before = counted(record)
    save.save(record, NOBODY_SIGNED_IN, one)
    assert counted(record) == before


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (1, 2, 1, 2), (2, 2)])
def test_an_attempt_that_is_made_again_with_one_reading_more_adds_it_once(
    record: Record, lesion: np.ndarray, tmp_path: Path, order: tuple[int, ...]
) -> None:
    said = (Judgement("before", "nv", 50, "none", seconds=4.24), Judgement("after", "other", 80, "excision", " SCC "))
    one = saving(RNG, 5, About(keep_picture=True), picture=lesion)
    saved = {save.save(record, NOBODY_SIGNED_IN, replace(one, readings=said[:many]), NOW) for many in order}
    assert len(saved) == 1
    (where,) = saved
    with record.database.reading() as session:
        rows = cases.one(session, NOBODY_SIGNED_IN, where.lesion_id).readings[where.image_id]
        kept = [(r.stage, r.diagnosis, r.diagnosis_words, r.confidence, r.seconds, r.supersedes_id) for r in rows]
    assert kept == [("before", "nv", None, 50, 4.2, None), ("after", "other", "SCC", 80, None, None)]
    assert counted(record) == (8, 8)  # a person, a case, an image, three answers, two readings
    assert len(list((tmp_path / "pictures").rglob("*.sealed*"))) == 1


def test_what_is_left_open_stays_and_what_is_emptied_goes(record: Record) -> None:
    about = About(site="back", side="left", label="Jane Doe")
    case = save.save(record, NOBODY_SIGNED_IN, saving(RNG, 5, about), NOW).lesion_id

    def kept() -> tuple:
        with record.database.reading() as session:
            lesion = cases.one(session, NOBODY_SIGNED_IN, case).lesion
        return lesion.site, lesion.side, lesion.label

    save.edit(record, NOBODY_SIGNED_IN, About(lesion_id=case))
    assert kept() == ("back", "left", "Jane Doe")
    save.edit(record, NOBODY_SIGNED_IN, About(lesion_id=case, site="", label=" "))
    assert kept() == (None, "left", None)


def test_a_patient_is_found_again_by_the_same_words_and_never_kept_in_words(record: Record, tmp_path: Path) -> None:
    about = About(
        patient="Miller, Anna 1960", birth_year=1960, sex="female", consent="record", site="back", side="left"
    )
    first = save.save(record, NOBODY_SIGNED_IN, saving(RNG, 5, about), NOW)
    again = About(patient=" miller,  anna 1960", lesion_id=first.lesion_id, label="the dark one")
    second = save.save(record, NOBODY_SIGNED_IN, saving(RNG, 4, again), NOW + timedelta(days=90))
    other = save.save(record, NOBODY_SIGNED_IN, saving(RNG, 4, About(patient="Miller, Anna 1961")), NOW)
    assert second.lesion_id == first.lesion_id != other.lesion_id
    with record.database.reading() as session:
        case = cases.one(session, NOBODY_SIGNED_IN, first.lesion_id)
        assert (len(case.images), case.lesion.site, case.lesion.label) == (2, "back", "the dark one")
        assert (case.patient.birth_year, case.patient.consent_scope, case.patient.given_at) == (1960, "record", NOW)
        assert session.scalars(select(Patient.pseudonym).order_by(Patient.id)).all() == [
            record.keys.pseudonym(words) for words in ("miller, anna 1960", "miller, anna 1961")
        ]
    if record.database.is_file:
        assert b"iller" not in b"".join(f.read_bytes() for f in tmp_path.glob("record.db*"))
    with pytest.raises(RecordError, match="belongs to another patient"):
        save.save(record, NOBODY_SIGNED_IN, saving(RNG, 4, About(patient="X", lesion_id=first.lesion_id)))


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (About(site="moon"), "site must be one of"),
        (About(birth_year=1850, patient="x"), "birth year"),
        (About(sex="female"), "name the patient too"),
        (About(place=("front", 1.2, 0.5)), "body map"),
        (About(patient="x", keep_picture=True), "only if the consent includes pictures"),
        (About(patient="x", consent="record", keep_picture=True), "only if the consent includes pictures"),
        (About(taken_at=datetime(2999, 1, 1, tzinfo=UTC)), "in the future"),
    ],
)
def test_what_cannot_be_is_refused(about: About, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        save.check(about)


def test_a_picture_is_kept_encrypted_until_its_term_and_is_then_gone(record: Record, answered, tmp_path: Path) -> None:
    image, opinion = answered
    saved = save.save(record, NOBODY_SIGNED_IN, prepare(image, opinion, About(keep_picture=True)), NOW)
    with record.database.reading() as session:
        kept = session.get(Image, saved.image_id)
    assert kept.delete_after == NOW + timedelta(days=365)
    (file,) = (p for p in (tmp_path / "pictures").rglob("*") if p.is_file())
    assert not file.read_bytes().startswith(b"\x89PNG")
    assert np.array_equal(record.pictures.read(kept.picture), image.pixels)
    with pytest.raises(RecordError, match="names no picture"):
        record.pictures.read("../../etc/passwd")
    assert consent.expire(record, NOW + timedelta(days=364)) == 0
    assert file.exists()
    assert consent.expire(record, NOW + timedelta(days=366)) == 1
    assert not file.exists()
    with record.database.reading() as session:
        assert session.get(Image, saved.image_id).picture is None
    counted(record)


def test_a_picture_that_no_image_came_to_name_is_swept(record: Record, lesion: np.ndarray) -> None:
    save.save(record, NOBODY_SIGNED_IN, saving(RNG, 5))
    with record.database.reading() as session:
        name = record.pictures.keep(lesion, audit.origin(session))
    later = datetime.now(UTC) + timedelta(hours=2)
    assert consent.expire(record) == 0  # a saving may be under way
    assert consent.expire(record, later) == 0  # the record has no key row: nothing was kept with a key
    save.save(record, NOBODY_SIGNED_IN, saving(RNG, 5, About(keep_picture=True), picture=lesion))
    assert consent.expire(record) == 0
    assert consent.expire(record, later) == 1
    with pytest.raises(RecordError, match="not in its store any more"):
        record.pictures.read(name)


def test_without_a_key_answers_are_kept_and_patients_and_pictures_are_not(url: str, answered) -> None:
    image, opinion = answered
    bare = open_record(Settings(url))
    save.save(bare, NOBODY_SIGNED_IN, prepare(image, opinion))
    for about, said in (
        (About(patient="x"), "Patients cannot be kept"),
        (About(keep_picture=True), "Pictures cannot be"),
    ):
        with pytest.raises(RecordError, match=said):
            save.save(bare, NOBODY_SIGNED_IN, prepare(image, opinion, about))
    counted(bare)


def test_20_sessions_that_save_at_once_lose_nothing(patient: None, record: Record) -> None:
    begin, failed = threading.Barrier(20), []
    before = (Judgement("before", "nv", 50, "none"),)
    given = [[saving(np.random.default_rng([i, k]), 5, readings=before) for k in range(5)] for i in range(20)]

    def work(mine: list) -> None:
        begin.wait()
        for one in mine:
            try:
                save.save(record, NOBODY_SIGNED_IN, one)
            except RecordError as e:
                failed.append(e)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with record.database.reading() as session:
        assert set(session.scalars(select(Image.token))) == {one.token for mine in given for one in mine}
    assert counted(record) == (601, 601)  # 100 cases, images and readings, 300 answers, one person


def test_a_clock_set_back_is_said_and_the_case_is_kept(record: Record) -> None:
    assert save.save(record, NOBODY_SIGNED_IN, saving(RNG, 5), NOW).notices == ()
    (said,) = save.save(record, NOBODY_SIGNED_IN, saving(RNG, 5), NOW - timedelta(days=3)).notices
    assert "set the clock right" in said
    with record.database.reading() as session:
        assert len(audit.verify(session).notices) == 1
        assert cases.count(session, NOBODY_SIGNED_IN) == 2
