import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dermlens.record.open import Record, open_record
from dermlens.record.settings import Settings
from dermlens.record.store import database
from tests.record import postgresql
from tests.record.filled import KEY
from tests.s3 import s3

__all__ = ["s3"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgresql.Server]:
    """A server of PostgreSQL. Without its programs a test is skipped here, but fails where CI is set."""
    if postgresql.binaries() is None:
        sentence = "no PostgreSQL found: `make postgresql` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    with postgresql.server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/record.db"
    return request.getfixturevalue("postgres").create(f"t{uuid.uuid4().hex}")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records opened from now on wait long for each other: how fast this machine writes is not what is tested."""
    monkeypatch.setattr(database, "_POSTGRES", database._POSTGRES.replace(f"={database.PATIENCE}s", "=300s"))
    monkeypatch.setattr(database, "PATIENCE", 300)
    monkeypatch.setattr(database, "CONNECT", 300)


@pytest.fixture
def record(url: str, tmp_path: Path) -> Iterator[Record]:
    """An open record with a key and a place for pictures."""
    opened = open_record(Settings(url, key=KEY, pictures=str(tmp_path / "pictures")))
    yield opened
    opened.database.close()
