"""The figures that were published with a model: metrics.json, read and checked."""

import json
from pathlib import Path

from dermlens.errors import DataError
from dermlens.intervals import OVERALL, Figure
from dermlens.predictions import SPLITS


def read_figures(file: Path) -> dict[str, dict[str, Figure]]:
    """Read the overall figures of metrics.json.

    Args:
        file: path of metrics.json.

    Returns:
        split -> name of OVERALL -> figure; an absent split or figure is left out, a null number is NaN.

    Raises:
        DataError: the file is missing or not what training.publish writes.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise DataError(
            f"{_shown(file)}: there is no such file. Measure the model with python -m training.publish."
        ) from e
    except (OSError, ValueError) as e:
        raise DataError(f"{_shown(file)} cannot be read as JSON: {e}.") from e
    if not isinstance(stored, dict):
        raise DataError(f"{_shown(file)} must be an object with a split a key, it is a {type(stored).__name__}.")
    return {split: _figures(file, split, stored[split]) for split in SPLITS if split in stored}


def _figures(file: Path, split: str, stored: object) -> dict[str, Figure]:
    where = f"{_shown(file)}, {split}"
    if not isinstance(stored, dict):
        raise DataError(f"{where}: an object of figures expected, it is a {type(stored).__name__}.")
    return {name: _figure(f"{where}, {name}", stored[name]) for name in OVERALL if name in stored}


def _figure(where: str, stored: object) -> Figure:
    try:
        return Figure.from_dict(stored)
    except DataError as e:
        raise DataError(f"{where}: {e}") from e


def _shown(file: Path) -> str:
    return "/".join(file.parts[-3:])
