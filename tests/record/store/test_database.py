import os
import resource
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from dermlens.errors import ConfigError, RecordError
from dermlens.record.open import Record
from dermlens.record.store import audit, database, schema
from dermlens.record.store.database import Database
from dermlens.record.store.tables import Lesion
from tests.browser.app import free_port
from tests.record import postgresql


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("record.db", "got something else"),
        ("mysql://x", "got mysql"),
        ("postgresql://x/y", "got postgresql"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
    ],
)
def test_an_address_that_cannot_be_used_is_told_without_what_it_holds(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Database(url)


def test_a_file_is_made_for_its_owner_alone_and_set_up_as_it_should_be(tmp_path: Path) -> None:
    made = Database(f"sqlite:///{tmp_path}/record.db")
    assert stat.S_IMODE((tmp_path / "record.db").stat().st_mode) == 0o600
    with made.engine.connect() as connection:
        settings = {name: connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "foreign_keys")}
        assert settings == {"journal_mode": "wal", "foreign_keys": 1}
        assert connection.scalar(text("PRAGMA synchronous")) == 2
        assert connection.scalar(text("PRAGMA busy_timeout")) == 1000 * database.PATIENCE
    made.close()


def test_a_folder_that_is_not_there_and_a_file_that_is_no_database_are_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be made: No such file or directory"):
        Database(f"sqlite:///{tmp_path}/nowhere/record.db")
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(RecordError, match="is not a database"):
        schema.check(Database(f"sqlite:///{tmp_path}/text.db"))


def test_a_record_that_another_program_holds_is_told_and_waited_for(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0)
    impatient = Database(record.database.url.render_as_string(hide_password=False))
    if not impatient.is_file:
        monkeypatch.setattr(database, "_POSTGRES", "-c lock_timeout=50ms")
        impatient = Database(record.database.url.render_as_string(hide_password=False))
    with record.database.writing() as holder:
        audit.note(holder, "command", "case", Lesion(group_name="a"))
        with (
            pytest.raises(RecordError, match=r"The record is locked: .* Nothing was saved. Try again."),
            impatient.writing(),
        ):
            pass
        with impatient.reading() as reader:  # readers see what was there before
            assert audit.head(reader) is None
    with impatient.writing() as session:
        audit.note(session, "command", "case", Lesion(group_name="b"))
    with record.database.reading() as session:
        assert audit.verify(session).lines == 2
    impatient.close()


def test_that_what_was_erased_may_still_be_read_is_said_where_the_disk_is_full(tmp_path: Path) -> None:
    made = Database(f"sqlite:///{tmp_path}/record.db")
    with made.engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x BLOB)"))
        connection.execute(text("INSERT INTO t VALUES (zeroblob(400000))"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RecordError, match=r"The disk of the record .* may still be read"):
            made.forget()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    made.forget()
    assert (tmp_path / "record.db").stat().st_size > 400_000
    made.close()


def test_a_reader_sees_one_state_of_the_record_while_others_write(record: Record) -> None:
    def write() -> None:
        with record.database.writing() as session:
            audit.note(session, "command", "case", Lesion(group_name="a"))

    write()
    with record.database.reading() as reader:
        assert audit.verify(reader).lines == 1
        write()
        found = audit.verify(reader)
        assert (found.lines, found.rows, found.n_problems) == (1, 1, 0)
        assert len(reader.query(Lesion).all()) == 1
    with record.database.reading() as reader:
        assert audit.verify(reader).lines == 2


def test_a_record_that_is_written_to_while_it_is_verified_is_whole(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = audit._lines

    def lines_and_then_a_case(session: database.Session) -> Iterator:
        yield from lines(session)
        with record.database.writing() as writer:
            audit.note(writer, "command", "case", Lesion(group_name="a"))

    monkeypatch.setattr(audit, "_lines", lines_and_then_a_case)
    with record.database.reading() as reader:
        found = audit.verify(reader)
    assert found.problems == ()
    with record.database.reading() as reader:
        assert audit.head(reader) is not None


def test_a_server_of_postgresql_says_that_readers_have_a_snapshot_and_writers_the_newest(
    postgres: postgresql.Server,
) -> None:
    opened = Database(postgres.create("levels"))
    schema.check(opened)
    said = {}
    for name, session_of in (("reading", opened.reading), ("writing", opened.writing), ("again", opened.reading)):
        with session_of() as session:
            said[name] = [session.scalar(text(f"SHOW transaction_{what}")) for what in ("isolation", "read_only")]
    assert said["reading"] == said["again"] == ["repeatable read", "on"]
    assert said["writing"] == ["read committed", "off"]
    opened.close()


def test_20_writers_at_once_keep_one_chain(patient: None, record: Record) -> None:
    begin = threading.Barrier(20)
    failed: list[BaseException] = []

    def write(number: int) -> None:
        begin.wait()
        for _ in range(5):
            try:
                with record.database.writing() as session:
                    audit.note(session, f"person:{number}", "case", Lesion(group_name="a"), Lesion(group_name="b"))
            except BaseException as e:  # noqa: BLE001 - whatever it is, the test fails
                failed.append(e)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with record.database.reading() as session:
        found = audit.verify(session)
    assert (found.lines, found.rows, found.n_problems) == (200, 200, 0)


def test_no_value_leaves_with_an_error(record: Record) -> None:
    with pytest.raises(RecordError) as caught, record.database.writing() as session:
        session.execute(text("INSERT INTO lesion (salt, group_name) VALUES ('', :name)"), {"name": None})
    assert str(caught.value).startswith("The record refused it")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    with pytest.raises(RecordError) as caught, record.database.writing() as session:
        session.execute(text("SELECT :name FROM nowhere"), {"name": "Miller"})
    assert "Miller" not in str(caught.value)


def test_a_server_that_is_down_refuses_or_lacks_the_database_is_told(postgres: postgresql.Server) -> None:
    with pytest.raises(
        RecordError, match=r"The database server at 127.0.0.1:\d+ does not answer. The record cannot be"
    ):
        schema.check(Database(f"postgresql+psycopg://dermlens:secret@127.0.0.1:{free_port()}/x"))
    with pytest.raises(RecordError, match="no such database or user"):
        schema.check(Database(postgres.url("nowhere")))


def test_a_connection_that_was_cut_is_replaced(postgres: postgresql.Server) -> None:
    opened = Database(postgres.create("cut"))
    schema.check(opened)
    with opened.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    other = Database(postgres.url("postgres"))
    with other.engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'cut'"))
    with opened.writing() as session:
        audit.note(session, "command", "case", Lesion(group_name="a"))

    def cut_half_way() -> None:
        with opened.writing() as session:
            audit.note(session, "command", "case", Lesion(group_name="b"))
            with other.engine.connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'cut'"))
            audit.note(session, "command", "case", Lesion(group_name="c"))

    with pytest.raises(RecordError, match=r"does not answer. Nothing was saved"):
        cut_half_way()
    with opened.reading() as session:
        assert audit.verify(session).lines == 1
    opened.close()
    other.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "record.db"
    sqlite3.connect(file).close()
    file.chmod(0o400)
    with pytest.raises(RecordError, match="is read-only"):
        schema.check(Database(f"sqlite:///{file}"))
