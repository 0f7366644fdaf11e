"""Mutated files of every format through the door: `python -m tests.fuzz [--files N] [--seed S] [--format KIND]`.

100,000 files a format by default. Prints a table and the files worth a look (mutant KIND SEED NUMBER makes one again);
the exit status is 1 if something came out that is neither pixels nor a DermlensError, or cost more than the limits.
"""

import argparse
import os
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from tqdm import tqdm

from dermlens.errors import DermlensError
from dermlens.ingest import pool
from dermlens.ingest.formats import ACCEPTED, LIMITS, format_of
from dermlens.ingest.read import read_image
from tests.image_files import picture, samples

FILES = 100_000
MAX_SECONDS = 5.0
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass
class Tally:
    """What became of the mutants of one format."""

    kind: str
    tried: int = 0
    accepted: int = 0
    refused: int = 0
    crashed: int = 0
    """of them, files on which the decoding process broke down; the dashboard's process goes on"""
    lost: int = 0
    """files that gave neither pixels nor a DermlensError"""
    seconds: float = 0.0
    """most computing time that one file took"""
    waited: float = 0.0
    """most time that one file took by the clock, with everything else that the machine did"""
    memory: int = 0
    """most memory of a decoding process, in bytes"""
    remarkable: list[str] = field(default_factory=list)

    @property
    def survived(self) -> bool:
        """Whether every file had a proper outcome at a proper price."""
        return self.lost == 0 and self.seconds <= MAX_SECONDS and self.memory <= LIMITS.memory


def fuzz(kind: str, count: int, seed: int = 0, progress: bool = False) -> Tally:
    """Read `count` mutants of a format through the door and count what came out."""
    tally, lock = Tally(kind), threading.Lock()
    pool.usage(anew=True)

    def attempt(number: int) -> None:
        data = mutant(kind, seed, number)
        start = time.perf_counter()
        try:
            pixels = read_image(data).pixels
            proper = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
            outcome = "accepted" if proper and pixels[..., 0].size <= LIMITS.pixels else "lost"
        except DermlensError as e:
            outcome = "refused"
            if "broke down" in str(e):
                tally.remarkable.append(f"{kind} {seed} {number}: {e}")
        except Exception as e:  # noqa: BLE001 - to find such an exception is what this is for
            outcome = "lost"
            tally.remarkable.append(f"{kind} {seed} {number}: {e!r}")
        waited = time.perf_counter() - start
        with lock:
            tally.tried += 1
            setattr(tally, outcome, getattr(tally, outcome) + 1)
            tally.waited = max(tally.waited, waited)

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        jobs = workers.map(attempt, range(count))
        for _ in tqdm(jobs, total=count, desc=kind, unit="file", disable=not progress):
            pass
    used = pool.usage(anew=True)
    tally.crashed, tally.seconds, tally.memory = used.crashed, used.seconds, used.memory
    return tally


def fuzz_all(count: int = FILES, seed: int = 0, kinds: Sequence[str] = ACCEPTED, progress: bool = True) -> list[Tally]:
    """Return the tallies of several formats, `count` mutants each."""
    return [fuzz(kind, count, seed, progress) for kind in kinds]


def table(tallies: Sequence[Tally]) -> str:
    """Return the tallies as a Markdown table."""
    lines = [
        "| format | tried | accepted | refused | decoder crashes | lost | worst computing | worst wait | worst memory |"
    ]
    lines.append("| --- |" + " ---: |" * 8)
    lines += [
        f"| {t.kind} | {t.tried:,} | {t.accepted:,} | {t.refused:,} | {t.crashed:,} | {t.lost:,} "
        f"| {t.seconds:.2f} s | {t.waited:.2f} s | {t.memory / 2**20:.0f} MiB |"
        for t in tallies
    ]
    return "\n".join(lines)


def mutant(kind: str, seed: int, number: int) -> bytes:
    """Return a file of a format, damaged in one place or a few; the same one for the same numbers."""
    rng = np.random.default_rng((seed, ACCEPTED.index(kind), number))
    files = _seeds()[kind]
    data = bytearray(files[rng.integers(len(files))])
    for _ in range(int(rng.geometric(0.65))):
        change = CHANGES[rng.integers(len(CHANGES))]
        data = change(data, rng, files) or data
        if len(data) > 2**20:
            del data[2**20 :]
    if kind == "PNG" and rng.random() < 0.8:
        _repair_png(data)
    if format_of(bytes(data)) != kind and rng.random() < 0.9:  # else most would not even reach a decoder
        start = files[0]
        data[: 132 if kind == "DICOM" else 12] = start[: 132 if kind == "DICOM" else 12]
    return bytes(data)


@cache
def _seeds() -> dict[str, list[bytes]]:
    return samples(picture(40, 56))


def _at(data: bytearray, rng: np.random.Generator) -> int:
    """Return a position, half of the time near the beginning, where headers are."""
    most = len(data) if rng.random() < 0.5 else min(len(data), 600)
    return int(rng.integers(max(1, most)))


def _flip(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    if data:
        data[_at(data, rng)] ^= 1 << int(rng.integers(8))


def _scribble(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    at = _at(data, rng)
    data[at : at + 4] = rng.bytes(int(rng.integers(1, 5)))


def _number(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    value, at = _NUMBERS[rng.integers(len(_NUMBERS))], _at(data, rng)
    width = "BHI"[rng.integers(3)]
    packed = struct.pack("<>"[rng.integers(2)] + width, value & (2 ** (8 * struct.calcsize(width)) - 1))
    data[at : at + len(packed)] = packed


def _cut(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    del data[int(rng.integers(1, max(1, len(data)) + 1)) :]


def _remove(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    at = _at(data, rng)
    del data[at : at + int(rng.integers(1, 200))]


def _repeat(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    at, length = _at(data, rng), int(rng.integers(1, 200))
    data[at:at] = data[at : at + length] * int(rng.integers(1, 20))


def _splice(data: bytearray, rng: np.random.Generator, files: list[bytes]) -> bytearray:
    other = files[rng.integers(len(files))]
    return data[: _at(data, rng)] + other[int(rng.integers(len(other))) :]


CHANGES: tuple[Callable[[bytearray, np.random.Generator, list[bytes]], bytearray | None], ...] = (
    *(_flip, _flip, _scribble, _number, _number, _number),
    *(_cut, _remove, _repeat, _splice),
)


def _repair_png(data: bytearray) -> None:
    """Give every chunk of a PNG the check sum it should have, so that its content is looked at."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=FILES, help="mutants of each format (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=ACCEPTED, action="append", help="only this format")
    given = parser.parse_args(arguments)
    tallies = fuzz_all(given.files, given.seed, given.format or ACCEPTED, progress=sys.stderr.isatty())
    print(table(tallies))
    for tally in tallies:
        print(*tally.remarkable[:20], sep="\n", end="\n" if tally.remarkable else "")
    return 0 if all(tally.survived for tally in tallies) else 1


if __name__ == "__main__":
    sys.exit(main())
