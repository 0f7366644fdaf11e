"""What Predict has of sending to a PACS. The packages of DICOM are imported once the settings are known to be right."""

import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.errors import DermlensError
from dermlens.interchange.dicom import settings
from ui import widgets
from ui.settings import keeps_record


def offer(image: CaseImage, opinion: Opinion) -> None:
    """Offer to send an answered image, and show what is waiting."""
    with st.popover("Send to PACS", icon=":material/send:", key="pacs"):
        try:
            if keeps_record():
                from ui.record.session import who

                who().need("send to the PACS")
            given = settings.read()
        except DermlensError as e:
            st.caption(f":material/info: {widgets.escape(str(e), 400)}")
            return
        from ui.sending import form

        form.show(image, opinion, given)


def left_over() -> None:
    """Go on with what is not sent yet, and show what of it is this person's, where no image is open."""
    try:
        given = settings.read()
        from ui.sending import session

        sender = session.sender(given)
        waiting = sender.outbox.waiting(session.owner())
    except DermlensError:  # which the form says once there is something to send
        return
    if waiting:
        from ui.sending import form

        with st.container(border=True, key="outbox"):
            form.outbox(sender)
