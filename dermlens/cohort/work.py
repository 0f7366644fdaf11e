"""The work on one shard: load a model once, answer the images of a shard, write its part."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2

from dermlens.case.software import app_version
from dermlens.cohort import manifest, part
from dermlens.cohort.answer import answers, networks_of, schema_of
from dermlens.cohort.store import Place
from dermlens.errors import ModelError
from dermlens.evaluation.class_mix import EQUAL
from dermlens.models import registry
from dermlens.models.registry import Entry
from dermlens.server.hardware import processor

PACKAGES = ("ai-edge-litert", "numpy", "opencv-python-headless", "pillow", "pillow-heif", "pydicom", "python-gdcm")
"""Those on whose version the numbers of a row may depend."""


@dataclass(frozen=True)
class Work:
    """What a worker needs to know; it is handed to other processes and machines."""

    models_dir: str
    """the same path on every machine"""
    model_id: str
    source: Place
    output: Place
    stored_aspect: str
    class_mix: str
    """key of class_mix.AT"""
    maps: bool
    made_from: tuple[tuple[str, str], ...]
    """what every part's footer says beside its shard's hash, by `made_from`"""


def made_from(entry: Entry, stored_aspect: str, class_mix: str, maps: bool, paths_sha256: str) -> dict[str, str]:
    """Return what a part depends on beside its images: hashes of model, fitted files and manifest, settings, versions.

    Raises:
        ModelError: the model or a member of it cannot be used.
    """
    if entry.problem:
        raise ModelError(entry.problem)
    members = [registry.inspect(entry.folder.parent / name) for name in (entry.card or {}).get("members", {})]
    digest = hashlib.sha256()
    for one in (entry, *members):
        card = one.card or {}
        files = {n: h for n, h in card.get("files", {}).items() if n.endswith((".json", ".npz", ".keras", ".tflite"))}
        shown = {k: card.get(k) for k in ("id", "members", "bias", "views", "input")}
        digest.update(repr((sorted(shown.items()), sorted(files.items()))).encode())
    return {
        "model": entry.id,
        "model_sha256": digest.hexdigest(),
        "manifest_sha256": paths_sha256,
        "class_mix": class_mix,
        "stored_aspect": stored_aspect,
        "maps": str(maps).lower(),
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _version(package: str) -> str:
    """Return the version of a package, "none" where it is not installed, as the decoder of HEIC files may be."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


class Worker:
    """A loaded model with one thread, for one process."""

    def __init__(self, work: Work) -> None:
        """Load the model.

        Raises:
            ModelError: it cannot be loaded, or the equal mix is wanted of a model without a calibration.
        """
        cv2.setNumThreads(1)
        entry = registry.find(Path(work.models_dir), work.model_id)
        self.work = work
        self.model = registry.load_any(entry, partial(registry.load, threads=1))
        if work.class_mix == EQUAL and self.model.fitted.calibration is None:
            said = self.model.fitted.missing_sentence("calibration")
            raise ModelError(
                f"{self.model.id} is not calibrated, so it cannot be re-weighted for another class mix. {said}"
            )
        self.schema = schema_of(tuple(network.id for network in networks_of(self.model)), work.maps)

    def __call__(self, number: int, tell: Callable[[], object] = lambda: None) -> None:
        """Answer the images of a shard and write its part.

        Args:
            number: of the shard. tell: is called after every row.

        Raises:
            DataError: the manifest cannot be read or the part cannot be written.
            OSError: an image cannot be read now, though it may be later.
        """
        work, started = self.work, time.time()
        listed = manifest.read_shard(work.output, number)
        rows: list[dict[str, Any]] = []
        for row in answers(self.model, work.source, listed, work.stored_aspect, work.class_mix, work.maps):
            rows.append(row)
            tell()
        footer = {
            **dict(work.made_from),
            part.SHARD: manifest.shard_sha256(listed),
            part.STARTED: f"{started:.3f}",
            part.FINISHED: f"{time.time():.3f}",
            "processor": processor(),
            "app_version": app_version(),
        }
        work.output.write(part.name_of(number), part.encode(rows, self.schema, footer))
