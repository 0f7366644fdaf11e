"""A table is read alike whether it can be read at once or has to be read cell by cell."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.errors import DataError
from dermlens.files.tables import plain_cell, read_csv, refuse

TYPES = {"name": str, "value": float}
NUMBERS = [
    *("1", "-0", "+5", ".5", "5.", "1.e5", "1E+05", " 1 ", "\t1", "0.1", "2.50000000000000001", "1e-400", "9" * 300),
    *("", " ", "1e999", "9" * 400, "1_000", "0x10", "1 2", "1e", "e5", "--1", "+ 1", "1d5", "1e5.5", "٣", "\u00a01"),
    *("nan", "NaN", "-nan", "inf", "-inf", "Infinity", "NA", "null", "True", "false", "t", "high"),
]
TEXTS = [
    "",
    " ",
    " a ",
    "NA",
    "nan",
    "None",
    "1",
    "001",
    "1e5",
    "True",
    "ä",
    "\u2028",
    "#",
    "'",
    "\\",
    "a\tb",
    "x" * 999,
]


def read(file: Path, content: str) -> pd.DataFrame | str:
    """Return what a file holds, or the sentence that refuses it."""
    file.write_bytes(content.encode())
    try:
        return read_csv(file, TYPES)
    except DataError as e:
        return str(e)


def alike(folder: Path, content: str) -> pd.DataFrame | str:
    """Read a file as it is and once more with one quoted cell, which has it read cell by cell; both must agree."""
    plain, quoted = (read(folder / "t.csv", text) for text in (content, content.replace("note", '"note"', 1)))
    if isinstance(plain, str) or isinstance(quoted, str):
        assert plain == quoted
    else:
        pd.testing.assert_frame_equal(plain, quoted, check_index_type=False, check_exact=True)
        assert plain.index.name == "line"
    return plain


@pytest.mark.parametrize("cell", NUMBERS)
def test_a_number_is_the_same_either_way(tmp_path: Path, cell: str) -> None:
    for column in ([cell], [cell] * 3, ["1", cell, "0.25"]):
        found = alike(tmp_path, "value,note,name\n" + "".join(f"{text},x,y\n" for text in column))
        assert not isinstance(found, str)
        try:
            expected = float(cell) if cell.isascii() and "_" not in cell and "inity" not in cell else np.nan
        except ValueError:
            expected = np.nan
        np.testing.assert_array_equal(found["value"].iloc[column.index(cell)], expected)


@pytest.mark.parametrize("cell", TEXTS)
def test_a_text_is_the_same_either_way(tmp_path: Path, cell: str) -> None:
    for column in ([cell], [cell] * 3, ["a", cell, "2"]):
        found = alike(tmp_path, "name,value,note\n" + "".join(f"{text},1.5,x\n" for text in column))
        assert not isinstance(found, str)
        assert found["name"].tolist() == column


@pytest.mark.parametrize(
    "content",
    [
        "name,value,note\na,1,x",
        "name,value,note\r\na,1,x\r\nb,2,y\r\n",
        "name,value,note\ra,1,x\r",
        "name,value,note\n\na,1,x\n\n\nb,2,y\n",
        "name,value,note\n \na,1,x\n",
        "name,value,note\na,1,x\nb,2\nc,3,z,4\n",
        "name,value,note\na,1\n,x,b,2,y\n",
        "name,value,note\na,1,x,\nb,2,y,\n",
        "name,value,note\n",
        "name,value,note\na,\x001,x\n",
        "name,value,name,note\na,1,b,x\n",
        "name,note\na,x\n",
        "note,note,value,name\nx,x,1,a\n",
        "name,value,note,\na,1,x,\n",
        f"name,value,note\na,1,{'x' * 140_000}\n",
    ],
)
def test_a_file_of_any_shape_is_the_same_either_way(tmp_path: Path, content: str) -> None:
    alike(tmp_path, content)


def test_a_refused_number_is_shown_as_it_is_read(tmp_path: Path) -> None:
    found = alike(tmp_path, "name,value,note\na,1,x\n\nb,high,y\n")
    assert not isinstance(found, str)
    with pytest.raises(DataError, match=r"t\.csv, line 4, column value: nan is no number\.$"):
        refuse(tmp_path / "t.csv", found, "value", found["value"].isna(), "is no number")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_run_is_made_text(text: str) -> None:
    assert plain_cell(text) == f"'{text}"


def test_other_cells_stay_as_they_are() -> None:
    assert [plain_cell(text) for text in ("", "a=b", "'=1", "ISIC_0024306")] == ["", "a=b", "'=1", "ISIC_0024306"]
