"""What a program stands on and does not own: the clock, the cache, the port."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np

from dermlens.case.image import examine
from dermlens.case.timing import time_model
from dermlens.errors import ModelError
from dermlens.image.synthetic import draw_lesion
from dermlens.models import registry
from tests.conftest import encode
from tests.faults.kit import PATIENCE, ROOT, Count
from ui import cache


def clock_set_back(full: bool, folder: Path, models: Path) -> Count:
    """A clock that jumps: times stay positive, answers stay the same, and changed files are seen."""
    count = Count("clock set back")
    own = folder / "models"
    shutil.copytree(models, own)
    model = registry.load(registry.find(own, "toy"))
    pixels = draw_lesion(np.random.default_rng(2), 90, 120)
    image = encode(pixels)
    expected = examine(image, "x.png", [model]).answers["toy"]
    clock = (float(day) for day in range(10**9, 0, -86_400))
    with mock.patch("time.time", side_effect=clock):
        with count.attempt("an answer"):
            found = examine(image, "x.png", [model]).answers["toy"]
            assert np.array_equal(found.logits, expected.logits)
            assert found.milliseconds > 0
        with count.attempt("a measurement of speed"):
            timing = time_model(model, pixels)
            assert 0 < timing.fastest <= timing.median <= timing.slowest
    metrics = own / "toy" / "metrics.json"
    entry = registry.find(own, "toy")
    for name, seconds in (("back", -86_400), ("not at all", 0), ("forward", 86_400)):
        with count.attempt(f"a file changed while the clock went {name}"):
            stored = json.loads(metrics.read_text())
            old = cache.estimates(entry).value
            assert old is not None
            wanted = round(0.1 + 0.8 * np.random.default_rng(seconds % 97).random(), 6)
            stored["validation"]["accuracy"]["value"] = wanted
            times = metrics.stat()
            metrics.write_text(json.dumps(stored))
            os.utime(metrics, ns=(times.st_atime_ns, times.st_mtime_ns + seconds * 10**9))
            new = cache.estimates(entry).value
            assert new is not None
            assert new["validation"]["accuracy"].value == wanted
    return count


def cache_deleted(full: bool, folder: Path, models: Path) -> Count:
    """The folder with the built files deleted while the dashboard runs: it goes on, and a new start says what to do."""
    count = Count("cache folder deleted under way")
    own, home = folder / "models", folder / "cache"
    shutil.copytree(models, own)
    entry = registry.find(own, "toy")
    settings = {"XDG_CACHE_HOME": str(home), "DERMLENS_MODELS": str(own)}
    with mock.patch.dict(os.environ, settings), mock.patch.object(registry.os, "access", return_value=False):
        built = own / "toy" / "build"
        place = home / "dermlens" / f"toy-{registry.source_hash(entry)[:12]}"
        place.parent.mkdir(parents=True)
        built.rename(place)
        assert registry.build_dir(entry) == place
        ready, _ = cache.models()
        image = np.full((1, 32, 32, 3), 77, np.float32)
        (model,) = (m for m in ready if m.id == "toy")
        before = model.engine.run(image)
        with count.attempt("what was loaded goes on"):
            shutil.rmtree(home)
            again, problems = cache.models()
            assert [m.id for m in again] == [m.id for m in ready], problems
            (model,) = (m for m in again if m.id == "toy")
            assert all(np.array_equal(a, b) for a, b in zip(model.engine.run(image), before, strict=True))
        with count.attempt("a new start says what to do"):
            try:
                registry.load(entry)
                raise AssertionError("it was loaded from nothing")
            except ModelError as e:
                count.told(str(e), "not built yet", "python -m training.export toy")
    return count


def port_in_use(full: bool, folder: Path, models: Path) -> Count:
    """`make run` on a port that is taken."""
    count = Count("port in use")
    with socket.create_server(("127.0.0.1", 0)) as taken, count.attempt("make run"):
        port = taken.getsockname()[1]
        command = ["make", "--no-print-directory", "-o", "env", "run", f"PY={sys.executable}", f"PORT={port}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode != 0
        first, *rest = done.stderr.splitlines()
        count.told(first, f"Port {port} is in use", "make run PORT=")
        assert all(line.startswith("make") for line in rest), done.stderr
        assert done.stdout == ""
    return count
