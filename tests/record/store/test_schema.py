from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from dermlens.errors import ConfigError, RecordError
from dermlens.record import disclosures
from dermlens.record.open import open_record
from dermlens.record.people import NOBODY_SIGNED_IN
from dermlens.record.settings import Settings
from dermlens.record.store import audit, schema
from dermlens.record.store.database import Database
from dermlens.record.store.tables import ROWS, Base, Disclosure
from tests.record.filled import KEY, fill


def test_migrations_make_the_tables_that_the_code_describes(url: str) -> None:
    database = Database(url)
    schema.check(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_every_migration_goes_forth_and_back_with_data_in_it(url: str) -> None:
    database = Database(url)
    steps = ["base", *schema.revisions()]
    assert len(steps) > 1
    schema.migrate(database)
    fill(open_record(Settings(url, key=KEY)))
    for to in (*reversed(steps[1:-1]), *steps[1:]):  # down to the first and up again: what is kept is kept
        schema.migrate(database, to)
        assert schema.current(database) == to
        with database.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM prediction"))
    with database.reading() as session:
        found = audit.verify(session)
        assert found.n_problems == 0
        assert found.rows > len(ROWS)
        assert all(session.scalars(select(kind)).first() is not None for kind in ROWS if kind is not Disclosure)
    schema.migrate(database, "base")
    with database.engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    schema.check(database)
    fill(open_record(Settings(url, key=KEY)))
    database.close()


def test_what_an_older_record_cannot_hold_is_not_thrown_away(url: str) -> None:
    record = open_record(Settings(url, key=KEY))
    fill(record)
    disclosures.note(record, NOBODY_SIGNED_IN, "fhir", lesion_id=1)
    with pytest.raises(RecordError, match="The record holds what has left, which revision 0001 cannot hold"):
        schema.migrate(record.database, "0001")
    assert schema.current(record.database) == "0002"
    with record.database.reading() as session:
        found = audit.verify(session)
        assert found.n_problems == 0
        assert all(session.scalars(select(kind)).first() is not None for kind in ROWS)
    schema.migrate(record.database, "base")
    with record.database.engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    record.database.close()


def test_a_record_that_is_too_new_or_too_old_is_left_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(url)
    schema.check(database)
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(RecordError, match=r"written by a newer Dermlens \(9999, this one knows 0002\)"):
        open_record(Settings(url))
    with pytest.raises(RecordError, match="newer"):
        schema.migrate(database)
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    monkeypatch.setattr(schema, "newest", lambda: "0003")
    with pytest.raises(RecordError, match=r"older than this Dermlens .* python -m dermlens.record upgrade"):
        open_record(Settings(url))
    database.close()


def test_a_database_of_something_else_is_refused(url: str) -> None:
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE invoice (id INTEGER)"))
    with pytest.raises(RecordError, match="tables that are not the record's"):
        schema.check(database)
    with pytest.raises(ConfigError, match="no revision 'tomorrow'"):
        schema.migrate(database, "tomorrow")
    database.close()


def test_times_need_a_zone() -> None:
    from dermlens.record.store.tables import Utc

    with pytest.raises(ValueError, match="zone"):
        Utc().process_bind_param(datetime(2026, 1, 1), Database("sqlite:////tmp/unused").engine.dialect)
    assert Utc().process_result_value(datetime(2026, 1, 1), None) == datetime(2026, 1, 1, tzinfo=UTC)
