"""The audit is right about hand-made splits, and fails on every kind of leak."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.audit import audit, leaking, leaks, main, naive_split, read_table, shares
from dermlens.dataset.ham10000 import METADATA, SPLITS, image_path
from dermlens.errors import DataError
from dermlens.evaluation.slices import group_names
from tests import fake_ham10000

PAIRS = pd.DataFrame(columns=["i", "j", "distance", "agreeing", "exact", "duplicate"]).astype(
    {"i": int, "j": int, "distance": int, "agreeing": int, "exact": bool, "duplicate": bool}
)


def table() -> pd.DataFrame:
    """Eight images of five lesions; lesions a and c cross the splits."""
    rows = [
        ("1", "a", "mel", "train"),
        ("2", "a", "mel", "test"),
        ("3", "b", "mel", "test"),
        ("4", "c", "nv", "train"),
        ("5", "c", "nv", "validation"),
        ("6", "d", "nv", "test"),
        ("7", "d", "nv", "test"),
        ("8", "e", "nv", "validation"),
    ]
    frame = pd.DataFrame(rows, columns=["image_id", "lesion_id", "dx", "split"])
    return frame.assign(dx_type="histo", age=[29.0, 30, 44, 45, 60, 75, np.nan, 0], sex="female", localization="back")


def clean() -> pd.DataFrame:
    return table().assign(split=["train", "train", "test", "train", "train", "test", "test", "validation"])


def pair(i: int, j: int, distance: int = 40, agreeing: int = 0, exact: bool = False) -> dict:
    return {
        "i": i,
        "j": j,
        "distance": distance,
        "agreeing": agreeing,
        "exact": exact,
        "duplicate": exact or distance <= 16 or agreeing >= 25,
    }


def test_leaks_by_hand() -> None:
    rows = table()
    assert leaks(rows, rows["lesion_id"], rows["split"]) == {
        "lesions_in_more_than_one_split": 2,
        "test_images_with_lesion_in_train": {"images": 1, "of": 4, "share": 0.25},
        "test_melanomas_with_lesion_in_train": {"images": 1, "of": 2, "share": 0.5},
    }
    assert leaking(audit(rows, PAIRS)[0]) == ["2 lesions in more than one split"]


def test_a_clean_split_leaks_nothing() -> None:
    content, same = audit(clean(), PAIRS)
    assert leaking(content) == []
    assert content["leaks"]["lesions_in_more_than_one_split"] == 0
    assert content["splits"] == {
        "train": {"images": 4, "lesions": 2},
        "validation": {"images": 1, "lesions": 1},
        "test": {"images": 3, "lesions": 2},
    }
    assert len(same) == 0


def test_duplicates_are_counted_by_lesion_split_and_threshold() -> None:
    pairs = pd.DataFrame(
        [
            pair(0, 1, distance=0, agreeing=200, exact=True),  # one lesion, one split
            pair(0, 2, distance=12, agreeing=10),  # lesions a and b, train and test: by the hash
            pair(3, 7, distance=90, agreeing=60),  # lesions c and e, train and validation: by the features
            pair(5, 6, distance=20, agreeing=24),  # one lesion, no duplicate
            pair(3, 6, distance=24, agreeing=0),  # different lesions, no duplicate
        ]
    )
    content, same = audit(clean(), pairs)
    assert content["exact_duplicates"] == {"within_lesions": 1, "between_lesions": 0, "across_splits": 0}
    near = content["near_duplicates"]
    assert (near["within_lesions"], near["between_lesions"], near["across_splits"]) == (1, 2, 2)
    by_hash = {step["at_most"]: step for step in near["by_hash_distance"]}
    assert [by_hash[d]["between_lesions"] for d in (0, 8, 16, 24)] == [0, 0, 1, 2]
    assert [by_hash[d]["within_lesions"] for d in (0, 16, 24)] == [1, 1, 2]
    by_features = {step["at_least"]: step for step in near["by_agreeing_features"]}
    assert [by_features[a]["across_splits"] for a in (15, 25, 60)] == [1, 1, 1]
    assert near["pairs_within_lesions"] == 3
    assert near["lesions_joined"] == 2
    assert same[["image_a", "image_b", "lesion_a", "lesion_b", "split_a", "split_b"]].to_numpy().tolist() == [
        ["4", "8", "c", "e", "train", "validation"],
        ["1", "3", "a", "b", "train", "test"],
    ]
    assert content["near_duplicates"]["pairs_between_lesions"] == same.to_dict("records")
    assert content["leaks_after_joining"]["lesions_in_more_than_one_split"] == 2
    assert leaking(content) == ["2 near duplicates across splits"]


def test_an_exact_copy_across_splits_leaks() -> None:
    content, _ = audit(clean(), pd.DataFrame([pair(0, 2, distance=0, exact=True)]))
    assert leaking(content) == ["1 exact duplicates across splits", "1 near duplicates across splits"]


def test_two_pairs_inside_a_lesion_that_crosses_count_as_across() -> None:
    content, same = audit(table(), pd.DataFrame([pair(0, 1, distance=4)]))
    assert content["near_duplicates"]["across_splits"] == 1
    assert len(same) == 0


def test_the_naive_split_keeps_the_shares_of_every_diagnosis_and_is_drawn_from_the_seed() -> None:
    rows = fake_ham10000.table(lesions=40)
    rows["split"] = np.resize(["train", "train", "validation", "test"], len(rows))
    naive = naive_split(rows, 0)
    pd.testing.assert_frame_equal(
        pd.crosstab(rows["dx"], naive), pd.crosstab(rows["dx"], rows["split"]), check_names=False
    )
    pd.testing.assert_series_equal(naive, naive_split(rows, 0))
    assert (naive != naive_split(rows, 1)).any()


def test_the_naive_estimates_are_those_of_its_draws() -> None:
    rows = table()
    content, _ = audit(rows, PAIRS)
    drawn = [leaks(rows, rows["lesion_id"], naive_split(rows, seed)) for seed in range(content["naive_split"]["draws"])]
    crossing = [d["lesions_in_more_than_one_split"] for d in drawn]
    assert content["naive_split"]["lesions_in_more_than_one_split"] == {
        "mean": pytest.approx(np.mean(crossing)),
        "low": min(crossing),
        "high": max(crossing),
    }
    melanoma = [d["test_melanomas_with_lesion_in_train"]["share"] for d in drawn]
    assert content["naive_split"]["test_melanomas_with_lesion_in_train"]["mean"] == pytest.approx(np.mean(melanoma))
    assert max(melanoma) == 0.5, "one melanoma of two is the most that can leak here"


def test_shares_by_hand() -> None:
    rows = clean()
    found = shares(rows["split"], rows["dx"], rows["lesion_id"])
    assert found["mel"]["train"] == {"images": 2, "lesions": 1, "share": 0.5}
    assert found["nv"]["test"] == {"images": 2, "lesions": 1, "share": 0.666667}
    assert found["mel"]["validation"] == {"images": 0, "lesions": 0, "share": 0.0}
    for name in SPLITS:
        assert sum(found[dx][name]["share"] for dx in found) == pytest.approx(1, abs=1e-5)


def test_subgroups_are_those_that_the_dashboard_shows() -> None:
    rows = table().assign(sex=["", *["female"] * 7])
    found = audit(rows, PAIRS)[0]["subgroups"]
    assert list(found) == ["age", "sex", "localization", "dx_type"]
    images = {name: sum(part["images"] for part in of.values()) for name, of in found["age"].items()}
    shown, count = np.unique(group_names(rows, "age").astype(str), return_counts=True)
    assert images == dict(zip(shown, count, strict=True))
    assert {"under 30", "unknown"} <= set(images)
    assert found["sex"]["unknown"]["train"]["images"] == 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = fake_ham10000.write(tmp_path, lesions=2, height=60, width=80)
    lesion = rows.groupby("lesion_id").ngroup()
    rows.assign(split=lesion.map(lambda n: SPLITS[n % 3])).to_csv(tmp_path / "split.csv", index=False)
    return tmp_path


def test_the_command_passes_a_clean_split_and_says_the_same_twice(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(root), "--split-table", str(root / "split.csv")]
    assert main(arguments) == 0
    assert "nothing leaks" in capsys.readouterr().out
    first = (root / "audit.json").read_bytes()
    content = json.loads(first)
    rows = pd.read_csv(root / "split.csv")
    assert content["images"] == len(rows)
    assert sum(content["subgroups"]["age"]["unknown"][s]["images"] for s in SPLITS) == rows["age"].isna().sum()
    assert main(arguments) == 0
    assert (root / "audit.json").read_bytes() == first


def test_the_command_finds_a_photograph_under_two_lesion_ids(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.read_csv(root / "split.csv")
    train, test = (rows[rows["split"] == s].iloc[0] for s in ("train", "test"))
    shutil.copy(image_path(root, train["image_id"]), image_path(root, test["image_id"]))
    assert main(["--data", str(root), "--split-table", str(root / "split.csv")]) == 1
    assert "1 exact duplicates across splits" in capsys.readouterr().out
    same = pd.read_csv(root / "same_lesion.csv")
    assert {same["lesion_a"][0], same["lesion_b"][0]} == {train["lesion_id"], test["lesion_id"]}


def test_the_command_finds_a_lesion_in_two_splits_even_if_the_table_renames_it(root: Path) -> None:
    rows = pd.read_csv(root / "split.csv", dtype=str, keep_default_na=False)
    twice = rows.index[rows["lesion_id"] == rows["lesion_id"][rows["lesion_id"].duplicated()].iloc[0]]
    rows.loc[twice, "split"] = ["train", "test"]
    rows.loc[twice[1], "lesion_id"] = "HAM_9999999"
    rows.to_csv(root / "split.csv", index=False)
    output = root / "elsewhere.json"
    assert main(["--data", str(root), "--split-table", str(root / "split.csv"), "--output", str(output)]) == 1
    assert json.loads(output.read_text())["leaks"]["lesions_in_more_than_one_split"] == 1


def test_what_does_not_fit_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="No split table"):
        read_table(root, root / "none.csv")
    rows = pd.read_csv(root / "split.csv", dtype=str, keep_default_na=False)
    rows.iloc[1:].to_csv(root / "short.csv", index=False)
    with pytest.raises(DataError, match="1 images in only one of them"):
        read_table(root, root / "short.csv")
    rows.assign(split="training").to_csv(root / "other.csv", index=False)
    with pytest.raises(DataError, match=f"{len(rows)} in an unknown split"):
        read_table(root, root / "other.csv")
    image_path(root, rows["image_id"][0]).write_bytes(b"no image")
    assert main(["--data", str(root), "--split-table", str(root / "split.csv")]) == 2
    said = capsys.readouterr().err
    assert "Fetch it again" in said
    assert f"1 x unreadable image: {rows['image_id'][0]}" in said
    (root / METADATA).unlink()
    assert main(["--data", str(root), "--split-table", str(root / "split.csv")]) == 2
