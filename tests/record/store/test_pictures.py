"""Kept pictures: in a folder, and in an object store against a server that speaks S3."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from dermlens.errors import DermlensError, RecordError
from dermlens.record import cases, consent, save
from dermlens.record.open import open_record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.save import About
from dermlens.record.settings import Settings
from dermlens.record.store.keys import Keys
from dermlens.record.store.pictures import ORPHANED, Pictures
from tests.record.filled import KEY, saving

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture(params=["folder", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for pictures, of each kind in turn."""
    if request.param == "folder":
        return str(tmp_path / "pictures")
    return f"s3://record/{tmp_path.name}?{request.getfixturevalue('s3')}"


def files(where: str) -> dict[str, bytes]:
    """Return what lies in a place, by its name from there."""
    system, root = fs.FileSystem.from_uri(where) if "://" in where else (fs.LocalFileSystem(), where)
    found = system.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    return {
        info.path.removeprefix(root).lstrip("/"): system.open_input_stream(info.path).read()
        for info in found
        if info.type == fs.FileType.File
    }


def test_a_picture_comes_back_as_it_was_and_lies_there_encrypted(where: str) -> None:
    store = Pictures(where, Keys(KEY))
    names = [store.keep(PIXELS) for _ in range(3)]
    assert set(files(where)) == set(names)
    assert all(re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{32}\.sealed", name) for name in names)
    for name in names:
        assert np.array_equal(store.read(name), PIXELS)
        assert b"PNG" not in files(where)[name]
    with pytest.raises(RecordError, match="another one"):
        Pictures(where, Keys(bytes(range(1, 33)))).read(names[0])
    store.delete(names[0])
    store.delete(names[0])
    with pytest.raises(RecordError, match="not in its store any more"):
        store.read(names[0])
    assert set(files(where)) == set(names[1:])


def test_what_no_image_names_is_swept_once_it_is_old(where: str) -> None:
    store = Pictures(where, Keys(KEY))
    assert store.sweep([]) == 0, "an empty place"
    named, orphan = store.keep(PIXELS), store.keep(PIXELS)
    assert store.sweep([named]) == 0, "it may be of a saving that goes on"
    assert store.sweep([named], datetime.now(UTC) + ORPHANED + timedelta(minutes=1)) == 1
    assert set(files(where)) == {named}
    assert orphan not in files(where)


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
        store.keep(PIXELS)
    said = str(raised.value)
    assert "s3://nobucket/x" in said
    assert "sesame" not in said
    assert "endpoint" not in said
    with pytest.raises(DermlensError) as refused:
        Pictures("nonsense://ak:sesame@x/y", Keys(KEY))
    assert "sesame" not in str(refused.value)
