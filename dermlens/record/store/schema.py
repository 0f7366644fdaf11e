"""The version of the tables: made, compared and changed by Alembic's migrations."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from dermlens.errors import ConfigError, RecordError
from dermlens.record.store.database import Database

MIGRATIONS = Path(__file__).parent / "migrations"
_ONE_MIGRATION = 0x6465726E
"""The advisory lock of PostgreSQL that whoever changes the tables holds."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def newest() -> str:
    """Return the revision that this version of Dermlens works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def revisions() -> list[str]:
    """Return all revisions, oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def current(database: Database) -> str | None:
    """Return the revision of a database, None if it has no tables of a record; RecordError if it cannot be read."""
    with database.told("The record cannot be opened"), database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def check(database: Database) -> None:
    """Make the tables of an empty database, and see that those of another are of this version.

    Raises:
        RecordError: they are older or newer, or the database cannot be reached.
    """
    found = current(database)
    if found == newest():
        return
    if found is None:
        migrate(database)
    elif found in revisions():
        raise RecordError(
            f"The record is older than this Dermlens ({found}, wanted {newest()}). Make a copy of it, then run "
            "python -m dermlens.record upgrade."
        )
    else:
        raise RecordError(
            f"The record was written by a newer Dermlens ({found}, this one knows {newest()}). Update Dermlens; "
            "nothing of the record was changed."
        )


def migrate(database: Database, to: str = "head") -> None:
    """Change the tables to a revision, forwards or backwards, in one transaction; what they hold stays.

    Args:
        database: to change. to: a revision, "head" for the newest, "base" for none: all but kept pictures is deleted.

    Raises:
        ConfigError: there is no such revision.
        RecordError: the database cannot be changed; it is as it was.
    """
    known = revisions()
    if to not in ("head", "base", *known):
        raise ConfigError(f"There is no revision {to!r} of the record; there are {', '.join(known)}, head and base.")
    engine = database.engine.execution_options(writes=True)
    with database.told("Its tables are as they were"), engine.begin() as connection:
        if not database.is_file:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ONE_MIGRATION})
        else:  # tables that are made anew would break the references to them
            connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in known:
            raise RecordError(f"The record was written by a newer Dermlens ({found}). Update Dermlens.")
        if found is None and any(name != "alembic_version" for name in inspect(connection).get_table_names()):
            raise RecordError("The database holds tables that are not the record's. Name one of its own.")
        order = ["base", *known]
        target = known[-1] if to == "head" else to
        back = order.index(target) < order.index(found or "base")
        (command.downgrade if back else command.upgrade)(_config(connection), target)
        if MigrationContext.configure(connection).get_current_revision() != (None if target == "base" else target):
            raise RecordError(f"The record could not be changed to {target}. Its tables are as they were.")
