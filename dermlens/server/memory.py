"""Keep a server's memory small and clean: glibc keeps what was freed as it was, in a heap for every few threads."""

import ctypes
import resource
import sys
import threading
import time

EVERY = 5.0
"""Seconds between two times that memory is given back."""
HEAPS = 2
LARGE = 64 * 2**10
"""Bytes from which a block has pages of its own, which the system takes back at once."""
_M_MMAP_THRESHOLD, _M_PERTURB, _M_ARENA_MAX = -3, -6, -8  # as in malloc.h
_WIPED = 0xA5
_lock = threading.Lock()
_last = -EVERY
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_trim = getattr(_libc, "malloc_trim", None)  # glibc's alone


def keep_few_heaps() -> None:
    """Have threads that start from now on share `HEAPS` heaps: what one frees, another can use."""
    if _trim is not None:
        _libc.mallopt(_M_ARENA_MAX, HEAPS)  # type: ignore[union-attr]


def wipe_what_is_freed() -> None:
    """Have freed memory overwritten: what a picture was is not to be found there. Does nothing without glibc."""
    if _trim is not None:
        _libc.mallopt(_M_MMAP_THRESHOLD, LARGE)  # type: ignore[union-attr]
        _libc.mallopt(_M_PERTURB, _WIPED)  # type: ignore[union-attr]


def raise_open_files(wanted: int) -> int:
    """Let this process have so many files and connections open, as far as the system lets it; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def give_back(now: bool = False) -> bool:
    """Give freed memory back to the system, at most every `EVERY` seconds, or `now`. It takes milliseconds.

    Returns:
        Whether it was done: never where the C library is not glibc, which alone needs it.
    """
    global _last
    with _lock:
        time_now = time.monotonic()
        if _trim is None or not (now or time_now - _last >= EVERY):
            return False
        _last = time_now
    _trim(0)
    return True
