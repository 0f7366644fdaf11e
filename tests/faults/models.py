"""Model files cut and changed, with the hash that the manifest records changed as well."""

import hashlib
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dermlens.errors import ModelError
from dermlens.models import registry
from tests.faults.kit import Count, child


@dataclass
class Mutants:
    """What became of changed serving files."""

    refused: int = 0
    loaded: int = 0
    wrong: list[str] = field(default_factory=list)


def rewrite(build: Path, name: str, data: bytes) -> None:
    """Replace a built file, and its hash in the manifest."""
    (build / name).write_bytes(data)
    manifest = json.loads((build / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(data).hexdigest()
    (build / "manifest.json").write_text(json.dumps(manifest))


def mutated_serving_files(folder: Path, cuts: int, changes: int, seed: int) -> Mutants:
    """Load a model again and again with its serving file cut or changed; the folder is spoilt afterwards."""
    rng, build, counted = np.random.default_rng(seed), folder / "build", Mutants()
    whole = (build / registry.SERVING_FILE).read_bytes()
    values = (b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0", b"\xff", b"\0", b"\x7f")
    for number in range(cuts + changes):
        data = bytearray(whole[: len(whole) * number // cuts] if number < cuts else whole)
        for _ in range(0 if number < cuts else rng.integers(1, 9)):
            at, value = int(rng.integers(len(data) - 4)), values[rng.integers(len(values))]
            if rng.random() < 0.5:
                data[at] ^= 1 << int(rng.integers(8))
            else:
                data[at : at + len(value)] = value
        rewrite(build, registry.SERVING_FILE, bytes(data))
        try:
            registry.load(registry.inspect(folder), threads=1)
            counted.loaded += 1
        except ModelError:
            counted.refused += 1
        except Exception as e:  # noqa: BLE001 - as above
            counted.wrong.append(f"{number}: {type(e).__name__}: {e}")
    return counted


def model_files(full: bool, folder: Path, models: Path) -> Count:
    """Serving files cut and changed, with their hash, loaded in a process that may die of them."""
    count = Count("serving file cut or changed, its hash as well")
    cuts, changes = (300, 4700) if full else (20, 40)
    shutil.copytree(models / "toy", folder / "models" / "toy")
    start = time.perf_counter()
    arguments = ["serving", folder / "models" / "toy", cuts, changes]
    done = child(*arguments)
    count.tried, count.worst_seconds = cuts + changes, time.perf_counter() - start
    if done.returncode:
        count.wrong.append(f"the process ended with {done.returncode}: {done.stderr[-300:]}")
        return count
    found = json.loads(done.stdout)
    count.refused, count.wrong = found["refused"], found["wrong"]
    count.notes.append(f"{found['loaded']} of them still load: only weights were changed. The time is that of all.")
    return count
