"""Try a serving file before it is loaded: the interpreter is C++, and a damaged network can end its process.

`python -m dermlens.models.trial_run FD SECONDS` is the process in which that is done, started from here alone.
It forks a child for every file, in a sandbox with a limit of memory, and ends when none has come for SECONDS seconds.
"""

import atexit
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from dermlens import sandbox
from dermlens.child_process import Process
from dermlens.errors import ModelError
from dermlens.models.engine import BUILD_AGAIN, Engine, warm

IDLE_SECONDS = 20.0
SECONDS = 60
"""Most time that a child has, by the clock: a real network takes less than two seconds."""
PATIENCE = 2.0 * SECONDS  # of the caller: the process has to start as well
MEMORY = 2**30
"""Most bytes of address space that a child has, and MEMORY_PER_BYTE more for every one of the file."""
MEMORY_PER_BYTE = 4
AGAIN_SECONDS = 60.0
"""After a trial that was broken off, the file is tried anew, but not at once: it may take SECONDS each time."""
SAID_BYTES = 1000
_lock = threading.Lock()
_verdicts: dict[tuple[str, int], str] = {}  # what is wrong with a file that was tried, "" if nothing
_broken_off: dict[tuple[str, int], tuple[str, float]] = {}  # what was said of a file instead, and until when
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
            said, until = _broken_off.get(key, ("", 0.0))
            if time.monotonic() < until:
                raise ModelError(said)
            try:
                _verdicts[key] = _try(content, views, name)
            except ModelError as e:
                _broken_off[key] = str(e), time.monotonic() + AGAIN_SECONDS
                raise
        if _verdicts[key]:
            raise ModelError(_verdicts[key])


class _Process(Process):
    """The process that forks, with the socket to it."""

    def __init__(self) -> None:
        super().__init__("dermlens.models.trial_run", str(IDLE_SECONDS))
        self.control.settimeout(PATIENCE)
        threading.Thread(target=self.process.wait, daemon=True).start()  # else it stays in the table once it has ended

    def ask(self, content: bytes, views: int) -> tuple[int, str]:
        """Return the exit code of the child that tried a file, and what it said; OSError if nothing came back."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(self.control, [f"{views} {len(content)}".encode()], [theirs.fileno()])
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
        if not code:
            return ""
        if code in (-signal.SIGALRM, -signal.SIGXCPU):
            raise ModelError(f"{name} took more than {SECONDS} seconds when it was tried. {BUILD_AGAIN}")
        if code in (-signal.SIGKILL, -signal.SIGTERM) or code > 0:
            raise ModelError(
                f"The trial of {name} was interrupted (exit code {code}). Check the memory of this machine."
            )
        raise ModelError(f"{name} ended the process that tried it. {BUILD_AGAIN}")
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
    boxed = not sandbox.trouble()
    warm()  # in the sandbox no file about the processor can be read
    asked = select.poll()
    asked.register(control, select.POLLIN)
    while asked.poll(1000 * idle):
        message, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not descriptors:
            return
        child = os.fork()
        if not child:
            control.close()
            views, size = map(int, message.split())
            _run(socket.socket(fileno=descriptors[0]), views, size, boxed)
        os.close(descriptors[0])
        control.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _run(answer: socket.socket, views: int, size: int, boxed: bool) -> NoReturn:
    """Be the child: load, run, say what was wrong, and end without any clean-up."""
    memory = MEMORY + MEMORY_PER_BYTE * size
    try:
        signal.alarm(SECONDS)
        for which, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_AS, memory)):
            sandbox.limit(which, most)
        if boxed:
            sandbox.enter()
        with answer.makefile("rb") as file:
            engine = Engine(Path("serving.tflite"), 1, file.read())
        try:
            engine.run_grey(views)
        except ModelError as e:
            raise ModelError(f"{e} It was given {memory >> 20} MiB of memory.") from e
    except ModelError as e:
        answer.sendall(str(e).encode()[:SAID_BYTES])
    except MemoryError:
        answer.sendall(f"The network needs more than {memory >> 20} MiB of memory. {BUILD_AGAIN}".encode())
    finally:
        os._exit(0 if sys.exc_info()[0] is None else 1)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), float(sys.argv[2]))
