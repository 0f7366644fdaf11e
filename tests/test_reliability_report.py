import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability import ROOT, TITLES, collect, fuzz_rows, markdown, parts, row_of_tests, run_part

ROW = {"what": "x|y", "tried": 1200, "survived": 1200, "refused": 3, "lost": 0, "worst_seconds": 1.234}
ROW |= {"worst_memory_mb": None, "note": "one\ntwo"}


def test_the_table_has_a_line_a_row_and_the_sums() -> None:
    text = markdown({"corpus": [ROW], "load": [ROW | {"lost": 2, "worst_seconds": float("nan")}]}, {}, "About.")
    lines = text.splitlines()
    assert "| x\\|y | 1,200 | 1,200 | 3 | 0 | 1.23 s |  | one two |" in lines
    assert "| x\\|y | 1,200 | 1,200 | 3 | 2 |  |  | one two |" in lines
    assert "2,400 tried, 2 lost." in lines
    assert [line for line in lines if line.startswith("## ")] == [
        "## A corpus of hostile files, each with the answer it must get",
        "## Many people at once",
    ]
    widths = {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}
    assert widths == {9}


def test_a_part_that_fails_leaves_the_rows_of_the_others_and_a_line() -> None:
    written: list[str] = []

    def run(name: str) -> list[dict]:
        if name == "load":
            raise RuntimeError("its process ended with -9")
        return [ROW]

    status = collect(["corpus", "fuzz PNG", "load", "fuzz JPEG", "faults"], run, written.append, "About.")
    assert status == 1
    assert len(written) == 5
    assert written[-1].count("| x\\|y |") == 4
    assert "**The part load failed**: its process ended with -9." in written[-1]


def test_a_part_run_again_replaces_its_section_alone() -> None:
    first = markdown({"load": [ROW], "faults": [ROW, ROW]}, {"load": ["**failed**"]}, "First.")
    again = markdown({"load": [ROW | {"lost": 1}], "corpus": [ROW]}, {}, "Again.", first)
    titles = [line for line in again.splitlines() if line.startswith("## ")]
    assert titles == [f"## {TITLES[part]}" for part in ("corpus", "load", "faults")]
    assert "4,800 tried, 1 lost." in again
    assert again.count("Again.") == 2
    assert again.count("First.") == 1
    assert "**failed**" not in again
    assert markdown({}, {}, "", again) == again


def test_a_format_read_again_replaces_its_line_alone() -> None:
    png, bmp, heic = (ROW | {"what": what} for what in ("P|NG", "BMP", "HEIC"))
    first = markdown({"load": [ROW], "fuzz": [png, bmp]}, {}, "Made by a.")
    second = markdown({"fuzz": [bmp | {"lost": 1}]}, {}, "Made by b.", first, {"fuzz"})
    third = markdown({"fuzz": [bmp | {"lost": 1}, heic]}, {}, "Made by b.", second, {"fuzz"})
    assert "4,800 tried, 1 lost." in third
    assert [line.split(" | ")[0] for line in third.splitlines() if re.match("Made|[|] [A-Zx]", line)] == [
        *("Made by a.", "| P\\|NG", "Made by b.", "| BMP", "| HEIC"),
        *("Made by a.", "| x\\|y"),
    ]
    assert "Made by b." not in markdown({"fuzz": [bmp, heic]}, {}, "Made by c.", third, {"fuzz"})


@pytest.mark.parametrize(("lost", "status"), [(0, 0), (1, 1)])
def test_the_status_tells_whether_anything_was_lost(lost: int, status: int) -> None:
    assert collect(["corpus"], lambda name: [ROW | {"lost": lost}], lambda text: None, "") == status


def test_a_part_that_crashes_is_told_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"ended with 1: .*KeyError: 'nonsense'"):
        run_part("nonsense", ["--quick"])


def test_a_part_gives_rows_that_the_table_takes() -> None:
    (row,) = fuzz_rows("PNG", 4)
    assert (row["tried"], row["survived"], row["lost"]) == (4, 4, 0)
    assert markdown({"fuzz": [json.loads(json.dumps(row))]}, {}, "").count("| PNG |") == 1
    assert {name.split()[0] for name in parts(False, 4)} == {"corpus", "fuzz", "load", "hostile", "faults", "record"}


def test_tests_are_counted(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_a(): pass\ndef test_b(): assert 0\n")
    row = row_of_tests("it", str(tmp_path / "test_it.py"))
    assert (row["tried"], row["survived"], row["lost"]) == (2, 1, 1)
    assert "test_b" in row["note"]


def test_the_command_names_its_parts() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability", "--only", "nonsense"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "faults" in done.stderr
