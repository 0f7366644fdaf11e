"""Who may come in: by OpenID Connect, where the secrets have a section [auth]."""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from dermlens.errors import ConfigError
from ui.access.sign_outs import SignOuts, state_file
from ui.streamlit_internals import NO_SECRETS, optional_secrets_files, user_of_cookies

SIGNED_IN_HOURS = 12
"""How long a sign-in lasts: Streamlit's cookie alone would last 30 days, whatever becomes of the account."""
LOOKED_SECONDS = 1.0
"""For which the answer holds whether sign-in is set up: it is asked with every request, and reads files."""
_looked: tuple[float, object, tuple[str, ...], bool | None] = (0.0, None, (), None)
"""when, at which secrets and files, and what was found"""
CLOCKS_DIFFER = 60.0
"""Seconds by which the provider's clock may be ahead of this one."""
SIGN_OUTS = SignOuts(state_file())
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
    """Return whether the secrets have a section [auth]; looks at them at most once in LOOKED_SECONDS.

    Raises:
        ConfigError: there is a secrets file that cannot be read; Streamlit itself would go on as if there were none.
    """
    global _looked
    files = tuple(st.get_option("secrets.files"))
    at, secrets, looked_for, found = _looked
    if secrets is not st.secrets or looked_for != files or time.monotonic() - at >= LOOKED_SECONDS:
        found = _look()
        _looked = time.monotonic(), st.secrets, files, found
    if found is None:
        raise ConfigError(
            "The server's secrets cannot be read, so it cannot know who may see its pages, and shows none. "
            "Its log names the file."
        )
    return found


def _look() -> bool | None:
    """Return whether the secrets have a section [auth], None if that cannot be known."""
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
        return None
    return found


def sign_in_of(cookies: dict[str, str]) -> bytes | None:
    """Return what a browser's cookies say of who is signed in, None if nobody is, or no sign-in is set up."""
    try:
        return user_of_cookies(cookies) if sign_in_is_set_up() else None
    except ConfigError:
        return None


def may_fetch(sign_in: bytes | None) -> bool:
    """Return whether who is signed in so may send files and fetch pictures; as `admitted`, outside a page."""
    try:
        return not sign_in_is_set_up() or (sign_in is not None and lasts(sign_in))
    except ConfigError:
        return False


def lasts(sign_in: bytes) -> bool:
    """Return whether a sign-in, given as its cookie says it, still lasts and was not ended."""
    try:
        user = json.loads(sign_in)
    except ValueError:
        return False
    return isinstance(user, dict) and _signed_in(user) and sign_in not in SIGN_OUTS


def person_of(sign_in: bytes) -> str:
    """Return what tells the person of a sign-in from all others, as the provider says it."""
    user = json.loads(sign_in)
    return next((f"{user.get('iss', '')} {user[key]}" for key in ("sub", "email", "name") if user.get(key)), "someone")


def end(sign_in: bytes) -> None:
    """End a sign-in for good, in every browser that holds a copy of its cookie."""
    SIGN_OUTS.add(sign_in, time.time() + 3600 * SIGNED_IN_HOURS + CLOCKS_DIFFER)


def sign_out() -> None:
    """End the sign-in of the person whose page this is, and send the browser to the provider to do the same."""
    if sign_in := sign_in_of(dict(st.context.cookies)):
        end(sign_in)
    st.logout()


def _signed_in(user: Mapping[str, object]) -> bool:
    since = user.get("iat")
    if user.get("is_logged_in") is not True or isinstance(since, bool) or not isinstance(since, int):
        return False
    return -CLOCKS_DIFFER <= time.time() - since < 3600 * SIGNED_IN_HOURS
