"""The work on one shard: load a model once, answer the images of a shard, write its part."""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
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
from dermlens.models.model import AnyModel
from dermlens.models.registry import Entry
from dermlens.server.hardware import processor
from dermlens.trust.fitted import PARTS, Fitted, over_members, read_fitted

PACKAGES = (
    *("ai-edge-litert", "numpy", "opencv-python-headless", "pillow", "pillow-heif", "pydicom", "python-gdcm"),
    "simplejpeg",
)
"""Those on whose version the numbers of a row may depend."""
PACKAGE = Path(__file__).parents[1]
ANSWERED_BY = ("ingest", "image", "models", "case", "explain", "trust", "evaluation", "cohort", "labels.py")
"""What of `dermlens` makes a row of a picture: folders and a module."""
COMPARES = ("cohort/drift.py", "evaluation/drift.py")
"""What only compares rows that are there already."""
MADE_FROM = {
    "model": "model",
    "model_sha256": "files of the model",
    "manifest_sha256": "list of images",
    "class_mix": "class mix",
    "stored_aspect": "stored aspect",
    "maps": "choice of heat maps",
    "versions": "versions of packages",
    "code": "version of Dermlens",
}
"""Key of `made_from` -> how it is called."""


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
    return {
        "model": entry.id,
        "model_sha256": entry_sha256(entry),
        "manifest_sha256": paths_sha256,
        "class_mix": class_mix,
        "stored_aspect": stored_aspect,
        "maps": str(maps).lower(),
        **_software(),
    }


def _fitted(entry: Entry) -> Fitted:
    return read_fitted(entry.folder, entry.card)


def entry_sha256(entry: Entry, fitted: Callable[[Entry], Fitted] = _fitted) -> str:
    """Return what `made_from` says of the files of a model, of those that are on the disk now.

    Args:
        entry: the model. fitted: gives what was fitted to a model.

    Raises:
        ModelError: the model or a member of it cannot be used.
    """
    if entry.problem:
        raise ModelError(entry.problem)
    members = [registry.inspect(entry.folder.parent / name) for name in (entry.card or {}).get("members", {})]
    theirs = {member.id: fitted(member) for member in members}
    own = over_members(fitted(entry), theirs)
    return _sha256([(entry.card or {}, own), *((member.card or {}, theirs[member.id]) for member in members)])


def model_sha256(model: AnyModel) -> str:
    """Return what `made_from` says of the files of a model, of those that were loaded: whatever is on the disk now."""
    members = {member.id: member for member in networks_of(model)}
    each = [(model.card, model.fitted)]
    each += [(members[name].card, members[name].fitted) for name in model.card.get("members", {})]
    return _sha256(each)


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return how that is called in which two things that were made, or are to be, differ."""
    return [called for key, called in MADE_FROM.items() if then.get(key) != now.get(key)]


def _sha256(each: Iterable[tuple[Mapping[str, Any], Fitted]]) -> str:
    """Return the SHA-256 of cards and of which of their files cannot be used, of a model and its members."""
    digest = hashlib.sha256()
    for card, fitted in each:
        files = {n: h for n, h in card.get("files", {}).items() if n.endswith((".json", ".npz", ".keras", ".tflite"))}
        files |= {file: "not used" for part in fitted.missing if (file := PARTS[part].file) in files}
        shown = {k: card.get(k) for k in ("id", "members", "bias", "views", "input")}
        digest.update(repr((sorted(shown.items()), sorted(files.items()))).encode())
    return digest.hexdigest()


def _software() -> dict[str, str]:
    return {"versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES), "code": _code()}


@cache
def _code() -> str:
    """Return the SHA-256 of the modules that the numbers of a row come from."""
    digest = hashlib.sha256()
    for file in _modules():
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _modules() -> list[Path]:
    found = {file for name in ANSWERED_BY for file in (PACKAGE / name, *(PACKAGE / name).rglob("*.py"))}
    return sorted(file for file in found if file.is_file() and str(file.relative_to(PACKAGE)) not in COMPARES)


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
            ModelError: it cannot be loaded, model or packages are not those that the run began with, or the equal mix
                is wanted of a model without a calibration.
        """
        cv2.setNumThreads(1)
        entry = registry.find(Path(work.models_dir), work.model_id)
        self.work = work
        self.model = registry.load_any(entry, partial(registry.load, threads=1))
        began = dict(work.made_from)
        loaded = {"model": self.model.id, "model_sha256": model_sha256(self.model), **_software()}
        if other := differences(began, began | loaded):
            raise ModelError(
                f"{work.model_id} in {work.models_dir} is not what this run began with: it differs in "
                f"{', '.join(other)}. Put back what was there and run the same command again, or choose another output."
            )
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
