"""The outbox and its thread, one a server, and who sends."""

import hashlib

import streamlit as st

from dermlens.interchange.dicom import pacs
from dermlens.interchange.dicom.outbox import Outbox
from dermlens.interchange.dicom.sender import Sender
from dermlens.interchange.dicom.settings import Settings
from ui.access import sign_in

_LOCAL = "local"


@st.cache_resource(show_spinner=False, max_entries=2)
def sender(given: Settings) -> Sender:
    """Return the thread that empties the outbox, which runs from now on; DataError if there can be no outbox."""
    started = Sender(Outbox(given.outbox), lambda objects: pacs.send(given, objects))
    started.start()
    return started


def owner() -> str:
    """Return who sends, as the outbox knows them: a hash of the sign-in's subject."""
    if not sign_in.sign_in_is_set_up():
        return _LOCAL
    return hashlib.sha256(str(st.user.to_dict().get("sub", "")).encode()).hexdigest()
