"""20 honest sessions beside every attack of tests.hostile: `python -m tests.load --hostile`."""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests import hostile
from tests.browser.app import serve
from tests.load import (
    Alone,
    Size,
    Tally,
    _alone,
    _answered,
    _at_once,
    _files,
    _insist,
    _toys,
    memory,
)
from tests.processes import descendants, server_of
from tests.visitor import PATIENCE, Visitor

SLOWER = 2.0
"""Most that the 95th percentile may grow under attack."""
MEMORY_MB = 1500.0
RECOVERY = 10.0
"""Seconds after the attack in which everything must be as before."""
LOG_MB = 1.0
FULL = Size(20, 10, 5)
SMALL = Size(3, 3, 3, (90, 120))
ALL = "all attacks at once"


def rows(full: bool, models: Path | None = None) -> Iterator[dict]:
    """Yield a row for the attacks together; `full` also one for each alone. As tests.load.rows."""
    with tempfile.TemporaryDirectory() as folder:
        if models is None and not full:
            models = _toys(Path(folder) / "models")
        log = Path(folder) / "log"
        with serve(log, {"DERMLENS_MODELS": str(models)} if models else {}) as address:
            pid, size = server_of(address), FULL if full else SMALL
            alone = [_alone(address, number, size)[0] for number in range(size.sessions)]
            before = _calm(address, size, alone)
            for only in ("", *(hostile.ATTACKS if full else ())):
                row, before = _beside(address, pid, size, alone, before, only, log)
                yield row


def _calm(address: str, size: Size, alone: list[Alone]) -> list[float]:
    """Return the seconds of each upload without any attack."""
    calm = Tally()
    _together(address, size, alone, calm)
    if calm.wrong:
        raise AssertionError(f"Before any attack: {calm.wrong}")
    return calm.seconds


def _beside(
    address: str, pid: int, size: Size, alone: list[Alone], before: list[float], only: str, log: Path
) -> tuple[dict, list[float]]:
    """Return the row, and the seconds without the attack once it is over: the machine has better and worse minutes,
    so an attack is held against the faster of those before and after it, and those after against those before.
    """
    tally, written = Tally(), log.stat().st_size
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            tally.memory.append(memory(pid))

    watcher = threading.Thread(target=watch)
    with hostile.attacked(address, only) as attacker:
        watcher.start()
        began = _processors(pid, attacker)
        _together(address, size, alone, tally)
        spent = _processors(pid, attacker) - began
        done.set()
        watcher.join()
    ended = time.monotonic()
    calm, usual = SLOWER * _p95(before), float("nan")
    while time.monotonic() - ended < RECOVERY:
        usual = _one(address, size, alone)
        if usual <= calm:
            break
    else:
        tally.wrong.append(f"{RECOVERY:.0f} s after it an upload still takes {usual:.1f} s")
    recovered = time.monotonic() - ended
    logged = (log.stat().st_size - written) / 1e6
    after = Tally()
    _together(address, size, alone, after)
    tally.wrong += [f"after it, {wrong}" for wrong in after.wrong]
    was, now, then = (_p95(seconds) for seconds in (before, tally.seconds, after.seconds))
    if now > SLOWER * min(was, then):
        tally.wrong.append(f"p95 is {now / min(was, then):.1f} times that without the attack")
    if then > SLOWER * was:
        tally.wrong.append(f"p95 after it is {then / was:.1f} times that before it")
    if max(tally.memory, default=np.inf) > MEMORY_MB:
        tally.wrong.append(f"the server took {max(tally.memory, default=np.inf):.0f} MB")
    if logged > LOG_MB:
        tally.wrong.append(f"{logged:.1f} MB were written to the log")
    total, wrong = size.sessions * size.uploads, dict.fromkeys(tally.wrong)
    lost = min(total, max(total - len(tally.seconds), len(wrong)))
    row = {
        "name": f"{size.sessions} honest sessions beside: {only or ALL}",
        "tried": total,
        "survived": total - lost,
        "refused": tally.refused,
        "lost": lost,
        "worst_seconds": max(tally.seconds, default=float("nan")),
        "worst_memory_mb": max(tally.memory, default=float("nan")),
        "note": f"p95 {1000 * now:.0f} ms, before it {1000 * was:.0f} and after it {1000 * then:.0f} ms; an upload "
        f"took no longer than usual {recovered:.1f} s after it; {1000 * logged:.0f} kB of log. Of the processors' time "
        f"{_shares(spent)}." + "".join(f" WRONG: {w}." for w in wrong),
    }
    return row, after.seconds


def _p95(seconds: list[float]) -> float:
    return float(np.percentile(seconds or [np.inf], 95))


def _processors(server: int, attacker: int) -> np.ndarray:
    """Return the processor time so far, in seconds: of a server, an attacker, this process, and all there was, (4,)."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    whole = sum(map(int, words)) / os.sysconf("SC_CLK_TCK")
    return np.array([_time_of(server, *descendants(server)), _time_of(attacker), _time_of(os.getpid()), whole])


def _time_of(*processes: int) -> float:
    ticks = 0
    for pid in processes:
        with contextlib.suppress(OSError):  # ended meanwhile
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _shares(spent: np.ndarray) -> str:
    """Say who had the processors: what others had, or lay idle, is not the server's doing."""
    server, attackers, honest, whole = spent
    parts = {"the server": server, "the attackers": attackers, "the honest": honest}
    shares = [f"{name} had {100 * part / whole:.0f} %" for name, part in parts.items()]
    return f"{', '.join(shares)}; {100 * (1 - (server + attackers + honest) / whole):.0f} % went elsewhere or to nobody"


def _together(address: str, size: Size, alone: list[Alone], tally: Tally) -> None:
    def work(number: int, together: threading.Barrier) -> None:
        files = _files(number, size)
        with Visitor(address, "predict", source=f"127.1.0.{number + 1}") as visitor:
            together.wait(PATIENCE)
            for i in range(size.uploads):
                begun = time.perf_counter()
                visitor.upload(dict([files[i % size.images]]))
                refused = _insist(visitor)
                seconds = time.perf_counter() - begun
                right = visitor.answer() == alone[number].answers[i % size.images]
                with tally.lock:
                    tally.refused += refused
                    if right:
                        tally.seconds.append(seconds)
                    else:
                        tally.wrong.append(f"session {number}, upload {i}: another answer than alone")
                if i % size.images == size.images - 1:
                    visitor.settle(0.0)
                    visitor.press("New case")

    _at_once(size.sessions, work, tally)


def _one(address: str, size: Size, alone: list[Alone]) -> float:
    """Return the seconds to one answer, infinity where the server cannot take an image now."""
    begun = time.perf_counter()
    with Visitor(address, "predict", source="127.1.0.1") as visitor:
        visitor.upload(dict(_files(0, size)[:1]))
        if not _answered(visitor):
            return float("inf")
        assert visitor.answer() == alone[0].answers[0]
    return time.perf_counter() - begun
