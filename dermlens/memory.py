"""Give memory that was freed back to the system: glibc keeps it, scattered over the heaps of many threads."""

import ctypes
import sys
import threading
import time

EVERY = 5.0
"""Seconds between two times that memory is given back."""
_lock = threading.Lock()
_last = -EVERY


def give_back() -> bool:
    """Give freed memory back to the system, at most every `EVERY` seconds; other threads go on meanwhile.

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


def _find_trim() -> "ctypes._NamedFuncPointer | None":
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


_trim = _find_trim()
