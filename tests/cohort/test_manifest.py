import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermlens.cohort import manifest
from dermlens.cohort.manifest import encode, list_images, read, read_shard, shard_sha256
from dermlens.cohort.store import place
from dermlens.errors import DataError
from dermlens.files.documents import shortened


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_manifest_lists_every_image_once_in_order_and_is_read_back(tmp_path: Path) -> None:
    images = files(tmp_path / "images", "b.png", "a/c.jpg", "a.jpg", "ä.png", "notes.txt", "ISIC_1_segmentation.png")
    odd = os.fsencode(images) + b"/caf\xe9.png"
    Path(os.fsdecode(odd)).write_bytes(b"")
    found, source, passed = list_images(str(images), shard_rows=2)
    table = found.table
    assert table["path"].to_pylist() == sorted([b"a.jpg", b"a/c.jpg", b"b.png", b"caf\xe9.png", "ä.png".encode()])
    assert table["row"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["bytes"].to_pylist() == [5, 7, 5, 0, 6]
    for path, modified in zip(table["path"].to_pylist(), table["modified"].to_pylist(), strict=True):
        assert modified == os.stat(os.path.join(images, os.fsdecode(path))).st_mtime_ns
    assert (found.shards, source.local) == (3, images)
    assert passed.passed_over == "1 other file, 1 ISIC mask or superpixels"
    output = place(tmp_path / "out")
    output.write(manifest.FILE, encode(found))
    again = read(output)
    assert again.table.equals(table)
    assert again.shard_rows == 2
    assert [read_shard(output, n)["row"].to_pylist() for n in range(3)] == [[0, 1], [2, 3], [4]]


def test_shards_have_a_thousand_rows_and_ten_thousand_in_a_large_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [manifest.Item(f"{i:05}.png", 1, 1) for i in range(2_001)]
    assert manifest.SHARD_ROWS == 1_000
    assert manifest.Manifest(manifest._table(items), 1_000).shards == 3
    monkeypatch.setattr(manifest, "MANY", 2_000)
    monkeypatch.setattr(manifest, "find_images", lambda folder: manifest.Found([item.path for item in items]))
    found, _, _ = list_images("/tmp")
    assert found.shard_rows == 10_000


def test_hashes_tell_what_was_changed(tmp_path: Path) -> None:
    images = files(tmp_path / "images", *(f"{i}.png" for i in range(6)))
    before, _, _ = list_images(str(images), 2)
    (images / "3.png").write_bytes(b"another")
    after, _, _ = list_images(str(images), 2)
    assert before.paths_sha256() == after.paths_sha256(), "the same images are there"
    hashes = [[shard_sha256(m.shard(n)) for n in range(3)] for m in (before, after)]
    assert [a == b for a, b in zip(*hashes, strict=True)] == [True, False, True]
    os.utime(images / "0.png", ns=(1, 1))
    touched, _, _ = list_images(str(images), 2)
    assert shard_sha256(touched.shard(0)) != hashes[1][0]
    for other in (list_images(str(images), 3)[0], list_images(str(files(images, "9.png")), 2)[0]):
        assert other.paths_sha256() != before.paths_sha256()


def test_lists_as_text_and_parquet(tmp_path: Path) -> None:
    images = files(tmp_path / "images", "a.png", "b.png")
    outside = files(tmp_path / "outside", "c.png") / "c.png"
    text = images / "list.txt"
    text.write_bytes(f"b.png\n\na.png\r\n{outside}\nmissing.png\n".encode())
    found, source, _ = list_images(str(text))
    wanted = sorted([b"a.png", b"b.png", b"missing.png", os.fsencode(outside)])
    assert found.table["path"].to_pylist() == wanted
    assert dict(zip(wanted, found.table["bytes"].to_pylist(), strict=True))[b"missing.png"] == -1
    assert source.local == images
    pq.write_table(pa.table({"path": [w.decode() for w in wanted], "age": [1, 2, 3, 4]}), images / "list.parquet")
    assert list_images(str(images / "list.parquet"))[0].table.equals(found.table)


def test_a_file_that_may_not_be_opened_is_listed_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = files(tmp_path / "images", "a.png", "b.png")
    monkeypatch.setattr(manifest.os, "access", lambda path, *_, **__: path.name == "a.png")
    monkeypatch.setattr(manifest.os, "supports_effective_ids", set())
    assert list_images(str(images))[0].table["bytes"].to_pylist() == [5, -1]


def test_one_image_under_two_paths_is_refused_and_two_of_one_name_are_not(tmp_path: Path) -> None:
    images = files(tmp_path / "images", "a.png", "below/a.png", "b.png")
    (tmp_path / "link").symlink_to(images)
    (images / "deep").symlink_to(files(tmp_path / "other" / "place", "c.png"))
    files(tmp_path / "other", "a.png")
    absolute = images / "a.png"
    for other in ("./a.png", "below/../a.png", ".//a.png", str(absolute), f"{tmp_path}/link/a.png", "../link/a.png"):
        (images / "list.txt").write_text(f"b.png\na.png\n{other}\n")
        with pytest.raises(DataError, match="lists 1 path twice, such as .* and .*List each once") as raised:
            list_images(str(images / "list.txt"))
        assert f" {' and '.join(map(shortened, sorted(['a.png', other])))}. " in str(raised.value)
    pq.write_table(pa.table({"path": ["gone.png", "./gone.png"]}), images / "list.parquet")
    with pytest.raises(DataError, match=r"lists 1 path twice, such as \./gone\.png and gone\.png"):
        list_images(str(images / "list.parquet"))
    (images / "list.txt").write_text("a.png\nbelow/a.png\ndeep/../a.png\n")  # the last one is tmp_path/other/a.png
    assert list_images(str(images / "list.txt"))[0].table["bytes"].to_pylist() == [5, 11, 5]
    assert os.path.samefile(images / "deep" / ".." / "a.png", tmp_path / "other" / "a.png")


def test_what_is_no_list_or_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "twice.txt").write_text("a.png\nb.png\na.png\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bad.parquet").write_text("text")
    pq.write_table(pa.table({"file": ["a"]}), tmp_path / "columns.parquet")
    (tmp_path / "table.csv").write_text("a.png\n")
    pq.write_table(pa.table({"path": ["a.png", None, "", "b.png"]}), tmp_path / "gaps.parquet")
    pq.write_table(pa.table({"path": ["a.png", "gs://bucket/a.png"]}), tmp_path / "bucket.parquet")
    (tmp_path / "bucket.txt").write_text("a.png\ns3://key:secret@bucket/a.png\n")
    for name, said in (
        ("twice.txt", "lists 1 path twice, such as a.png"),
        ("empty.txt", "lists no image"),
        ("bad.parquet", "cannot be read as Parquet"),
        ("columns.parquet", "column of paths, 'path'"),
        ("table.csv", "is no list of images"),
        ("nowhere", "is not a folder"),
        ("gaps.parquet", "has 2 rows without a path, the first of them row 2"),
        ("bucket.parquet", "lists gs://bucket/a.png, which is an address and no path"),
        ("bucket.txt", "which is an address and no path"),
    ):
        with pytest.raises(DataError, match=said) as raised:
            list_images(str(tmp_path / name))
        assert "secret" not in str(raised.value)


def test_a_flipped_bit_of_a_manifest_is_a_sentence(tmp_path: Path) -> None:
    images = files(tmp_path / "images", *(f"image_{i:03}.png" for i in range(50)))
    data = bytearray(encode(list_images(str(images))[0]))
    column = pq.ParquetFile(pa.BufferReader(bytes(data))).metadata.row_group(0).column(1)
    data[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 9] ^= 1
    place(tmp_path).write(manifest.FILE, bytes(data))
    with pytest.raises(DataError, match=r"manifest\.parquet is damaged"):
        read(place(tmp_path))


def test_a_damaged_manifest_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / manifest.FILE).write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(DataError, match=r"manifest\.parquet"):
        read(place(tmp_path))
    with pytest.raises(DataError, match=r"manifest\.parquet"):
        read_shard(place(tmp_path), 0)
