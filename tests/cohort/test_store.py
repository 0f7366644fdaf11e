"""Paths in an object store, against a server that speaks S3."""

import json
import os
import shutil
from pathlib import Path

import pytest
from pyarrow import fs

from dermlens.cohort import manifest, results
from dermlens.cohort.__main__ import main
from dermlens.cohort.store import PARTIAL, place
from dermlens.errors import DataError
from tests.cohort import folders
from tests.cohort.conftest import Drawn
from tests.image_files import dicom, picture

ROOT = Path(__file__).parents[2]


def upload(options: str, prefix: str, files: dict[str, bytes]) -> None:
    system, _ = fs.FileSystem.from_uri(f"s3://cohort?{options}")
    for name, data in files.items():
        with system.open_output_stream(f"cohort/{prefix}/{name}") as stream:
            stream.write(data)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_images_and_parts_in_an_object_store(
    s3: str, published: Path, drawn: Drawn, tmp_path: Path, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "SHARD_ROWS", 9)
    upload(s3, f"in{workers}", {path: (drawn.folder / path).read_bytes() for path in drawn.paths})
    upload(s3, f"in{workers}", {"notes.txt": b"text", "ISIC_1_segmentation.png": b"mask"})
    source, output = (f"s3://cohort/{name}{workers}?{s3}" for name in ("in", "out"))
    asked = ["run", "--model", "toy", "--models-dir", str(published), "--input", source, "--output", output]
    assert main([*asked, "--workers", workers]) == 3, "one image in seven cannot be read"
    folders.check_rows(place(output), drawn.paths, drawn.expected)
    assert {item.path for item in place(output).items()} >= {"cohort.json", "manifest.parquet", "part-000004.parquet"}
    assert main(["status", output]) == 0
    assert main(["export", output, "--to", str(tmp_path / "rows.csv")]) == 0
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 1 + len(drawn.paths)
    monkeypatch.setattr("dermlens.cohort.answer.predict", lambda *_: pytest.fail("a model was asked again"))
    assert main([*asked, "--workers", "1"]) == 3
    record = place(output).read("cohort.json").decode()
    assert "endpoint_override" not in record, "options may hold a key"


def test_an_object_that_was_replaced_makes_its_shard_stale(s3: str, published: Path, drawn: Drawn) -> None:
    upload(s3, "changing", {f"{i}.png": (drawn.folder / drawn.paths[0]).read_bytes() for i in range(3)})
    source, output = f"s3://cohort/changing?{s3}", place(f"s3://cohort/changed?{s3}")
    asked = ["run", "--model", "toy", "--models-dir", str(published), "--input", source, "--output", output.address]
    assert main(asked) == 0
    first = results.rows(output, [0])["pixels_sha256"].to_pylist()
    upload(s3, "changing", {"1.png": (drawn.folder / drawn.paths[1]).read_bytes()})
    assert main(asked) == 0
    second = results.rows(output, [0])["pixels_sha256"].to_pylist()
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True]


def test_content_decides_about_objects_too(s3: str) -> None:
    upload(s3, "mixed", {"IM0001": dicom(picture()), "notes": b"text"})
    found, _, passed = manifest.list_images(f"s3://cohort/mixed?{s3}")
    assert found.table["path"].to_pylist() == [b"IM0001"]
    assert passed.others == 1
    with pytest.raises(DataError, match="s3://cohort/nothing holds no image"):
        manifest.list_images(f"s3://cohort/nothing?{s3}")


def test_an_address_that_is_none_is_a_sentence_without_its_options() -> None:
    for address, shown in (
        ("nonsense://x?key=S3CRET", "nonsense://x"),
        ("s3://b/x?secret_key=S3CRET key", "s3://b/x"),
        ("s3://AKIA:S3C RET@b/x", "s3://b/x"),
        ("s3://AKIA:S3C/RET@b/x", "s3://b/x"),
        ("s3://AKIA:S3CRET@/x", "s3:///x"),
    ):
        with pytest.raises(DataError, match=f"^{shown} is no place that can be reached") as told:
            place(address).items()
        assert "S3C" not in str(told.value)
        assert told.value.__cause__ is None, "the log would hold it"
    with pytest.raises(DataError, match="no address of a folder on this machine"):
        place("file://[")


def test_a_key_in_an_address_is_neither_written_nor_shown(s3: str, published: Path, drawn: Drawn) -> None:
    upload(s3, "keyed", {"0.png": (drawn.folder / drawn.paths[0]).read_bytes()})
    source, output = f"s3://AKIA:S3CRETKEY@cohort/keyed?{s3}", f"s3://AKIA:S3CRETKEY@cohort/keyed-out?{s3}"
    assert main(["run", "--model", "toy", "--models-dir", str(published), "--input", source, "--output", output]) == 0
    written = place(output).read("cohort.json")
    assert b"S3CRETKEY" not in written
    assert json.loads(written)["input"] == place(source).shown == "s3://cohort/keyed"


def test_a_key_that_an_older_version_wrote_down_is_not_shown(published: Path, drawn: Drawn, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(drawn.folder / drawn.paths[0], tmp_path / "in")
    asked = ["run", "--model", "toy", "--models-dir", str(published), "--input", str(tmp_path / "in"), "--workers", "1"]
    assert main([*asked, "--output", str(tmp_path / "out")]) == 0
    file = tmp_path / "out" / "cohort.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"input": "s3://AKIA:S3CRETKEY@bucket/folder"}))
    assert results.status(place(tmp_path / "out"), 0.0).record["input"] == "s3://bucket/folder"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(tmp_path / "new")
    here.write("a", b"first")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="a cannot be written: No space left on device"):
            here.write("a", b"second")
    assert here.read("a") == b"first"
    (tmp_path / "new" / f".a.1{PARTIAL}").write_bytes(b"what a kill has left")
    assert [item.path for item in here.items()] == ["a"]
    here.remove_partial()
    assert [f.name for f in (tmp_path / "new").iterdir()] == ["a"]
    assert place("file:///tmp/x").local == Path("/tmp/x")
