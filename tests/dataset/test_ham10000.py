from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from dermlens.dataset.ham10000 import (
    IMAGE_FOLDERS,
    MASK_FOLDER,
    METADATA,
    SPLIT_TABLE,
    check_rows,
    data_root,
    image_path,
    load_split,
    load_table,
    read_mask,
)
from dermlens.errors import DataError
from tests import fake_ham10000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fake_ham10000.write(tmp_path, lesions=2)
    return tmp_path


def edit(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame | None], name: str = METADATA) -> None:
    table = pd.read_csv(root / name, dtype=str, keep_default_na=False)
    changed = change(table)
    (table if changed is None else changed).to_csv(root / name, index=False)


def put(column: str, value: str, *rows: int) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.loc[list(rows), column] = value

    return change


def test_table_is_read_whole_and_sorted(root: Path) -> None:
    edit(root, lambda t: t.iloc[::-1])
    table = load_table(root, decode=True)
    assert table["image_id"].tolist() == [f"ISIC_{24306 + i:07}" for i in range(21)]
    assert table["image_id"].is_monotonic_increasing
    assert table["dx"].value_counts().to_dict() == dict.fromkeys(["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"], 3)
    assert table["age"].dtype == float
    assert table.loc[table["image_id"] == "ISIC_0024310", "age"].isna().all()  # not recorded
    assert table.loc[table["image_id"] == "ISIC_0024311", "age"].item() == 45


def test_images_are_found_in_both_folders(root: Path) -> None:
    assert image_path(root, "ISIC_0024306").parent.name == IMAGE_FOLDERS[0]
    assert image_path(root, "ISIC_0024307").parent.name == IMAGE_FOLDERS[1]
    with pytest.raises(DataError, match=r"ISIC_0000000 is in neither HAM10000_images_part_1 nor"):
        image_path(root, "ISIC_0000000")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("dx", "scc", 0, 1, 2), "3 x unknown dx: ISIC_0024306=scc, ISIC_0024307=scc, ISIC_0024308=scc$"),
        (put("dx", "", 3), "1 x empty dx: ISIC_0024309$"),
        (put("lesion_id", " ", 4), "1 x empty lesion_id: ISIC_0024310$"),
        (put("dx_type", "", *range(7)), r"7 x empty dx_type: ISIC_0024306, .*ISIC_0024310, \.\.\.$"),
        (lambda t: t.assign(sex=""), "1 x column without a value: sex$"),
        (put("age", "old", 2), "1 x age that is not a number: ISIC_0024308$"),
        (put("dx", "mel", 1), "1 x lesion with more than one dx: HAM_000001$"),
        (lambda t: pd.concat([t, t.iloc[[3]]]), "1 x duplicate image_id: ISIC_0024309$"),
        (lambda t: t.iloc[:0], "has a header but no rows"),
        (lambda t: t.drop(columns="dx"), "column dx is missing; the file has lesion_id, image_id, dx_type"),
    ],
)
def test_bad_metadata_is_refused_by_name_and_number(root: Path, change: Callable, message: str) -> None:
    edit(root, change)
    with pytest.raises(DataError, match=message):
        load_table(root)


def test_all_kinds_of_problems_are_told_at_once(root: Path) -> None:
    edit(root, put("dx", "scc", 0))
    edit(root, put("age", "old", 5))
    image_path(root, "ISIC_0024309").unlink()
    with pytest.raises(DataError) as caught:
        load_table(root)
    assert str(caught.value).splitlines()[1:] == [
        "  1 x unknown dx: ISIC_0024306=scc",
        "  1 x age that is not a number: ISIC_0024311",
        "  1 x missing image: ISIC_0024309",
    ]


def test_no_metadata_and_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No HAM10000_metadata\.csv in .*HAM10000_DIR"):
        load_table(tmp_path)
    (tmp_path / METADATA).write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(DataError, match="not UTF-8 text"):
        load_table(tmp_path)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"not an image", lambda b: b""])
def test_images_that_cannot_be_decoded_whole_are_found_before_a_long_run(
    root: Path, damage: Callable[[bytes], bytes]
) -> None:
    file = image_path(root, "ISIC_0024315")
    file.write_bytes(damage(file.read_bytes()))
    load_table(root)  # presence alone does not tell
    with pytest.raises(DataError, match=r"1 x unreadable image: ISIC_0024315$"):
        load_table(root, decode=True)


def test_only_the_needed_images_are_looked_at(root: Path) -> None:
    image_path(root, "ISIC_0024306").unlink()
    image_path(root, "ISIC_0024307").write_bytes(b"garbage")
    rows = load_split(root / "split.csv")
    check_rows(root, rows[~rows["image_id"].isin(["ISIC_0024306", "ISIC_0024307"])], decode=True)
    with pytest.raises(DataError, match=r"1 x missing image: ISIC_0024306\n  1 x unreadable image: ISIC_0024307$"):
        check_rows(root, rows, decode=True)


def test_split_table_must_agree_with_the_metadata(root: Path) -> None:
    rows = load_split(root / "split.csv")
    check_rows(root, rows)
    other = rows.assign(dx=rows["dx"].where(rows["image_id"] != "ISIC_0024308", "vasc"))
    with pytest.raises(DataError, match=r"1 x image with another lesion_id or dx than in .*: ISIC_0024308$"):
        check_rows(root, other)
    edit(root, lambda t: t.iloc[1:])
    with pytest.raises(DataError, match=r"1 x image of the split table that the data set lacks: ISIC_0024306$"):
        check_rows(root, rows)


def test_masks_are_read_as_truth_values(root: Path) -> None:
    assert read_mask(root, "ISIC_0024306") is None
    (root / MASK_FOLDER).mkdir()
    drawn = np.zeros((15, 20), np.uint8)
    drawn[4:9, 6:12] = 255
    file = root / MASK_FOLDER / "ISIC_0024306_segmentation.png"
    cv2.imwrite(str(file), drawn)
    mask = read_mask(root, "ISIC_0024306")
    assert mask is not None
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, drawn == 255)
    file.write_bytes(b"garbage")
    with pytest.raises(DataError, match="cannot be read"):
        read_mask(root, "ISIC_0024306")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("split", "train", 0), None),
        (put("split", "dev", 3), "1 x unknown split: ISIC_0024309"),
        (put("dx", "scc", 3), "1 x unknown dx: ISIC_0024309"),
        (lambda t: pd.concat([t, t.iloc[[2]]]), "1 x duplicate image_id: ISIC_0024308"),
        (lambda t: t.drop(columns="split"), "column split is missing"),
    ],
)
def test_tampered_split_tables_are_refused(root: Path, change: Callable, message: str | None) -> None:
    edit(root, change, "split.csv")
    if message is None:
        load_split(root / "split.csv")
    else:
        with pytest.raises(DataError, match=message):
            load_split(root / "split.csv")


def test_a_lesion_in_two_splits_is_refused(root: Path) -> None:
    table = load_split(root / "split.csv")
    twice = table["lesion_id"].duplicated(keep=False).to_numpy().nonzero()[0]
    other = "test" if table["split"][twice[0]] == "train" else "train"
    edit(root, put("split", other, twice[0]), "split.csv")
    with pytest.raises(DataError, match=f"1 x lesion in more than one split: {table['lesion_id'][twice[0]]}$"):
        load_split(root / "split.csv")


def test_no_split_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No split table at .*python -m data\.split"):
        load_split(tmp_path / "none.csv")


def test_data_root_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HAM10000_DIR", raising=False)
    assert data_root() is None
    monkeypatch.setenv("HAM10000_DIR", "/somewhere")
    assert data_root() == Path("/somewhere")


@pytest.mark.realdata
def test_the_real_data_set_is_what_the_committed_split_says(realdata: Path) -> None:
    rows = load_split(SPLIT_TABLE)
    check_rows(realdata, rows)
    assert len(load_table(realdata)) == len(rows) == 10_015
