from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermlens.case.predict import predict
from dermlens.cohort import part
from dermlens.cohort.answer import answer, schema_of
from dermlens.cohort.drift import Compared, compare
from dermlens.cohort.part import encode
from dermlens.cohort.store import place
from dermlens.errors import DataError
from dermlens.evaluation.class_mix import EVEN, reweight
from dermlens.image.encode import pixels_sha256
from dermlens.labels import CLASSES, MELANOMA
from dermlens.models.model import Model
from dermlens.models.registry import Entry
from dermlens.trust.calibration import Calibration
from dermlens.trust.conformal import PredictionSets
from dermlens.trust.fitted import Fitted
from dermlens.trust.referral import Referral

MIX = (30, 50, 110, 10, 110, 670, 14)


@pytest.fixture
def fitted(toy: Model) -> Model:
    """The toy model with a calibration, prediction sets that keep what has 10 %, and rules that refer from 5 % on."""
    calibration = Calibration("temperature", (0.5,) * 7, (0.0,) * 7, MIX)
    kept = np.full((1, 7), 0.1)
    sets = PredictionSets((0.9,), kept, np.ones((1, 7), bool), (9,) * 7, {}, {})
    rules = Referral({"toy": 0.95}, {"toy": {"melanoma": 0.05, "malignant": 0.9}}, 0.5, {})
    return replace(toy, fitted=Fitted(calibration=calibration, prediction_sets=sets, referral=rules))


def test_probabilities_hold_for_the_wanted_mix_and_sets_and_rules_for_their_own(
    fitted: Model, lesion: np.ndarray
) -> None:
    own, equal = (answer(fitted, lesion, mix) for mix in ("ham10000", "equal"))
    expected = predict(fitted, lesion).probabilities
    shares, even = (np.array([row[f"p_{code}"] for code in CLASSES]) for row in (own, equal))
    np.testing.assert_array_equal(shares, expected)
    np.testing.assert_allclose(even, reweight(expected, np.array(MIX), EVEN), rtol=1e-5)
    assert own["call"] == CLASSES[int(shares.argmax())]
    assert equal["call"] == CLASSES[int(even.argmax())]
    assert equal["suspect"] == pytest.approx(even[[0, 1, 4]].sum())
    assert (
        own["not_ruled_out"]
        == equal["not_ruled_out"]
        == [c for c, p in zip(CLASSES, expected, strict=True) if p >= 0.1]
    )
    fires = expected[MELANOMA] >= 0.05
    assert own["refer"] == equal["refer"] == bool(own["reasons"])
    assert ("melanoma" in own["reasons"]) == fires


def test_a_refused_image_keeps_its_numbers_but_has_no_call(
    fitted: Model, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermlens.case.ood_gate.accepted", lambda models, answers: {"toy": False})
    row = answer(fitted, lesion, "ham10000", maps=True)
    assert row["refused"] is True
    assert row["call"] is None
    assert "map" not in row
    assert "not_ruled_out" not in row
    assert sum(row[f"p_{code}"] for code in CLASSES) == pytest.approx(1, abs=1e-6)
    assert "unfamiliar" in row["reasons"]
    assert row["refer"] is True


def test_equal_pictures_have_equal_hashes_and_others_do_not(lesion: np.ndarray) -> None:
    assert pixels_sha256(lesion) == pixels_sha256(np.asfortranarray(lesion))
    other = lesion.copy()
    other[3, 4, 1] ^= 1
    flat = lesion.reshape(lesion.shape[1], lesion.shape[0], 3)
    assert len({pixels_sha256(lesion), pixels_sha256(other), pixels_sha256(flat)}) == 3


def test_every_column_of_an_answer_is_in_the_schema(fitted: Model, lesion: np.ndarray) -> None:
    row = answer(fitted, lesion, "ham10000", maps=True)
    assert set(row) <= set(schema_of(("toy",), maps=True).names)
    assert encode([{"row": 0, **row}], schema_of(("toy",), maps=True), {})


def test_a_part_counts_for_how_many_a_rule_was_there(tmp_path: Path) -> None:
    output, schema = place(tmp_path), schema_of(("toy",), maps=False)
    rows = [{"refer": None, "refused": False}, {"refer": False}, {"refer": True, "unlike_toy": False}, {"error": "x"}]
    output.write(part.name_of(0), encode(rows, schema, {part.SHARD: "", part.STARTED: "0", part.FINISHED: "1"}))
    footer = part.read_footer(output, 0)
    assert footer is not None
    assert {name: footer.count(name) for name in ("referred", "ruled", "refused", "gated")} == {
        "referred": 1, "ruled": 2, "refused": 0, "gated": 1,
    }  # fmt: skip
    older = replace(footer, values={k: v for k, v in footer.values.items() if k not in part.JUDGED.values()})
    assert (older.count("ruled"), older.count("gated")) == (1, 0)


def test_a_flipped_bit_of_a_part_is_a_sentence(tmp_path: Path) -> None:
    output, name = place(tmp_path), part.name_of(0)
    shares = np.random.default_rng(0).dirichlet(np.ones(7), 50).tolist()
    rows = [{"row": i, **{f"p_{c}": p for c, p in zip(CLASSES, of, strict=True)}} for i, of in enumerate(shares)]
    whole = encode(rows, schema_of(("toy",), maps=False), {})
    group = pq.ParquetFile(pa.BufferReader(whole)).metadata.row_group(0)
    pages = [group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema.startswith("p_")]
    assert len(pages) == 7
    for column in pages:
        begin = column.dictionary_page_offset or column.data_page_offset
        data = bytearray(whole)
        data[begin + column.total_compressed_size // 2] ^= 4
        output.write(name, bytes(data))
        with pytest.raises(DataError, match=r"part-000000\.parquet is damaged .*Delete it, and run again"):
            part.read_part(output, 0)
    output.write(name, whole)
    assert part.read_part(output, 0)["row"].to_pylist() == list(range(50))


def test_drift_says_of_each_quantity_why_it_cannot_be_compared(pair: Path) -> None:
    entry = Entry("toy", pair / "toy", {"files": {}}, None, True, True)
    refused = np.arange(60) >= 50
    rows = pa.table({**{f"p_{code}": np.full(60, 1 / 7) for code in CLASSES}, "refused": refused})
    found = {one.name: one for one in compare(entry, "ham10000", rows)}
    assert found["Calls"].drift is not None
    assert found["Suspect probability"].drift is not None
    assert found["Suspect probability"].drift.verdict == "drift"
    assert found["Calls"].drift.n == found["Suspect probability"].drift.n == 50, (
        "the numbers of a refused image count not"
    )
    assert "familiarity" in found["Unlikeness to Toy toy"].sentence
    assert found["Hair"] == Compared("Hair", None, "The rows have no column quality_hair.")
