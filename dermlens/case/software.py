"""Which Dermlens answered."""

import tomllib
from functools import cache
from pathlib import Path


@cache
def app_version() -> str:
    """Return the version of Dermlens."""
    return str(tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"])
