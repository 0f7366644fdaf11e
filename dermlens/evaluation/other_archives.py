"""other_archives.json: how far a model can be trusted on images of other archives, beside its metrics there."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dermlens.dataset.isic2019 import TEST_SETS, TITLES, VALIDATION_SETS
from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.files.documents import MAX_DOCUMENT, read_object
from dermlens.files.hashes import listed
from dermlens.labels import CLASSES

FILE = "other_archives.json"
PROBE_FILE = "source_probe.json"
"""How well embeddings tell the archives apart (training.source_probe)."""
ALL = "all"
ABOUT = {
    "isic2017": "Its validation and test images: melanomas, melanocytic nevi and benign keratoses.",
    "bcn20000": "15 % of its lesions: all seven diagnoses, from a clinic in Barcelona.",
}


@dataclass(frozen=True)
class OfArchive:
    """What a model does with the images of one archive; a part is None where it was not fitted.

    Keys of the dictionaries are ALL and the codes of the diagnoses that the archive has images of.
    """

    refused: dict[str, Estimate] | None
    """share of the images that is not taken for dermoscopy"""
    covered: dict[str, Estimate] | None
    """share of the images whose true diagnosis is in the prediction set of the level used on a case"""
    set_size: Estimate | None
    referred: Estimate | None
    benign_referred: Estimate | None
    missed: dict[str, Estimate] | None
    """code of a malignant or pre-malignant diagnosis -> share of its images that is not referred; refused ones are"""
    missed_answered: Estimate | None
    """share of the melanomas not refused that is not referred"""
    called_answered: Estimate | None
    """share of the melanomas not refused that is called melanoma, at HAM10000's class mix"""


@dataclass(frozen=True)
class Carcinomas:
    """What a model does with invasive squamous cell carcinoma, which it cannot name; parts as in `OfArchive`."""

    called: dict[str, Estimate]
    """class code -> share of the images called so, at HAM10000's class mix"""
    suspect: Estimate
    """share called malignant or pre-malignant"""
    refused: Estimate | None
    suspect_in_set: Estimate | None
    """share whose prediction set holds a malignant or pre-malignant diagnosis"""
    set_size: Estimate | None
    referred: Estimate | None


@dataclass(frozen=True)
class OtherArchives:
    """What was measured on all of them."""

    archives: dict[str, OfArchive]
    """by split, those of VALIDATION_SETS and TEST_SETS"""
    carcinomas: Carcinomas | None
    trained_on: tuple[str, ...] = ()
    """titles of the archives that the model, or one of its members, was trained on other lesions of"""
    measured: tuple[str | None, ...] = (None,)
    """when refusal, sets and rules were measured on them, ISO 8601, each time that something fitted had changed; None
    for a time before such notes were kept"""

    def to_dict(self) -> dict[str, Any]:
        """Return what other_archives.json holds of it."""
        carcinomas = None if self.carcinomas is None else _plain(self.carcinomas)
        return {
            "trained_on": list(self.trained_on),
            "measured": list(self.measured),
            "archives": {split: _plain(found) for split, found in self.archives.items()},
            "scc": carcinomas,
        }

    def about(self, split: str) -> str:
        """Return what the images of a test set are, in sentences."""
        title = TITLES[split]
        seen = f" It learned from other lesions of {title}, perhaps of the same people, whom the archive does not name."
        return ABOUT[split] + (seen if title in self.trained_on else "")


def _plain(found: OfArchive | Carcinomas) -> dict[str, Any]:
    values = {f.name: getattr(found, f.name) for f in fields(found)}
    return {
        name: {k: e.to_dict() for k, e in v.items()} if isinstance(v, dict) else v and v.to_dict()
        for name, v in values.items()
    }


def read(folder: Path, card: Mapping[str, Any] | None = None) -> OtherArchives:
    """Read other_archives.json of a model folder.

    Args:
        folder: models/ID. card: its card.json, if the file must be the one that it lists.

    Raises:
        DataError: it is missing, not the one that the card lists, measured with other files than those that the card
            lists, or not what training.fit writes.
    """
    stored = read_object(listed(folder / FILE, card, MAX_DOCUMENT))
    try:
        hashes = (card or {}).get("files") or {}
        changed = [name for name, sha256 in stored["fitted_on"].items() if hashes.get(name, sha256) != sha256]
        known = [split for split in (*VALIDATION_SETS, *TEST_SETS) if split in stored["archives"]]
        archives = {split: OfArchive(**_estimates(OfArchive, stored["archives"][split])) for split in known}
        scc = stored["scc"]
        carcinomas = None if scc is None else Carcinomas(**_estimates(Carcinomas, scc))
        notes = tuple(stored.get("trained_on", ())), tuple(stored.get("measured", (None,)))
        found = OtherArchives(archives, carcinomas, *notes)
    except (DataError, KeyError, TypeError, AttributeError) as e:
        raise DataError(f"{folder.name}/{FILE} is not what training.fit writes ({e!r}).") from e
    if changed:
        raise DataError(
            f"{folder.name}/{FILE} was measured with another {changed[0]} than the one in the folder. Fit the step "
            "other_archives again."
        )
    return found


_MANY = ("refused", "covered", "missed", "called")


def _estimates(kind: type, stored: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(kind):
        value = stored[field.name]
        if value is not None and field.name in _MANY and "value" not in value:
            value = {k: Estimate.from_dict(value[k]) for k in (ALL, *CLASSES) if k in value}
        elif value is not None:
            value = Estimate.from_dict(value)
        found[field.name] = value
    return found
