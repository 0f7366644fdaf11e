"""Where the PACS is, from the environment. Nothing here needs the packages of DICOM."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from dermlens.errors import ConfigError
from dermlens.files.documents import read_bytes, shortened
from dermlens.server.state import state_dir

PACS = "DERMLENS_PACS"
USER = "DERMLENS_PACS_USER"
PASSWORD = "DERMLENS_PACS_PASSWORD"
PASSWORD_FILE = "DERMLENS_PACS_PASSWORD_FILE"
TOKEN = "DERMLENS_PACS_TOKEN"
TOKEN_FILE = "DERMLENS_PACS_TOKEN_FILE"
UNENCRYPTED = "DERMLENS_PACS_UNENCRYPTED"
OUTBOX = "DERMLENS_OUTBOX"
HERE = ("localhost", "127.0.0.1", "::1")
"""Names of this machine: what goes there can be read on no network."""
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
    token: str = field(default="", repr=False)
    """of a bearer, in the place of user and password"""

    @property
    def host(self) -> str:
        """Where it is, as a person reads it."""
        return urlsplit(self.url).netloc

    @property
    def exposed(self) -> bool:
        """Whether what is sent can be read on the way there."""
        return _exposed(self.url)


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
    if given.get(UNENCRYPTED, "") not in ("", "0", "1"):
        raise ConfigError(f"{UNENCRYPTED} must be 1 (allowed) or 0, got {shortened(given[UNENCRYPTED])!r}.")
    if _exposed(url) and given.get(UNENCRYPTED) != "1":
        raise ConfigError(
            f"{PACS} is not encrypted: over http:// names, pictures and the password can be read on the way, so "
            f"nothing is sent. Give an https:// address, or set {UNENCRYPTED}=1 if the network to the PACS is trusted."
        )
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"A PACS needs packages that are not installed ({', '.join(missing)}): run make exchange.")
    password, token = _secret(given, PASSWORD, PASSWORD_FILE), _secret(given, TOKEN, TOKEN_FILE)
    if bool(password) != bool(given.get(USER)):
        raise ConfigError(f"{USER} and its password belong together: set both or none.")
    if token and password:
        raise ConfigError(f"Set {USER} and its password, or {TOKEN}, not both.")
    if not token.isascii() or any(c.isspace() for c in token):
        raise ConfigError(f"{TOKEN} must be one word of ASCII characters.")
    return Settings(url, given.get(USER, ""), password, _outbox(given), token)


def _exposed(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme != "https" and parts.hostname not in HERE


def _secret(given: Mapping[str, str], name: str, file_name: str) -> str:
    """Return a secret from the environment or a file, empty if there is none."""
    written, file = given.get(name, ""), given.get(file_name, "")
    if written and file:
        raise ConfigError(f"Set {name} or {file_name}, not both.")
    return read_bytes(Path(file), 8192, ConfigError).decode(errors="replace").strip() if file else written


def _outbox(given: Mapping[str, str]) -> Path:
    return Path(given[OUTBOX]) if given.get(OUTBOX) else state_dir(given) / "outbox"
