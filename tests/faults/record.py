"""The record, on both databases: killed in mid-save, a full disk, and whatever else a database can answer with."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import numpy as np
from sqlalchemy import func, select, text

from dermlens.errors import RecordError
from dermlens.record import save
from dermlens.record.open import Record, open_record
from dermlens.record.people import NOBODY_SIGNED_IN
from dermlens.record.settings import Settings
from dermlens.record.store import audit, database, schema
from dermlens.record.store.database import Database
from dermlens.record.store.tables import Image, Prediction, Reading
from tests.browser.app import free_port
from tests.faults.kit import ROOT, Count, mounted, no_room
from tests.record import postgresql
from tests.record.filled import KEY, saving
from tests.record.saver import ready

NO_SERVER = "Not tried on PostgreSQL: it is not installed."


@contextlib.contextmanager
def databases(folder: Path, count: Count) -> Iterator[dict[str, str]]:
    """Yield the address of an empty database of each kind that this machine has."""
    found = {"SQLite": f"sqlite:///{folder}/record.db"}
    with contextlib.ExitStack() as stack:
        if postgresql.binaries() is None:
            count.notes.append(NO_SERVER)
        else:
            server = stack.enter_context(postgresql.server(safe=True))
            found["PostgreSQL"] = server.create(f"t{uuid.uuid4().hex}")
        yield found


def check_whole(record: Record, at_least: set[str]) -> None:
    """AssertionError unless the record is whole, each case complete, and everything there that was said to be saved."""
    with record.database.reading() as session:
        found = audit.verify(session)
        assert found.n_problems == 0, found.problems
        tokens = set(session.scalars(select(Image.token)))
        for kind, each in ((Prediction, 3), (Reading, 1)):
            counts = session.execute(select(kind.image_id, func.count()).group_by(kind.image_id)).all()
            assert {number for _, number in counts} <= {each}, f"half a case: {kind.__tablename__}"
            assert len(counts) == len(tokens)
    assert at_least <= tokens, f"{len(at_least - tokens)} cases that were said to be saved are gone"


def save_until_full(record: Record, rng: np.random.Generator, count: Count, disk: Path, most: int) -> set[str]:
    """Save cases until a full disk is told of, and the last one once more when there is room.

    Args:
        most: cases that what the database has in reserve may still take.

    Returns:
        Tokens of the cases that were said to be saved while the disk was full, or before.
    """
    said = set[str]()
    for _ in range(5):
        one = ready(rng)
        save.save(record, NOBODY_SIGNED_IN, one)
        said.add(one.token)
    with count.attempt("a case is saved"), no_room(disk):
        one = ready(rng)
        try:
            for _ in range(most):
                save.save(record, NOBODY_SIGNED_IN, one)
                said.add(one.token)
                one = ready(rng)
            raise AssertionError("it was saved on a full disk")
        except RecordError as e:
            count.told(str(e), "full", "Nothing was saved")
    with count.attempt("the same, once there is room"):
        save.save(record, NOBODY_SIGNED_IN, one)
        check_whole(record, said | {one.token})
    return said


def record_killed(full: bool, folder: Path, models: Path) -> Count:
    """A server that is killed while it saves: every case is there as a whole or not at all, and so is the chain."""
    count = Count("SIGKILL of a server in mid-save, its record on both databases")
    rng = random.Random(7)
    with databases(folder, count) as urls:
        for name, url in urls.items():
            record, said = open_record(Settings(url, key=KEY)), set[str]()
            for number in range(15 if full else 2):
                with count.attempt(f"{name}, round {number}"):
                    said |= _killed_after(url, number, rng.randint(3, 25), rng.uniform(0, 0.02))
                    check_whole(record, said)
            with count.attempt(f"{name}, a new start"):
                save.save(record, NOBODY_SIGNED_IN, ready(np.random.default_rng(999)))
                check_whole(record, said)
            record.database.close()
            count.notes.append(f"{name}: {len(said)} cases saved.")
    return count


def _killed_after(url: str, seed: int, lines: int, seconds: float) -> set[str]:
    """Run a saving process, kill it a moment after so many savings, and return what it said was saved."""
    command = [sys.executable, "-m", "tests.record.saver", url, str(seed)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = {process.stdout.readline().strip() for _ in range(lines)}
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split("\n")[:-1]  # the last line may have been cut off
    process.wait()
    return {token for token in said | set(rest) if len(token) == 32}


def record_disk_full(full: bool, folder: Path, models: Path) -> Count:
    """The disk of the record full: one sentence, nothing lost, and it goes on once there is room."""
    count = Count("disk of the record full")
    count.of_child(mounted(folder, "24m", "record-disk", folder))
    return count


def on_full_disk(folder: Path) -> Count:
    """Fill the disk of a record; in a child process that has one of its own."""
    count = Count("disk of the record full")
    disk = folder / "disk"
    disk.mkdir()
    record = open_record(Settings(f"sqlite:///{disk}/record.db", key=KEY, pictures=str(disk / "pictures")))
    rng = np.random.default_rng(1)
    said = save_until_full(record, rng, count, folder, 200)
    with count.attempt("a picture is kept"), no_room(folder):
        about = save.About(patient="x", consent="pictures", keep_picture=True)
        picture = rng.integers(0, 256, (900, 900, 3), np.uint8)
        try:
            save.save(record, NOBODY_SIGNED_IN, saving(rng, 5, about, picture=picture))
            raise AssertionError("it was saved on a full disk")
        except RecordError as e:
            count.told(str(e), "store of pictures", "cannot be written")
    check_whole(record, said)
    return count


def record_disk_full_postgresql(full: bool, folder: Path, models: Path) -> Count:
    """The disk of a PostgreSQL's tables full: one sentence, nothing lost, and it goes on once there is room."""
    count = Count("disk of the record full, PostgreSQL")
    if postgresql.binaries() is None:
        count.notes.append(NO_SERVER)
        return count
    with tempfile.TemporaryDirectory(prefix="dermlens-disk-") as own:  # which the server's user must reach
        Path(own).chmod(0o755)
        count.of_child(mounted(Path(own), "24m", "record-disk-postgresql", own, users=True))
    return count


def on_full_disk_of_postgresql(folder: Path) -> Count:
    """Fill the disk of a database; in a child process that has one of its own."""
    count = Count("disk of the record full, PostgreSQL")
    rng = np.random.default_rng(1)
    with postgresql.server(safe=True) as server:
        record = open_record(Settings(server.create_in(folder / "tables", "record"), key=KEY))
        save_until_full(record, rng, count, folder, 500)
        record.database.close()
    return count


def record_refusals(full: bool, folder: Path, models: Path) -> Count:
    """A record that is locked, of another version, or down, and a clock set back: one sentence each, nothing lost."""
    count = Count("record locked, too new, too old, down; clock set back")
    rng = np.random.default_rng(3)
    with databases(folder, count) as urls:
        for name, url in urls.items():
            record = open_record(Settings(url, key=KEY))
            one = ready(rng)
            save.save(record, NOBODY_SIGNED_IN, one)
            with count.attempt(f"{name} locked"), record.database.writing() as session:
                audit.head(session)
                patience = "-c lock_timeout=200ms"
                with mock.patch.object(database, "PATIENCE", 0.2), mock.patch.object(database, "_POSTGRES", patience):
                    second = open_record(Settings(url, key=KEY))
                try:
                    save.save(second, NOBODY_SIGNED_IN, one)
                    raise AssertionError("it was saved past the lock")
                except RecordError as e:
                    count.told(str(e), "locked", "Nothing was saved. Try again")
            for words, revision, newest in (("newer", "9999", None), ("older", None, "9999")):
                with count.attempt(f"{name} {words}"):
                    _set_revision(record.database, revision or schema.newest())
                    with mock.patch.object(schema, "newest", lambda newest=newest: newest or "0001"):
                        try:
                            open_record(Settings(url, key=KEY))
                            raise AssertionError("it was opened")
                        except RecordError as e:
                            count.told(str(e), words, "pdate Dermlens" if words == "newer" else "record upgrade")
            _set_revision(record.database, schema.newest())
            with count.attempt(f"{name}, clock set back"):
                back = datetime.now(UTC) - timedelta(days=400)
                (said,) = save.save(record, NOBODY_SIGNED_IN, ready(rng), back).notices
                count.told(said, "set the clock right")
            check_whole(record, {one.token})
            record.database.close()
    with count.attempt("PostgreSQL down"):
        try:
            open_record(Settings(f"postgresql+psycopg://dermlens:secret@127.0.0.1:{free_port()}/record", key=KEY))
            raise AssertionError("it was opened")
        except RecordError as e:
            answer = str(e)
        count.told(answer, "does not answer")
        assert "secret" not in answer
    return count


def _set_revision(found: Database, revision: str) -> None:
    with found.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


FAULTS = (record_killed, record_disk_full, record_disk_full_postgresql, record_refusals)
