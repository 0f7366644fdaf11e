"""Drift of the record, month by month, on numbers whose index is worked out here."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.evaluation.drift import FEW
from dermlens.labels import CLASSES
from dermlens.models.registry import inspect
from dermlens.record.learning.drift import by_month, references
from tests.dashboard import fill as fill_model

RNG = np.random.default_rng(0)


def rows(month: str, n: int, called: str = "nv", shift: float = 0.0) -> pd.DataFrame:
    return pd.DataFrame(
        {"month": month, "version": "v", "called": called, "suspect": RNG.random(n) * (1 - shift) + shift}, range(n)
    )


def test_a_month_like_validation_is_told_from_one_that_drifted_and_from_one_too_small() -> None:
    known = {"called": np.array([0, 0, 0, 0, 0, 500, 0]), "suspect": np.linspace(0, 1, 2000)}
    table = pd.concat(
        [rows("2026-02", 400, called="mel", shift=0.8), rows("2026-01", 400), rows("2026-03", FEW - 1)],
        ignore_index=True,
    )
    found = {(one.month, one.quantity): one for one in by_month(table, known, "v")}
    assert [month for month, _ in found] == ["2026-01"] * 2 + ["2026-02"] * 2 + ["2026-03"] * 2
    verdicts = {key: one.drift.verdict for key, one in found.items() if one.drift is not None}
    assert verdicts == {
        ("2026-01", "Calls"): "like validation",
        ("2026-01", "Suspect probability"): "like validation",
        ("2026-02", "Calls"): "drift",
        ("2026-02", "Suspect probability"): "drift",
    }
    # nv: 500 against 0, which counts as half an image; mel the other way round
    p, q = np.array([500, 0.5]) / 500.5, np.array([0.5, 400]) / 400.5
    drift = found["2026-02", "Calls"].drift
    assert drift is not None
    assert drift.index == pytest.approx(((q - p) * np.log(q / p)).sum())
    assert str(FEW) in found["2026-03", "Calls"].sentence


def test_a_refused_image_is_no_call() -> None:
    table = pd.concat([rows("2026-01", 40), rows("2026-01", 40, called=None)], ignore_index=True)  # type: ignore[arg-type]
    [one] = by_month(table, {"called": np.array([0, 0, 0, 0, 0, 500, 0])}, "v")
    assert one.drift is not None
    assert one.drift.n == 40


def test_the_validation_images_of_a_model_are_those_of_its_predictions(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    fill_model(folder)
    table = pd.read_csv(folder / "predictions.csv")
    table = table[table["split"] == "validation"]
    quality = tmp_path / "quality.csv"
    quality.write_text("image_id,sharpness\na,0.5\nb,0.75\n")
    known = references(inspect(folder), quality)
    assert set(known) == {"called", "suspect", "sharpness"}, "what is not there is left out"
    assert known["called"].sum() == len(known["suspect"]) == len(table)
    assert len(known["called"]) == len(CLASSES)
    assert known["sharpness"].tolist() == [0.5, 0.75]


def test_a_month_is_compared_by_what_one_version_answered() -> None:
    known = {"called": np.array([0, 0, 0, 0, 0, 500, 0])}
    other = rows("2026-01", 400, called="mel").assign(version="w")
    table = pd.concat([rows("2026-01", 40), other], ignore_index=True)
    [own], [of_other] = by_month(table, known, "v"), by_month(table, known, "w")
    assert own.drift is not None
    assert of_other.drift is not None
    assert (own.drift.n, own.drift.verdict) == (40, "like validation")
    assert (of_other.drift.n, of_other.drift.verdict) == (400, "drift")
    assert by_month(table, known, "x") == []
