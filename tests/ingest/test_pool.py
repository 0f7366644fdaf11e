"""What a decoder may do to the process that asks it: nothing."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dermlens.errors import BusyError, ImageError
from dermlens.ingest import pool
from dermlens.ingest.formats import LIMITS, Limits
from tests.image_files import jpeg_with_many_scans, picture, saved
from tests.processes import children, command_of

ROOT = Path(__file__).parents[2]
SHOWN = picture()
GOOD = saved(SHOWN, "PNG")
PATIENCE = 60.0
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")


@pytest.fixture(autouse=True)
def fresh_processes() -> Iterator[None]:
    pool.close()
    yield
    pool.close()


@pytest.fixture(scope="module")
def endless() -> bytes:
    """A JPEG that keeps its decoder busy for longer than any test."""
    return jpeg_with_many_scans(4000, 20_000)


def works() -> bool:
    return np.array_equal(pool.decode(GOOD, "PNG", LIMITS)[0], SHOWN)


def templates() -> list[int]:
    """Return the decoding processes that this process has started."""
    return [pid for pid in children(os.getpid()) if b"dermlens.ingest.worker" in command_of(pid)]


def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.002)
    raise AssertionError("it did not come about")


def at_work(endless: bytes, workers: ThreadPoolExecutor) -> tuple[Future, int]:
    """Have a file decoded that takes long; returns its future answer and the process that decodes it."""
    job = workers.submit(pool.decode, endless, "JPEG", Limits(cpu_seconds=60, seconds=PATIENCE))
    child: int = until(lambda: [c for pid in templates() for c in children(pid)])[0]
    return job, child


def test_a_process_serves_many_files_and_each_is_decoded_in_one_of_its_own() -> None:
    assert works()
    first = pool.usage(anew=True)
    assert first.files >= 1
    for _ in range(3):
        assert works()
    counted = pool.usage(anew=True)
    assert (counted.files, counted.crashed) == (3, 0)
    assert 0 < counted.memory < LIMITS.memory
    assert pool.usage().files == 0


def test_many_threads_get_each_its_own_picture() -> None:
    pictures = [picture(40 + 3 * i, 60, seed=i) for i in range(24)]
    files = [saved(p, "PNG") for p in pictures]
    with ThreadPoolExecutor(8) as workers:
        found = list(workers.map(lambda data: pool.decode(data, "PNG", LIMITS)[0], files))
    assert all(np.array_equal(a, b) for a, b in zip(found, pictures, strict=True))


def test_a_file_that_computes_for_ever_is_given_up(endless: bytes) -> None:
    with pytest.raises(ImageError, match="took too long"):
        pool.decode(endless, "JPEG", Limits(cpu_seconds=1))
    assert works()


def test_a_process_that_does_not_answer_in_time_is_ended(endless: bytes) -> None:
    assert works()
    with pytest.raises(ImageError, match="took too long"):
        pool.decode(endless, "JPEG", Limits(cpu_seconds=60, seconds=0.5))
    assert works()


def test_a_file_that_needs_too_much_memory_is_refused() -> None:
    large = saved(Image.new("RGB", (4000, 4000)), "PNG")
    with pytest.raises(ImageError, match="needs more than 160 MiB of memory"):
        pool.decode(large, "PNG", Limits(memory=160 * 2**20))
    assert pool.decode(large, "PNG", LIMITS)[0].shape == (4000, 4000, 3)


@needs_proc
def test_a_decoder_that_crashes_costs_one_file_its_answer(endless: bytes) -> None:
    pool.usage(anew=True)
    with ThreadPoolExecutor(1) as workers:
        job, child = at_work(endless, workers)
        os.kill(child, signal.SIGSEGV)
        with pytest.raises(ImageError, match="The decoder broke down on this JPEG file"):
            job.result(PATIENCE)
    assert pool.usage().crashed == 1
    assert works()


@needs_proc
def test_a_decoder_killed_from_outside_is_asked_once_more(endless: bytes) -> None:
    with ThreadPoolExecutor(1) as workers:
        job, child = at_work(endless, workers)
        os.kill(child, signal.SIGKILL)
        again: int = until(lambda: [c for pid in templates() for c in children(pid) if c != child])[0]
        os.kill(again, signal.SIGKILL)
        with pytest.raises(ImageError, match="stopped from outside"):
            job.result(PATIENCE)
    assert works()


@needs_proc
def test_an_idle_process_that_was_killed_is_replaced_unseen() -> None:
    assert works()
    (old,) = templates()
    os.kill(old, signal.SIGKILL)
    until(lambda: Path(f"/proc/{old}/stat").read_text().split()[2] == "Z")
    assert works()
    assert templates() != [old]


@needs_proc
def test_processes_end_with_the_one_that_asks_and_see_none_of_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    assert works()
    (pid,) = templates()
    assert b"hunter2" not in Path(f"/proc/{pid}/environ").read_bytes()
    loaded = Path(f"/proc/{pid}/maps").read_text()
    assert not any(heavy in loaded for heavy in ("tensorflow", "cv2", "streamlit", "litert"))
    pool.close()
    assert templates() == []


@needs_proc
def test_no_process_outlives_a_server_that_was_killed() -> None:
    program = (
        "import os, sys; from tests.ingest.test_pool import *; assert works(); print(*templates(), flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    server = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert server.returncode == -signal.SIGKILL, server.stderr
    for pid in server.stdout.split():
        until(lambda pid=pid: b"dermlens.ingest.worker" not in command_of(int(pid)))
    assert server.stdout.split()


def test_who_finds_every_process_taken_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_slots", queue.Queue())
    with pytest.raises(BusyError, match="busy"):
        pool.decode(GOOD, "PNG", Limits(seconds=0.01))


def test_a_decoder_that_cannot_start_gives_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(ImageError, match="did not start"):
        pool.decode(GOOD, "PNG", LIMITS)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ImageError, match="did not start"):
        pool.decode(GOOD, "PNG", LIMITS)
    monkeypatch.undo()
    assert works()


def framed(header: object) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x05nojson",
        framed([1, 2]),
        framed({"height": "x", "width": 3, "notices": []}),
        framed({"height": 10**6, "width": 10**6, "notices": []}),
        framed({"height": -1, "width": -1, "notices": []}),
        framed({"height": 40, "width": 40}) + bytes(4800),
        framed({"height": 40, "width": 40, "notices": []}) + bytes(99),
        b"\0\0\xff\xff" + b"[" * 0xFFFF,
    ],
    ids=lambda answer: repr(answer[:40]),
)
def test_a_decoder_that_was_taken_over_can_answer_what_it_likes(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Liar:
        """Stands for a process whose child sends `answer`."""

        def __init__(self) -> None:
            self.control, theirs = socket.socketpair()
            threading.Thread(target=self.lie, args=(theirs,), daemon=True).start()

        def lie(self, control: socket.socket) -> None:
            _, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
            with socket.socket(fileno=descriptors[0]) as job:
                job.recv(len(GOOD), socket.MSG_WAITALL)
                job.sendall(answer)
            control.sendall(framed({"exit": 0, "seconds": 0.1, "memory": 5}))

        def close(self) -> None:
            self.control.close()

    monkeypatch.setattr(pool, "_Template", Liar)
    with pytest.raises(ImageError, match="broke down"):
        pool.decode(GOOD, "PNG", LIMITS)


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1])
def test_whatever_signal_comes_from_outside_the_picture_is_not_blamed(endless: bytes, number: int) -> None:
    with ThreadPoolExecutor(1) as workers:
        job, child = at_work(endless, workers)
        os.kill(child, number)
        again: int = until(lambda: [c for pid in templates() for c in children(pid) if c != child])[0]
        os.kill(again, number)
        with pytest.raises(ImageError, match="stopped from outside"):
            job.result(PATIENCE)
    assert works()


@needs_proc
def test_a_decoder_that_was_halted_is_asked_once_more_and_the_picture_is_not_blamed(endless: bytes) -> None:
    halted: list[int] = []
    with ThreadPoolExecutor(1) as workers:
        job = workers.submit(pool.decode, endless, "JPEG", Limits(cpu_seconds=60, seconds=10.0))
        for _ in range(2):
            child = until(lambda: [c for pid in templates() for c in children(pid) if c not in halted])[0]
            os.kill(child, signal.SIGSTOP)
            halted.append(child)
        with pytest.raises(ImageError, match="stopped from outside"):
            job.result(PATIENCE)
    assert works()
