"""What was published with a model for people to read: its estimates in metrics.json, checked, and its model card."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.evaluation.metrics import OVERALL
from dermlens.evaluation.predictions import SHOWN_SPLITS
from dermlens.files.documents import MAX_DOCUMENT, decode, read_bytes, read_object, shortened, shown
from dermlens.files.hashes import listed

_KEYS = ("value", "low", "high", "n_images", "n_lesions")
_MANY = 10**9
MODEL_CARD = "README.md"
MAX_MODEL_CARD = 2**20
"""Most bytes of a model card that are read."""
_RELATIVE_LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\((?![a-z][a-z0-9+.-]*:)[^()\s]*\)", re.IGNORECASE)


def read_estimates(file: Path, card: Mapping[str, Any] | None = None) -> dict[str, dict[str, Estimate]]:
    """Read the overall estimates of metrics.json.

    Args:
        file: path of metrics.json.
        card: card.json of its folder, if the file must be the one that it lists.

    Returns:
        split -> key of OVERALL -> estimate; an absent split or estimate is left out, a null number is NaN. So is what
        an older file says of calls, which were not of the most probable diagnosis then.

    Raises:
        DataError: the file is missing, not the one that the card lists, or not what training.publish writes.
    """
    if not file.exists():
        raise DataError(f"{shown(file)}: there is no such file. Measure the model with python -m training.publish.")
    stored = read_object(listed(file, card, MAX_DOCUMENT))
    return {split: _estimates(file, split, stored[split]) for split in SHOWN_SPLITS if split in stored}


def read_model_card(file: Path) -> str:
    """Read a model card for a page: Markdown, in which a link to another file of the repository is its text alone.

    Raises:
        DataError: the file is missing, too large or no UTF-8 text.
    """
    text = decode(read_bytes(file, MAX_MODEL_CARD), shown(file))
    return _RELATIVE_LINK.sub(r"\1", text)


def _estimates(file: Path, split: str, stored: object) -> dict[str, Estimate]:
    where = f"{shown(file)}, {split}"
    if not isinstance(stored, dict):
        raise DataError(f"{where}: an object of estimates expected, it is a {type(stored).__name__}.")
    found = {name: _estimate(f"{where}, {name}", name, stored[name]) for name in OVERALL if name in stored}
    return found if "class_mix" in stored else {k: f for k, f in found.items() if OVERALL[k].of_confusion is None}


def _estimate(where: str, name: str, stored: object) -> Estimate:
    most = 1 if OVERALL[name].is_share else _MANY
    received = f"received {shortened(repr(stored))}"
    numbers: list[Any] = [stored.get(key, "missing") for key in _KEYS] if isinstance(stored, dict) else ["missing"]
    if not all(n is None or (type(n) in (int, float) and 0 <= n <= most) for n in numbers[:3]):
        raise DataError(f"{where}: value, low and high must be null or numbers from 0 to {most}, {received}.")
    if not all(type(n) is int and 0 <= n <= _MANY for n in numbers[3:]):
        raise DataError(f"{where}: n_images and n_lesions must be whole numbers, {received}.")
    value, low, high = (np.nan if n is None else float(n) for n in numbers[:3])
    return Estimate(value, low, high, n_images=numbers[3], n_lesions=numbers[4])
