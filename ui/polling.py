"""Parts of a page that redraw themselves every few seconds, until there is nothing more to wait for."""

from ui import streamlit_internals


def end() -> None:
    """Tell the browser to stop redrawing the part of the page that is being redrawn now.

    A run of the whole page would end it as well, and undo what was chosen since this part was last asked for.
    """
    streamlit_internals.stop_redrawing()
