"""Looking after the record: whether it is whole, where it stands, and pictures whose term is over."""

import logging
import time

import streamlit as st

from dermlens.errors import RecordError
from dermlens.record import cases, consent
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.store import audit
from dermlens.record.store.database import Session
from dermlens.wording import counted
from ui import widgets

EVERY = 3600.0
"""Seconds between two looks for pictures whose term is over."""
logger = logging.getLogger(__name__)


@st.cache_resource(show_spinner=False)
def _last() -> dict[str, float]:
    return {}


def expire(record: Record) -> None:
    """Delete what is to be gone, once an hour at most; a failure is told and stops nothing."""
    now = time.monotonic()
    if now - _last().get(record.settings.database, -EVERY) < EVERY:
        return
    _last()[record.settings.database] = now
    try:
        consent.expire(record)
    except RecordError as e:
        logger.warning("not all that is to be gone is gone: %s", e)
        st.warning(widgets.escape(str(e), 400), icon=":material/auto_delete:")


def section(database: Session, record: Record, who: Who) -> None:
    """Say what is kept, and check on demand that nothing was changed past the record."""
    st.markdown("; ".join(counted(number, what) for what, number in cases.totals(database, who).items()) + ".")
    kind = "a file of SQLite" if record.database.is_file else "PostgreSQL"
    days = counted(record.settings.days, "day")
    pictures = f"Pictures are deleted {days} after they were saved." if record.pictures else "No pictures are kept."
    st.caption(f"The record is {kind}. {pictures} Your role is {who.role}.")
    who.need("check the record")
    head = audit.head(database)
    if head is None:
        return
    st.markdown(f"Head of the audit chain: line {head.sequence:,}, {head.at:%d %B %Y, %H:%M} UTC")
    st.code(audit.anchor_line(head), language=None, wrap_lines=True)
    st.caption(
        "Keep this line where nobody who can write the record can: `python -m dermlens.record anchor` prints it, for a "
        "daily mail or a time stamp."
    )
    if st.button("Check the whole record", icon=":material/verified_user:"):
        with st.spinner("Checking every line and every row"):
            found = audit.verify(database)
        for sentence in (*found.notices, *found.problems):
            st.text(sentence)
        if found.n_problems:
            st.error(f"Not whole: {counted(found.n_problems, 'problem')}.", icon=":material/gpp_bad:")
        else:
            st.success(
                f"Whole: {counted(found.lines, 'line')} about {counted(found.rows, 'row')}. A cut end "
                "shows only against an anchor.",
                icon=":material/verified_user:",
            )
