"""Hands untrusted files to decoding processes and takes pixels back, whatever becomes of the processes.

The processes are few, started when first needed and shared by all sessions; a caller that finds none free waits in
line. See dermlens.ingest.worker for what runs in them.
"""

import atexit
import contextlib
import json
import logging
import os
import queue
import signal
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dermlens.child_process import Process, left, receive, receive_header
from dermlens.errors import BusyError, DecoderError, ImageError
from dermlens.ingest.formats import Limits

PROCESSES = min(4, os.cpu_count() or 1)
START_SECONDS = 60.0

CRASHED = (
    "The decoder broke down on this {kind} file, which is damaged or malicious. "
    "If it is a proper image, save it again as JPEG or PNG."
)
TOO_SLOW = "Decoding this {kind} file took too long and was stopped. Save it smaller, or as JPEG or PNG."
TOO_LARGE = "Decoding this {kind} file needs more than {memory:.0f} MiB of memory. Save it smaller, or as JPEG or PNG."
BUSY = "The server is busy reading other images. Try again in a moment."
STOPPED = "The decoder was stopped from outside while it read this file. Try again."
NO_SANDBOX = "Decoders run without a sandbox (README, Sandbox), in processes of their own all the same. %s."
logger = logging.getLogger(__name__)
NOT_STARTED = "The decoder did not start, so no image can be read. The server's operator should check its installation."


@dataclass
class Usage:
    """What decoding has cost in this process so far."""

    files: int = 0
    crashed: int = 0
    """files on which the decoder broke down"""
    seconds: float = 0.0
    """most computing time that one file took"""
    memory: int = 0
    """most memory that one file took, in bytes, all of the decoding process included"""


_OF_ITS_OWN = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP}
_OF_ITS_OWN |= {signal.SIGSYS, signal.SIGXFSZ, signal.SIGPIPE}
"""Signals that a decoder brings upon itself; any other one came from outside, and says nothing of the file."""


class _Refused(Exception):
    """The file cannot be read; the decoding process is as good as before."""


class _Broken(Exception):
    """The decoding process died or hung up."""


class _Template(Process):
    """One decoding process with the socket to it."""

    def __init__(self) -> None:
        super().__init__("dermlens.ingest.worker")
        try:
            ready = _receive_header(self.control, time.monotonic() + START_SECONDS)
        except (_Broken, TimeoutError):
            self.close()
            raise
        _tell(str(ready["sandbox"]))


def _tell(trouble: str) -> None:
    """Say once, in the log, that there is no sandbox."""
    global _told
    if trouble and not _told:
        _told = True
        logger.warning(NO_SANDBOX, trouble)


_told = False
_slots: queue.LifoQueue[_Template | None] = queue.LifoQueue()
# Last in, first out: where one thread reads files, as in a cohort's worker, one process is started.
_usage = Usage()
_lock = threading.Lock()


def _reset() -> None:
    """Forget processes that belong to someone else; they end when their owner does."""
    global _slots, _lock
    _slots, _lock = queue.LifoQueue(), threading.Lock()
    for _ in range(PROCESSES):
        _slots.put(None)


_reset()
os.register_at_fork(after_in_child=_reset)


def usage(anew: bool = False) -> Usage:
    """Return what decoding has cost so far; `anew` starts a new count."""
    global _usage
    with _lock:
        counted = Usage(**asdict(_usage))
        if anew:
            _usage = Usage()
        return counted


def decode(data: bytes, kind: str, limits: Limits) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode a file in a process of its own.

    Args:
        data: the whole file.
        kind: one of formats.ACCEPTED.
        limits: on its size, and on the process.

    Returns:
        (height, width, 3) uint8 RGB, upright, and the notices.

    Raises:
        ImageError: the file cannot be decoded within the limits; DecoderError if the decoder is the reason.
        BusyError: no process has become free in the time that one file may take.
    """
    return _serve(data, kind, limits, {})


def identity(data: bytes, limits: Limits) -> dict[str, str]:
    """Return which object a DICOM file is, and whose, as read in a process of its own; raises as `decode`.

    Args:
        data: the whole file. limits: on the process.
    """
    found = _serve(data, "DICOM", limits, {"identity": True})
    return {str(tag): str(value) for tag, value in found.items()}


def _serve(data: bytes, kind: str, limits: Limits, asked: dict[str, bool]) -> Any:
    """Have a process do a job, a fresh one if the first is broken.

    Args:
        data, kind, limits: as of `decode`. asked: of the job, beside these.

    Returns:
        What was decoded, or the identity if that was asked for.
    """
    try:
        template = _slots.get(timeout=limits.seconds)
    except queue.Empty as e:
        raise BusyError(BUSY) from e
    try:
        for last in (False, True):
            try:
                template = template or _Template()
                return _ask(template, data, kind, limits, asked)
            except _Broken as e:  # killed from outside, or broken by a file: the next process is a fresh one
                started = template is not None
                _end(template)
                template = None
                if last:
                    raise DecoderError(STOPPED if started else NOT_STARTED) from e
            except (OSError, TimeoutError) as e:
                if template is not None and _is_halted(template.process.pid):
                    _end(template)
                    template = None
                    if last:
                        raise DecoderError(STOPPED) from e
                    continue
                raise (ImageError(TOO_SLOW.format(kind=kind)) if template else DecoderError(NOT_STARTED)) from e
        raise AssertionError("the loop returns or raises")
    except _Refused as e:
        raise ImageError(str(e)) from e
    except BaseException:  # whatever stops this thread half way leaves a process that is not to be trusted
        _end(template)
        template = None
        raise
    finally:
        _slots.put(template)


def warm() -> None:
    """Start one process, so that the first file need not wait for it; whether there is a sandbox is said at once."""
    with contextlib.suppress(queue.Empty):
        template = _slots.get_nowait()
        try:
            template = template or _Template()
        except (OSError, _Broken):  # the first file tells
            template = None
        finally:
            _slots.put(template)


def close() -> None:
    """End every idle process; they start again when needed."""
    idle = []
    with contextlib.suppress(queue.Empty):
        while True:
            idle.append(_slots.get_nowait())
    for template in idle:
        _end(template)
        _slots.put(None)


atexit.register(close)


def _end(template: _Template | None) -> None:
    if template is not None:
        template.close()


def _ask(template: _Template, data: bytes, kind: str, limits: Limits, asked: dict[str, bool]) -> Any:
    deadline = time.monotonic() + limits.seconds
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            job = {"kind": kind, "bytes": len(data), "limits": asdict(limits), **asked}
            _hand_over(template.control, json.dumps(job).encode(), theirs.fileno(), deadline)
        try:
            answer, decoded = _converse(ours, data, deadline, limits)
        except (_Broken, ConnectionError, ValueError, TypeError, KeyError, RecursionError):  # broken off, or nonsense
            answer, decoded = {}, None
    end = _receive_header(template.control, deadline)
    _note(end, crashed=not answer)
    if decoded is not None and not asked:
        return decoded
    if asked and isinstance(answer.get("identity"), dict):
        return answer["identity"]
    if "error" in answer:
        raise _Refused(answer["error"])
    if "memory" in answer:
        raise _Refused(TOO_LARGE.format(kind=kind, memory=limits.memory / 2**20))
    if end.get("exit") == -signal.SIGXCPU:
        raise _Refused(TOO_SLOW.format(kind=kind))
    if int(end.get("exit", 0)) < 0 and -int(end["exit"]) not in _OF_ITS_OWN:
        raise _Broken("killed from outside")
    raise _Refused(CRASHED.format(kind=kind))


def _converse(
    job: socket.socket, data: bytes, deadline: float, limits: Limits
) -> tuple[dict, tuple[np.ndarray, tuple[str, ...]] | None]:
    """Send a file and receive the header of the answer and, if there are any, the pixels and notices."""
    job.settimeout(left(deadline))
    job.sendall(data)
    answer = _receive_header(job, deadline)
    if "height" not in answer:
        return answer, None
    notices = tuple(str(notice) for notice in answer["notices"])
    return answer, (_receive_pixels(job, answer, deadline, limits), notices)


def _hand_over(control: socket.socket, job: bytes, descriptor: int, deadline: float) -> None:
    try:
        control.settimeout(left(deadline))
        socket.send_fds(control, [job], [descriptor])
    except ConnectionError as e:
        raise _Broken("the process is gone") from e


def _receive_header(source: socket.socket, deadline: float) -> dict:
    try:
        return receive_header(source, deadline)
    except (ConnectionError, EOFError, ValueError) as e:
        raise _Broken("no answer") from e


def _receive_pixels(source: socket.socket, answer: dict, deadline: float, limits: Limits) -> np.ndarray:
    height, width = int(answer["height"]), int(answer["width"])
    if height < 1 or width < 1 or height * width > limits.pixels:
        raise _Broken("pixels out of all proportion")
    pixels = np.empty((height, width, 3), np.uint8)
    _receive(source, pixels.data.cast("B"), deadline)
    return pixels


def _receive(source: socket.socket, into: bytearray | memoryview, deadline: float) -> bytearray | memoryview:
    try:
        receive(source, into, deadline)
    except ConnectionError as e:
        raise _Broken("the process is gone") from e
    except EOFError as e:
        raise _Broken("the process hung up") from e
    return into


def _is_halted(pid: int) -> bool:
    """Return whether a process or a child of it was stopped (SIGSTOP), as far as /proc tells."""
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt":
            return True
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return False
    return any(_is_halted(int(child)) for child in children)


def _note(end: dict, crashed: bool) -> None:
    with _lock:
        _usage.files += 1
        _usage.crashed += crashed
        _usage.seconds = max(_usage.seconds, float(end.get("seconds", 0)))
        _usage.memory = max(_usage.memory, int(end.get("memory", 0)))
