"""That nothing a page does wrong reaches the browser as a traceback."""

import logging
from collections.abc import Callable

import streamlit as st

from dermlens.errors import DermlensError

logger = logging.getLogger(__name__)


def run(page: Callable[[], None]) -> None:
    """Run the chosen page; what goes wrong becomes one sentence, and the details go to the server's log."""
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
