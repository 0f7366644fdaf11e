"""The outbox and its thread, one a server, and who sends."""

import hashlib

import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.interchange.dicom import pacs
from dermlens.interchange.dicom.outbox import Outbox, Waiting
from dermlens.interchange.dicom.sender import Sender
from dermlens.interchange.dicom.settings import Settings
from ui.access import sign_in
from ui.settings import keeps_record

_LOCAL = "local"


@st.cache_resource(show_spinner=False, max_entries=2)
def sender(given: Settings) -> Sender:
    """Return the thread that empties the outbox, which runs from now on; DataError if there can be no outbox."""
    started = Sender(Outbox(given.outbox), lambda objects: pacs.send(given, objects), done=_arrived)
    started.start()
    return started


def written_down(image: CaseImage, host: str) -> int | None:
    """Write into the record, where one is kept, that an image is about to be sent; returns the number of the row.

    Raises:
        RecordError: it cannot be written down, so it must not be sent.
    """
    if not keeps_record():
        return None
    from ui.record import disclosing

    return disclosing.sends(image, host)


def _arrived(entry: Waiting) -> None:
    if keeps_record():
        from ui.record import disclosing

        disclosing.arrived(entry.disclosure)


def owner() -> str:
    """Return who sends, as the outbox knows them: a hash of the sign-in's subject."""
    if not sign_in.sign_in_is_set_up():
        return _LOCAL
    return hashlib.sha256(str(st.user.to_dict().get("sub", "")).encode()).hexdigest()
