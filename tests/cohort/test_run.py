import os
import shutil
import signal
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermlens.cohort import part, results, work
from dermlens.cohort.answer import answers
from dermlens.cohort.run import Settings, run
from dermlens.cohort.store import Place, place
from dermlens.errors import DataError, DecoderError, ModelError
from dermlens.image.preprocess import unfit
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES
from dermlens.models import registry
from tests.cohort import folders
from tests.cohort.conftest import Drawn
from tests.cohort.kills import ROOT, victims
from tests.faults.kit import until
from tests.processes import alive, descendants


def go(models: Path, source: Path, output: Place, **more: object) -> None:
    settings = {"class_mix": "ham10000", "workers": 1, "shard_rows": 6, **more}
    run(registry.find(models, "toy"), Settings(str(source), output, **settings), "Answering")  # type: ignore[arg-type]


def parts(output: Place) -> dict[int, tuple[int, int]]:
    """Return the parts with what changes when one is written again."""
    known = {n: os.stat(Path(output.address, part.name_of(n))) for n in range(99) if output.has(part.name_of(n))}
    return {n: (s.st_ino, s.st_mtime_ns) for n, s in known.items()}


def test_every_image_is_a_row_with_the_bare_loops_probabilities(published: Path, drawn: Drawn, tmp_path: Path) -> None:
    output = place(tmp_path / "out")
    go(published, drawn.folder, output)
    table = folders.check_rows(output, drawn.paths, drawn.expected)
    assert len(parts(output)) == 7
    for row, path in zip(table.to_pylist(), drawn.paths, strict=True):
        if row["error"]:
            assert row["error_sentence"].endswith(".")
            assert row["call"] is row["suspect"] is row["height"] is row["refused"] is row["quality"] is None
            continue
        shares = [row[f"p_{code}"] for code in CLASSES]
        assert row["call"] == CLASSES[int(np.argmax(shares))]
        assert row["suspect"] == pytest.approx(row["p_akiec"] + row["p_bcc"] + row["p_mel"], abs=1e-6)
        assert (row["height"], row["width"]) == read_file(drawn.folder / path).pixels.shape[:2]
        assert row["refer"] is None, "the toy model has no rules"
        assert row["unlike_toy"] is None, "nor can it tell what is unlike"
        assert "too small" in row["quality"]
        assert row["poor"]
    assert sorted(f.name for f in Path(output.address).iterdir()) == [
        "cohort.json",
        "manifest.parquet",
        *(part.name_of(n) for n in range(7)),
    ]


def test_several_workers_give_the_same_rows(published: Path, drawn: Drawn, tmp_path: Path) -> None:
    output = place(tmp_path / "out")
    go(published, drawn.folder, output, workers=2)
    folders.check_rows(output, drawn.paths, drawn.expected)


def test_what_is_done_is_passed_over_and_a_changed_image_makes_its_shard_stale(
    published: Path, drawn: Drawn, tmp_path: Path
) -> None:
    images, output = tmp_path / "images", place(tmp_path / "out")
    shutil.copytree(drawn.folder, images)
    go(published, images, output)
    first = parts(output)
    go(published, images, output)
    assert parts(output) == first
    Path(output.address, part.name_of(2)).unlink()
    damaged = Path(output.address, part.name_of(4))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert not results.status(output, 0.0).finished
    go(published, images, output)
    second = parts(output)
    assert [n for n in first if second[n] != first[n]] == [2, 4]
    other = drawn.paths.index("image_0003.png")
    shutil.copy(images / drawn.paths[0], images / drawn.paths[other])
    go(published, images, output)
    third = parts(output)
    assert [n for n in first if third[n] != second[n]] == [other // 6]
    expected = list(drawn.expected)
    expected[other] = expected[0]
    folders.check_rows(output, drawn.paths, expected)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"shard_rows": 7}, "another list of images"),
        ({"stored_aspect": "4:3"}, "another stored aspect"),
        ({"maps": True}, "another choice of heat maps"),
    ],
)
def test_parts_of_another_run_are_refused(published: Path, drawn: Drawn, tmp_path: Path, more: dict, said: str) -> None:
    output = place(tmp_path / "out")
    go(published, drawn.folder, output)
    before = parts(output)
    with pytest.raises(DataError, match=said):
        go(published, drawn.folder, output, **more)
    assert parts(output) == before


def test_parts_of_another_model_or_of_more_images_are_refused(pair: Path, drawn: Drawn, tmp_path: Path) -> None:
    images, output = tmp_path / "images", place(tmp_path / "out")
    shutil.copytree(drawn.folder, images)
    go(pair, images, output)
    with pytest.raises(DataError, match="with another model, files of the model"):
        run(registry.find(pair, "toy2"), Settings(str(images), output, "ham10000", workers=1, shard_rows=6), "")
    shutil.copy(images / drawn.paths[0], images / "one_more.png")
    with pytest.raises(DataError, match="with another list of images"):
        go(pair, images, output)
    (images / "one_more.png").unlink()
    Path(output.address, "cohort.json").unlink()
    with pytest.raises(DataError, match=r"holds parts but no cohort\.json"):
        go(pair, images, output)
    with pytest.raises(DataError, match="is a file"):
        go(pair, images, place(images / drawn.paths[0]))


def test_a_part_of_another_model_that_was_put_there_is_refused(pair: Path, drawn: Drawn, tmp_path: Path) -> None:
    one, two = place(tmp_path / "one"), place(tmp_path / "two")
    go(pair, drawn.folder, one)
    run(registry.find(pair, "toy2"), Settings(str(drawn.folder), two, "ham10000", workers=1, shard_rows=6), "")
    shutil.copy(Path(two.address, part.name_of(3)), Path(one.address, part.name_of(3)))
    with pytest.raises(DataError, match=r"part-000003\.parquet was made with another model"):
        go(pair, drawn.folder, one)


def test_parts_that_other_code_made_are_refused(
    published: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = place(tmp_path / "out")
    with monkeypatch.context() as older:
        older.setattr(work, "_code", lambda: "0" * 64)
        go(published, drawn.folder, output)
    with pytest.raises(DataError, match="with another version of Dermlens"):
        go(published, drawn.folder, output)
    assert work._code() == work._code() != "0" * 64


def test_the_footer_says_what_a_part_was_made_from(
    published: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_heic(package: str) -> str:
        if package == "pillow-heif":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr("dermlens.cohort.work.version", without_heic)
    output = place(tmp_path / "out")
    go(published, drawn.folder, output)
    footer = part.read_footer(output, 1)
    assert footer is not None
    assert footer.values["model"] == "toy"
    assert "numpy 2" in footer.values["versions"]
    assert "pillow-heif none" in footer.values["versions"], "an extra"
    assert footer.values["class_mix"] == "ham10000"
    for name in ("model_sha256", "manifest_sha256", "shard_sha256"):
        assert len(footer.values[name]) == 64
    rows = pq.read_table(Path(output.address, part.name_of(1)))
    assert footer.count("rows") == len(rows) == 6
    assert footer.count("unreadable") == len(rows) - rows["error"].null_count


def test_maps_are_those_of_the_call(published: Path, drawn: Drawn, tmp_path: Path) -> None:
    from dermlens.case.predict import predict

    output = place(tmp_path / "out")
    go(published, drawn.folder, output, maps=True)
    model = folders.load(published, "toy")
    row = results.rows(output, [0]).to_pylist()[0]
    heat = np.reshape(row["map"], (-1, row["map_width"]))
    answer = predict(model, read_file(drawn.folder / drawn.paths[0]).pixels)
    np.testing.assert_allclose(heat, answer.maps[CLASSES.index(row["call"])], rtol=1e-6)
    assert unfit(heat, row["height"], row["width"], model.geometry).shape == (60, 80)  # type: ignore[union-attr]


def test_files_that_are_gone_or_not_to_be_opened_are_rows(published: Path, drawn: Drawn, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "s.jpg"))
    long = "y" * 300 + ".png"
    odd = ("gone.png", "x.jpg", "self.jpg", "folder.jpg", "s.jpg", long, "a\0b.png", "c\0d/e.png")
    (tmp_path / "list.txt").write_text("\n".join([*odd, str(drawn.folder / drawn.paths[0])]))
    output = place(tmp_path / "out")
    go(published, tmp_path / "list.txt", output)
    rows = {row["image"]: row for row in results.rows(output, results.present(output)).to_pylist()}
    said = {name: (row["error"], row["error_sentence"]) for name, row in rows.items() if row["error"]}
    begin = "The file cannot be read: "
    assert said == {
        "gone.png": ("missing", f"{begin}no such file or directory."),
        "x.jpg": ("unreadable", f"{begin}it is no regular file."),
        "self.jpg": ("missing", f"{begin}too many levels of symbolic links."),
        "folder.jpg": ("missing", f"{begin}is a directory."),
        "s.jpg": ("unreadable", f"{begin}it is no regular file."),
        long: ("missing", f"{begin}file name too long."),
        "a\\x00b.png": ("unreadable", f"{begin}its path holds a NUL character."),
        "c\\x00d/e.png": ("unreadable", f"{begin}its path holds a NUL character."),
    }
    assert len(rows) == len(odd) + 1


def test_images_that_went_away_since_they_were_listed_stop_the_run_and_come_back_with_them(
    published: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, away, output = tmp_path / "images", tmp_path / "away", place(tmp_path / "out")
    shutil.copytree(drawn.folder, images)
    head = Place.head

    def unmounted(self: Place, path: str, most: int) -> bytes:
        if path == drawn.paths[8] and images.exists():
            images.rename(away)
        return head(self, path, most)

    monkeypatch.setattr(Place, "head", unmounted)
    with pytest.raises(
        DataError, match=r"Shard 1 could not be finished.*image_\d+\.png was there when .* listed, and now"
    ):
        go(published, images, output)
    assert list(parts(output)) == [0]
    monkeypatch.setattr(Place, "head", head)
    away.rename(images)
    go(published, images, output)
    folders.check_rows(output, drawn.paths, drawn.expected)


def test_a_file_that_may_no_longer_be_opened_is_no_missing_one(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(self: Place, path: str, most: int) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Place, "head", closed)
    for size, error in ((5, OSError), (-1, None)):
        rows = pa.table({"row": [0], "path": [b"a.png"], "bytes": [size]})
        asked = answers(None, place(drawn.folder), rows, "as-is", "ham10000", False)  # type: ignore[arg-type]
        if error:
            with pytest.raises(
                error, match=r"^a\.png was there when the images were listed, and now: permission denied$"
            ):
                next(asked)
        else:
            assert next(asked)["error"] == "missing"


def test_a_disk_that_fails_for_a_moment_costs_no_row(
    published: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, failures = Place.head, iter([False] * 9 + [True] * 3)

    def failing(self: Place, path: str, most: int) -> bytes:
        if next(failures, False):
            raise OSError(5, "Input/output error")
        return head(self, path, most)

    monkeypatch.setattr(Place, "head", failing)
    output = place(tmp_path / "out")
    go(published, drawn.folder, output)
    folders.check_rows(output, drawn.paths, drawn.expected)


def test_a_disk_that_fails_for_good_stops_the_run_and_names_the_shard(
    published: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Place, path: str, most: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Place, "head", failing)
    with pytest.raises(DataError, match="Shard 0 could not be finished in 5 attempts.*Input/output error"):
        go(published, drawn.folder, place(tmp_path / "out"))


def test_a_decoder_that_is_killed_is_no_fault_of_the_image(
    published: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dermlens.cohort import answer

    read, killed = answer.read_image, iter([True, True, False, True, True, True])

    def dying(data: bytes, **more: str) -> object:
        if more and next(killed, False):
            raise DecoderError("The decoder was stopped from outside while it read this file. Try again.")
        return read(data, **more)

    monkeypatch.setattr(answer, "read_image", dying)
    output = place(tmp_path / "out")
    go(published, drawn.folder, output)
    folders.check_rows(output, drawn.paths, drawn.expected)


def test_a_decoder_that_never_starts_stops_the_run(
    published: Path, drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(data: bytes, **more: str) -> object:
        raise DecoderError("The decoder did not start.")

    monkeypatch.setattr("dermlens.cohort.answer.read_image", never)
    with pytest.raises(DataError, match="Shard 0 could not be finished.*did not start"):
        go(published, drawn.folder, place(tmp_path / "out"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_cannot_be_used_stops_the_run_with_its_sentence(
    published: Path, drawn: Drawn, tmp_path: Path, workers: int
) -> None:
    with pytest.raises(ModelError, match="toy is not calibrated, so it cannot be re-weighted"):
        go(published, drawn.folder, place(tmp_path / "out"), class_mix="equal", workers=workers)


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_and_the_same_command_goes_on(published: Path, drawn: Drawn, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dermlens.cohort", "run", "--model", "toy", "--models-dir", str(published)]
    command += ["--input", str(tmp_path / "images"), "--output", str(tmp_path / "out"), "--workers", "2"]
    (tmp_path / "images").mkdir()
    for i in range(2_100):  # three shards
        os.link(drawn.folder / drawn.paths[0], tmp_path / "images" / f"{i:04}.png")
    driver = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: len(victims(driver.pid)["decoder"]) == 2)
    below = descendants(driver.pid)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    assert driver.stderr is not None
    said = driver.stderr.read()
    assert driver.wait() == 130
    assert "Stopped. The same command goes on." in said
    assert "Traceback" not in said
    until(lambda: not any(map(alive, below)))
    go(published, tmp_path / "images", place(tmp_path / "out"), shard_rows=None)
    assert results.status(place(tmp_path / "out"), 0.0).counts["rows"] == 2_100
