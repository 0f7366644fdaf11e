"""Images drawn by code for cohorts, their bare answers, and what every finished output must hold."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from dermlens.case.opinion import form
from dermlens.case.predict import predict
from dermlens.cohort import results
from dermlens.cohort.answer import networks_of
from dermlens.cohort.run import Settings, run
from dermlens.cohort.store import Place, place
from dermlens.errors import ImageError
from dermlens.image.quality import check
from dermlens.image.synthetic import draw_lesion
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES
from dermlens.models import registry
from dermlens.models.model import AnyModel, Ensemble
from tests.conftest import encode

PROBABILITIES = [f"p_{code}" for code in CLASSES]
BROKEN = 7
"""Every so many files are none that can be read."""


def write(folder: Path, count: int) -> list[str]:
    """Write images into a folder, one in BROKEN of them broken; returns their paths in order."""
    folder.mkdir(parents=True)
    names = [f"{'below/' if i % 3 else ''}image_{i:04}.png" for i in range(count)]
    (folder / "below").mkdir()
    for i, name in enumerate(names):
        whole = encode(draw_lesion(np.random.default_rng(i), 60, 80))
        (folder / name).write_bytes(whole[: len(whole) // 2] if i % BROKEN == BROKEN - 1 else whole)
    return sorted(names)


def finished(base: Path, models: Path, count: int) -> None:
    """Write images into base/images, and a finished cohort of them by the model "toy" into base/all/clinic."""
    write(base / "images", count)
    settings = Settings(str(base / "images"), place(base / "all" / "clinic"), "ham10000", workers=1, shard_rows=8)
    run(registry.find(models, "toy"), settings, "Answering")


def load(models: Path, model_id: str) -> AnyModel:
    """Load a model with one thread, as workers do."""
    one = partial(registry.load, threads=1)
    entry = registry.find(models, model_id)
    return registry.load_any(entry, one) if entry.is_ensemble else one(entry)


def bare_loop(model: AnyModel, files: list[Path]) -> list[np.ndarray | None]:
    """Answer images as a program without any of this would: probabilities (7,), None for what cannot be read."""
    found: list[np.ndarray | None] = []
    for file in files:
        try:
            pixels = read_file(file).pixels
        except ImageError:
            found.append(None)
            continue
        answers = {network.id: predict(network, pixels) for network in networks_of(model)}
        if isinstance(model, Ensemble):
            answers[model.id] = predict(model, pixels, answers)
        form([model], answers)
        check(pixels)
        found.append(answers[model.id].probabilities)
    return found


def check_rows(output: Place, paths: list[str], expected: list[np.ndarray | None]) -> pa.Table:
    """Hold the rows of a finished output against the bare loop: count = distinct = n, and equal probabilities."""
    status = results.complete(output, 0.0)
    table = results.rows(output, status.parts)
    assert table["row"].to_pylist() == list(range(len(paths)))
    assert table["image"].to_pylist() == paths
    assert len(set(paths)) == len(table) == status.rows == status.done
    for row, probabilities in zip(table.select(["error", *PROBABILITIES]).to_pylist(), expected, strict=True):
        if probabilities is None:
            assert row["error"] == "unreadable"
            assert all(row[name] is None for name in PROBABILITIES)
        else:
            assert row["error"] is None
            np.testing.assert_array_equal([row[name] for name in PROBABILITIES], probabilities)
    return table
