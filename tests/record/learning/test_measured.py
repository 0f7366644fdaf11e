"""Figures of a record small enough to be worked out by hand."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from dermlens.charts.slices import shares_by_month
from dermlens.evaluation.class_mix import EVEN, reweight
from dermlens.labels import CLASSES, SUSPECT
from dermlens.models.card import identity_of
from dermlens.record import cases, readings, save
from dermlens.record.exchange import export
from dermlens.record.learning import measured, months
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.readings import Found, Judgement
from dermlens.record.save import About
from dermlens.record.store.tables import Prediction
from tests.record.filled import START, fill, saving

RNG = np.random.default_rng(0)
ROWS = [  # before, after, model, outcome
    ("nv", "mel", "mel", "mel"),
    ("nv", "nv", "mel", "mel"),
    ("mel", "mel", "nv", "mel"),
    ("bcc", "bcc", "bkl", "bcc"),
    ("nv", "nv", "nv", "nv"),
    ("mel", "nv", "nv", "nv"),
    ("nv", "nv", "", "nv"),
    ("other", "bkl", "bkl", "bkl"),
    ("nv", "nv", "nv", None),
    ("mel", "mel", "nv", "other"),
]


def rows() -> pd.DataFrame:
    table = pd.DataFrame(ROWS, columns=["before", "after", "model", "outcome"], dtype=object)
    return table.assign(
        shown=table["model"], image=range(len(table)), case=range(len(table)), person=1, management_before="none",
        management_after=["none"] * 5 + ["excision"] * 5, seconds_before=10.0, seconds_after=list(range(10)),
    )  # fmt: skip


def test_people_alone_with_the_model_and_the_model_are_measured_on_the_same_readings() -> None:
    found = measured.compared(rows())
    assert (found.readings, found.lesions, found.people) == (8, 8, 1)
    values = {figure: {side: e.value for side, e in sides.items()} for figure, sides in found.figures.items()}
    assert values["right"] == pytest.approx({"before": 4 / 8, "after": 7 / 8, "model": 5 / 8})
    assert values["melanoma"] == pytest.approx({"before": 1 / 3, "after": 2 / 3, "model": 2 / 3})
    assert values["suspect"] == pytest.approx({"before": 2 / 4, "after": 3 / 4, "model": 2 / 4})
    assert values["benign"] == pytest.approx({"before": 2 / 4, "after": 1, "model": 3 / 4})
    test = found.tests["after", "before"]
    assert (test.only_a, test.only_b, test.n_lesions) == (3, 0, 8)
    assert test.p == pytest.approx(binomtest(0, 3, 0.5).pvalue)
    assert (found.tests["after", "model"].only_a, found.tests["after", "model"].only_b) == (3, 1)


def test_agreement_overrides_and_changes_are_counted_whatever_the_outcome() -> None:
    found = measured.changed(rows())
    assert found.agreed_before.value == pytest.approx(2 / 9)  # one image was refused
    assert found.agreed_after.value == pytest.approx(5 / 9)
    assert found.overridden.value == pytest.approx(4 / 9)
    assert found.changed.value == pytest.approx(3 / 10)
    assert found.followed.value == pytest.approx(3 / 7)
    assert found.management.value == pytest.approx(5 / 10)
    assert found.seconds == {"before": 10.0, "after": 4.5}


def test_a_record_gives_the_readings_that_hold_and_leaves_drawings_out(record: Record) -> None:
    one = save.save(record, ME, saving(RNG, 5), START)
    drawn = saving(RNG, 5)
    drawn.image["synthetic"] = True
    two = save.save(record, ME, drawn, START)
    for saved in (one, two):
        for stage, said in (("before", "nv"), ("before", "mel"), ("after", "bcc")):  # the second one supersedes
            readings.read(record, ME, saved.image_id, Judgement(stage, said, 50, "none", seconds=3))
        readings.enter_outcome(record, ME, saved.lesion_id, Found("nv", "histology"))
        readings.enter_outcome(record, ME, saved.lesion_id, Found("mel", "histology"))
    with record.database.reading() as session:
        table = measured.paired_readings(session, ME)
        assert table[["image", "before", "after", "outcome"]].to_numpy().tolist() == [
            [one.image_id, "mel", "bcc", "mel"]
        ]
        assert len(months.answered(session, ME, "ensemble")) == 1
        assert measured.models(session, ME) == ["ensemble", "one", "two"]


def test_who_knows_the_outcome_does_not_read_any_more(record: Record) -> None:
    day = timedelta(days=1)
    for number in range(4):
        saved = save.save(record, ME, saving(RNG, 4), START)
        for stage, said, days in (("before", "bcc", 1), ("before", "nv", 2), ("after", "nv", 3)):
            readings.read(record, ME, saved.image_id, Judgement(stage, said, 50, "none"), START + days * day)
        if number == 3:  # an open case: its newest reading holds
            readings.read(record, ME, saved.image_id, Judgement("after", "mel", 50, "none"), START + 60 * day)
            continue
        readings.enter_outcome(record, ME, saved.lesion_id, Found("mel", "histology"), START + 40 * day)
        readings.read(record, ME, saved.image_id, Judgement("after", "mel", 90, "excision"), START + 60 * day)
        readings.enter_outcome(record, ME, saved.lesion_id, Found("mel", "consensus"), START + 80 * day)
    late = save.save(record, ME, saving(RNG, 4, About(lesion_id=1)), START + 50 * day)
    for stage in ("before", "after"):
        readings.read(record, ME, late.image_id, Judgement(stage, "mel", 90, "none"), START + 51 * day)
    with record.database.reading() as session:
        table = measured.paired_readings(session, ME)
        exported = export.readings(session, ME)
    assert table[["case", "before", "after"]].to_numpy().tolist() == [[n, "nv", "nv"] for n in (1, 2, 3)] + [
        [4, "nv", "mel"]
    ]
    found = measured.compared(table)
    assert found.readings == 3
    assert {side: e.value for side, e in found.figures["melanoma"].items()}["after"] == 0
    assert measured.changed(table).changed.value == pytest.approx(1 / 4)
    first = exported[exported["image"] == 1]
    assert first[["stage", "diagnosis", "outcome_known"]].to_numpy().tolist() == [
        ["before", "nv", False],
        ["after", "nv", False],
        ["after", "mel", True],
    ]


def test_a_model_is_measured_on_what_it_answered_at_the_mix_it_was_fitted_for(record: Record) -> None:
    fill(record, 40)
    with record.database.reading() as session:
        listed = cases.listed(session, ME, most=None).set_index("case")
        found = measured.of_model(session, ME, "ensemble")
        lead = {p.image_id: p for p in session.query(Prediction).filter(Prediction.lead)}
    known = listed[listed["outcome"].notna()]
    assert len(found.predictions) + found.refused == len(known)
    assert found.refused == int(known["called"].isna().sum())
    for row, image in enumerate(found.predictions.image_id):
        case = int(found.predictions.lesion_id[row])
        assert CLASSES[found.predictions.y_true[row]] == listed.loc[case, "outcome"]
        assert np.allclose(found.predictions.probabilities[row], lead[int(image)].probabilities)
    assert found.predictions.class_mix.tolist() == [300, 500, 1000, 100, 1100, 6700, 140]
    assert not found.uncalibrated


def test_answers_from_before_and_after_a_refit_are_measured_at_one_mix(record: Record) -> None:
    older, newer = [100, 200, 300, 50, 400, 900, 50], [300, 500, 1000, 100, 1100, 6700, 140]
    own = []
    for mix in (older, newer, older, None, newer):
        one = saving(RNG, 5)
        for values in one.predictions:
            values.update(called="nv", settings={"fitted_mix": mix})
        saved = save.save(record, ME, one, START)
        readings.enter_outcome(record, ME, saved.lesion_id, Found("mel", "histology"))
        own.append(next(v["probabilities"] for v in one.predictions if v["model_id"] == "ensemble"))
    with record.database.reading() as session:
        found = measured.of_model(session, ME, "ensemble")
    assert (len(found.predictions), found.uncalibrated) == (4, 1)
    assert found.predictions.class_mix.tolist() == newer
    for at, (row, mix) in enumerate([(0, older), (1, newer), (2, older), (4, newer)]):
        assert np.allclose(found.predictions.probabilities[at], reweight(np.array(own[row]), mix, newer))
        assert np.allclose(found.predictions.at_equal_mix.probabilities[at], reweight(np.array(own[row]), mix, EVEN))


def test_months_are_shares_of_their_answers(record: Record) -> None:
    fill(record, 60, every=timedelta(hours=18))
    with record.database.reading() as session:
        table = months.answered(session, ME, "ensemble")
    found = months.by_month(table, tuple(CLASSES[i] for i in SUSPECT))
    assert found.months == ("2026-01", "2026-02")
    first = table[table["month"] == "2026-01"]
    assert [e.n_images for e in found.shares["Referred"]] == [len(first), 60 - len(first)]
    assert found.shares["Refused"][0].value == pytest.approx(first["called"].isna().mean())
    assert found.shares["Referred"][0].value == pytest.approx((first["refer"] == True).mean())  # noqa: E712
    assert found.shares["Poor picture"][0].value == 0


def test_what_no_rules_were_there_for_is_neither_referred_nor_not(record: Record) -> None:
    for number in range(10):
        one = saving(RNG, 5)
        for values in one.predictions:
            values.update(refer=None if number < 8 else number == 8, reasons=[])
        save.save(record, ME, one, START if number else START - timedelta(days=2))
    with record.database.reading() as session:
        table = months.answered(session, ME, "ensemble")
    found = months.by_month(table, tuple(CLASSES[i] for i in SUSPECT))
    none, two = found.shares["Referred"]
    assert found.months == ("2025-12", "2026-01")
    assert (two.value, two.n_images) == (1 / 2, 2)
    assert (none.n_images, np.isnan(none.value)) == (0, True)
    assert [e.n_images for e in found.shares["Refused"]] == [1, 9]
    shares_by_month(found.months, found.shares, "Answers")


def test_the_version_of_an_answer_is_of_weights_and_what_was_fitted(record: Record) -> None:
    for weights, fitted in (("a", "x"), ("a", "x"), ("a", "y"), ("b", "x")):
        one = saving(RNG, 5)
        for values in one.predictions:
            values.update(model_sha256=weights * 64, fitted={"calibration.json": fitted})
        save.save(record, ME, one, START)
    with record.database.reading() as session:
        versions = months.answered(session, ME, "ensemble")["version"]
    assert versions.value_counts().to_dict() == {
        identity_of("a" * 64, {"calibration.json": "x"}): 2,
        identity_of("a" * 64, {"calibration.json": "y"}): 1,
        identity_of("b" * 64, {"calibration.json": "x"}): 1,
    }
