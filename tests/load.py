"""Many people at once: `python -m tests.load` has 20 sessions upload 50 images each, over the real protocol.

Programs ask the same server over its API meanwhile (tests.load_programs), and must get the answers they get alone. With
`--hostile` people upload beside strangers who attack the server (tests.load_hostile).

Every answer must equal the one that its image gets when nobody else is there, and nothing that one session receives may
come from another: file names, image keys and picture files of each session are known beforehand and looked for in all
that arrives.
"""

import argparse
import itertools
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dermlens.image.synthetic import draw_lesion
from dermlens.server.limiter import IMAGES
from tests.browser.app import serve
from tests.conftest import encode
from tests.load_programs import Asked, asking
from tests.processes import descendants, server_of
from tests.visitor import PATIENCE, Visitor

BUSY = "The server is busy"
WAITING = "Waiting: "
GROWTH_MB = 50
"""Most that the server may grow between the first tenth of the uploads and the last one."""
_NAME = re.compile(rb"canary-(\d+)-")
_KEY = re.compile(rb"image=([0-9a-f]{12})")


@dataclass(frozen=True)
class Size:
    """How many sessions, how many uploads each, and how many different images each: its case, then a new one."""

    sessions: int
    uploads: int
    images: int
    shape: tuple[int, int] = (450, 600)


FULL = Size(20, 50, 5)
SMALL = Size(3, 4, 2, (90, 120))


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
    return list(rows(full, models))


def rows(full: bool, models: Path | None = None) -> Iterator[dict]:
    """Yield the rows of `run` as they are found."""
    with tempfile.TemporaryDirectory() as folder:
        if models is None and not full:
            models = _toys(Path(folder) / "models")
        log = Path(folder) / "log"
        with serve(log, {"DERMLENS_API": "1", **({"DERMLENS_MODELS": str(models)} if models else {})}) as address:
            pid = server_of(address)
            size = FULL if full else SMALL
            people = IMAGES.at_once + IMAGES.waiting + 20
            yield from _together(address, pid, size)
            yield _leaving(address, pid, Size(30 if full else 4, 1, 1, size.shape))
            if full:
                yield _crowd(address, pid, Size(people, 1, 1))
        said = log.read_text()
    found = [sign for sign in ("Traceback", "a page failed", "canary-") if sign in said]
    yield {
        "name": "the server's log",
        "tried": 1,
        "survived": int(not found),
        "refused": 0,
        "lost": int(bool(found)),
        "worst_seconds": 0.0,
        "worst_memory_mb": 0.0,
        "note": f"Holds {found}." if found else "Holds no error and no file name.",
    }


def _together(address: str, pid: int, size: Size) -> Iterator[dict]:
    alone, serial = [], []
    for number in range(size.sessions):
        found, seconds = _alone(address, number, size)
        alone.append(found)
        serial += seconds
    total = size.sessions * size.uploads
    tally = Tally()

    def work(number: int, together: threading.Barrier) -> None:
        _session(address, pid, number, size, alone[number], tally, together)

    with asking(address, [data for _, data in _files(size.sessions, size)]) as programs:
        _at_once(size.sessions, work, tally)
    growth = tally.memory[-1] - tally.memory[0] if len(tally.memory) > 1 else float("nan")
    if total >= 1000 and not growth <= GROWTH_MB:
        tally.wrong.append(f"the server grew by {growth:.0f} MB")
    yield _row(
        f"{size.sessions} sessions x {size.uploads} uploads",
        total,
        tally,
        f"p50 {_ms(tally.seconds, 50)}, p95 {_ms(tally.seconds, 95)}; alone p50 {_ms(serial, 50)}, "
        f"p95 {_ms(serial, 95)} over {len(serial)} uploads; {tally.waited} were told their place in the line; "
        f"memory grew by {growth:.1f} MB between upload {total // 10} and {total}.",
    )
    yield _row_of_programs(programs, tally.memory)


def _row_of_programs(programs: Asked, memory: list[float]) -> dict:
    """Return the row of what programs asked; that the server is busy is an outcome that a request may have."""
    own = Tally(programs.seconds, memory, programs.refused, wrong=programs.wrong)
    times = f"p50 {_ms(programs.seconds, 50)}, p95 {_ms(programs.seconds, 95)}."
    row = _row("programs over the API meanwhile", len(programs.seconds) + len(programs.wrong), own, times)
    return {**row, "tried": row["tried"] + programs.refused, "survived": row["survived"] + programs.refused}


def _row(name: str, tried: int, tally: Tally, note: str) -> dict:
    wrong = dict.fromkeys(tally.wrong)
    lost = min(tried, max(tried - len(tally.seconds), len(wrong)))
    return {
        "name": name,
        "tried": tried,
        "survived": tried - lost,
        "refused": tally.refused,
        "lost": lost,
        "worst_seconds": max(tally.seconds, default=float("nan")),
        "worst_memory_mb": max(tally.memory, default=float("nan")),
        "note": note + "".join(f" WRONG: {sentence}." for sentence in wrong),
    }


def _at_once(people: int, work: Callable[[int, threading.Barrier], None], tally: Tally) -> None:
    """Have `work(number, barrier)` done by so many threads; what goes wrong is noted, and nobody waits for it."""
    together = threading.Barrier(people)

    def noted(number: int) -> None:
        try:
            work(number, together)
        except threading.BrokenBarrierError:  # another one has gone wrong
            pass
        except Exception as e:  # noqa: BLE001 - whatever a session meets is counted, and the others go on
            tally.wrong.append(f"session {number}: {type(e).__name__}: {e}")
            together.abort()

    with ThreadPoolExecutor(people) as pool:
        list(pool.map(noted, range(people)))


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
    address: str, pid: int, number: int, size: Size, alone: Alone, tally: Tally, together: threading.Barrier
) -> None:
    def watch(frame: bytes) -> None:
        if strangers := set(_NAME.findall(frame)) - {str(number).encode()}:
            tally.wrong.append(f"session {number} received names of {strangers}")
        if strangers := set(_KEY.findall(frame)) - alone.keys:
            tally.wrong.append(f"session {number} received keys of other images, {strangers}")

    files, every = _files(number, size), size.sessions * size.uploads // 10
    with Visitor(address, "predict", watch) as visitor:
        together.wait(PATIENCE)
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
                visitor.settle(2 * PATIENCE)
                if visitor.answer() != alone.settled:
                    tally.wrong.append(f"session {number}: another answer than alone, worked out behind the page")
            elif i % size.images == size.images - 1:
                visitor.settle(0.0)  # begun behind the page, and given up by the new case
                visitor.press("New case")
        if strangers := visitor.media - alone.media:
            tally.wrong.append(f"session {number} was sent {len(strangers)} picture files that are not its own")
        together.wait(10 * PATIENCE)  # all stay until the last one is done


def _leaving(address: str, pid: int, size: Size) -> dict:
    """Have people close the page while they wait; who comes after them must be served."""
    tally, left = Tally(), Tally()

    def leave(number: int, together: threading.Barrier) -> None:
        with Visitor(address, "predict") as visitor:
            state = visitor.hand_over(dict(_files(number, size)))
            together.wait(PATIENCE)
            visitor.begin(**state)
        with left.lock:
            left.seconds.append(0.0)

    _at_once(size.sessions, leave, tally)
    begun = time.perf_counter()
    with Visitor(address, "predict") as visitor:
        visitor.upload(dict(_files(size.sessions, size)))
        if _answered(visitor):
            tally.seconds = [time.perf_counter() - begun] * len(left.seconds)
    tally.memory.append(memory(pid))
    name = f"{size.sessions} sessions closed while they wait"
    return _row(name, size.sessions, tally, "Survived if the next upload is answered; its time.")


def _crowd(address: str, pid: int, size: Size) -> dict:
    """Have more people come at once than the line takes: some are told to try again, and their image is kept."""
    tally = Tally()

    def come(number: int, together: threading.Barrier) -> None:
        with Visitor(address, "predict") as visitor:
            state = visitor.hand_over(dict(_files(number, size)))
            together.wait(PATIENCE)
            begun = time.perf_counter()
            visitor.run(**state)
            refused = _insist(visitor)
            with tally.lock:
                tally.refused += refused > 0
                if _answered(visitor):
                    tally.seconds.append(time.perf_counter() - begun)

    _at_once(size.sessions, come, tally)
    tally.memory.append(memory(pid))
    return _row(
        f"{size.sessions} sessions at once, {IMAGES.at_once + IMAGES.waiting} places",
        size.sessions,
        tally,
        "Refused: told that the server is busy, and answered after pressing Try again, without another upload.",
    )


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


def _ms(seconds: list[float], percentile: float) -> str:
    return f"{1000 * np.percentile(seconds, percentile):.0f} ms" if seconds else "none"


def memory(pid: int) -> float:
    """Return the megabytes (10^6 bytes) that a process and its descendants hold, pages that they share counted once."""
    return sum(_proportional(p) for p in (pid, *descendants(pid))) * 1024 / 1e6


def _proportional(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # ended meanwhile
        return 0
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)


def _toys(models: Path) -> Path:
    from tests.conftest import publish_toy, toy_network

    for seed in (0, 1):
        publish_toy(models / f"toy{seed}", toy_network(seed=seed))
    return models


def main() -> int:
    """Print the rows; return the number of uploads lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__.partition("\n")[0])
    parser.add_argument("--hostile", action="store_true", help="20 honest sessions beside every attack instead")
    parser.add_argument("--small", action="store_true", help="few sessions and toy models, to try it")
    args = parser.parse_args()
    from tests import load_hostile  # which takes what is here

    lost = 0
    for row in (load_hostile.rows if args.hostile else rows)(not args.small):
        print("; ".join(f"{name}: {value}" for name, value in row.items()), flush=True)
        lost += row["lost"]
    return lost


if __name__ == "__main__":
    sys.exit(min(1, main()))
