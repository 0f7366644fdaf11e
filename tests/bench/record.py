"""The record at its size: 10,000 cases with 30,000 answers, 100,000 lines of audit, on SQLite and on PostgreSQL.

Limits are in seconds of a processor that has nothing else to do: the baseline of each case computes for as long as its
limit, so that a busy machine slows both, and a ratio of 1 is the limit itself.
"""

import atexit
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dermlens.record import cases as case_list
from dermlens.record import save
from dermlens.record.cases import Wanted
from dermlens.record.open import Record, open_record
from dermlens.record.people import NOBODY_SIGNED_IN
from dermlens.record.settings import Settings
from dermlens.record.store import audit
from dermlens.record.store.tables import Lesion
from tests.bench.case import Case
from tests.record import postgresql
from tests.record.filled import KEY, fill, saving

CASES = 10_000
LINES = 100_000
LIST, SAVE, VERIFY = 0.3, 0.03, 5.0
"""Seconds."""
FILTERS = {
    "all": Wanted(),
    "a site with an open outcome": Wanted(site="back", outcome="open"),
    "melanoma that people call otherwise": Wanted(called="mel", disagree=True),
}


def cases_of(record: Record, name: str) -> Iterator[Case]:
    """Yield what is timed on one database."""

    def listed(wanted: Wanted) -> Callable[[], object]:
        def run() -> None:
            with record.database.reading() as session:
                assert case_list.count(session, NOBODY_SIGNED_IN, wanted)
                assert len(case_list.listed(session, NOBODY_SIGNED_IN, wanted))

        return run

    def verify() -> None:
        with record.database.reading() as session:
            found = audit.verify(session)
        assert found.n_problems == 0
        assert found.lines >= LINES

    rng = np.random.default_rng(1)
    ready = [saving(rng, 5) for _ in range(200)]

    def one() -> None:
        save.save(record, NOBODY_SIGNED_IN, ready.pop())

    for words, wanted in FILTERS.items():
        yield _case(f"{name}: list and count, {words}", listed(wanted), LIST)
    yield _case(f"{name}: save one case", one, SAVE)
    yield _case(f"{name}: verify {LINES:,} lines", verify, VERIFY, repeats=3)


def _case(name: str, subject: Callable[[], object], seconds: float, repeats: int = 15) -> Case:
    return Case(f"record, {name}", subject, lambda: _compute(seconds), 1.0, repeats)


def _compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def filled(url: str, cases: int = CASES, lines: int = LINES) -> Record:
    """Return a record of the size that is measured."""
    record = open_record(Settings(url, key=KEY))
    fill(record, cases)
    with record.database.reading() as session:
        head = audit.head(session)
    assert head is not None
    for _ in range(head.sequence, lines, 1000):
        with record.database.writing() as session:
            audit.note(session, "command", "case", *(Lesion(group_name="elsewhere") for _ in range(1000)))
    return record


def cases() -> Iterator[Case]:
    """Yield the cases of both databases; PostgreSQL waits for the disk here."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dermlens-bench-"))
    yield from cases_of(filled(f"sqlite:///{Path(folder)}/record.db"), "SQLite")
    if postgresql.binaries() is not None:
        server = stack.enter_context(postgresql.server(safe=True))
        record = filled(server.create("bench"))
        with record.database.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
        yield from cases_of(record, "PostgreSQL")
