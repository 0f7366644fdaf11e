import csv
import os
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dermlens.cohort import part, results
from dermlens.cohort.__main__ import main
from dermlens.cohort.store import Place, place
from dermlens.errors import DataError
from dermlens.labels import CLASSES, INDEX
from tests.cohort.conftest import Drawn
from tests.cohort.test_run import go


@pytest.fixture(scope="module")
def output(published: Path, drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished cohort of 40 images in seven shards. Read only."""
    found = place(tmp_path_factory.mktemp("finished") / "out")
    go(published, drawn.folder, found)
    return found


def rows(file: Path) -> list[list[str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.reader(opened))


def test_one_parquet_file_has_every_row_and_column(output: Place, tmp_path: Path) -> None:
    assert main(["export", output.address, "--to", str(tmp_path / "rows.parquet")]) == 0
    found = pq.read_table(tmp_path / "rows.parquet")
    assert found.equals(results.rows(output, range(7)))
    assert not list(tmp_path.glob(".*"))


def test_csv_has_a_line_a_row_and_lists_with_spaces(output: Place, drawn: Drawn, tmp_path: Path) -> None:
    assert main(["export", output.address, "--to", str(tmp_path / "rows.csv")]) == 0
    header, *body = rows(tmp_path / "rows.csv")
    table = [dict(zip(header, cells, strict=True)) for cells in body]
    assert [row["image"] for row in table] == drawn.paths
    for row, expected in zip(table, drawn.expected, strict=True):
        if expected is None:
            assert row["error"] == "unreadable"
            assert row["p_mel"] == row["quality"] == row["refused"] == ""
        else:
            assert [float(row[f"p_{code}"]) for code in CLASSES] == pytest.approx(expected, rel=1e-6)
            assert "too small" in row["quality"]
            assert row["refused"] == "false"


def test_isic_has_a_row_for_what_could_be_read_and_lists_the_rest(output: Place, drawn: Drawn, tmp_path: Path) -> None:
    assert main(["export", output.address, "--to", str(tmp_path / "out.csv"), "--format", "isic"]) == 0
    header, *body = rows(tmp_path / "out.csv")
    assert header == ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    expected = {Path(p).stem: e for p, e in zip(drawn.paths, drawn.expected, strict=True)}
    assert [row[0] for row in body] == [name for name, e in expected.items() if e is not None]
    for name, *shares in body:
        wanted = [expected[name][INDEX[column.lower()]] for column in header[1:]]  # type: ignore[index]
        assert list(map(float, shares)) == pytest.approx(wanted, abs=1e-8)
    errors = rows(tmp_path / "out.errors.csv")
    assert [row[0] for row in errors[1:]] == [p for p, e in zip(drawn.paths, drawn.expected, strict=True) if e is None]
    assert not (tmp_path / "out.unlike.csv").exists()


def test_equal_ids_are_refused_in_a_submission() -> None:
    with pytest.raises(DataError, match=r"1 image id occurs more than once \(a\.png, b/a\.jpg\)"):
        results.refuse_equal_stems(["a.png", "b/a.jpg", "c.png"])


def test_an_unfinished_cohort_is_not_exported(
    output: Place, drawn: Drawn, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = place(tmp_path / "out")
    go(published, drawn.folder, other)
    Path(other.address, part.name_of(3)).unlink()
    assert main(["export", other.address, "--to", str(tmp_path / "rows.csv")]) == 2
    assert "holds 34 of 40 rows" in capsys.readouterr().err
    assert not (tmp_path / "rows.csv").exists()
    assert main(["export", str(tmp_path / "nothing"), "--to", str(tmp_path / "rows.csv")]) == 2
    assert "holds no cohort.json" in capsys.readouterr().err


def test_status_counts_what_is_done(output: Place, drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", output.address]) == 0
    told = capsys.readouterr().out
    unreadable = sum(e is None for e in drawn.expected)
    assert "toy: finished, 40 of 40 images in 7 of 7 shards" in told
    assert f"not readable: {unreadable}; unlike dermoscopic images: not judged" in told
    assert "referred: not judged; poor pictures: 35" in told
    assert "images a second" in told
    assert "left" not in told


def test_an_unfinished_cohort_is_running_and_later_stopped(published: Path, drawn: Drawn, tmp_path: Path) -> None:
    other = place(tmp_path / "out")
    go(published, drawn.folder, other)
    for number in (0, 1, 2):
        Path(other.address, part.name_of(number)).unlink()
    now = time.time()
    found = results.status(other, now)
    assert (found.state, found.done, found.parts) == ("running", 22, (3, 4, 5, 6))
    assert found.seconds_left == pytest.approx(18 / found.rate)
    assert results.status(other, now + results.SILENCE[0] + 60).state == "stopped"
    footers = [part.read_footer(other, n) for n in found.parts]
    seconds = sum(f.seconds for f in footers if f)
    assert found.rate == pytest.approx(22 / seconds), "one worker, one part after the other"


def test_workers_at_once_are_counted_from_the_times_of_the_parts() -> None:
    def footer(started: float, finished: float) -> part.Footer:
        return part.Footer(0, {part.STARTED: str(started), part.FINISHED: str(finished)})

    assert results._at_once([footer(0, 10), footer(10, 20), footer(5, 12)]) == 2
    assert results._at_once([footer(0, 10), footer(1, 9), footer(2, 3), footer(100, 101)]) == 3
    assert results._at_once([]) == 0


def test_cohorts_of_a_folder_the_newest_first(output: Place, tmp_path: Path) -> None:
    assert results.find_cohorts(tmp_path / "none") == []
    for i, name in enumerate(("old", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cohort.json").write_text("{}")
        os.utime(tmp_path / name / "cohort.json", (i, i))
    (tmp_path / "other").mkdir()
    assert [Path(found.address).name for found in results.find_cohorts(tmp_path)] == ["new", "old"]


def test_the_command_says_what_is_wrong_with_its_arguments(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["run", "--model", "toy", "--models-dir", str(published), "--output", str(tmp_path / "out")]
    assert main([*base, "--input", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*base, "--input", str(tmp_path), "--workers", "0"])
    assert not (tmp_path / "out").exists()
