"""The record at its size, on both databases: how long its answers take, and 20 sessions that save at once."""

import contextlib
import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from dermlens.case.image import examine
from dermlens.case.opinion import form
from dermlens.models import registry
from dermlens.record import cases, save, settings
from dermlens.record.open import Record, open_record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.settings import Settings
from dermlens.record.store import audit
from tests.bench.record import FILTERS, LINES, LIST, SAVE, VERIFY, filled
from tests.conftest import encode, publish_toy, toy_network
from tests.faults.kit import Count
from tests.faults.record import check_whole, databases
from tests.image_files import picture
from tests.record.filled import KEY
from tests.record.saver import ready
from ui.record import session

SESSIONS = 20


def rows(full: bool) -> Iterator[dict]:
    """Yield a row for each thing that is timed, and one for those who save at once; without `full` a small record."""
    count, repeats = Count(""), 15 if full else 2
    with tempfile.TemporaryDirectory(prefix="dermlens-record-") as folder, databases(Path(folder), count) as urls:
        publish_toy(Path(folder) / "models" / "toy", toy_network())
        gc.freeze()  # of TensorFlow, which no server loads: collecting among it took a third of a second
        for name, url in urls.items():
            yield _at_once(name, url, 25 if full else 3)
            record = filled(url) if full else filled(url, cases=30, lines=1000)
            with record.database.engine.connect() as connection:
                connection.exec_driver_sql("ANALYZE")
            for words, wanted in FILTERS.items():
                yield _timed(f"{name}: list and count, {words}", _listing(record, wanted), LIST, repeats)
            with _saving(url, Path(folder) / "models") as run:
                yield _timed(f"{name}: what saving adds to an answer", run, SAVE, repeats * 4)
            lines = f"{LINES:,} lines" if full else "a small chain"
            yield _timed(f"{name}: verify {lines}", _verifying(record), VERIFY, 3 if full else 1)
            record.database.close()


def _timed(what: str, run: Callable[[], object], limit: float, repeats: int) -> dict:
    """Return a row: lost is what took longer than the limit by the clock."""
    run()  # the first one also fills caches
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    late = sum(s > limit for s in seconds)
    note = f"Median {1000 * np.median(seconds):.0f} ms, limit {1000 * limit:.0f} ms."
    return {
        "what": f"record, {what}",
        "tried": repeats,
        "survived": repeats - late,
        "refused": None,
        "lost": late,
        "worst_seconds": max(seconds),
        "worst_memory_mb": None,
        "note": note + (f" OVER THE LIMIT: {late}." if late else ""),
    }


def _listing(record: Record, wanted: cases.Wanted) -> Callable[[], None]:
    def run() -> None:
        with record.database.reading() as session:
            assert cases.count(session, ME, wanted) >= len(cases.listed(session, ME, wanted)) > 0

    return run


@contextlib.contextmanager
def _saving(url: str, models: Path) -> Iterator[Callable[[], object]]:
    """Yield what a page does to save an answer; it goes on after a moment, saved or not."""
    toy = registry.load(registry.find(models, "toy"))
    image = examine(encode(picture(450, 600)), "x.png", [toy])
    opinion = form([toy], image.answers)
    given = {settings.DATABASE: url, settings.KEY: KEY.hex()}

    def run() -> None:
        session.begin("key", save.prepare(image, opinion), ME, 0.0)

    with mock.patch.dict(os.environ, given):
        yield run
        session.entries()["key"].future.result()


def _verifying(record: Record) -> Callable[[], None]:
    def run() -> None:
        with record.database.reading() as session:
            found = audit.verify(session)
        assert found.n_problems == 0, found.problems

    return run


def _at_once(name: str, url: str, each: int) -> dict:
    """Have sessions save at once; every case that was said to be saved must be there, whole, and so must the chain."""
    count = Count(f"record, {name}: {SESSIONS} sessions save {each} cases each at once")
    record, said, lock = open_record(Settings(url, key=KEY)), set[str](), threading.Lock()
    begin = threading.Barrier(SESSIONS)

    def work(number: int) -> None:
        rng = np.random.default_rng([5, number])
        begin.wait()
        for _ in range(each):
            one = ready(rng)
            with count.attempt(f"session {number}"):
                save.save(record, ME, one)
                with lock:
                    said.add(one.token)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with count.attempt("all is there"):
        check_whole(record, said)
    record.database.close()
    lost = SESSIONS * each - len(said)
    return count.row() | {"tried": SESSIONS * each, "survived": len(said), "lost": lost or len(count.wrong)}
