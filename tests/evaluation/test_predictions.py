"""Predictions files: what is read is what was written, and each damage is named with its line and column."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.errors import DataError
from dermlens.evaluation.predictions import (
    COLUMNS,
    MAX_BYTES,
    cases_of,
    concatenate,
    make_predictions,
    read_cases,
    read_predictions,
    write_predictions,
)
from dermlens.labels import CLASSES

ROWS = ["A,L1,validation,nv,0,0,0,0,0,2.5,0", "B,L1,validation,mel,0,0,0,0,3,1,0", "C,L2,test,bcc,0,4,0,0,0,1,0"]


def write(folder: Path, rows: list[str], header: str = ",".join(COLUMNS)) -> Path:
    path = folder / "predictions.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_predictions(path)
    assert f"{path.parent.name}/{path.name}" in str(caught.value)
    return str(caught.value)


def test_reads_arrays_in_class_order(tmp_path: Path) -> None:
    found = read_predictions(write(tmp_path, ROWS))
    assert found.image_id.tolist() == ["A", "B", "C"]
    assert [CLASSES[i] for i in found.y_true] == ["nv", "mel", "bcc"]
    assert [CLASSES[i] for i in found.y_pred] == ["nv", "mel", "bcc"]
    assert found.logits[0].tolist() == [0, 0, 0, 0, 0, 2.5, 0]
    assert found.splits == ("validation", "test")
    assert found.probabilities[0, 5] == pytest.approx(np.exp(2.5) / (np.exp(2.5) + 6))
    assert (len(found), found.n_lesions, found.lesion.tolist()) == (3, 2, [0, 0, 1])


def test_column_order_further_columns_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    table = pd.read_csv(path)
    table[["note", *reversed(table.columns)]] = table.assign(note="x")[["note", *reversed(table.columns)]]
    table.to_csv(tmp_path / "other.csv", index=False, encoding="utf-8-sig")
    assert np.array_equal(read_predictions(tmp_path / "other.csv").logits, read_predictions(path).logits)


def test_true_classes_may_be_indices(tmp_path: Path) -> None:
    found = read_predictions(write(tmp_path, [ROWS[0].replace("nv", "5"), ROWS[1].replace("mel", "4"), ROWS[2]]))
    assert [CLASSES[i] for i in found.y_true] == ["nv", "mel", "bcc"]


def test_writing_and_reading_back_keeps_everything(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [
        make_predictions([f"{s}{i}" for i in range(20)], [f"L{i // 2}" for i in range(20)], s, y, logits)
        for s, y, logits in (
            ("validation", rng.integers(0, 7, 20), rng.normal(0, 5, (20, 7))),
            ("test", rng.integers(0, 6, 20), rng.normal(0, 5, (20, 7)).astype(np.float32)),
        )
    ]
    written = concatenate(parts)
    write_predictions(tmp_path / "p.csv", written)
    found = read_predictions(tmp_path / "p.csv")
    for name in ("image_id", "lesion_id", "split", "y_true"):
        assert getattr(found, name).tolist() == getattr(written, name).tolist()
    assert np.abs(found.logits - written.logits).max() <= 0.5e-5
    again = found.of_split("test")
    assert again.image_id.tolist() == parts[1].image_id.tolist()


def test_arrays_cannot_be_changed_by_who_shares_them(tmp_path: Path) -> None:
    found = read_predictions(write(tmp_path, ROWS))
    with pytest.raises(ValueError, match="read-only"):
        found.logits[0, 0] = 1


def test_selecting_keeps_rows_together(tmp_path: Path) -> None:
    found = read_predictions(write(tmp_path, ROWS)).select(np.array([2, 0]))
    assert found.image_id.tolist() == ["C", "A"]
    assert found.y_pred.tolist() == [1, 5]
    with pytest.raises(DataError, match="no predictions for the split 'train'; there are some for: validation, test"):
        found.of_split("train")


@pytest.mark.parametrize(
    ("row", "line", "column", "received"),
    [
        ("A,L3,test,nv,0,0,0,0,0,1,0", 5, "image_id", "second time"),
        (",L3,test,nv,0,0,0,0,0,1,0", 5, "image_id", "empty"),
        ("D, ,test,nv,0,0,0,0,0,1,0", 5, "lesion_id", "empty"),
        ("D,L3,train,nv,0,0,0,0,0,1,0", 5, "split", "'train'"),
        ("D,L3,test,scc,0,0,0,0,0,1,0", 5, "y_true", "'scc'"),
        ("D,L3,test,7,0,0,0,0,0,1,0", 5, "y_true", "'7'"),
        ("D,L3,test,nv,0,0,0,0,0,nan,0", 5, "logit_nv", "finite"),
        ("D,L3,test,nv,0,0,0,-inf,0,1,0", 5, "logit_df", "finite"),
        ("D,L3,test,nv,,0,0,0,0,1,0", 5, "logit_akiec", "finite"),
        ("D,L3,test,nv,0,0,0,0,0,1,high", 5, "logit_vasc", "finite"),
        ("D,L3,test,nv,0,0,0,0,0,1,1e999", 5, "logit_vasc", "finite"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, row: str, line: int, column: str, received: str) -> None:
    found = message(write(tmp_path, [*ROWS, row]))
    assert f"line {line}, column {column}" in found
    assert received in found


def test_the_first_of_many_bad_cells_is_named_with_their_number(tmp_path: Path) -> None:
    rows = [f"I{i},L,test,nv,0,0,0,0,0,{'x' if i in (3, 5, 8) else 1},0" for i in range(10)]
    found = message(write(tmp_path, rows))
    assert "line 5, column logit_nv" in found
    assert "3 such rows" in found


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b",".join(c.encode() for c in COLUMNS) + b"\n", "no rows"),
        (b"image,MEL,NV\nA,0,1\n", "put the truth in the same form"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe", "not UTF-8 text"),
        ((",".join(COLUMNS) + "\nA,L1,test,nv,0,0,0,0,0,1,0\nB,L1,test,nv,0,0,0,0,0,1,0,9,9,9\n").encode(), "line 3"),
    ],
)
def test_a_file_that_is_no_predictions_file_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)
    assert why in message(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "predictions.csv")


def test_a_file_of_a_million_rows_is_not_too_large(tmp_path: Path) -> None:
    longest = "ISIC_0000001,HAM_0000001,validation,akiec" + 7 * ",-10.12345"
    assert 1e6 * (len(longest) + 1) < MAX_BYTES
    rows = [f"{row},{'x' * 100_000}" for row in ROWS for _ in range(60)]
    rows = [f"I{i}{row[1:]}" for i, row in enumerate(rows)]
    path = write(tmp_path, rows, ",".join([*COLUMNS, "note"]))
    assert path.stat().st_size > 17 * 2**20
    assert len(read_predictions(path)) == 180
    with path.open("r+b") as file:
        file.truncate(MAX_BYTES + 1)
    assert "larger than 128 MiB" in message(path)


def test_cases_are_joined_by_image_and_unknown_where_absent(tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    table.write_text(
        "image_id,lesion_id,dx,dx_type,age,sex,localization,split\n"
        "C,L2,bcc,histo,70.0,female,back,test\nA,L1,nv,follow_up,,,face,validation\n"
    )
    found = cases_of(read_predictions(write(tmp_path, ROWS)), read_cases(table))
    assert found.index.tolist() == ["A", "B", "C"]
    assert found["age"].isna().tolist() == [True, True, False]
    assert found["sex"].tolist() == ["unknown", "unknown", "female"]
    assert found["localization"].tolist() == ["face", "unknown", "back"]
    assert found["dx_type"].tolist() == ["follow_up", "unknown", "histo"]


def test_lesions_are_numbered_by_id_whatever_the_order_of_rows() -> None:
    p = make_predictions("abc", "zyz", "test", np.zeros(3, int), np.eye(3, 7))
    assert p.lesion.tolist() == [1, 0, 1]
    assert p.select(np.array([1, 0, 2])).lesion.tolist() == [0, 1, 1]
