"""Kept pictures: in a folder, and in an object store against a server that speaks S3."""

import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from pyarrow import fs

from dermlens.errors import DermlensError, RecordError
from dermlens.record import cases, consent, save
from dermlens.record.open import Record, open_record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.save import About
from dermlens.record.settings import Settings
from dermlens.record.store import audit
from dermlens.record.store.keys import Keys
from dermlens.record.store.pictures import Pictures
from dermlens.record.store.tables import Image
from tests.record.filled import KEY, saving

RNG = np.random.default_rng(0)
ORIGIN, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
PIXELS = RNG.integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture(params=["folder", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for pictures, of each kind in turn."""
    if request.param == "folder":
        return str(tmp_path / "pictures")
    return f"s3://record/{tmp_path.name}?{request.getfixturevalue('s3')}"


def files(where: str) -> dict[str, bytes]:
    """Return what lies in a place but the marks of records, by its name from there."""
    system, root = fs.FileSystem.from_uri(where) if "://" in where else (fs.LocalFileSystem(), where)
    found = system.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    return {
        info.path.removeprefix(root).lstrip("/"): system.open_input_stream(info.path).read()
        for info in found
        if info.type == fs.FileType.File and info.base_name != "head"
    }


def test_a_picture_comes_back_as_it_was_and_lies_there_encrypted(where: str) -> None:
    store = Pictures(where, Keys(KEY))
    names = [store.keep(PIXELS, ORIGIN) for _ in range(3)]
    assert set(files(where)) == set(names)
    assert all(re.fullmatch(r"0123456789abcdef/[0-9a-f]{2}/[0-9a-f]{32}\.sealed", name) for name in names)
    for name in names:
        assert np.array_equal(store.read(name), PIXELS)
        assert b"IHDR" not in files(where)[name]
    with pytest.raises(RecordError, match="another one"):
        Pictures(where, Keys(bytes(range(1, 33)))).read(names[0])
    store.delete(names[0])
    store.delete(names[0])
    with pytest.raises(RecordError, match="not in its store any more"):
        store.read(names[0])
    assert set(files(where)) == set(names[1:])


def test_what_no_image_names_is_swept_once_it_is_old(where: str) -> None:
    store, now = Pictures(where, Keys(KEY)), datetime.now(UTC)
    later = now + timedelta(minutes=1)
    assert store.sweep(ORIGIN, [], later) == 0, "an empty place"
    named, orphan, of_another = (store.keep(PIXELS, origin) for origin in (ORIGIN, ORIGIN, OTHER))
    assert store.sweep(ORIGIN, [named], now - timedelta(minutes=1)) == 0, "it may be of a saving that goes on"
    assert store.sweep(ORIGIN, [named], later) == 1
    assert set(files(where)) == {named, of_another}
    assert orphan not in files(where)


def test_a_time_told_in_whole_seconds_may_be_almost_a_second_later(tmp_path: Path) -> None:
    store = Pictures(str(tmp_path), Keys(KEY))
    told = datetime(2026, 11, 30, 19, 40, 10, tzinfo=UTC)
    os.utime(tmp_path / store.keep(PIXELS, ORIGIN), (told.timestamp(), told.timestamp()))
    assert store.sweep(ORIGIN, [], told + timedelta(seconds=0.9)) == 0
    assert store.sweep(ORIGIN, [], told + timedelta(seconds=1.1)) == 1


def test_a_mark_comes_back_and_is_no_picture(where: str) -> None:
    store = Pictures(where, Keys(KEY))
    assert store.marked(ORIGIN) == ""
    for line in ("1,aa,2026-05-01", "2,bb,2026-05-02"):
        store.mark(ORIGIN, line)
        assert store.marked(ORIGIN) == line
    assert (store.marked(OTHER), files(where)) == ("", {})
    assert store.sweep(ORIGIN, [], datetime.now(UTC) + timedelta(days=1)) == 0
    assert store.marked(ORIGIN) == line


def test_a_picture_is_on_the_disk_before_it_is_told_as_kept_and_off_it_before_it_is_told_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []

    def sync(opened: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{opened}")).relative_to(tmp_path))

    monkeypatch.setattr(os, "fsync", sync)
    store = Pictures(str(tmp_path), Keys(KEY))
    name = store.keep(PIXELS, ORIGIN)
    own = Path(name).parent
    assert synced[0].suffix == ".part", "the file, before it gets its name"
    assert synced[1:] == [own, own.parent, Path()]
    synced.clear()
    store.delete(name)
    assert synced == [own]


def test_a_store_lacks_what_was_kept_in_another(where: str, tmp_path: Path) -> None:
    store = Pictures(where, Keys(KEY))
    assert store.lacks([]) == ""
    name = store.keep(PIXELS, ORIGIN)
    assert store.lacks([name]) == ""
    store.delete(name)
    assert store.lacks([name]) == "", "its folder stays"
    assert store.lacks([name, f"{OTHER[:16]}/ab/{'ab' * 16}.sealed"]) == OTHER[:16]
    assert store.lacks([f"ab/{'ab' * 16}.sealed"]) == "ab", "as older versions named them"


class Failing(fs.LocalFileSystem):
    """A folder that does not delete."""

    error: OSError = FileNotFoundError("gone")

    def delete_file(self, path: str) -> None:
        raise self.error


def test_a_sweep_goes_past_what_another_server_deleted_and_tells_what_cannot_be(tmp_path: Path) -> None:
    store, later = Pictures(str(tmp_path), Keys(KEY)), datetime.now(UTC) + timedelta(minutes=1)
    store.keep(PIXELS, ORIGIN)
    store._files = failing = Failing()
    assert store.sweep(ORIGIN, [], later) == 0
    failing.error = PermissionError(13, "Permission denied")
    with pytest.raises(RecordError, match="cannot delete: Permission denied"):
        store.sweep(ORIGIN, [], later)


def kept(where: str, database: Path) -> Record:
    """Return a record with one more kept picture."""
    record = open_record(Settings(f"sqlite:///{database}", key=KEY, pictures=where))
    save.save(record, ME, saving(RNG, 5, About(keep_picture=True), picture=PIXELS))
    return record


TOMORROW = datetime.now(UTC) + timedelta(days=1)


def test_a_record_sweeps_nothing_that_another_record_wrote(where: str, tmp_path: Path) -> None:
    first = kept(where, tmp_path / "first.db")
    before = files(where)
    mistyped = open_record(Settings(f"sqlite:///{tmp_path}/frist.db", key=KEY, pictures=where))
    assert consent.expire(mistyped, TOMORROW) == 0
    save.save(mistyped, ME, saving(RNG, 5), TOMORROW)
    assert consent.expire(mistyped, TOMORROW) == 0
    assert files(where) == before
    second = kept(where, tmp_path / "second.db")
    for record in (first, second, mistyped):
        assert consent.expire(record, TOMORROW) == 0
        record.database.close()
    assert len(files(where)) == 2


def test_an_older_copy_of_a_record_sweeps_nothing_that_the_record_wrote_since(where: str, tmp_path: Path) -> None:
    record = kept(where, tmp_path / "record.db")
    assert consent.expire(record, TOMORROW) == 0
    record.database.close()
    shutil.copyfile(tmp_path / "record.db", tmp_path / "copy.db")
    record = kept(where, tmp_path / "record.db")
    copy = open_record(Settings(f"sqlite:///{tmp_path}/copy.db", key=KEY, pictures=where))
    assert consent.expire(copy, TOMORROW) == 0, "the pictures are newer than the last line of the copy"
    assert consent.expire(record, TOMORROW) == 0
    save.save(copy, ME, saving(RNG, 5))
    with pytest.raises(RecordError, match="another copy of this record"):
        consent.expire(copy, TOMORROW)
    assert len(files(where)) == 2
    record.database.close()
    copy.database.close()


def test_pictures_of_an_older_version_are_read_and_end_with_their_term_and_are_not_swept(
    where: str, tmp_path: Path
) -> None:
    record = kept(where, tmp_path / "record.db")
    system, root = fs.FileSystem.from_uri(where) if "://" in where else (fs.LocalFileSystem(), where)
    named, unnamed = (f"{digits[:2]}/{digits}.sealed" for digits in ("ab" * 16, "cd" * 16))
    _, png = cv2.imencode(".png", PIXELS[..., ::-1])
    for name in (named, unnamed):
        system.create_dir(f"{root}/{name[:2]}")
        with system.open_output_stream(f"{root}/{name}") as out:
            out.write(Keys(KEY).seal(png.tobytes(), name))
    with record.database.writing() as session:
        image = session.get(Image, 1)
        assert image is not None
        image.picture = named
        soon = datetime.now(UTC) + timedelta(seconds=1)  # S3 tells whole seconds
        audit.note(session, "command", "save", image, at=soon)
    assert record.pictures is not None
    assert np.array_equal(record.pictures.read(named), PIXELS)
    assert consent.expire(record, TOMORROW) == 1, "the picture in the record's own folder, which nothing names now"
    assert set(files(where)) == {named, unnamed}
    assert consent.expire(record, datetime.now(UTC) + timedelta(days=366)) == 1
    assert set(files(where)) == {unnamed}
    record.database.close()


def test_a_kept_picture_goes_with_its_term_and_with_the_consent(where: str, tmp_path: Path) -> None:
    record = open_record(Settings(f"sqlite:///{tmp_path}/record.db", key=KEY, pictures=where, days=10))
    about = About(patient="x", consent="pictures", keep_picture=True)
    one, two = (save.save(record, ME, saving(RNG, 5, about, picture=PIXELS)) for _ in range(2))
    assert len(files(where)) == 2
    with record.database.reading() as session:
        (image,) = cases.one(session, ME, one.lesion_id).images
    assert record.pictures is not None
    assert image.picture is not None
    assert np.array_equal(record.pictures.read(image.picture), PIXELS)
    assert consent.withdraw(record, ME, two.lesion_id) == 2
    assert files(where) == {}
    third = save.save(record, ME, saving(RNG, 5, About(keep_picture=True), picture=PIXELS))
    assert consent.expire(record, datetime.now(UTC) + timedelta(days=9)) == 0
    assert consent.expire(record, datetime.now(UTC) + timedelta(days=11)) == 1
    assert files(where) == {}
    with record.database.reading() as session:
        assert cases.one(session, ME, third.lesion_id).images[0].picture is None
    record.database.close()


def test_a_store_that_fails_is_named_without_its_keys(s3: str) -> None:
    store = Pictures(f"s3://ak:sesame@nobucket/x?{s3.replace('&allow_bucket_creation=true', '')}", Keys(KEY))
    with pytest.raises(RecordError, match="cannot be written") as raised:
        store.keep(PIXELS, ORIGIN)
    said = str(raised.value)
    assert "s3://nobucket/x" in said
    assert "sesame" not in said
    assert "endpoint" not in said
    with pytest.raises(DermlensError) as refused:
        Pictures("nonsense://ak:sesame@x/y", Keys(KEY))
    assert "sesame" not in str(refused.value)
