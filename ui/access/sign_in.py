"""Who may come in: by OpenID Connect, where the secrets have a section [auth]."""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from dermlens.errors import ConfigError
from ui.streamlit_internals import NO_SECRETS, optional_secrets_files, user_of_cookies

SIGNED_IN_HOURS = 12
"""How long a sign-in lasts: Streamlit's cookie alone would last 30 days, whatever becomes of the account."""
logger = logging.getLogger(__name__)


def admitted() -> bool:
    """Return whether this person may see the pages: signed in, or no sign-in is set up. In doubt, nobody may."""
    try:
        if not sign_in_is_set_up():
            return True
    except ConfigError:
        return False
    return _signed_in(st.user)


def sign_in_is_set_up() -> bool:
    """Return whether the secrets have a section [auth].

    Raises:
        ConfigError: there is a secrets file that cannot be read; Streamlit itself would go on as if there were none.
    """
    files = [Path(file) for file in st.get_option("secrets.files")]
    optional = optional_secrets_files()
    try:
        found = "auth" in st.secrets
        damaged = False
    except (OSError, ValueError) as e:
        found = False
        damaged = not isinstance(e, NO_SECRETS) or any(file.exists() for file in files)
        if damaged:
            logger.error("the secrets cannot be read: %s", e)
    if damaged or (not found and any(str(file) not in optional and not file.exists() for file in files)):
        raise ConfigError(
            "The server's secrets cannot be read, so it cannot know who may see its pages, and shows none. "
            "Its log names the file."
        )
    return found


def may_fetch(cookies: dict[str, str]) -> bool:
    """Return whether a request with these cookies may send files and fetch pictures; as `admitted`, outside a page."""
    try:
        if not sign_in_is_set_up():
            return True
    except ConfigError:
        return False
    try:
        return _signed_in(json.loads(user_of_cookies(cookies) or b"{}"))
    except ValueError:
        return False


def _signed_in(user: Mapping[str, object]) -> bool:
    since = user.get("iat")
    return user.get("is_logged_in") is True and isinstance(since, int) and time.time() - since < 3600 * SIGNED_IN_HOURS
