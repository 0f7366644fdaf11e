from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.duplicates import SAME_LESION_TABLE, join_lesions
from data.external import ISIC_2017_TEST, assign
from data.lookalikes import load_lookalikes, same_lesion
from dermlens.dataset.ham10000 import SPLIT_TABLE, load_split
from dermlens.dataset.isic2019 import (
    BCN20000,
    COLUMNS,
    GROUND_TRUTH,
    IMAGE_FOLDER,
    ISIC_2017,
    METADATA,
    TEST_SETS,
    image_path,
    load_external,
    load_truth,
    uses,
)
from dermlens.errors import DataError
from dermlens.image.preprocess import STORED_ASPECTS

TRUTH = """\
image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK
ISIC_0000003,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0
ISIC_0000001,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0
ISIC_0000002,0.0,0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0
"""
FACTS = """\
image,age_approx,anatom_site_general,lesion_id,sex
ISIC_0000001,55.0,anterior torso,BCN_0000001,female
ISIC_0000002,,,,
ISIC_0000003,40.0,,BCN_0000002,male
"""
ROWS = (
    ("ISIC_1", BCN20000, "L1", "mel", "train", "as-is"),
    ("ISIC_2", BCN20000, "L1", "mel", "train", "as-is"),
    ("ISIC_3", ISIC_2017, "ISIC_3", "scc", "validation", "4:3"),
    ("ISIC_4", BCN20000, "L2", "nv", "bcn20000", "as-is"),
    ("ISIC_5", ISIC_2017, "L2", "nv", "left_out", "4:3"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / GROUND_TRUTH).write_text(TRUTH)
    (tmp_path / METADATA).write_text(FACTS)
    return tmp_path


def test_diagnoses_and_what_is_known_of_the_people_are_read_and_sorted(root: Path) -> None:
    table = load_truth(root)
    assert table["image_id"].tolist() == ["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"]
    assert table["dx"].tolist() == ["mel", "akiec", "scc"]
    assert table["lesion_id"].tolist() == ["BCN_0000001", "", "BCN_0000002"]
    np.testing.assert_array_equal(table["age"], [55.0, np.nan, 40.0])
    assert table["sex"].tolist() == ["female", "", "male"]
    assert table["localization"].tolist() == ["anterior torso", "", ""]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            GROUND_TRUTH,
            "ISIC_0000001,1.0,0.0",
            "ISIC_0000001,1.0,1.0",
            "without exactly one diagnosis: ISIC_0000001$",
        ),
        (GROUND_TRUTH, "ISIC_0000001,1.0", "ISIC_0000001,0.0", "without exactly one diagnosis: ISIC_0000001$"),
        (GROUND_TRUTH, "ISIC_0000001,1.0", "ISIC_0000001,0.5", "without exactly one diagnosis: ISIC_0000001$"),
        (GROUND_TRUTH, "ISIC_0000001,1.0", "ISIC_0000001,yes", "without exactly one diagnosis: ISIC_0000001$"),
        (GROUND_TRUTH, "ISIC_0000003", "ISIC_0000001", "1 x duplicate image: ISIC_0000001$"),
        (GROUND_TRUTH, "ISIC_0000003", "ISIC_0000009", "1 x image without metadata: ISIC_0000009$"),
        (GROUND_TRUTH, "SCC", "SKIN", "column SCC is missing"),
        (METADATA, "ISIC_0000003", "ISIC_0000002", "1 x duplicate image in the metadata: ISIC_0000002"),
        (METADATA, "lesion_id", "lesion", "column lesion_id is missing"),
        (METADATA, ",male", "", "line 4: 4 cells, but the header has 5"),
    ],
)
def test_a_damaged_table_is_refused_by_name(root: Path, name: str, old: str, new: str, message: str) -> None:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        load_truth(root)


@pytest.mark.parametrize("name", [GROUND_TRUTH, METADATA])
def test_a_missing_table_is_named(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(DataError, match=name):
        load_truth(root)


def test_an_image_is_found_or_named(root: Path) -> None:
    (root / IMAGE_FOLDER).mkdir()
    (root / IMAGE_FOLDER / "ISIC_0000001.jpg").touch()
    assert image_path(root, "ISIC_0000001") == root / IMAGE_FOLDER / "ISIC_0000001.jpg"
    with pytest.raises(DataError, match=f"Image ISIC_0000002 is not in {IMAGE_FOLDER}"):
        image_path(root, "ISIC_0000002")


def test_a_table_of_external_images_is_read_whatever_was_left_out(tmp_path: Path) -> None:
    written = pd.DataFrame(ROWS, columns=list(COLUMNS))
    written.assign(more="x").to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_frame_equal(load_external(tmp_path / "t.csv"), written)  # L2 tests, and is left out elsewhere


def test_images_are_counted_by_archive_and_use_and_carcinomas_apart() -> None:
    counted = uses(pd.DataFrame(ROWS, columns=list(COLUMNS)))
    assert counted.to_dict("index") == {
        "BCN20000": {"train": 2, "validation": 0, "test": 1, "squamous cell carcinoma": 0, "left out": 0},
        "ISIC 2017": {"train": 0, "validation": 0, "test": 0, "squamous cell carcinoma": 1, "left out": 1},
    }


def put(column: str, value: str, row: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda t: t.assign(**{column: t[column].where(t.index != row, value)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("split", "bcn20000", 1), "1 x lesion in more than one split: L1$"),
        (put("split", "validation", 0), "1 x lesion in more than one split: L1$"),
        (put("split", "train", 4), "1 x lesion in more than one split: L2$"),
        (put("split", "test", 2), "1 x unknown split: ISIC_3$"),
        (put("dx", "ack", 3), "1 x unknown dx: ISIC_4$"),
        (put("image_id", "ISIC_1", 1), "1 x duplicate image_id: ISIC_1$"),
        (lambda t: t.drop(columns="stored_aspect"), "column stored_aspect is missing"),
        (lambda t: t.iloc[:0], "a header but no rows"),
    ],
)
def test_a_tampered_table_of_external_images_is_refused(tmp_path: Path, change: Callable, message: str) -> None:
    change(pd.DataFrame(ROWS, columns=list(COLUMNS))).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=message):
        load_external(tmp_path / "t.csv")


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    return load_external()


def test_the_committed_table_is_what_the_code_makes_of_its_lesions(committed: pd.DataFrame) -> None:
    made = assign(committed, load_split(SPLIT_TABLE), load_lookalikes())
    pd.testing.assert_series_equal(made, committed["split"], check_names=False)
    assert committed["image_id"].is_monotonic_increasing
    assert set(committed["stored_aspect"]) <= set(STORED_ASPECTS)
    assert (committed[["image_id", "source", "lesion_id"]] != "").all(axis=None)


def test_the_committed_table_names_none_of_the_images_and_lesions_of_ham10000(committed: pd.DataFrame) -> None:
    own = load_split(SPLIT_TABLE)
    assert not committed["image_id"].isin(own["image_id"]).any()
    assert not committed["lesion_id"].isin(own["lesion_id"]).any()


def test_no_lesion_that_a_committed_table_holds_out_trains_in_another_archive(committed: pd.DataFrame) -> None:
    own = load_split(SPLIT_TABLE)
    columns = ["image_id", "lesion_id", "split"]
    known = pd.concat([own[columns], committed[columns]], ignore_index=True)
    same = pd.concat([same_lesion(known, load_lookalikes()), pd.read_csv(SAME_LESION_TABLE)])
    lesion, used = join_lesions(known["lesion_id"], same), known["split"] != "left_out"
    trained = set(lesion[known["split"] == "train"])
    assert not lesion[used & (known["split"] != "train")].isin(trained).any()
    assert len(same) > len(pd.read_csv(SAME_LESION_TABLE))


def test_no_lesion_of_a_committed_test_set_trains_or_chooses(committed: pd.DataFrame) -> None:
    tested = committed[committed["split"].isin(TEST_SETS)]
    used = committed[committed["split"].isin(["train", "validation"])]
    assert not used["lesion_id"].isin(tested["lesion_id"]).any()
    assert committed.groupby("lesion_id")["dx"].nunique().max() == 1


def test_the_committed_test_sets_are_isic_2017s_own_and_a_share_of_bcn20000(committed: pd.DataFrame) -> None:
    counts = pd.crosstab(committed["source"], committed["split"])
    tests = counts.loc[list(ISIC_2017_TEST)]
    assert tests["isic2017"].sum() == tests.to_numpy().sum() == (committed["split"] == "isic2017").sum()
    assert counts.index[counts["bcn20000"] > 0].tolist() == [BCN20000]
    assert sorted(counts.index[counts["train"] > 0]) == sorted(counts.index[counts["validation"] > 0])
    assert sorted(counts.index[counts["train"] > 0]) == [BCN20000, ISIC_2017]
    rest = counts.drop(index=[*ISIC_2017_TEST, BCN20000, ISIC_2017])
    assert rest["left_out"].sum() == rest.to_numpy().sum() == 158
    shares = counts.loc[BCN20000] / counts.loc[BCN20000].sum()
    assert shares["bcn20000"] == pytest.approx(0.15, abs=0.005)
    assert shares["validation"] == pytest.approx(0.15 * 0.85, abs=0.005)
    kept = counts.loc[ISIC_2017, ["train", "validation"]]
    assert kept["validation"] / kept.sum() == pytest.approx(0.15, abs=0.005)
