"""That only who may see a page sees it, and that nothing a page does wrong reaches the browser as a traceback."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import streamlit as st
from streamlit import config
from streamlit.errors import StreamlitSecretNotFoundError

from dermlens.errors import ConfigError, DermlensError
from ui import widgets

SIGNED_IN_HOURS = 12
"""How long a sign-in holds: Streamlit's cookie alone would last 30 days, whatever becomes of the account."""
logger = logging.getLogger(__name__)


def run(page: Callable[[], None]) -> None:
    """Run the chosen page for who may see it, and offer the others to sign in.

    What goes wrong becomes one sentence, and the details go to the server's log.
    """
    try:
        if admitted():
            page()
            _signed_in_as()
        else:
            _sign_in()
    except DermlensError as e:
        logger.warning("shown to a user: %s", e)
        st.error(str(e), icon=":material/error:")
    except Exception:
        logger.exception("a page failed")
        st.error(
            "This page met an error that was not foreseen. The other pages go on working; the server's log has the "
            "details.",
            icon=":material/error:",
        )


def admitted() -> bool:
    """Whether this person may see the pages: signed in, or no sign-in is set up. In doubt, nobody may."""
    try:
        if not _sign_in_is_set_up():
            return True
    except ConfigError:
        return False
    since = st.user.get("iat")
    return (
        st.user.get("is_logged_in") is True and isinstance(since, int) and time.time() - since < 3600 * SIGNED_IN_HOURS
    )


def _sign_in_is_set_up() -> bool:
    """Whether the secrets have a section [auth].

    Raises:
        ConfigError: there is a secrets file that cannot be read; Streamlit itself would go on as if there were none.
    """
    files = [Path(file) for file in st.get_option("secrets.files")]
    optional = config.get_config_files("secrets.toml")
    try:
        found = "auth" in st.secrets
        damaged = False
    except (OSError, ValueError) as e:
        found = False
        damaged = not isinstance(e, StreamlitSecretNotFoundError) or any(file.exists() for file in files)
        if damaged:
            logger.error("the secrets cannot be read: %s", e)
    if damaged or (not found and any(str(file) not in optional and not file.exists() for file in files)):
        raise ConfigError(
            "The server's secrets cannot be read, so it cannot know who may see its pages, and shows none. "
            "Its log names the file."
        )
    return found


def _sign_in() -> None:
    if not _sign_in_is_set_up():
        return
    st.title("Dermlens", anchor=False)
    st.button("Sign in", icon=":material/login:", on_click=st.login)


def _signed_in_as() -> None:
    if st.user.get("is_logged_in") is not True:
        return
    name = str(st.user.get("email") or st.user.get("name") or st.user.get("sub"))
    with st.sidebar:
        st.caption(f"Signed in as {widgets.escape(name)}")
        st.button("Sign out", icon=":material/logout:", on_click=st.logout)
