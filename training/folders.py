"""Folders that appear whole or not at all: those of published models, and what is built into them."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dermlens.errors import ConfigError, ModelError


def model_folder(models: Path, model_id: str, replace: bool) -> Path:
    """Return where to publish a model, models/ID.

    Raises:
        ConfigError: the id is not valid. ModelError: the model exists already, and may not be replaced.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", model_id):
        raise ConfigError(f"A model's id is made of a-z, 0-9, - and _, got {model_id!r}.")
    folder = models / model_id
    if folder.exists() and not replace:
        raise ModelError(f"{folder} exists. Choose another id, or pass --replace to put this model in its place.")
    return folder


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Give an empty folder of that name to fill, which is put in the place of `target` in the end.

    An error before that leaves what was there as it was, and nothing beside it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True) as aside:
        folder = Path(aside, target.name)
        folder.mkdir()
        yield folder
        if target.exists():
            target.rename(Path(aside, "replaced"))
        folder.rename(target)
