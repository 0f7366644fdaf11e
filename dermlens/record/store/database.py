"""The database of the record: SQLite in a file, or PostgreSQL. What goes wrong with it is said in one sentence."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import Session

from dermlens.errors import ConfigError, RecordError

PATIENCE = 5
"""Seconds to wait for another one who is writing."""
LONGEST = 30
"""Seconds that PostgreSQL may take for one statement."""
CONNECT = 3
"""Seconds to wait for a server of PostgreSQL to answer."""
CONNECTIONS = 20
"""Most that are open at once, from this process."""
_ONE_WRITER = 0x6465726D
"""The advisory lock of PostgreSQL that whoever writes holds: one chain, one writer."""
_POSTGRES = (
    f"-c lock_timeout={PATIENCE}s -c statement_timeout={LONGEST}s -c timezone=UTC "
    "-c idle_in_transaction_session_timeout=60s"
)
_UNSAVED = "Nothing was saved. Try again."
_STILL_THERE = (
    "What was erased is gone from the record, but may still be read in the file beside it: run python -m "
    "dermlens.record expire."
)


class Database:
    """An engine, with sessions to read and to write."""

    def __init__(self, url: str) -> None:
        """Make ready to connect; a file of SQLite that is not there is made, readable by its owner alone.

        Raises:
            ConfigError: the address is none that can be used.
            RecordError: the file cannot be made.
        """
        self.url = _checked(url)
        self.is_file = self.url.get_backend_name() == "sqlite"
        options: dict[str, Any] = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_timeout": PATIENCE}
        if self.is_file:
            _make_private(Path(str(self.url.database)))
            options["connect_args"] = {"timeout": PATIENCE}
        else:
            options |= {"pool_pre_ping": True, "pool_recycle": 1800}
            options["connect_args"] = {"connect_timeout": CONNECT, "options": _POSTGRES}
        self.engine = create_engine(self.url, hide_parameters=True, **options)
        logging.getLogger("sqlalchemy.engine.Engine").addFilter(_without_rows)
        if self.is_file:
            event.listen(self.engine, "connect", _prepare_file)
            event.listen(self.engine, "begin", _begin)
        self._writer = self.engine.execution_options(writes=True)
        self._reader = self.engine  # SQLite reads from one state of the file by itself
        if not self.is_file:
            snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._reader = self.engine.execution_options(**snapshot)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session that sees the record as it is at its first query, to the end, and changes nothing.

        Raises:
            RecordError: the database cannot be read, and why.
        """
        with self.told("The record cannot be read"), Session(self._reader) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Yield the one session that may write; all of it is kept at the end of the block, or nothing if that raises.

        Raises:
            RecordError: it cannot be saved, and why.
        """
        with self.told(_UNSAVED), Session(self._writer, expire_on_commit=False) as session:
            session.connection()  # begins, and waits for another writer, before anything is read
            if not self.is_file:
                session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ONE_WRITER})
            yield session
            session.commit()

    @contextmanager
    def told(self, consequence: str) -> Iterator[None]:
        """Turn what a database raises into a RecordError that holds none of the values.

        Args:
            consequence: what it means, a sentence.
        """
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as e:  # the second of `forget`, which asks the driver itself
            raise RecordError(f"{self.reason(e)} {consequence.rstrip('.')}.") from None

    def reason(self, error: SQLAlchemyError | sqlite3.Error) -> str:
        """Say in a sentence what is wrong with the database, and what to do."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        where = self.url.database if self.is_file else f"{self.url.host or 'localhost'}:{self.url.port or 5432}"
        if isinstance(error, NoConnectionFree):
            return f"All {CONNECTIONS} connections to the record's database are busy."
        if isinstance(cause, sqlite3.Error):
            return _of_sqlite(cause, str(where))
        if isinstance(cause, psycopg.Error):
            return _of_postgres(cause, str(where), str(self.url.database))
        return f"The record's database refused what it was asked ({type(cause).__name__})."

    def forget(self) -> None:
        """Leave nothing of what was overwritten beside a file of SQLite.

        Raises:
            RecordError: it cannot be done, or somebody has been reading the record for as long as this waits.
        """
        if not self.is_file:
            return
        with self.told(_STILL_THERE):
            connection = self.engine.raw_connection()
            try:
                busy, *_ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.close()
        if busy:
            raise RecordError(f"The record has been read without a pause for {PATIENCE} s. {_STILL_THERE}")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _checked(url: str) -> URL:
    try:
        found = make_url(url)
    except ArgumentError:
        found = None
    if found is None or found.drivername not in ("sqlite", "postgresql+psycopg"):
        got = found.drivername if found else "something else"
        raise ConfigError(
            f"DERMLENS_DATABASE must begin with sqlite:/// or postgresql+psycopg://, got {got}; for example "
            "sqlite:////srv/dermlens/record.db."
        )
    if found.drivername == "sqlite" and found.database in (None, "", ":memory:"):
        raise ConfigError("DERMLENS_DATABASE must name a file: sqlite:////srv/dermlens/record.db.")
    return found


def _without_rows(line: logging.LogRecord) -> bool:
    """Drop what SQLAlchemy logs for debugging: the rows that were read."""
    return line.levelno > logging.DEBUG


def _make_private(file: Path) -> None:
    try:
        if not file.exists():
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as e:
        raise RecordError(f"The record {file} cannot be made: {e.strerror}. Make the folder, or name another.") from e


def _prepare_file(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says so
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _of_sqlite(cause: sqlite3.Error, where: str) -> str:
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    return {
        sqlite3.SQLITE_BUSY: f"The record is locked: another program has been writing to it for {PATIENCE} s.",
        sqlite3.SQLITE_LOCKED: f"The record is locked: another program has been writing to it for {PATIENCE} s.",
        sqlite3.SQLITE_FULL: "The disk of the record is full: make room there.",
        sqlite3.SQLITE_READONLY: f"The record {where} is read-only: give the server the right to write it.",
        sqlite3.SQLITE_CANTOPEN: f"The record {where} cannot be opened: make its folder, writable by this user.",
        sqlite3.SQLITE_IOERR: f"The disk of the record {where} fails, or has no room.",
        sqlite3.SQLITE_NOTADB: f"{where} is not a database: name another file in DERMLENS_DATABASE.",
        sqlite3.SQLITE_CORRUPT: f"The record {where} is damaged: put a backup in its place.",
        sqlite3.SQLITE_CONSTRAINT: "The record refused it: it does not fit to what is there.",
    }.get(code, f"The record's database refused what it was asked ({type(cause).__name__}).")


def _of_postgres(cause: psycopg.Error, where: str, name: str) -> str:
    if isinstance(cause, psycopg.errors.QueryCanceled):
        return f"The database at {where} took longer than {LONGEST} s, or was told to stop: try again."
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return f"The record is locked: another program has been writing to it for {PATIENCE} s."
    if isinstance(cause, psycopg.errors.DiskFull):
        return "The disk of the record is full: make room there."
    if isinstance(cause, psycopg.errors.IntegrityError):
        return "The record refused it: it does not fit to what is there."
    if isinstance(cause, psycopg.errors.ReadOnlySqlTransaction | psycopg.errors.InsufficientPrivilege):
        return f"This user may not write to the database {name} at {where}."
    words = str(cause)
    if "password authentication" in words or "no pg_hba.conf entry" in words:
        return f"The database server at {where} does not let this user in: check name and password."
    if "does not exist" in words and cause.sqlstate is None:
        return f"There is no such database or user at {where}: make it, or correct DERMLENS_DATABASE."
    if isinstance(cause, psycopg.OperationalError):
        return f"The database server at {where} does not answer."
    return f"The record's database refused what it was asked ({type(cause).__name__})."
