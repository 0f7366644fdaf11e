"""Try a serving file before it is loaded: the interpreter is C++, and a damaged network can end whoever runs it.

`python -m dermlens.trial FD SECONDS` is the process in which that is done, started here and of no other use. It forks a
child for every file, and ends when there was none for so many seconds.
"""

import atexit
import os
import resource
import select
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import numpy as np

from dermlens.engine import Engine
from dermlens.errors import ModelError

IDLE_SECONDS = 20.0
START_SECONDS = 60.0
CPU_SECONDS = 60
"""Most computing time of a child: a real network takes less than two seconds."""
SAID_BYTES = 1000
_lock = threading.Lock()
_passed: set[tuple[str, int]] = set()
_processes: "list[_Process]" = []  # the one that is running, if one is


def check(content: bytes, views: int, name: str) -> None:
    """Load a serving file and run it once in a process of its own; a file that has passed before is not tried again.

    Args:
        content: of the file.
        views: number of images in a batch.
        name: of the file, for the message.

    Raises:
        ModelError: the file was refused there, or ended the process, or the process could not be started. It is not to
            be loaded then: after a run that failed, the interpreter can crash on the next one.
    """
    key = (sha256(content).hexdigest(), views)
    with _lock:
        if key in _passed:
            return
        status, said = _ask(content, views)
        if said:
            raise ModelError(said)
        if status is None:
            raise ModelError(f"{name} cannot be tried: the process for it does not start. Check the installation.")
        if status:
            raise ModelError(f"{name} ended the process that tried it. Build it again with python -m training.export.")
        _passed.add(key)


class _Process:
    """The process that forks, with the socket to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as on_failure:
            on_failure.enter_context(ours)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dermlens.trial", str(theirs.fileno()), str(IDLE_SECONDS)],
                pass_fds=(theirs.fileno(),),
                cwd=Path(__file__).parents[1],
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            on_failure.pop_all()
        ours.settimeout(START_SECONDS + CPU_SECONDS)
        self.control = ours

    def ask(self, content: bytes, views: int) -> tuple[int, str]:
        """Return the wait status of the child that tried a file, and what it said; OSError if nothing came back."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(self.control, [str(views).encode()], [theirs.fileno()])
            ours.settimeout(START_SECONDS + CPU_SECONDS)
            said = b""
            with suppress(ConnectionError):  # it ended before it had read all: its status says so
                ours.sendall(content)
                ours.shutdown(socket.SHUT_WR)
                said = ours.recv(SAID_BYTES)
        if not (answer := self.control.recv(64)):
            raise ConnectionError("the process hung up")
        return int(answer), said.decode(errors="replace")

    def close(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.wait()


def _ask(content: bytes, views: int) -> tuple[int | None, str]:
    """Return the wait status of the child that tried the file, None if nothing came back, and what it said."""
    for _ in range(2):  # the process that is running may just have ended, as there was nothing to do
        try:
            if not _processes:
                _processes.append(_Process())
            return _processes[0].ask(content, views)
        except OSError:
            _end()
    return None, ""


def close() -> None:
    """End the process, if one is there; it starts again when needed."""
    with _lock:
        _end()


def _end() -> None:
    while _processes:
        _processes.pop().close()


atexit.register(close)


def _serve(control: socket.socket, idle: float) -> None:
    while select.select([control], [], [], idle)[0]:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not descriptors:
            return
        child = os.fork()
        if not child:
            _try(socket.socket(fileno=descriptors[0]), int(message))
        os.close(descriptors[0])
        control.sendall(str(os.waitpid(child, 0)[1]).encode())


def _try(answer: socket.socket, views: int) -> NoReturn:
    """Be the child: load, run, say what was wrong, and end without any clean-up."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
        with answer.makefile("rb") as file:
            engine = Engine(Path("serving.tflite"), 1, file.read())
        engine.run(np.full((views, engine.size, engine.size, 3), 128, np.float32))
    except ModelError as e:
        answer.sendall(str(e).encode()[:SAID_BYTES])
    finally:
        os._exit(0 if sys.exc_info()[0] is None else 1)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), float(sys.argv[2]))
