"""That every page runs inside Home.py, and that nothing a page does wrong reaches the browser as a traceback."""

import logging
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from dermlens.errors import DermlensError

_IN_HOME = "in_home"
logger = logging.getLogger(__name__)


def run(page: Callable[[], None]) -> None:
    """Run the chosen page; what goes wrong becomes one sentence, and the details go to the server's log."""
    st.session_state[_IN_HOME] = True
    try:
        page()
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
    finally:
        st.session_state[_IN_HOME] = False


def require_home() -> None:
    """Start over through Home.py if a page was opened without it.

    Streamlit serves a folder named pages/ by itself, without Home.py, until st.navigation has been called once in the
    life of the server; a link to a page may be the first thing it is asked for.
    """
    if st.session_state.get(_IN_HOME):
        return
    pages = sorted(Path(__file__).parents[1].glob("pages/*.py"))
    st.navigation([st.Page("Home.py", default=True), *(st.Page(p) for p in pages)], position="hidden")
    st.rerun()
