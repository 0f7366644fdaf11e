"""Where the PACS is, from the environment. Nothing here needs the packages of DICOM."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from dermlens.errors import ConfigError
from dermlens.files.documents import read_bytes

PACS = "DERMLENS_PACS"
USER = "DERMLENS_PACS_USER"
PASSWORD = "DERMLENS_PACS_PASSWORD"
PASSWORD_FILE = "DERMLENS_PACS_PASSWORD_FILE"
OUTBOX = "DERMLENS_OUTBOX"
_NEEDED = ("highdicom", "dicomweb_client")


@dataclass(frozen=True)
class Settings:
    """The settings, read and checked."""

    url: str
    """of the DICOMweb service, under which `studies` lies"""
    user: str = ""
    password: str = field(default="", repr=False)
    outbox: Path = Path()
    """folder of what is not sent yet, readable by its owner alone"""

    @property
    def host(self) -> str:
        """Where it is, as a person reads it."""
        return urlsplit(self.url).netloc


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Raises:
        ConfigError: one is missing or not what it must be, or packages are missing.
    """
    given = os.environ if environment is None else environment
    url = given.get(PACS, "").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{PACS} must be the https:// address of a DICOMweb service, such as https://pacs/dicom-web.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"{PACS} must hold no user, password or query: {USER} and {PASSWORD_FILE} are for those.")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"A PACS needs packages that are not installed ({', '.join(missing)}): run make exchange.")
    return Settings(url, given.get(USER, ""), _password(given), _outbox(given))


def _password(given: Mapping[str, str]) -> str:
    written, file = given.get(PASSWORD, ""), given.get(PASSWORD_FILE, "")
    if written and file:
        raise ConfigError(f"Set {PASSWORD} or {PASSWORD_FILE}, not both.")
    if file:
        written = read_bytes(Path(file), 1024, ConfigError).decode(errors="replace").strip()
    if bool(written) != bool(given.get(USER)):
        raise ConfigError(f"{USER} and its password belong together: set both or none.")
    return written


def _outbox(given: Mapping[str, str]) -> Path:
    if given.get(OUTBOX):
        return Path(given[OUTBOX])
    base = given.get("DERMLENS_STATE")
    return (Path(base) if base else Path.home() / ".local/state/dermlens") / "outbox"
