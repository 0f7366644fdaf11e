"""card.json: what a model folder says of itself, and the checks of it."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dermlens.errors import ModelError
from dermlens.files.documents import read_object, shortened
from dermlens.image.tta import VIEWS
from dermlens.labels import CLASSES, N_CLASSES

_CARD_FIELDS = {
    "id": str,
    "name": str,
    "architecture": str,
    "classes": list,
    "input": dict,
    "views": int,
    "feature_layer": str,
    "fingerprint": str,
    "files": dict,
}
_ENSEMBLE_FIELDS = {
    "id": str,
    "name": str,
    "classes": list,
    "members": dict,
    "member_hashes": dict,
    "files": dict,
}
MAX_CARD = 2**20
ROLES = ("diagnosis", "comparison")
"""What a model is for. One for comparison is not asked about a case unless a person wants it."""
FLOAT32, INT8 = "float32", "int8"
PRECISIONS = (FLOAT32, INT8)
"""What a network can be served in. INT8 is the file INT8_FILE of the model folder, made once at publishing."""
INT8_FILE = "serving_int8.tflite"
_ID = re.compile(r"[a-zA-Z0-9][\w-]*", re.ASCII)
NAME = re.compile(r"[\w .,+()/&'’×-]{1,80}")  # nothing that Markdown or a browser would take for more than text
_FILE = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_card(folder: Path) -> dict:
    """Read card.json; raises ModelError if it is not a JSON object."""
    return read_object(folder / "card.json", ModelError, MAX_CARD)


def check_card(folder: Path, card: dict | None) -> dict:
    """Return a card, once all its fields are known to be of the right form.

    Args:
        folder: models/ID. card: as `read_card` gives it, None if there is none.

    Raises:
        ModelError: the card is missing, or the sentence names the field that is wrong and what it is.
    """
    where = f"models/{folder.name}/card.json"
    if card is None:
        raise ModelError(f"{where} is missing or damaged; publish the model again.")
    is_ensemble = "members" in card
    for field, kind in (_ENSEMBLE_FIELDS if is_ensemble else _CARD_FIELDS).items():
        if type(card.get(field)) is not kind:
            raise ModelError(f"{where}: {field!r} must be a {kind.__name__}, got {shortened(repr(card.get(field)))}.")
    if card["id"] != folder.name:
        raise ModelError(f"{where}: the id is {shortened(card['id'])!r}, but the folder is called {folder.name!r}.")
    if not _ID.fullmatch(folder.name):
        raise ModelError(f"{where}: an id is made of letters, digits, - and _, got {folder.name!r}.")
    if not NAME.fullmatch(card["name"]):
        raise ModelError(f"{where}: a name has 1 to 80 plain characters, got {shortened(repr(card['name']))}.")
    if role_of(card) not in ROLES:
        received = shortened(repr(role_of(card)))
        raise ModelError(f"{where}: 'role' must be one of {', '.join(ROLES)}, got {received}.")
    if card["classes"] != list(CLASSES):
        received = shortened(repr(card["classes"]))
        raise ModelError(f"{where}: the classes must be {list(CLASSES)} in this order, got {received}.")
    if not is_ensemble and card["views"] not in VIEWS:
        raise ModelError(f"{where}: 'views' must be one of {VIEWS}, got {card['views']}.")
    hashes = {**card["files"], **(card["member_hashes"] if is_ensemble else {})}
    for name, value in hashes.items():
        if not (_FILE.fullmatch(name) and isinstance(value, str) and _SHA256.fullmatch(value)):
            received = shortened(f"{name!r}: {value!r}")
            raise ModelError(f"{where}: 'files' gives names of files and their SHA-256, got {received}.")
    if is_ensemble:
        check_weights(card["members"], card["member_hashes"], where)
        check_bias(bias_of(card), where)
    elif "model.keras" not in card["files"]:
        raise ModelError(f"{where}: 'files' gives no SHA-256 of model.keras.")
    elif precision_of(card) not in PRECISIONS:
        received = shortened(repr(card["precision"]))
        raise ModelError(f"{where}: 'precision' must be one of {', '.join(PRECISIONS)}, got {received}.")
    elif precision_of(card) == INT8 and INT8_FILE not in card["files"]:
        raise ModelError(f"{where}: 'precision' is {INT8}, but 'files' gives no SHA-256 of {INT8_FILE}.")
    return card


def role_of(card: Mapping[str, Any]) -> Any:
    """Return what a model is for, one of ROLES once the card is checked; diagnosis where the card does not say."""
    return card.get("role", ROLES[0])


def precision_of(card: Mapping[str, Any]) -> str:
    """Return the precision that a network is served in, the only one that its figures and fitted files are of."""
    return card.get("precision", FLOAT32)


def served_hash(card: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the file that a network's answers depend on; the card must have passed `check_card`."""
    return card["files"][INT8_FILE if precision_of(card) == INT8 else "model.keras"]


def identity_of(weights: str, fitted: Mapping[str, str]) -> str:
    """Return the SHA-256 of all that a model's answers depend on.

    Args:
        weights: SHA-256 of what is served. fitted: file that was fitted to it and is in use -> its SHA-256.
    """
    lines = [weights, *(f"{name} {digest}" for name, digest in sorted(fitted.items()))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def check_weights(weights: Mapping[str, object], hashes: Mapping[str, str], where: str) -> None:
    """Raise ModelError unless two or more members have weights of 0..1 that add up to 1, and a hash each.

    Args:
        weights: member -> weight. hashes: member -> SHA-256. where: how to name the file they are from.
    """
    numbers = [w for w in weights.values() if type(w) in (int, float) and 0 <= w <= 1]  # type: ignore[operator]
    if len(numbers) != len(weights) or len(weights) < 2 or abs(sum(numbers) - 1) > 1e-6:  # type: ignore[arg-type]
        raise ModelError(
            f"{where}: two or more members must have weights of 0..1 adding up to 1, got {shortened(repr(weights))}."
        )
    if hashes.keys() != weights.keys():
        raise ModelError(
            f"{where}: 'member_hashes' must name the members {shortened(', '.join(weights))}, "
            f"got {shortened(', '.join(hashes))}."
        )


def bias_of(card: Mapping[str, Any]) -> Any:
    """Return what an ensemble's card adds to the mean logits of its members, 7 numbers: 0 in all but older ones."""
    return card.get("bias", [0.0] * N_CLASSES)


def check_bias(bias: object, where: str) -> None:
    """Raise ModelError unless the bias is a number of at most 100 either way a class; `where` as above."""
    found = bias if isinstance(bias, list) else []
    numbers = [b for b in found if type(b) in (int, float) and abs(b) <= 100]
    if len(numbers) != len(found) or len(found) != N_CLASSES:
        raise ModelError(f"{where}: 'bias' must be {N_CLASSES} numbers of -100 to 100, got {shortened(repr(bias))}.")
