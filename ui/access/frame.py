"""Shows a page only to those who may see it, and lets no error of a page reach the browser as a traceback."""

import logging
from collections.abc import Callable

import streamlit as st

from dermlens.errors import DermlensError
from ui import widgets
from ui.access import steps
from ui.access.sign_in import admitted, sign_in_is_set_up, sign_out

logger = logging.getLogger(__name__)


def run(page: Callable[[], None]) -> None:
    """Run the chosen page for a person who may see it; show anyone else a button to sign in.

    What goes wrong becomes one sentence, and the details go to the server's log.
    """
    try:
        if admitted():
            steps.keep()
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
            "This page met an unexpected error. The other pages still work; the server's log has the details.",
            icon=":material/error:",
        )


def _sign_in() -> None:
    sign_in_is_set_up()  # says so if that is what cannot be known
    st.title("Dermlens", anchor=False)
    st.button("Sign in", icon=":material/login:", on_click=st.login)


def _signed_in_as() -> None:
    if st.user.get("is_logged_in") is not True:
        return
    name = str(st.user.get("email") or st.user.get("name") or st.user.get("sub"))
    with st.sidebar:
        st.caption(f"Signed in as {widgets.escape(name)}")
        st.button("Sign out", icon=":material/logout:", on_click=sign_out)
