"""A separate process, with a socket to it, for work that may crash: reading files of strangers, or damaged ones."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

LENGTH = 4
"""Bytes that give the length of a JSON header, big-endian."""
MAX_HEADER = 1 << 16
_ROOT = Path(__file__).parents[1]
# The environment of a server may hold secrets; such a process gets none of it but this.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
_SET = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


def receive(source: socket.socket, into: bytearray | memoryview, deadline: float | None = None) -> None:
    """Fill a buffer from a socket.

    Args:
        deadline: by time.monotonic; None waits as long as the socket does.

    Raises:
        EOFError: the other side hangs up before. TimeoutError: the deadline has passed. OSError: of the socket.
    """
    view = memoryview(into)
    while view:
        if deadline is not None:
            source.settimeout(left(deadline))
        got = source.recv_into(view)
        if not got:
            raise EOFError("the other side hung up")
        view = view[got:]


def send(to: socket.socket, header: dict[str, Any], body: memoryview | None = None) -> None:
    """Send a JSON header with its length before it, and a body after it; OSError of the socket."""
    text = json.dumps(header).encode()
    to.sendall(len(text).to_bytes(LENGTH, "big") + text)
    if body is not None:
        to.sendall(body)


def receive_header(source: socket.socket, deadline: float | None = None) -> dict[str, Any]:
    """Return the header that `send` sent; raises as `receive`, and ValueError if it is none."""
    length = bytearray(LENGTH)
    receive(source, length, deadline)
    if int.from_bytes(length, "big") > MAX_HEADER:
        raise ValueError("an answer out of all proportion")
    text = bytearray(int.from_bytes(length, "big"))
    receive(source, text, deadline)
    header = json.loads(bytes(text))
    if not isinstance(header, dict):
        raise ValueError("no answer")
    return header


def left(deadline: float) -> float:
    """Return the seconds until a deadline by time.monotonic; raises TimeoutError once it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


class Process:
    """A process that runs a module, and the socket to it."""

    def __init__(self, module: str, *arguments: str) -> None:
        """Start `python -m MODULE FD ...`, FD being its end of the socket; OSError if that cannot be done."""
        self.control, theirs = socket.socketpair()
        with theirs, ExitStack() as on_failure:
            on_failure.enter_context(self.control)
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), *arguments],
                pass_fds=(theirs.fileno(),),
                cwd=_ROOT,
                env={name: os.environ[name] for name in _KEPT if name in os.environ} | _SET,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a group of its own, which is ended as one
            )
            on_failure.pop_all()

    def close(self) -> None:
        """End the process and its children at once."""
        self.control.close()
        if self.process.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended, and another thread waited for it
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
