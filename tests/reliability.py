"""The reliability report: `make reliability` does all that is hostile, broken and crowded, and writes what came of it.

Every part runs in a process of its own, so that one that fails, hangs or crashes costs its own rows only, and the
report is written anew after each. The exit status is 1 if anything was lost or a part failed.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from dermlens.case.timing import hardware
from dermlens.errors import DermlensError
from dermlens.files.documents import write_whole
from dermlens.ingest import pool
from dermlens.ingest.formats import ACCEPTED
from dermlens.ingest.read import read_image
from tests import fuzz
from tests.corpus.corpus import corpus, truncations
from tests.ingest.test_corpus import same

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "docs" / "reliability.md"
HOURS = 12
"""Longest that one part may take."""
QUICK_FILES = 250
TITLES = {
    "corpus": "A corpus of hostile files, each with the answer it must get",
    "fuzz": "Mutated files of every format",
    "load": "Many people at once",
    "hostile": "Strangers who attack the server, beside honest sessions",
    "faults": "Faults injected",
    "record": "The record at its size, and its faults",
}
READING = (
    "Survived: had the outcome it should have, be it a refusal with a sentence (refused). Lost: had not. Of mutated "
    "files the computing time in the decoder is given, of all others the time by the clock."
)
HEAD = ("what", "tried", "survived", "refused", "lost", "worst time", "worst memory", "")


def corpus_rows(full: bool) -> list[dict]:
    """Read every file of the corpus, and the beginnings of files that were cut off; in full also in a real browser."""
    pool.usage(anew=True)
    cases, wrong, refused, worst = corpus(), [], 0, 0.0
    for case in cases:
        start = time.perf_counter()
        try:
            found = read_image(case.data, limits=case.limits)
        except DermlensError as e:
            right = case.pixels is None and case.says in str(e)
            refused += right
        else:
            told = " ".join(found.notices)
            right = case.pixels is not None and same(found.pixels, case.pixels, case.within)
            right &= case.says in told and bool(case.says) == bool(told)
        worst = max(worst, time.perf_counter() - start)
        wrong += [] if right else [case.name]
    rows = [_row("files with a known answer", len(cases), refused, wrong, worst)]
    rows.append(_truncations())
    if full:
        rows.append(
            row_of_tests("the same on the page, and the nastiest in a real browser", "ingest/test_corpus.py", "browser")
        )
    return rows


def _truncations() -> dict:
    tried, wrong, refused, worst = 0, [], 0, 0.0
    for kind, whole, beginnings in truncations():
        complete = read_image(whole).pixels
        for data in beginnings:
            tried += 1
            start = time.perf_counter()
            try:
                right = same(read_image(data).pixels, complete, 0)
            except DermlensError:
                right = True
                refused += 1
            worst = max(worst, time.perf_counter() - start)
            wrong += [] if right else [f"{kind} of {len(data)} bytes"]
    return _row("files cut off", tried, refused, wrong, worst)


def _row(what: str, tried: int, refused: int, wrong: list[str], worst: float) -> dict:
    used = pool.usage(anew=True)
    return {
        "what": what,
        "tried": tried,
        "survived": tried - len(wrong),
        "refused": refused,
        "lost": len(wrong),
        "worst_seconds": worst,
        "worst_memory_mb": used.memory / 1e6,
        "note": f"Files that ended the decoder: {used.crashed}."
        + (f" WRONG: {', '.join(wrong[:9])}." if wrong else ""),
    }


def row_of_tests(what: str, *paths: str) -> dict:
    """Return the row of some files of tests, run by pytest."""
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        files = [str(ROOT / "tests" / path) for path in paths]
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", f"--junitxml={report}", *files]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if not report.is_file():
            raise RuntimeError(f"pytest ended with {done.returncode}: {done.stderr[-300:]}")
        cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    failed = [c.get("name", "") for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(c.find("skipped") is not None for c in cases)
    return {
        "what": what,
        "tried": len(cases) - skipped,
        "survived": len(cases) - skipped - len(failed),
        "refused": None,
        "lost": len(failed),
        "worst_seconds": max((float(c.get("time", 0)) for c in cases), default=0.0),
        "worst_memory_mb": None,
        "note": "Tests, not files."
        + (f" {skipped} skipped." if skipped else "")
        + (f" FAILED: {failed}." if failed else ""),
    }


def fuzz_rows(kind: str, files: int) -> list[dict]:
    """Read so many mutated files of one format."""
    tally = fuzz.fuzz(kind, files)
    note = f"The decoder broke down on {tally.crashed}." if tally.crashed else ""
    note += " OVER THE LIMITS of time or memory." if not tally.survived and not tally.lost else ""
    return [
        {
            "what": kind,
            "tried": tally.tried,
            "survived": tally.tried - tally.lost,
            "refused": tally.refused,
            "lost": tally.lost or int(not tally.survived),
            "worst_seconds": tally.seconds,
            "worst_memory_mb": tally.memory / 1e6,
            "note": note + (f" WRONG: {tally.remarkable[:3]}." if tally.lost else ""),
        }
    ]


def parts(full: bool, files: int) -> dict[str, Callable[[], list[dict]]]:
    """Return what the report is made of, by name: "<part>" or "<part> <format>"."""
    found: dict[str, Callable[[], list[dict]]] = {
        "corpus": lambda: corpus_rows(full),
        "load": lambda: _load(full),
        "hostile": lambda: _hostile(full),
        "faults": lambda: _faults(full),
        "record": lambda: _record(full),
    }
    for kind in ACCEPTED:  # what takes longest comes last
        found[f"fuzz {kind}"] = lambda kind=kind: fuzz_rows(kind, files)  # type: ignore[misc]
    return found


def _load(full: bool) -> list[dict]:
    from tests import load

    return load.run(full)


def _hostile(full: bool) -> list[dict]:
    from tests import load_hostile

    return list(load_hostile.rows(full))


def _faults(full: bool) -> list[dict]:
    from tests import faults  # which imports Streamlit, Keras and a browser's driver

    return faults.run(full, [f.__name__ for f in faults.faults(full) if f not in faults.RECORD])


def _record(full: bool) -> list[dict]:
    from tests import faults
    from tests.faults import record_size

    return [*record_size.rows(full), *faults.run(full, [f.__name__ for f in faults.RECORD])]


def run_part(name: str, options: Sequence[str]) -> list[dict]:
    """Run one part in a process of its own; raises RuntimeError with the reason if it gives no rows."""
    command = [sys.executable, "-m", "tests.reliability", "--part", name, *options]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HOURS * 3600)
    except subprocess.TimeoutExpired as e:
        raise RuntimeError(f"it took more than {HOURS} hours") from e
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RuntimeError(f"its process ended with {done.returncode}: {' '.join(done.stderr.split())[-300:]}")
    return json.loads(lines[-1])


def collect(
    names: Iterable[str],
    run: Callable[[str], list[dict]],
    write: Callable[[str], None],
    about: str,
    before: Callable[[], str] = str,
    kept: Collection[str] = (),
) -> int:
    """Run parts one after the other and write the report anew after each.

    Args:
        names: of the parts.
        run: gives the rows of a part, or raises.
        write: takes the report as Markdown.
        about: when and of what it is, for every section.
        before: gives the report as it is now, whose other sections stay.
        kept: parts of which other rows stay as well.

    Returns:
        The exit status: 0 if nothing was lost and no part failed.
    """
    rows: dict[str, list[dict]] = {}
    failures: dict[str, list[str]] = {}
    for name in names:
        part = name.split()[0]
        found = rows.setdefault(part, [])
        try:
            found.extend(run(name))
        except Exception as e:  # noqa: BLE001 - the other parts go on
            failures.setdefault(part, []).append(f"**The part {name} failed**: {e}.")
        write(markdown(rows, failures, about, before(), kept))
    lost = sum(row["lost"] for part in rows.values() for row in part)
    return int(bool(lost or failures))


def markdown(
    rows: Mapping[str, list[dict]],
    failures: Mapping[str, Sequence[str]],
    about: str,
    before: str = "",
    kept: Collection[str] = (),
) -> str:
    """Return the report: a section a part, those of `before` where there is no new one.

    Of a part in `kept`, rows of `before` that are not among the new ones stay above them.
    """
    sections = dict(re.findall(r"^## (.+)\n((?:(?!##).*\n)*)", before, re.MULTILINE))
    for part, found in rows.items():
        table = [f"| {' | '.join(HEAD)} |", "| --- |" + " ---: |" * 6 + " --- |", *map(_line, found)]
        told = [line for failure in failures.get(part, ()) for line in ("", failure)]
        stays = _without(sections.get(TITLES[part], ""), found) if part in kept else ""
        sections[TITLES[part]] = stays + "\n".join([about, "", *table, *told])
    there = [title for title in TITLES.values() if title in sections]
    text = "\n\n".join(f"## {title}\n\n{sections[title].strip()}" for title in there)
    cells = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if re.match(r"\| (?!what \||---)", line)]
    tried, lost = (sum(int(row[column].replace(",", "")) for row in cells) for column in (2, 5))
    return f"# Reliability\n\n{READING}\n\n{tried:,} tried, {lost:,} lost.\n\n{text}\n"


def _without(section: str, rows: Sequence[dict]) -> str:
    """Return the tables of a section without the lines of what is in `rows`, and no table that has none left."""
    anew = tuple(re.findall(r"(?m)^\| .*?(?<!\\)\|", "\n".join(map(_line, rows))))
    blocks = [
        [line for line in block.splitlines(True) if not line.startswith(anew)]
        for block in re.split(r"(?m)^(?=Made by )", section)
    ]
    left = ("".join(block).strip() for block in blocks if sum(line.startswith("|") for line in block) > 2)
    return "".join(f"{block}\n\n" for block in left)


def _line(row: dict) -> str:
    counts = [f"{row[name]:,}" if row[name] is not None else "" for name in ("tried", "survived", "refused", "lost")]
    seconds, memory = row["worst_seconds"], row["worst_memory_mb"]
    costs = ["" if not _known(seconds) else f"{seconds:.2f} s", "" if not _known(memory) else f"{memory:,.0f} MB"]
    cells = [row.get("what") or row.get("name", ""), *counts, *costs, row["note"]]
    return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |"


def _known(value: float | None) -> bool:
    return value is not None and value == value


def about(arguments: Sequence[str]) -> str:
    """Return when, of which commit and on which machine a section is."""
    git = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "unknown"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    command = shlex.join(("python", "-m", "tests.reliability", *arguments))
    return (
        f"Made by `{command}` on {datetime.now(UTC):%d %B %Y, %H:%M} UTC of "
        f"commit {commit}, on {hardware()}, {memory:.0f} GiB of memory."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="minutes instead of hours; printed, not written")
    parser.add_argument(
        "--files", type=int, help=f"mutants of each format (default: {fuzz.FILES}, quick {QUICK_FILES})"
    )
    choices = dict.fromkeys([*TITLES, *parts(True, fuzz.FILES)])
    parser.add_argument("--only", choices=choices, action="append", help="this part or format alone; the rest stays")
    parser.add_argument("--output", type=Path, help=f"default: {REPORT.relative_to(ROOT)}")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    full = not given.quick
    files = given.files or (fuzz.FILES if full else QUICK_FILES)
    every = parts(full, files)
    if given.part:
        print(json.dumps(every[given.part]()))
        return 0
    names = [name for name in every if not given.only or {name, name.split()[0]} & set(given.only)]
    kept = {name.split()[0] for name in given.only or () if name not in TITLES}
    options = ["--files", str(files), *(["--quick"] if given.quick else [])]
    output = given.output or (REPORT if full else None)
    last = ""

    def before() -> str:
        return output.read_text() if given.only and output and output.is_file() else ""

    def write(report: str) -> None:
        nonlocal last
        last = report
        if output:
            write_whole(output, report.encode())

    def run(name: str) -> list[dict]:
        print(f"{datetime.now(UTC):%H:%M:%S} {name}", file=sys.stderr, flush=True)
        return run_part(name, options)

    status = collect(names, run, write, about(sys.argv[1:] if arguments is None else arguments), before, kept)
    print(last)
    return status


if __name__ == "__main__":
    sys.exit(main())
