"""How much memory the slow heat maps take: `python -m tests.heat_map_memory --minutes 60`.

A person at a real server draws every method by every network, round by round, each time of another picture and class.
Which methods suit a network is taken to be unknown, so that all are offered. Counted is the server and every process
that it started, pages that some of them share once (PSS).
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from dermlens.explain.localisation_results import FILE as WHAT_SUITS
from dermlens.explain.methods import METHODS
from dermlens.image.examples import EXAMPLES
from dermlens.labels import CLASSES, NAMES
from dermlens.models import registry
from tests.browser.app import serve
from tests.visitor import Visitor

EVERY = 0.25
"""Seconds between two looks at the memory."""
IN_ALL, SERVER = "in all", "the server alone"


def below(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did."""
    try:
        own = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _words(task / "children")]
    except OSError:
        return []
    return own + [pid for child in own for pid in below(child)]


def memory(pid: int) -> float:
    """Return the memory of a process in MB as PSS, 0 if it is gone."""
    try:
        return next(float(w[1]) for w in map(str.split, _lines(pid)) if w[0] == "Pss:") / 1024
    except (OSError, StopIteration):
        return 0.0


class Watch:
    """Looks at the memory of a server until it is told to stop."""

    def __init__(self, server: int) -> None:
        self._server, self._over = server, threading.Event()
        self.most = dict.fromkeys((IN_ALL, SERVER), 0.0)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def now(self) -> dict[str, float]:
        """Return the memory in MB."""
        alone = memory(self._server)
        return {IN_ALL: alone + sum(map(memory, below(self._server))), SERVER: alone}

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(EVERY):
            found = self.now()
            self.most = {name: max(value, self.most[name]) for name, value in found.items()}


def one_round(
    visitor: Visitor, names: list[str], methods: list[str], number: int, seconds: dict[tuple[str, str], list[float]]
) -> None:
    """Begin a new case with another picture and draw every map of one class."""
    if number:
        visitor.press("New case")
    visitor.press(EXAMPLES[number % len(EXAMPLES)].name)
    visitor.query += "&show-research=true"
    visitor.run()
    visitor.settle()
    code = CLASSES[number % len(CLASSES)]
    for name in names:
        visitor.choose("selectbox", "Model", string_value=name)
        chosen = next(o for o in visitor.find("selectbox", label="Class").options if o.startswith(NAMES[code]))
        visitor.choose("selectbox", "Class", string_value=chosen)
        for method in methods:
            visitor.choose("selectbox", "Method", string_value=METHODS[method])
            began = time.monotonic()
            visitor.choose("button", "Draw", trigger_value=True)
            seconds[name, METHODS[method]].append(time.monotonic() - began)
            drawn = [image.caption for images in visitor._of("imgs") for image in images.imgs]
            assert f"{METHODS[method]}: {NAMES[code]}" in drawn, visitor.text()


def main(argv: list[str] | None = None) -> int:
    """Print the memory after every round and the time of every map; returns 1 where the last is over the limit."""
    parser = argparse.ArgumentParser(prog="python -m tests.heat_map_memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--models", nargs="*", default=["efficientnetv2b0", "resnet50"])
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--limit", type=float, default=1200, help="MB after the last map (default: %(default)s)")
    args = parser.parse_args(argv)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        unmeasured = Path(folder) / "models"
        shutil.copytree(registry.models_dir(), unmeasured, ignore=shutil.ignore_patterns(WHAT_SUITS))
        names = [registry.find(unmeasured, model).name for model in args.models]
        before = set(below(os.getpid()))
        with serve(Path(folder) / "log", {"DERMLENS_MODELS": str(unmeasured)}) as address:
            (server,) = (
                p for p in set(below(os.getpid())) - before if "streamlit" in _words(Path(f"/proc/{p}/cmdline"))
            )
            watch = Watch(server)
            with Visitor(address, "predict") as visitor:
                end, number = time.monotonic() + 60 * args.minutes, 0
                while time.monotonic() < end:
                    one_round(visitor, names, args.methods, number, seconds)
                    number += 1
                    found = watch.now()
                    print(f"round {number}: {_said(found)}; at most so far: {_said(watch.most)}", flush=True)
            watch.stop()
    for (name, method), taken in seconds.items():
        print(f"{method} by {name}: first {taken[0]:.1f} s, later {median(taken[1:] or taken):.1f} s (median)")
    return int(found[IN_ALL] > args.limit)


def _said(megabytes: dict[str, float]) -> str:
    return ", ".join(f"{value:,.0f} MB {name}" for name, value in megabytes.items())


def _lines(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()


def _words(file: Path) -> list[str]:
    return file.read_text().replace("\0", " ").split()


if __name__ == "__main__":
    raise SystemExit(main())
