"""Keep a server's memory small: glibc keeps what was freed, scattered over a heap for every thread or two."""

import ctypes
import sys
import threading
import time

EVERY = 5.0
"""Seconds between two times that memory is given back."""
HEAPS = 2
_M_ARENA_MAX = -8  # as in malloc.h
_lock = threading.Lock()
_last = -EVERY
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_trim = getattr(_libc, "malloc_trim", None)  # glibc's alone


def keep_few_heaps() -> None:
    """Have threads that start from now on share `HEAPS` heaps: what one frees, another can use."""
    if _trim is not None:
        _libc.mallopt(_M_ARENA_MAX, HEAPS)  # type: ignore[union-attr]


def give_back() -> bool:
    """Give freed memory back to the system, at most every `EVERY` seconds. It takes milliseconds.

    Returns:
        Whether it was done: never where the C library is not glibc, which alone needs it.
    """
    global _last
    with _lock:
        now = time.monotonic()
        if _trim is None or now - _last < EVERY:
            return False
        _last = now
    _trim(0)
    return True
