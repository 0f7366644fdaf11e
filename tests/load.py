"""Many people at once: `python -m tests.load` has 20 sessions upload 50 images each, over the real protocol.

Every answer must equal the one that its image gets when nobody else is there, and nothing that one session receives may
come from another: file names, image keys and picture files of each session are known beforehand and looked for in all
that arrives.
"""

import itertools
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dermlens.line import IMAGES
from dermlens.synthetic import draw_lesion
from tests.browser.app import serve
from tests.conftest import encode
from tests.visitor import PATIENCE, Visitor

BUSY, WAITING = "The server is busy", "Waiting: "
GROWTH_MB = 50
"""Most that the server may grow between the first tenth of the uploads and the last one."""
_NAME, _KEY = re.compile(rb"canary-(\d+)-"), re.compile(rb"image=([0-9a-f]{12})")


@dataclass(frozen=True)
class Size:
    """How many sessions, how many uploads each, and how many different images each: its case, then a new one."""

    sessions: int
    uploads: int
    images: int
    shape: tuple[int, int] = (450, 600)


FULL, SMALL = Size(20, 50, 5), Size(3, 4, 2, (90, 120))


@dataclass
class Alone:
    """What one session saw when nobody else was there."""

    answers: list[list[tuple[str, str]]] = field(default_factory=list)
    settled: list[tuple[str, str]] = field(default_factory=list)
    """the last answer, with all that is worked out behind the page"""
    keys: set[bytes] = field(default_factory=set)
    media: set[str] = field(default_factory=set)
    names_seen: int = 0


@dataclass
class Tally:
    """What has happened so far, counted by all threads."""

    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    refused: int = 0
    waited: int = 0
    """uploads whose place in the line was told"""
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def run(full: bool, models: Path | None = None) -> list[dict]:
    """Load a server of its own.

    Args:
        full: 20 sessions of 50 uploads and more people than the waiting line holds; else a small version.
        models: the models folder to serve; those of the project if `full`, else toys.

    Returns:
        Rows with name, tried, survived, refused, lost, worst_seconds, worst_memory_mb and note.
    """
    with tempfile.TemporaryDirectory() as folder:
        if models is None and not full:
            models = _toys(Path(folder) / "models")
        log = Path(folder) / "log"
        with serve(log, {"DERMLENS_MODELS": str(models)} if models else {}) as address:
            pid = _server(address)
            size = FULL if full else SMALL
            rows = [_together(address, pid, size), _leaving(address, pid, 30 if full else 4)]
            if full:
                rows.append(_crowd(address, pid, IMAGES.at_once + IMAGES.waiting + 20))
        for sign in ("Traceback", "a page failed", "canary-"):
            if sign in log.read_text():
                rows[0]["lost"] += 1
                rows[0]["note"] += f" The server's log holds {sign!r}."
    return rows


def _together(address: str, pid: int, size: Size) -> dict:
    alone, serial = [], []
    for number in range(size.sessions):
        found, seconds = _alone(address, number, size)
        alone.append(found)
        serial += seconds
    tally = Tally()
    total = size.sessions * size.uploads
    ready = threading.Barrier(size.sessions)
    with ThreadPoolExecutor(size.sessions) as pool:
        jobs = [
            pool.submit(_session, address, pid, number, size, alone[number], tally, ready, total // 10)
            for number in range(size.sessions)
        ]
        for job in jobs:
            _noted(job.result, tally)
    growth = tally.memory[-1] - tally.memory[0] if len(tally.memory) > 1 else float("nan")
    if total >= 1000 and not growth <= GROWTH_MB:
        tally.wrong.append(f"the server grew by {growth:.0f} MB")
    survived = len(tally.seconds)
    return {
        "name": f"{size.sessions} sessions x {size.uploads} uploads",
        "tried": total,
        "survived": survived,
        "refused": tally.refused,
        "lost": total - survived,
        "worst_seconds": max(tally.seconds, default=float("nan")),
        "worst_memory_mb": max(tally.memory, default=float("nan")),
        "note": f"p50 {_ms(tally.seconds, 50)}, p95 {_ms(tally.seconds, 95)}; alone p50 {_ms(serial, 50)}, "
        f"p95 {_ms(serial, 95)} over {len(serial)} uploads; {tally.waited} were told their place in the line; "
        f"memory grew by {growth:.1f} MB between upload {total // 10} and {total}."
        + "".join(f" WRONG: {sentence}." for sentence in dict.fromkeys(tally.wrong)),
    }


def _alone(address: str, number: int, size: Size) -> tuple[Alone, list[float]]:
    found, seconds = Alone(), []

    def watch(frame: bytes) -> None:
        found.keys.update(_KEY.findall(frame))
        found.names_seen += len(_NAME.findall(frame))

    with Visitor(address, "predict", watch) as visitor:
        for name, data in _files(number, size):
            start = time.perf_counter()
            visitor.upload({name: data})
            seconds.append(time.perf_counter() - start)
            found.answers.append(visitor.answer())
        visitor.settle()
        found.settled = visitor.answer()
        visitor.press("New case")
        found.media = set(visitor.media)
    if size.images > 1 and not found.names_seen:
        raise AssertionError("No file name reached the page: names of others could not be found either.")
    if len({str(answer) for answer in found.answers}) < size.images or len(found.keys) < size.images:
        raise AssertionError("Different images got the same answer: a mix-up could not be found.")
    return found, seconds


def _session(
    address: str, pid: int, number: int, size: Size, alone: Alone, tally: Tally, ready: threading.Barrier, every: int
) -> None:
    def watch(frame: bytes) -> None:
        if strangers := set(_NAME.findall(frame)) - {str(number).encode()}:
            tally.wrong.append(f"session {number} received names of {strangers}")
        if strangers := set(_KEY.findall(frame)) - alone.keys:
            tally.wrong.append(f"session {number} received keys of other images, {strangers}")

    files = _files(number, size)
    with Visitor(address, "predict", watch) as visitor:
        ready.wait(PATIENCE)
        for i in range(size.uploads):
            name, data = files[i % size.images]
            visitor.told.clear()
            start = time.perf_counter()
            visitor.upload({name: data})
            refused = _insist(visitor)
            seconds = time.perf_counter() - start
            right = visitor.answer() == alone.answers[i % size.images]
            with tally.lock:
                tally.refused += refused
                tally.waited += any(sentence.startswith(WAITING) for sentence in visitor.told)
                if right:
                    tally.seconds.append(seconds)
                else:
                    tally.wrong.append(f"session {number}, upload {i}: another answer than alone")
                if len(tally.seconds) % every == 0:
                    tally.memory.append(memory(pid))
            if i == size.uploads - 1:
                visitor.settle(10 * PATIENCE)
                if visitor.answer() != alone.settled:
                    tally.wrong.append(f"session {number}: another answer than alone, worked out behind the page")
            elif i % size.images == size.images - 1:
                visitor.settle(0.0)  # begun behind the page, and given up by the new case
                visitor.press("New case")
        if strangers := visitor.media - alone.media:
            tally.wrong.append(f"session {number} was sent {len(strangers)} picture files that are not its own")
        _noted(lambda: ready.wait(PATIENCE), tally)  # all stay until the last one is done


def _leaving(address: str, pid: int, people: int) -> dict:
    """Have people close the page while they wait; who comes after them must be served."""
    size = Size(people, 1, 1, (450, 600))
    start = threading.Barrier(people)

    def leave(number: int) -> None:
        with Visitor(address, "predict") as visitor:
            state = visitor.hand_over(dict(_files(number, size)))
            start.wait(PATIENCE)
            visitor.begin(**state)

    with ThreadPoolExecutor(people) as pool:
        list(pool.map(leave, range(people)))
    begun = time.perf_counter()
    with Visitor(address, "predict") as visitor:
        visitor.upload(dict(_files(people, size)))
        served = _answered(visitor)
    return {
        "name": f"{people} sessions closed while they wait",
        "tried": people,
        "survived": people if served else 0,
        "refused": 0,
        "lost": 0 if served else people,
        "worst_seconds": time.perf_counter() - begun,
        "worst_memory_mb": memory(pid),
        "note": "The time is that of the next upload.",
    }


def _crowd(address: str, pid: int, people: int) -> dict:
    """Have more people come at once than the line takes: some are told to try again, and their image is kept."""
    size = Size(people, 1, 1, (450, 600))
    start = threading.Barrier(people)
    tally = Tally()

    def come(number: int) -> None:
        with Visitor(address, "predict") as visitor:
            state = visitor.hand_over(dict(_files(number, size)))
            start.wait(PATIENCE)
            begun = time.perf_counter()
            visitor.run(**state)
            refused = _insist(visitor)
            with tally.lock:
                tally.refused += refused > 0
                if _answered(visitor):
                    tally.seconds.append(time.perf_counter() - begun)

    with ThreadPoolExecutor(people) as pool:
        list(pool.map(come, range(people)))
    return {
        "name": f"{people} sessions at once, {IMAGES.at_once + IMAGES.waiting} places",
        "tried": people,
        "survived": len(tally.seconds),
        "refused": tally.refused,
        "lost": people - len(tally.seconds),
        "worst_seconds": max(tally.seconds, default=float("nan")),
        "worst_memory_mb": memory(pid),
        "note": "Refused: told that the server is busy, and answered after pressing Try again, without another upload.",
    }


def _insist(visitor: Visitor) -> int:
    """Press "Try again" until the server is not busy; returns how often that was."""
    for times in itertools.count():
        if BUSY not in visitor.text():
            return times
        time.sleep(1.0)
        visitor.press("Try again")
    raise AssertionError


def _answered(visitor: Visitor) -> bool:
    return any(kind == "plotly_chart" for kind, _ in visitor.answer())


def _files(number: int, size: Size) -> list[tuple[str, bytes]]:
    draw: Callable[[int], np.ndarray] = lambda i: draw_lesion(np.random.default_rng((number, i)), *size.shape)  # noqa: E731
    return [(f"canary-{number}-{i}.jpg", encode(draw(i), ".jpg")) for i in range(size.images)]


def _noted(work: Callable[[], object], tally: Tally) -> None:
    try:
        work()
    except Exception as e:  # noqa: BLE001 - whatever a session meets is counted, and the others go on
        tally.wrong.append(f"{type(e).__name__}: {e}")


def _ms(seconds: list[float], percentile: float) -> str:
    return f"{1000 * np.percentile(seconds, percentile):.0f} ms" if seconds else "none"


def memory(pid: int) -> float:
    """Return the megabytes (10^6 bytes) that a process and its descendants hold, pages that they share counted once."""
    return sum(_proportional(p) for p in (pid, *_descendants(pid))) * 1024 / 1e6


def _proportional(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # ended meanwhile
        return 0
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)


def _descendants(pid: int) -> Iterable[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield child
        yield from _descendants(child)


def _server(address: str) -> int:
    """Return the process that this one started to serve an address."""
    port = address.rsplit(":", 1)[1].encode()
    for pid in _descendants(os.getpid()):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"--server.port" in command and port in command:
            return pid
    raise AssertionError(f"No process of this one serves {address}.")


def _toys(models: Path) -> Path:
    from tests.conftest import publish_toy, toy_network

    for seed in (0, 1):
        publish_toy(models / f"toy{seed}", toy_network(seed=seed))
    return models


def main() -> int:
    """Print the rows; return the number of uploads lost."""
    rows = run("--small" not in sys.argv)
    for row in rows:
        print("; ".join(f"{name}: {value}" for name, value in row.items()), flush=True)
    return sum(row["lost"] for row in rows)


if __name__ == "__main__":
    sys.exit(min(1, main()))
