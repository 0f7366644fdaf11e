"""Freed memory goes back to the system."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dermlens.server import memory

ROOT = Path(__file__).parents[2]
# Eight threads hold memory at once; says how many heaps glibc then has.
COUNT_HEAPS = """
import ctypes, sys, threading
from dermlens.server import memory
if "few" in sys.argv:
    memory.keep_few_heaps()
all_hold = threading.Barrier(9)
def hold():
    ctypes.CDLL(None).malloc(1000)
    all_hold.wait()
    all_hold.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads:
    thread.start()
all_hold.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
all_hold.wait()
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what was freed")


def held() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@needs_glibc
def test_memory_between_blocks_that_are_still_in_use_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_last", -memory.EVERY)
    blocks = [bytearray(60_000) for _ in range(2000)]  # too small for pages of their own
    for block in blocks:
        block[:] = b"x" * len(block)
    kept = blocks[::50] + blocks[-1:]  # so that the heap cannot shrink at its end
    del blocks, block
    before = held()
    assert memory.give_back()
    assert before - held() > 80e6
    assert {len(block) for block in kept} == {60_000}


@needs_glibc
def test_threads_share_few_heaps() -> None:
    def heaps(*how: str) -> int:
        command = [sys.executable, "-c", COUNT_HEAPS, *how]
        settings = {k: v for k, v in os.environ.items() if k not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
        told = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=True).stdout
        return len(re.findall("<heap nr", told))

    assert heaps("few") <= memory.HEAPS < heaps()


@needs_glibc
def test_it_is_done_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(memory.time, "monotonic", lambda: now)
    monkeypatch.setattr(memory, "_last", -memory.EVERY)
    assert memory.give_back()
    now += memory.EVERY - 0.01
    assert not memory.give_back()
    now += 0.01
    assert memory.give_back()


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_trim", None)
    monkeypatch.setattr(memory, "_last", -memory.EVERY)
    assert not memory.give_back()
