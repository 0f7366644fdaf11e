"""The secrets of the dashboard, read without it: the same files as Streamlit reads, in the same order."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dermlens.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
"""Where Home.py lies, beside whose settings Streamlit looks too."""
NAMED = "STREAMLIT_SECRETS_FILES"


def auth_section() -> Mapping[str, Any] | None:
    """Return section [auth] of the dashboard's secrets, None if there is none.

    Raises:
        ConfigError: a file cannot be read, or is missing although the settings name it, so that it is not known who may
            ask.
    """
    found: dict[str, Any] = {}
    named = _named()
    for file in _beside_settings("secrets.toml") if named is None else map(Path, named):
        if named is None and not file.exists():
            continue
        try:
            found |= _folder(file) if file.is_dir() and file.suffix != ".toml" else _toml(file)
        except (OSError, ValueError) as e:
            raise ConfigError(f"{file} cannot be read, so it is not known who may use the API: {e}") from e
    auth = found.get("auth")
    if auth is not None and not isinstance(auth, Mapping):
        raise ConfigError(
            f"[auth] of the secrets must be a section, so it is not known who may use the API: {type(auth)}"
        )
    return auth


def _named() -> list[str] | None:
    """Return the files that the settings name, None if they name none."""
    if given := os.environ.get(NAMED, "").split():
        return given
    named = None
    for file in _beside_settings("config.toml"):
        try:
            named = _toml(file).get("secrets", {}).get("files", named) if file.exists() else named
        except (OSError, ValueError, AttributeError) as e:
            raise ConfigError(f"{file} cannot be read, so it is not known who may use the API: {e}") from e
    if named is not None and not (isinstance(named, list) and all(isinstance(file, str) for file in named)):
        raise ConfigError(f"secrets.files of .streamlit/config.toml must be a list of paths, got {named!r}.")
    return named


def _beside_settings(name: str) -> list[Path]:
    folders = (Path(os.path.expanduser("~")), Path.cwd(), REPOSITORY)
    return [folder / ".streamlit" / name for folder in dict.fromkeys(folders)]


def _toml(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _folder(folder: Path) -> dict[str, Any]:
    """Return secrets as Kubernetes mounts them: a folder a section, a file a value."""
    found: dict[str, Any] = {}
    for below in folder.iterdir():
        values = {file.name: file.read_text(encoding="utf-8").strip() for file in below.iterdir() if file.is_file()}
        found[below.name] = next(iter(values.values())) if len(values) == 1 else values
    return found
