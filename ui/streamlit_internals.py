"""What the dashboard uses of Streamlit 1.67 beyond its public interface, each with what is relied on.

tests/ui/test_streamlit_internals.py says, one by one, which of it another version has changed.
"""

import functools
import re
from pathlib import Path

import streamlit as st
from starlette.formparsers import MultiPartParser
from streamlit import config, runtime
from streamlit.errors import StreamlitSecretNotFoundError
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.stats import CacheStat
from streamlit.typing import UploadedFile
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import _get_signed_cookie_with_chunks

UPLOADS = "/_stcore/upload_file/"
"""In the path of every request that sends a file; its method is PUT."""
MEDIA = "/media/"
"""In the path of every request for a picture or a download."""
FOR_MACHINES = ("/_stcore/metrics", "/_stcore/agent", "/_stcore/script-health-check")
"""In the paths that only programs ask for."""
AFFECTS_OTHERS = frozenset({"clear_cache", "set_run_on_save", "load_git_info"})
"""Kinds of messages with which Streamlit's developer menu reaches beyond its own session: the first has the models
of all sessions loaded again."""
NO_SECRETS = StreamlitSecretNotFoundError
"""What st.secrets raises where no secrets file exists, and where one is not TOML; an OSError."""


@functools.cache
def keep_pages_within_home() -> None:
    """Have every page opened by Home.py, the first one by a deep link too; does so once a process.

    Streamlit takes a folder pages/ for its older kind of app until PagesManager.uses_pages_directory is false, and
    would open a deep link without Home.py, and so without asking who it is. Home.py says so when the server imports it,
    before anyone is served. Where no server imports it, as in tests, the first run finds it taken so, and starts over.
    """
    taken_for_the_older_kind = PagesManager.uses_pages_directory
    PagesManager.uses_pages_directory = False
    if taken_for_the_older_kind:
        st.rerun()


def optional_secrets_files() -> list[str]:
    """Return where Streamlit looks for secrets by itself: such a file may be missing, one named in the settings not."""
    return config.get_config_files("secrets.toml")


def user_of_cookies(cookies: dict[str, str]) -> bytes | None:
    """Return what a browser's cookies say of who is signed in, as JSON; None if nothing, or if the signature is wrong.

    It is what st.user holds, signed with the cookie_secret of the secrets' section [auth].
    """
    return _get_signed_cookie_with_chunks(cookies, USER_COOKIE_NAME)


def kind_of_message(frame: bytes) -> str | None:
    """Return which kind of message the browser sends in a frame of its websocket; None if it is none."""
    try:
        return BackMsg.FromString(frame).WhichOneof("type")
    except Exception:  # noqa: BLE001 - not a message: Streamlit closes the connection
        return None


def inline_scripts() -> list[str]:
    """Return the scripts that stand in Streamlit's one HTML page itself."""
    page = Path(st.__file__).parent / "static" / "index.html"
    return re.findall(r"<script>(.*?)</script>", page.read_text(encoding="utf-8"), re.DOTALL)


def keep_uploads_in_memory(most: int) -> None:
    """Have an upload of up to `most` bytes never touch the disk: Streamlit parses it as Starlette does any form."""
    MultiPartParser.spool_max_size = most


def bytes_of_uploads() -> int:
    """Return how many bytes of uploads the server holds, of all sessions; 0 where there is no server."""
    if not runtime.exists():
        return 0
    stats = runtime.get_instance().uploaded_file_mgr.get_stats()
    return sum(stat.byte_length for family in stats.values() for stat in family if isinstance(stat, CacheStat))


def uploaded_files(value: list | None) -> list[UploadedFile]:
    """Return the files that an uploader for several holds.

    A browser that asks again while the first answer is on its way names files that were taken already; those are left
    out.
    """
    return [file for file in value or [] if isinstance(file, UploadedFile)]


def forget_upload(file: UploadedFile) -> None:
    """Have Streamlit drop an upload that was taken; it would keep it for as long as the page is open."""
    context = get_script_run_ctx()
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)


def stop_redrawing() -> None:
    """Tell the browser to ask no more for the fragment that is being run by itself; without one nothing happens."""
    context = get_script_run_ctx()
    if context is not None and context.fragment_ids_this_run:
        message = ForwardMsg()
        message.stop_auto_rerun.fragment_ids.extend(context.fragment_ids_this_run)
        context.enqueue(message)
