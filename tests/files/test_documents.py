import hashlib
import json
import os
import resource
import signal
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from dermlens.errors import DataError, ModelError
from dermlens.files.documents import (
    MAX_DEPTH,
    Document,
    canonical,
    encode_object,
    read_at_most,
    read_bytes,
    read_document,
    read_object,
    shown,
    write_object,
    write_whole,
)


def test_a_file_within_the_limit_is_read_and_a_larger_one_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10)
    assert read_bytes(tmp_path / "a", 10) == b"x" * 10
    with pytest.raises(ModelError, match="a is larger than"):
        read_bytes(tmp_path / "a", 9, ModelError)
    with pytest.raises(DataError, match="no such file"):
        read_bytes(tmp_path / "b", 9)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    (tmp_path / "null").symlink_to("/dev/zero")  # reading it would never end
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("folder", "pipe", "null", "loop"):
        with pytest.raises(DataError, match=name):
            read_bytes(tmp_path / name, 100)


def test_a_link_may_lead_within_the_folder_but_not_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "real").write_text("mine")
    (folder / "inner").symlink_to("real")
    (folder / "outer").symlink_to("../secret")
    assert read_bytes(folder / "inner", 100) == b"mine"
    with pytest.raises(DataError, match="outer is a link that leads out of its folder") as caught:
        read_bytes(folder / "outer", 100)
    assert "secret" not in str(caught.value)
    moved = tmp_path / "elsewhere"
    moved.symlink_to(folder)  # where the folder itself stands is its owner's choice
    assert read_bytes(moved / "real", 100) == b"mine"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"a": 1,\n "b": }', "line 2 column 7"),
        (b'{"a": 1,\n "b": "\xff"}', "line 2, byte 8"),
        (b"", "line 1 column 1"),
        (b"[1]", "it is a list"),
        (b"7", "it is a int"),
        (b'{"a": "\\ud800"}', "not valid Unicode"),
        (b'{"a": ' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "deeper"),
        (b"[" * 200_000, "deeper"),
        (b'{"a": ' + b"1" * 5000 + b"}", "JSON"),
    ],
)
def test_what_is_no_json_object_is_named_with_its_place(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "x.json").write_bytes(data)
    sentences = []
    for file in (tmp_path / "x.json", Document(tmp_path / "x.json", data)):
        with pytest.raises(DataError, match=told) as caught:
            read_object(file)
        sentences.append(str(caught.value))
    assert "x.json" in sentences[0]
    assert sentences[0] == sentences[1]


def test_an_object_comes_back_as_it_was(tmp_path: Path) -> None:
    value: dict = {"text": "é 😀", "list": [1, 2.5, None, {"deep": []}]}
    for _ in range(MAX_DEPTH - 4):
        value = {"in": value}
    for data in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode("utf-8-sig")):
        (tmp_path / "x.json").write_bytes(data)
        assert read_object(tmp_path / "x.json") == value


def test_a_document_is_what_the_file_held_when_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "x.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"a": 1}')
    found = read_document(file, 8)
    file.write_bytes(b'{"a": 2}')
    assert found == Document(file, b'{"a": 1}')
    assert found.sha256 == hashlib.sha256(b'{"a": 1}').hexdigest()
    assert read_object(found) == {"a": 1}
    assert (found.name, found.parent, shown(found)) == ("x.json", file.parent, "a/b/x.json")
    assert read_document(found, 8) is found
    with pytest.raises(ModelError, match=r"a/b/x\.json is larger than"):
        read_document(found, 7, ModelError)


def test_every_json_file_of_ours_has_one_form(tmp_path: Path) -> None:
    write_object(tmp_path / "x.json", {"a": "é", "b": [1, {}]})
    written = (tmp_path / "x.json").read_bytes()
    assert written == '{\n "a": "é",\n "b": [\n  1,\n  {}\n ]\n}\n'.encode()
    assert written == encode_object(read_object(tmp_path / "x.json"))
    root = Path(__file__).parents[2]
    committed = [*root.glob("models/*/*.json"), *root.glob("data/splits/*.json")]
    assert len(committed) > 20
    for file in committed:
        if file.name != "run.json":  # a copy of the run's own, whose form was another one once
            assert encode_object(read_object(file)) == file.read_bytes(), file


def test_a_file_that_cannot_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    write_whole(file, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(DataError, match=r"x\.json cannot be written: .+unchanged"):
            write_whole(file, b"n" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == b"old"
    assert [f.name for f in tmp_path.iterdir()] == ["x.json"]
    write_whole(file, b"new")
    assert file.read_bytes() == b"new"


def test_threads_that_write_one_file_at_once_leave_it_as_one_of_them_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, contents = tmp_path / "x.json", [b"a" * 300_000, b"b" * 200_000, b"c" * 100_000]
    both, sync = threading.Barrier(len(contents)), os.fsync

    def together(descriptor: int) -> None:
        both.wait(60)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", together)
    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(lambda content: write_whole(file, content), contents))
    assert file.read_bytes() in contents
    assert [f.name for f in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone/x cannot be written: No such file"):
        write_whole(tmp_path / "gone" / "x", b"")


def test_the_canonical_form_is_one_for_equal_values_and_refuses_what_json_lacks() -> None:
    noon = datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    written = b'{"a":[1,0.1,null],"at":"2026-05-01T12:00:00.000000+00:00","b":"\xc3\xbc"}'
    assert canonical({"b": "ü", "at": noon, "a": [1, 0.1, None]}) == written
    for bad in (float("nan"), datetime(2026, 5, 1), {1}):
        with pytest.raises(ValueError, match=r"."):
            canonical({"x": bad})


def test_no_memory_is_taken_for_more_than_a_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "small"
    file.write_bytes(b"x" * 3_000_000)
    tracemalloc.start()
    found = [read_bytes(file, most) for most in (2**30, 3_000_000)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [b"x" * 3_000_000] * 2
    assert peak < 20_000_000
    with file.open("rb") as opened:
        assert read_at_most(opened, 2**20 + 1) == b"x" * (2**20 + 1)
        assert read_at_most(opened, 0) == b""
