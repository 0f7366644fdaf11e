"""What cannot be installed where: `python -m tests.supply.platforms` asks for a wheel of every pin, system by system.

Writes the answer into locks/README.md. A pin without a wheel for a system is missing there, as nothing is built.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dermlens.files.documents import write_whole

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "locks"
SYSTEMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux aarch64": "aarch64-manylinux_2_28",
    "macOS arm64": "aarch64-apple-darwin",
    "macOS x86-64": "x86_64-apple-darwin",
}
PYTHONS = ("3.11", "3.12", "3.13")
HEAD = """# What is pinned

One file for each `requirements*.txt`, with everything that it brings along and the hash of every wheel, for every
system and Python at once. Made by `make lock`, never by hand.

Of what everybody installs, a wheel of every pin is there for (on Linux with glibc 2.28 or later):

"""
_CULPRIT = re.compile(r"Because (?:only )?([\w.-]+)(?:\[[\w,]+\])?==(\S+) has no")


def missing(lock: Path, system: str, python: str) -> str:
    """Return the first pin of a lock that has no wheel for a system and a Python, "" if all have.

    Raises:
        RuntimeError: uv fails for another reason, as where it reaches no package index.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-header", "--python-platform", SYSTEMS[system], "--python-version", python, str(lock)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if not done.returncode:
        return ""
    if found := _CULPRIT.search(" ".join(done.stderr.split())):
        return f"{found[1]} {found[2]}"
    raise RuntimeError(f"{lock.name} for {system}, Python {python}: {done.stderr.strip()}")


def table(names: Iterable[str], ask: Callable[[str, str, str], str]) -> str:
    """Return a Markdown table of locks by system: "yes", or what is missing for which Python."""
    lines = [f"| file | {' | '.join(SYSTEMS)} |", "| --- |" + " --- |" * len(SYSTEMS)]
    for name in names:
        cells = []
        for system in SYSTEMS:
            lacks = {python: ask(name, system, python) for python in PYTHONS}
            kinds = dict.fromkeys(lacks.values())
            if list(kinds) == [""]:
                cells.append("yes")
                continue
            cells.append(
                "; ".join(
                    f"no `{lack}`"
                    + (f" (Python {', '.join(p for p in PYTHONS if lacks[p] == lack)})" if len(kinds) > 1 else "")
                    for lack in kinds
                    if lack
                )
            )
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Write locks/README.md: of what everybody installs, as uv looks into wheels of gigabytes for some others."""
    names = ["requirements.txt"]
    asked = [(name, system, python) for name in names for system in SYSTEMS for python in PYTHONS]
    with ThreadPoolExecutor(2) as workers:
        found = dict(zip(asked, workers.map(lambda a: missing(LOCKS / a[0], *a[1:]), asked), strict=True))
    text = HEAD + table(names, lambda *asked: found[asked]) + "\n"
    write_whole(LOCKS / "README.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
