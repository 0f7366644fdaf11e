from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select

from dermlens.errors import DataError, RecordError
from dermlens.files.documents import Document
from dermlens.labels import CLASSES
from dermlens.record import cases, consent, readings, save
from dermlens.record.cases import NO_CALL, Wanted
from dermlens.record.exchange import export, outcome_table
from dermlens.record.exchange.outcome_table import read_outcomes
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.readings import Found, Judgement
from dermlens.record.save import About, Seen
from dermlens.record.store import audit
from dermlens.record.store.tables import Image, Lesion, Outcome, Patient, Reading
from tests.record.filled import START, fill, saving

RNG = np.random.default_rng(0)


def whole(record: Record) -> None:
    with record.database.reading() as session:
        assert audit.verify(session).n_problems == 0


def test_the_list_and_its_filters_are_what_pandas_finds(record: Record) -> None:
    fill(record, 60)
    with record.database.reading() as session:
        every = cases.listed(session, ME, most=None)
        assert every["case"].tolist() == list(range(60, 0, -1))
        day = (START + timedelta(days=1)).date()
        expected = {
            Wanted(since=day): every["saved_at"] >= datetime(2026, 1, 2, tzinfo=UTC),
            Wanted(until=day): every["saved_at"] < datetime(2026, 1, 3, tzinfo=UTC),
            Wanted(site="back"): every["site"] == "back",
            Wanted(called="mel"): every["called"] == "mel",
            Wanted(called=NO_CALL): every["called"].isna(),
            Wanted(outcome="open"): every["outcome"].isna(),
            Wanted(outcome="known"): every["outcome"].notna(),
            Wanted(outcome="nv"): every["outcome"] == "nv",
            Wanted(refer=True): every["refer"] == True,  # noqa: E712 - None is neither
            Wanted(refer=False): every["refer"] == False,  # noqa: E712
            Wanted(disagree=True): every["person"] != every["called"],
            Wanted(site="back", outcome="known"): (every["site"] == "back") & every["outcome"].notna(),
            Wanted(pseudonym=record.keys.pseudonym("p0-0")): every["case"].isin([1, 3]),
            Wanted(since=date(2030, 1, 1)): every["case"] < 0,
        }
        for wanted, rows in expected.items():
            found = cases.listed(session, ME, wanted, most=None)
            assert found["case"].tolist() == every["case"][rows].tolist(), wanted
            assert cases.count(session, ME, wanted) == len(found)
        assert cases.listed(session, ME, first=50)["case"].tolist() == list(range(10, 0, -1))
        assert cases.totals(session, ME) == {"case": 60, "image": 60, "kept picture": 0}


def test_readings_and_outcomes_are_superseded_and_never_changed(record: Record) -> None:
    saved = save.save(record, ME, saving(RNG, 5))
    first = readings.read(record, ME, saved.image_id, Judgement("before", "nv", 40, "none", note="first"))
    readings.read(record, ME, saved.image_id, Judgement("after", "nv", 40, "none"))
    third = readings.read(record, ME, saved.image_id, Judgement("before", "mel", 90, "excision"))
    one = readings.enter_outcome(record, ME, saved.lesion_id, Found("nv", "follow-up", source="visit"))
    two = readings.enter_outcome(record, ME, saved.lesion_id, Found("other", "histology", "squamous cell carcinoma"))
    with record.database.reading() as session:
        case = cases.one(session, ME, saved.lesion_id)
        assert [(r.id, r.supersedes_id) for r in case.readings[saved.image_id]][::2] == [(first, None), (third, first)]
        assert cases.superseded(case.readings[saved.image_id]) == {first}
        assert case.readings[saved.image_id][0].note == "first"
        assert [(o.id, o.supersedes_id) for o in case.outcomes] == [(one, None), (two, one)]
        assert case.outcome.diagnosis_words == "squamous cell carcinoma"
        row = cases.listed(session, ME).iloc[0]
        assert (row["outcome"], row["outcome_words"], row["person"]) == ("other", "squamous cell carcinoma", "mel")
        assert [line.action for line in case.history] == ["case", "save", "read", "read", "read", "outcome", "outcome"]
    whole(record)


@pytest.mark.parametrize(
    ("judgement", "said"),
    [
        (Judgement("during", "nv", 50, "none"), "stage must be one of"),
        (Judgement("after", "scc", 50, "none"), "diagnosis must be one of"),
        (Judgement("after", "other", 50, "none"), "in words"),
        (Judgement("after", "nv", 101, "none"), "0 to 100"),
        (Judgement("after", "nv", 50, "pray"), "management must be one of"),
        (Judgement("after", "nv", 50, "none", note="x" * 2001), "at most 2,000"),
    ],
)
def test_a_reading_that_cannot_be_is_refused(judgement: Judgement, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        judgement.checked()


def test_withdrawn_consent_erases_what_tells_who_it_was_and_the_chain_stays_whole(
    record: Record, lesion: np.ndarray, tmp_path: Path
) -> None:
    about = About(
        "Miller", 1960, "female", "training", None, "back", "left", "wrist band", ("back", 0.5, 0.3), START, "Cam", True
    )
    one = save.save(record, ME, saving(RNG, 5, about, picture=lesion), START)
    two = save.save(record, ME, saving(RNG, 4, About("Miller")), START)
    readings.read(record, ME, one.image_id, Judgement("after", "nv", 50, "none", note="secret note"))
    readings.enter_outcome(record, ME, one.lesion_id, Found("nv", "histology", source="report 17"))
    whole(record)
    assert any(p.is_file() for p in (tmp_path / "pictures").rglob("*"))
    with record.database.reading() as session:
        before = {row.object: row.payload_sha256 for row in cases.one(session, ME, one.lesion_id).history}

    assert consent.withdraw(record, ME, one.lesion_id) == 2
    whole(record)
    assert not any(p.is_file() for p in (tmp_path / "pictures").rglob("*"))
    with record.database.reading() as session:
        (patient,) = session.scalars(select(Patient))
        assert (patient.pseudonym, patient.birth_year, patient.sex) == (None, None, None)
        assert patient.withdrawn_at is not None
        for row in session.scalars(select(Lesion)):
            assert {row.site, row.side, row.label, row.map_view, row.map_x, row.map_y} == {None}
        for image in session.scalars(select(Image)):
            assert {image.picture, image.delete_after, image.device, image.taken_at} == {None}
        assert session.scalars(select(Reading.note)).all() == [None]
        assert session.scalars(select(Outcome.source)).all() == [None]
        case = cases.one(session, ME, one.lesion_id)
        assert [p.called is not None or p.refused_by for p in case.predictions[one.image_id]]
        assert case.outcome.diagnosis == "nv"
        # what the chain said before holds no value that could be tried out: its salt is gone
        assert before[f"lesion:{one.lesion_id}"] != audit.payload_hash(case.lesion.salt, audit.content(case.lesion))
        assert cases.of_patient(session, ME, record.keys.pseudonym("Miller")) == (None, [])
    assert two.lesion_id != one.lesion_id


def table(text: str) -> Document:
    return Document(Path("table.csv"), text.encode())


def test_outcomes_by_csv_are_entered_all_or_none(record: Record) -> None:
    fill(record, 3, known=0)
    with record.database.reading() as session:
        template = outcome_table.template(cases.listed(session, ME, Wanted(outcome="open"), most=None)).decode()
    assert template == "case,diagnosis,basis,words,source\n3,,,,\n2,,,,\n1,,,,\n"
    head = "case,diagnosis,basis,words,source\n"
    rows = read_outcomes(table(head + '1,nv,histology,,"report 1, page 2"\n3,other,consensus,keloid,\n'))
    assert outcome_table.enter_all(record, ME, rows) == 2
    with record.database.reading() as session:
        assert cases.one(session, ME, 1).outcome.source == "report 1, page 2"
        assert cases.one(session, ME, 3).outcome.diagnosis_words == "keloid"
    with pytest.raises(RecordError, match="no case 99 in your groups. Nothing was entered"):
        outcome_table.enter_all(record, ME, read_outcomes(table(head + "2,nv,histology,,\n99,nv,histology,,\n")))
    with record.database.reading() as session:
        assert cases.one(session, ME, 2).outcome is None
    whole(record)
    for line, said in (
        ("1.5,nv,histology,,", r"line 2, column case: 1.5 is not the number"),
        ("1,scc,histology,,", r"column diagnosis: 'scc' must be one of akiec"),
        ("1,nv,guess,,", r"column basis: 'guess' must be one of histology"),
        ("1,other,histology,,", r"column words: '' is empty"),
        ("1,nv,histology,keloid,", r"column words: 'keloid' stands beside"),
        (f"1,nv,histology,,{'x' * 121}", r"column source: .* longer than 120"),
        ("1,nv,histology,,\n1,mel,histology,,", r"line 3, column case: 1.0 appears a second time \(2 such|line 3"),
        ("1,nv,histology", r"3 cells, but the header has 5"),
    ):
        with pytest.raises(DataError, match=said):
            read_outcomes(table(f"{head}{line}\n"))


def test_outcomes_by_csv_replace_others_only_where_that_was_said(record: Record) -> None:
    fill(record, 4, known=0)
    readings.enter_outcome(record, ME, 1, Found("mel", "histology", source="report 1"))
    readings.enter_outcome(record, ME, 2, Found("nv", "follow-up"))
    rows = read_outcomes(
        table("case,diagnosis,basis,words,source\n1,nv,follow-up,,\n2,nv,follow-up,,\n3,bcc,histology,,\n")
    )

    def kept() -> list[str | None]:
        with record.database.reading() as session:
            every = [cases.one(session, ME, n) for n in (1, 2, 3)]
        return [f"{len(c.outcomes)} {c.outcome.diagnosis}" if c.outcome else None for c in every]

    with record.database.reading() as session:
        seen = outcome_table.standing(session, ME, rows)
    assert seen == {1: Found("mel", "histology", source="report 1"), 2: Found("nv", "follow-up")}
    with pytest.raises(RecordError, match="Another outcome stands there for case 1. Nothing was entered"):
        outcome_table.enter_all(record, ME, rows)
    assert kept() == ["1 mel", "1 nv", None]
    readings.enter_outcome(record, ME, 1, Found("bkl", "histology"))
    with pytest.raises(RecordError, match="for case 1. Nothing was entered"):
        outcome_table.enter_all(record, ME, rows, replacing=seen)
    with record.database.reading() as session:
        seen = outcome_table.standing(session, ME, rows)
    assert outcome_table.enter_all(record, ME, rows, replacing=seen) == 2, "one of them was there already"
    assert kept() == ["3 nv", "1 nv", "1 bcc"]
    assert outcome_table.enter_all(record, ME, rows) == 0
    whole(record)


def test_a_list_to_be_filled_in_leaves_out_cases_to_which_nothing_can_be_added(record: Record) -> None:
    for patient in ("", "x", "x", "y"):
        save.save(record, ME, saving(RNG, 5, About(patient=patient)))
    consent.withdraw(record, ME, 1)
    consent.withdraw(record, ME, 2)
    with record.database.reading() as session:
        for closed, numbers in ((None, [4, 3, 2, 1]), (False, [4]), (True, [3, 2, 1])):
            wanted = Wanted(outcome="open", closed=closed)
            assert cases.listed(session, ME, wanted, most=None)["case"].tolist() == numbers
            assert cases.count(session, ME, wanted) == len(numbers)


def test_what_two_people_change_at_once_is_told_and_not_lost(record: Record) -> None:
    case = save.save(record, ME, saving(RNG, 5, About(site="back", side="left", label="one"))).lesion_id
    seen = Seen("back", "left", "one")
    save.edit(record, ME, About(lesion_id=case, site="scalp", side="left", label="one"), seen=seen)
    with pytest.raises(RecordError, match="somebody changed the site meanwhile, and it is scalp now. Yours was hand"):
        save.edit(record, ME, About(lesion_id=case, site="hand", side="right", label="one"), seen=seen)
    save.edit(record, ME, About(lesion_id=case, site="back", side="left", label="two"), seen=seen)
    save.edit(record, ME, About(lesion_id=case, site="scalp", side="", label="one"), seen=seen)
    with record.database.reading() as session:
        found = cases.one(session, ME, case).lesion
    assert (found.site, found.side, found.label) == ("scalp", None, "two")
    whole(record)


@pytest.mark.parametrize("kind", export.FORMATS)
def test_an_export_holds_every_answer_and_nothing_that_tells_who_it_was(
    record: Record, tmp_path: Path, kind: str
) -> None:
    fill(record, 8)
    readings.enter_outcome(record, ME, 1, Found("other", "histology", "=HYPERLINK(1)"))
    with record.database.reading() as session:
        answers, said = (export.encode(make(session, ME), kind) for make in (export.answers, export.readings))
    file = tmp_path / f"x.{export.FORMATS[kind][0]}"
    file.write_bytes(answers)
    found = pd.read_csv(file) if kind == "CSV" else pd.read_parquet(file)
    assert len(found) == 24
    shares = found[[f"probabilities_{c}" for c in CLASSES]].to_numpy(float)
    assert np.allclose(shares.sum(1), 1)
    assert found["month"].unique().tolist() == ["2025-12", "2026-01"] or set(found["month"]) <= {"2025-12", "2026-01"}
    assert set(found["age"].dropna()) == {60}
    assert found["outcome_words"].dropna().unique().tolist() == ["'=HYPERLINK(1)" if kind == "CSV" else "=HYPERLINK(1)"]
    pseudonyms = [record.keys.pseudonym(f"p0-{i}") for i in range(3)]
    for word in (*pseudonyms, "note ", "no. ", "report ", "local", "1960", "p0-"):
        assert word.encode() not in answers + said, word


def test_a_case_is_corrected_and_put_on_the_body_map(record: Record) -> None:
    saved = save.save(record, ME, saving(RNG, 5))
    save.edit(record, ME, About(lesion_id=saved.lesion_id, place=("front", 0.25, 0.5)))
    save.edit(record, ME, About("Miller", lesion_id=saved.lesion_id, site="face", label=" left cheek "))
    with record.database.reading() as session:
        found = cases.one(session, ME, saved.lesion_id)
        kept = found.lesion
        assert (kept.map_view, kept.map_x, kept.map_y, kept.site, kept.label) == (
            "front",
            0.25,
            0.5,
            "face",
            "left cheek",
        )
        assert found.patient.pseudonym == record.keys.pseudonym("miller")
    whole(record)
