"""Parts of a page that redraw themselves every few seconds, until there is nothing more to wait for."""

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import get_script_run_ctx


def end() -> None:
    """Tell the browser to let the part of the page that is being redrawn be from now on.

    A run of the whole page would end it as well, and undo what was chosen since this part was last asked for.
    """
    context = get_script_run_ctx()
    if context is not None and context.fragment_ids_this_run:
        message = ForwardMsg()
        message.stop_auto_rerun.fragment_ids.extend(context.fragment_ids_this_run)
        context.enqueue(message)
