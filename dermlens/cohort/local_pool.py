"""Workers on this machine: one process a core, each with one thread and one decoder; a killed one is replaced."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from ctypes import c_int64
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawValue
from typing import Any

from dermlens.cohort.work import Work, Worker
from dermlens.errors import DataError

TRIES = 5
"""Times that a shard is begun; whatever ends its worker so often will do so again."""
TICK = 0.5
"""Seconds between two looks at how far the workers are."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_worker: Worker | None = None
_rows: Any


class _Seat:
    """A place for a worker: its process, the shard it is at, and how many rows it has answered."""

    def __init__(self, lifeline: Connection) -> None:
        self.lifeline = lifeline
        self.rows = RawValue(c_int64, 0)  # without a lock, which a killed worker would leave closed for ever
        self.task: Future | None = None
        self.pool: ProcessPoolExecutor | None = None

    def take(self, work: Work, shard: int) -> None:
        """Begin a shard, in a new process if there is none or it was killed."""
        self.shard, self.before = shard, self.rows.value
        try:
            self.task = self._started().submit(_run, work, shard)
        except BrokenProcessPool:
            self.pool = None
            self.task = self._started().submit(_run, work, shard)

    def _started(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        self.pool = self.pool or ProcessPoolExecutor(1, context, _begin, (self.lifeline, self.rows))
        return self.pool


def run(work: Work, shards: Sequence[int], workers: int, tell: Callable[[int], object]) -> None:
    """Work on shards until all are done.

    Args:
        work: for the workers. shards: their numbers. workers: how many processes; with one, this process works.
        tell: is called with how many more rows are answered; fewer where a worker was killed.

    Raises:
        DermlensError: as `Worker`; or a shard could not be finished, after several attempts.
    """
    if workers == 1 or len(shards) == 1:
        worker = Worker(work)
        for number in shards:
            attempt(number, lambda number=number: worker(number, lambda: tell(1)))  # type: ignore[misc]
        return
    theirs, ours = multiprocessing.Pipe(duplex=False)
    with _one_thread(), theirs, ours:  # workers end when this end is closed, be it that this process was killed
        _serve(work, list(shards)[::-1], [_Seat(theirs) for _ in range(min(workers, len(shards)))], tell)


def _serve(work: Work, waiting: list[int], seats: list[_Seat], tell: Callable[[int], object]) -> None:
    tries: dict[int, int] = {}
    told = 0
    while waiting or any(seat.task for seat in seats):
        for seat in seats:
            if seat.task is None and waiting:
                seat.take(work, waiting.pop())
        wait([seat.task for seat in seats if seat.task], timeout=TICK, return_when=FIRST_COMPLETED)
        for seat in seats:
            if seat.task is None or not seat.task.done():
                continue
            reason, seat.task = seat.task.exception(), None
            if reason is None:
                continue
            if not isinstance(reason, BrokenProcessPool | OSError):
                raise reason
            tries[seat.shard] = tries.get(seat.shard, 0) + 1
            if tries[seat.shard] == TRIES:
                raise DataError(_given_up(seat.shard, reason)) from reason
            seat.rows.value = seat.before
            waiting.append(seat.shard)
        rows = sum(seat.rows.value for seat in seats)
        tell(rows - told)
        told = rows


def attempt(number: int, work: Callable[[], None]) -> None:
    """Work on a shard, again where a disk or network failed; raises DataError after several attempts."""
    for last in [False] * (TRIES - 1) + [True]:
        try:
            work()
            return
        except OSError as e:
            if last:
                raise DataError(_given_up(number, e)) from e


def _given_up(shard: int, reason: BaseException) -> str:
    why = "its process was ended" if isinstance(reason, BrokenProcessPool) else str(reason)
    return f"Shard {shard} could not be finished in {TRIES} attempts: {why}. Mend this and run the same command again."


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have the processes that are started meanwhile compute with one thread each."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin(lifeline: Connection, rows: Any) -> None:
    """Make a new process ready: it ends when the other end of its lifeline is closed."""
    global _rows
    _rows = rows
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it

    def watch() -> None:
        lifeline.poll(None)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(work: Work, shard: int) -> None:
    global _worker

    def tell() -> None:
        _rows.value += 1

    _worker = _worker or Worker(work)
    _worker(shard, tell)
