"""What the log may hold: no control characters and no long values from outside, and no flood of one message."""

import logging
import re
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from dermlens.server.limits import LIMITS, Limits

MINUTE = 60.0
MAX_TRACEBACK = 8000
"""Characters of one traceback."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def clean(text: str, most: int = LIMITS.log_line) -> str:
    """Return a value from outside as one line: at most so many characters, control characters as "?"."""
    return _CONTROL.sub("?", text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)")


class Guard(logging.Filter):
    """A filter for every handler of a server: cleans what comes from outside, and drops the repeats of a flood."""

    def __init__(self, limits: Limits = LIMITS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}
        """where a message comes from -> when its minute began, and how often it came since"""

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record; returns whether it is to be written."""
        if not getattr(record, "guarded", False):  # one record may come to several handlers
            record.guarded = True
            record.is_written = self._count(record)
            self._clean(record)
        return bool(record.is_written)  # type: ignore[attr-defined]

    def _count(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        now, place = self._clock(), (record.pathname, record.lineno)
        with self._lock:
            begun, count = self._seen.get(place, (now, 0))
            if now - begun > MINUTE:
                begun, count = now, 0
            self._seen[place] = (begun, count + 1)
        if count + 1 == self._limits.log_repeats:
            record.msg = f"{record.msg} (more of these are not written for a minute)"
        return count < self._limits.log_repeats

    def _clean(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple):
            record.args = tuple(_cleaned(value, self._limits.log_line) for value in record.args)
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - a message that does not fit its values is the handler's to complain about
            return
        if len(text) > 4 * self._limits.log_line or _CONTROL_BUT_LINES.search(text):
            record.msg, record.args = clean(text, 4 * self._limits.log_line), ()
        if record.exc_info and record.exc_info[0] and not record.exc_text:
            told = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            if len(told) > MAX_TRACEBACK:
                told = f"{told[: MAX_TRACEBACK // 2]}\n...\n{told[-MAX_TRACEBACK // 2 :]}"
            record.exc_text = _CONTROL_BUT_LINES.sub("?", told)


def _cleaned(value: Any, most: int) -> Any:
    if isinstance(value, str | bytes | BaseException):
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        return clean(text, most)
    return value


def guard_handlers(guard: Guard) -> None:
    """Add a guard to every handler that there is."""
    loggers = [logging.getLogger(), *(x for x in logging.Logger.manager.loggerDict.values())]
    for one in loggers:
        for handler in getattr(one, "handlers", ()):
            if not any(isinstance(f, Guard) for f in handler.filters):
                handler.addFilter(guard)
