"""The processes below one, found by each one's parent.

`/proc/PID/task/TID/children` would be shorter, but leaves out children when a thread or a child ends while it is read
(proc(5) promises it only for processes that stand still).
"""

import os
from pathlib import Path


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # ended meanwhile
                continue
    return parents


def children(pid: int) -> list[int]:
    """Return the processes that one started and that have not been waited for, none if it has ended."""
    return [child for child, parent in _parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    """Return all processes below one, parents before their children."""
    parents = _parents()
    found, level = [], {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found += sorted(level)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be noticed does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def command_of(pid: int) -> bytes:
    """Return the command line of a process, its words apart by zero bytes, b"" if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def server_of(address: str) -> int:
    """Return the process that this one started to serve an address, "http://localhost:8501"."""
    port = address.rpartition(":")[2].encode()
    for pid in descendants(os.getpid()):
        words = command_of(pid).split(b"\0")
        if b"--server.port" in words and port in words:
            return pid
    raise AssertionError(f"No process of this one serves {address}.")
