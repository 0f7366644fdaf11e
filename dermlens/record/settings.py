"""What the owner of the machine set for the record, in the environment. Nothing here needs the record's packages."""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dermlens.errors import ConfigError, RecordError
from dermlens.files.documents import read_bytes

DATABASE = "DERMLENS_DATABASE"
KEY = "DERMLENS_RECORD_KEY"
KEY_FILE = "DERMLENS_RECORD_KEY_FILE"
PICTURES = "DERMLENS_RECORD_PICTURES"
DAYS = "DERMLENS_RECORD_DAYS"
STUDY = "DERMLENS_RECORD_STUDY"
ROLE_CLAIM = "DERMLENS_ROLE_CLAIM"
GROUP_CLAIM = "DERMLENS_GROUP_CLAIM"
DEFAULT_DAYS = 365
_MOST_DAYS = 36_500
INSTALL = "python -m pip install -r requirements-record.txt"


@dataclass(frozen=True)
class Settings:
    """The settings, read and checked."""

    database: str
    key: bytes | None = None
    pictures: str = ""
    """folder or s3:// address for kept pictures; empty: none can be kept"""
    days: int = DEFAULT_DAYS
    """after which a kept picture is deleted"""
    study: bool = False
    """whether the answer is hidden until the person has put down a reading"""
    role_claim: str = "roles"
    group_claim: str = "groups"


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Raises:
        ConfigError: one is missing or not what it must be.
    """
    given = os.environ if environment is None else environment
    if not given.get(DATABASE):
        raise ConfigError(f"No record is kept: set {DATABASE}, for example to sqlite:////srv/dermlens/record.db.")
    return Settings(
        database=given[DATABASE],
        key=_key(given),
        pictures=given.get(PICTURES, ""),
        days=_days(given.get(DAYS) or str(DEFAULT_DAYS)),
        study=_switch(given.get(STUDY, "")),
        role_claim=given.get(ROLE_CLAIM) or "roles",
        group_claim=given.get(GROUP_CLAIM) or "groups",
    )


def _key(given: Mapping[str, str]) -> bytes | None:
    written, file = given.get(KEY, ""), given.get(KEY_FILE, "")
    if written and file:
        raise ConfigError(f"Set {KEY} or {KEY_FILE}, not both.")
    if file:
        written = read_bytes(Path(file), 1024, ConfigError).decode(errors="replace").strip()
        if not written:
            raise ConfigError(f"{KEY_FILE}: the file is empty.")
    if not written:
        return None
    for decode in (bytes.fromhex, lambda text: base64.b64decode(text, validate=True)):
        try:
            key = decode(written)
        except (ValueError, binascii.Error):
            continue
        if len(key) >= 32:
            return key
    raise ConfigError(
        f"{KEY} must be 32 bytes or more in hexadecimal or base64: python -m dermlens.record key makes one."
    )


def _days(written: str) -> int:
    if not written.isascii() or not written.isdigit() or not 1 <= int(written) <= _MOST_DAYS:
        raise ConfigError(f"{DAYS} must be a number of days from 1 to {_MOST_DAYS}, got {written!r}.")
    return int(written)


def _switch(written: str) -> bool:
    if written not in ("", "0", "1"):
        raise ConfigError(f"{STUDY} must be 0 or 1, got {written!r}.")
    return written == "1"


def need_packages() -> None:
    """See that what keeps the record is installed; RecordError with the command that installs it, if not."""
    missing = [name for name in ("alembic", "cryptography", "psycopg", "sqlalchemy") if find_spec(name) is None]
    if missing:
        raise RecordError(f"A record needs packages that are not installed ({', '.join(missing)}): run {INSTALL}.")
