"""The HTTP door for programs, opened by DERMLENS_API=1: dermlens.api with the dashboard's models and sign-in."""

import os

import streamlit as st
from starlette.middleware import Middleware

from dermlens.errors import ConfigError
from ui import cache
from ui.access.sign_in import sign_in_is_set_up


def is_open() -> bool:
    """Return whether programs are answered."""
    return os.environ.get("DERMLENS_API", "") not in ("", "0")


def layers() -> list[Middleware]:
    """Return the layer that answers programs; none where the door is closed.

    Raises:
        ConfigError: it may not be opened as the settings are, or its packages are missing.
    """
    if not is_open():
        return []
    wanted = os.environ["DERMLENS_API"]
    if wanted != "1":
        raise ConfigError(f"DERMLENS_API must be 1 (open) or 0 (closed), got {wanted!r}.")
    try:
        from dermlens.api import access, app, beside
    except ModuleNotFoundError as e:
        raise ConfigError(f"The API needs {e.name}: pip install --requirement requirements-api.txt") from e
    auth = st.secrets["auth"] if sign_in_is_set_up() else None
    if auth is None:
        access.check_address(st.get_option("server.address"))
        access.check_hosts(st.get_option("server.allowedHosts"))
    api = app.create(lambda: cache.models()[0], access.guard(auth, beside.audience()))
    return [Middleware(beside.Beside, api=api)]
