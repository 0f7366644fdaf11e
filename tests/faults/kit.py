"""What the faults share: counting, child processes, file systems mounted for them, and looking at processes."""

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dermlens.models import registry
from tests.processes import alive, command_of, descendants

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
ONE_SENTENCE = re.compile(r"[^\n]{10,400}\n?")


@dataclass
class Count:
    """What became of the injections of one fault."""

    what: str
    tried: int = 0
    refused: int = 0
    """of them, those that were told in a sentence, as they should be"""
    wrong: list[str] = field(default_factory=list)
    """one line for each that was not told so, crashed something or lost something"""
    worst_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Count one injection; whatever is raised in the block is a failure of it."""
        self.tried += 1
        start = time.perf_counter()
        try:
            yield
        except Exception as e:  # noqa: BLE001 - to find such an exception is what this is for
            self.wrong.append(f"{name}: {type(e).__name__}: {e}")
        self.worst_seconds = max(self.worst_seconds, time.perf_counter() - start)

    def told(self, sentence: str, *words: str) -> None:
        """Note a sentence; AssertionError unless it is one line with these words and no traceback."""
        self.refused += 1
        assert ONE_SENTENCE.fullmatch(sentence), f"not one sentence: {sentence!r}"
        assert "Traceback" not in sentence
        for word in words:
            assert word in sentence, f"{word!r} is not in {sentence!r}"

    def of_child(self, done: "subprocess.CompletedProcess[str] | None") -> "Count":
        """Take over what a child process counted; a note says so where it could not be run."""
        if done is None:
            self.notes.append("Not tried: this machine lets nobody mount a file system.")
            return self
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            self.tried += 1
            self.wrong.append(f"the process ended with {done.returncode}: {done.stderr[-400:].strip()}")
            return self
        found = json.loads(lines[-1])
        self.tried, self.refused, self.wrong = found["tried"], found["refused"], found["wrong"]
        self.worst_seconds = found["worst_seconds"]
        self.notes += found["notes"]
        return self

    def row(self) -> dict:
        """Return the row of the report."""
        note = " ".join(self.notes) + "".join(f" WRONG: {line}." for line in self.wrong)
        return {
            "what": self.what,
            "tried": self.tried,
            "survived": self.tried - len(self.wrong),
            "refused": self.refused,
            "lost": len(self.wrong),
            "worst_seconds": self.worst_seconds,
            "worst_memory_mb": None,
            "note": note.strip(),
        }


def child(task: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a fault's child in a process of its own."""
    command = [sys.executable, "-m", "tests.faults", "--child", task, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


TMPFS = 'mount -t tmpfs -o "size=$1" tmpfs "$2" || exit 97; shift 2; exec "$@"'


def mounted(
    point: Path, size: str, task: str, *arguments: object, script: str = TMPFS, users: bool = False
) -> "subprocess.CompletedProcess[str] | None":
    """Run a fault's child where a file system of a size is mounted; None if this machine lets nobody mount.

    Only the child sees the mount, and it is gone with the child.

    Args:
        point: where. size: as mount takes it. task, arguments: of the child. script: that mounts and runs it.
        users: whether the child starts programs as other users, which only root lets it.
    """
    enter = ["unshare", "--mount"] if users else ["unshare", "--mount", "--map-root-user"]
    command = [sys.executable, "-m", "tests.faults", "--child", task, *map(str, arguments)]
    try:
        done = subprocess.run(
            [*enter, "sh", "-c", script, "sh", size, str(point), *command], cwd=ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:
        return None
    refused = done.returncode == 97 or (done.returncode == 1 and "unshare" in done.stderr)
    return None if refused else done


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    return {str(f.relative_to(folder)): registry.sha256(f) for f in sorted(folder.rglob("*")) if f.is_file()}


def workers(server: int) -> set[int]:
    """Return the processes that decode a file right now for a server."""
    found = set()
    for pid in descendants(server):
        if b"dermlens.ingest.worker" in command_of(pid):
            found |= {p for p in descendants(pid) if alive(p)}
    return found


def until(found: Callable[[], object]) -> int:
    """Wait until something is there and return it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := found():
            return int(value)  # type: ignore[call-overload]
        time.sleep(0.002)
    raise AssertionError("it did not come about")


@contextlib.contextmanager
def no_room(disk: Path, left: int = 0) -> Iterator[None]:
    """Fill a small file system up to some bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    with filler.open("r+b") as file:
        file.truncate(max(0, filler.stat().st_size - left))
    try:
        yield
    finally:
        filler.unlink()
