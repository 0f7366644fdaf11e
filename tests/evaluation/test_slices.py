"""Slices: who belongs where, and no number that the slice cannot give."""

import numpy as np
import pandas as pd
import pytest

from dermlens.errors import ConfigError
from dermlens.evaluation.predictions import make_predictions
from dermlens.evaluation.slices import group_names, in_order, measure_slice, slices
from dermlens.labels import CLASSES, INDEX


def cases(**columns: list) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    rest = {name: ["unknown"] * n for name in ("sex", "localization", "dx_type")}
    return pd.DataFrame({"age": [np.nan] * n, **rest, **columns})


def predictions(true: list[str], called: list[str], lesions: list[str] | None = None):  # type: ignore[no-untyped-def]
    y = np.array([INDEX[c] for c in true])
    logits = 3 * np.eye(7)[[INDEX[c] for c in called]]
    ids = [f"I{i}" for i in range(len(y))]
    return make_predictions(ids, lesions or ids, "test", y, logits)


def test_age_bands_meet_without_gap_and_unknown_is_no_band() -> None:
    found = group_names(cases(age=[0, 29, 30, 44.9, 45, 60, 75, 85, np.nan]), "age")
    assert found.tolist() == [
        *("under 30", "under 30", "30 to 44", "30 to 44", "45 to 59", "60 to 74", "75 and over", "75 and over"),
        "unknown",
    ]


def test_metrics_of_a_slice_are_those_of_its_images() -> None:
    p = predictions(["mel", "mel", "nv", "nv", "mel", "nv"], ["mel", "nv", "nv", "nv", "nv", "mel"])
    found = slices(p, cases(sex=["f", "f", "f", "f", "m", "m"]), "sex", replicates=50)
    women, men = found
    assert (women.name, men.name) == ("f", "m")
    assert women.rows.tolist() == [0, 1, 2, 3]
    assert women.class_mix.tolist() == [0, 0, 0, 0, 2, 2, 0]
    assert women.recall["mel"].value == 1 / 2
    assert women.recall["nv"].value == 1
    assert women.accuracy is not None
    assert women.accuracy.value == 3 / 4
    assert women.balanced_accuracy is not None
    assert women.balanced_accuracy.value == (1 / 2 + 1) / 2
    assert men.recall["mel"].value == 0
    assert np.isnan(men.recall["bcc"].value)
    assert men.recall["bcc"].n_images == 0


def test_a_slice_of_one_class_has_no_single_number() -> None:
    p = predictions(["nv"] * 3 + ["mel", "nv"], ["nv", "nv", "mel", "mel", "nv"])
    found = {s.name: s for s in slices(p, cases(dx_type=["follow_up"] * 3 + ["histo"] * 2), "dx_type", replicates=50)}
    assert found["follow-up"].accuracy is None
    assert found["follow-up"].balanced_accuracy is None
    assert found["follow-up"].recall["nv"].value == pytest.approx(2 / 3)
    assert found["histology"].accuracy is not None


def test_small_counts_lesions_and_not_images() -> None:
    true = [CLASSES[i % 7] for i in range(120)]
    apart = predictions(true, true)
    together = predictions(true, true, [f"L{i % 49}" for i in range(120)])
    assert not measure_slice("x", apart, np.arange(120), 20).small
    found = measure_slice("x", together, np.arange(120), 20)
    assert found.small
    assert (found.n_images, found.n_lesions) == (120, 49)


def test_slices_cover_every_image_once_largest_first_and_unknown_last() -> None:
    site = ["back"] * 2 + ["unknown"] * 9 + ["face"] * 5 + ["hand"] * 2
    p = predictions(["nv", "mel"] * 9, ["nv"] * 18)
    found = slices(p, cases(localization=site), "localization", replicates=20)
    assert [s.name for s in found] == ["face", "back", "hand", "unknown"]
    assert sorted(np.concatenate([s.rows for s in found])) == list(range(18))
    bands = slices(p, cases(age=[80.0, 20.0] * 9), "age", replicates=20)
    assert [s.name for s in bands] == ["under 30", "75 and over"]


def test_an_unknown_way_to_slice_is_refused() -> None:
    with pytest.raises(ConfigError, match="age, sex, localization, dx_type; got 'skin'"):
        group_names(cases(age=[1]), "skin")


def test_groups_stand_as_people_read_them() -> None:
    ages = {"unknown": 9, "75 and over": 5, "under 30": 1, "30 to 44": 7}
    assert in_order(ages) == ["under 30", "30 to 44", "75 and over", "unknown"]
    assert in_order({"back": 3, "unknown": 9, "ear": 3, "face": 8}) == ["face", "back", "ear", "unknown"]
