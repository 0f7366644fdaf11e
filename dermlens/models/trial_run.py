"""Try a serving file before it is loaded: the interpreter is C++, and a damaged network can end its process.

`python -m dermlens.models.trial_run FD SECONDS` is the process in which that is done, started from here alone.
It forks a child for every file, and ends when none has come for SECONDS seconds.
"""

import atexit
import os
import resource
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from dermlens.child_process import Process
from dermlens.errors import ModelError
from dermlens.models.engine import BUILD_AGAIN, Engine

IDLE_SECONDS = 20.0
SECONDS = 60
"""Most time that a child has, by the clock: a real network takes less than two seconds."""
PATIENCE = 2.0 * SECONDS  # of the caller: the process has to start as well
SAID_BYTES = 1000
_lock = threading.Lock()
_verdicts: dict[tuple[str, int], str] = {}  # what is wrong with a file that was tried, "" if nothing
_processes: "list[_Process]" = []  # the one that is running, if one is


def check(content: bytes, digest: str, views: int, name: str) -> None:
    """Load a serving file and run it once in a process of its own; what was tried before is not tried again.

    Args:
        content: of the file.
        digest: its SHA-256.
        views: number of images in a batch.
        name: of the file, for the message.

    Raises:
        ModelError: the file was refused there, or ended the process, or took too long, or the process could not be
            started. It is not to be loaded then: after a run that failed, the interpreter can crash on the next one.
    """
    key = (digest, views)
    with _lock:
        if key not in _verdicts:
            _verdicts[key] = _try(content, views, name)
        if _verdicts[key]:
            raise ModelError(_verdicts[key])


class _Process(Process):
    """The process that forks, with the socket to it."""

    def __init__(self) -> None:
        super().__init__("dermlens.models.trial_run", str(IDLE_SECONDS))
        self.control.settimeout(PATIENCE)

    def ask(self, content: bytes, views: int) -> tuple[int, str]:
        """Return the exit code of the child that tried a file, and what it said; OSError if nothing came back."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(self.control, [str(views).encode()], [theirs.fileno()])
            ours.settimeout(PATIENCE)
            said = b""
            with suppress(BrokenPipeError, ConnectionResetError):  # it ended before it had read all
                ours.sendall(content)
                ours.shutdown(socket.SHUT_WR)
                said = ours.recv(SAID_BYTES)
        if not (answer := self.control.recv(64)):
            raise ConnectionError("the process hung up")
        return int(answer), said.decode(errors="replace")


def _try(content: bytes, views: int, name: str) -> str:
    """Return what is wrong with a file, "" if nothing is; ModelError if that did not come out."""
    for _ in range(2):  # the process that is running may just have ended, as there was nothing to do
        try:
            if not _processes:
                _processes.append(_Process())
            code, said = _processes[0].ask(content, views)
        except TimeoutError:
            _end()
            break
        except OSError:
            _end()
            continue
        if said:
            return said
        if code == -signal.SIGALRM:
            return f"{name} took more than {SECONDS} seconds when it was tried. {BUILD_AGAIN}"
        if code in (-signal.SIGKILL, -signal.SIGTERM) or code > 0:
            raise ModelError(
                f"The trial of {name} was interrupted (exit code {code}). Check the memory of this machine."
            )
        return f"{name} ended the process that tried it. {BUILD_AGAIN}" if code else ""
    raise ModelError(f"{name} cannot be tried: the process for it does not start or answer. Check the installation.")


def close() -> None:
    """End the process, if one is there; it starts again when needed."""
    with _lock:
        _end()


def _end() -> None:
    while _processes:
        _processes.pop().close()


atexit.register(close)


def _serve(control: socket.socket, idle: float) -> None:
    asked = select.poll()
    asked.register(control, select.POLLIN)
    while asked.poll(1000 * idle):
        message, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not descriptors:
            return
        child = os.fork()
        if not child:
            control.close()
            _run(socket.socket(fileno=descriptors[0]), int(message))
        os.close(descriptors[0])
        control.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _run(answer: socket.socket, views: int) -> NoReturn:
    """Be the child: load, run, say what was wrong, and end without any clean-up."""
    try:
        signal.alarm(SECONDS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with answer.makefile("rb") as file:
            engine = Engine(Path("serving.tflite"), 1, file.read())
        engine.run_grey(views)
    except ModelError as e:
        answer.sendall(str(e).encode()[:SAID_BYTES])
    finally:
        os._exit(0 if sys.exc_info()[0] is None else 1)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), float(sys.argv[2]))
