"""An answer that was shown at another class mix than the model's own: each table goes by one of the two."""

from dataclasses import replace

import numpy as np
import pytest

from dermlens.record import cases, readings, save
from dermlens.record.cases import Wanted
from dermlens.record.exchange import export
from dermlens.record.learning import measured, months, second_look
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.readings import Found, Judgement
from tests.record.filled import saving

# akiec, bcc, bkl, df, mel, nv, vasc
FITTED = [0.02, 0.02, 0.03, 0.01, 0.3, 0.61, 0.01]
SET = [0.03, 0.05, 0.02, 0.01, 0.67, 0.21, 0.01]
SUSPECT_FITTED, SUSPECT_SET = 0.34, 0.75


def kept(record: Record, called: str | None = "mel", shown: list[float] | None = SET) -> save.Saved:
    """Save an answer that calls nevus at the model's own mix, and melanoma at the mix that was set."""
    one = saving(np.random.default_rng(0), 4)
    for values in one.predictions:
        values.update(probabilities=FITTED, suspect=SUSPECT_FITTED, shown=shown, called=called, ood_score=None)
        values.update(refused_by=[] if called else ["ensemble"])
    return save.save(record, ME, replace(one, token=np.random.default_rng().bytes(16).hex()))


def test_the_list_and_the_filters_show_what_was_shown_call_and_suspect_probability_alike(record: Record) -> None:
    kept(record)
    kept(record, "nv", None)  # no mix was set
    kept(record, None)  # withheld: its numbers mean nothing
    with record.database.reading() as session:
        found = cases.listed(session, ME).sort_values("case")
        assert found["called"].tolist() == ["mel", "nv", None]
        assert found["suspect"].tolist() == [pytest.approx(SUSPECT_SET), pytest.approx(SUSPECT_FITTED), None]
        assert cases.listed(session, ME, Wanted(called="mel"))["case"].tolist() == [1]


def test_what_is_measured_goes_by_the_mix_that_the_model_was_fitted_for(record: Record) -> None:
    saved = kept(record)
    for stage in ("before", "after"):
        readings.read(record, ME, saved.image_id, Judgement(stage, "nv", 50, "none", seconds=1))
    with record.database.reading() as session:
        assert cases.count(session, ME, Wanted(disagree=True)) == 1, "the person saw another call"
        assert second_look.queue(session, ME).empty, "the model's own call is the person's"
        month = months.answered(session, ME, "ensemble").iloc[0]
        assert (month["called"], month["suspect"]) == ("nv", pytest.approx(SUSPECT_FITTED))
    readings.enter_outcome(record, ME, saved.lesion_id, Found("nv", "histology"))
    with record.database.reading() as session:
        table = measured.paired_readings(session, ME)
        of_model = measured.of_model(session, ME, "ensemble").predictions
    assert table[["shown", "model"]].to_numpy().tolist() == [["mel", "nv"]]
    assert measured.compared(table).figures["right"]["model"].value == 1
    assert (of_model.y_pred == of_model.y_true).all(), "both figures of the model are one"
    assert measured.changed(table).overridden.value == 1, "by what the person saw"


def test_a_second_look_shows_the_probability_of_what_it_shows_as_called(record: Record) -> None:
    saved = kept(record)
    kept(record, None)
    readings.read(record, ME, saved.image_id, Judgement("before", "mel", 50, "none"))
    with record.database.reading() as session:
        found = second_look.queue(session, ME).sort_values("case")
    assert found["called"].tolist() == ["nv", None]
    assert found["reasons"].tolist() == ["disagreement", "unusual"]
    assert found["probability"].tolist() == pytest.approx([0.61, float("nan")], nan_ok=True)


def test_months_take_no_number_of_what_was_refused(record: Record) -> None:
    kept(record, None)
    with record.database.reading() as session:
        month = months.answered(session, ME, "ensemble").iloc[0]
    assert month["called"] is None
    assert np.isnan(month["suspect"])
    assert month["refused"]


def test_an_export_has_call_and_suspect_probability_at_both(record: Record) -> None:
    kept(record)
    kept(record, "nv", None)
    with record.database.reading() as session:
        table = export.answers(session, ME)
    table = table[table["lead"].astype(bool)]
    assert table["called"].tolist() == ["mel", "nv"]
    assert table["called_fitted"].tolist() == ["nv", "nv"]
    assert table["suspect"].tolist() == pytest.approx([SUSPECT_FITTED] * 2)
    assert table["suspect_shown"].tolist() == pytest.approx([SUSPECT_SET, float("nan")], nan_ok=True)
