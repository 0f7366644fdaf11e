from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.cohort import folders
from tests.s3 import s3

__all__ = ["s3"]


class Drawn(NamedTuple):
    folder: Path
    paths: list[str]
    expected: list[np.ndarray | None]
    """probabilities of the bare loop, None for what cannot be read"""


@pytest.fixture(scope="session")
def drawn(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """A folder of drawn images and what the toy model says of them. Shared: copy it before changing anything."""
    folder = tmp_path_factory.mktemp("drawn") / "images"
    paths = folders.write(folder, 40)
    model = folders.load(published, "toy")
    return Drawn(folder, paths, folders.bare_loop(model, [folder / path for path in paths]))
