"""What Predict and Compare have of the record: saving a case, and in a study the reading before the answer."""

import time

import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.errors import DermlensError, RecordError
from dermlens.record import settings
from dermlens.record.people import Who
from dermlens.record.save import prepare
from ui import state, streamlit_internals, widgets
from ui.pages import RECORD
from ui.record import fields, session

POLL = 1.0
"""Seconds between two looks at whether a saving is over."""
_FIRST_SEEN = "record_first_seen"
_PROBLEM = "record_problem"


def reads_first(image: CaseImage, opinion: Opinion) -> bool:
    """In a study, show the image alone and ask for a reading, until the person has put one down.

    Returns:
        Whether the answer must not be shown yet.
    """
    if not unread(image):
        return False
    try:
        person = session.who()
        person.need("read")
    except RecordError as e:  # who takes no part in the study reads as before
        st.caption(widgets.escape(str(e), 400))
        return False
    first_seen = st.session_state.setdefault(_FIRST_SEEN, {}).setdefault(image.key, time.monotonic())
    _choose_image()
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.image(image.pixels, width="stretch", alt="The image to be read")
    key = f"before-{image.key}"
    with right, st.form(key, border=False):
        st.header("Your reading first", anchor=False)
        st.caption("What the models say is shown once this is put down.")
        fields.reading(key)
        if st.form_submit_button("Put down, and see the answer", type="primary", icon=":material/lock:"):
            judgement = fields.reading_of(key, "before", time.monotonic() - first_seen)
            if judgement is None:
                st.warning("Diagnosis and management are needed, and words for another diagnosis.")
            else:
                _begin(image, opinion, person, (judgement,))
                st.rerun()
    return True


def unread(image: CaseImage) -> bool:
    """Return whether this is a study and the person has not put down a reading of the image."""
    return settings.read().study and image.key not in session.entries()


def any_unread() -> bool:
    """Return whether the table of the case would show an answer that must not be seen yet."""
    return any(unread(image) for image in state.images().values())


def not_yet() -> None:
    """Say on another page that the answer comes after the reading."""
    widgets.nothing_here("Your reading comes first.", "This is a study: put down your reading on the page Predict.")


def _choose_image() -> None:
    images = state.images()
    if len(images) > 1:
        keys = list(images)
        st.segmented_control(
            "Image", keys, format_func=lambda k: str(keys.index(k) + 1), key=state.IMAGE, required=True
        )


def offer(image: CaseImage, opinion: Opinion) -> None:
    """Offer to save a case, quietly, and say what became of it."""
    with st.container(border=True, key="record"):
        entry = session.entries().get(image.key)
        if entry is None:
            _not_saved(image, opinion)
            return
        st.fragment(_state, run_every=POLL if entry.under_way else None)(image.key, entry.under_way)
        if settings.read().study and not any(r.stage == "after" for r in entry.saving.readings) and not entry.after:
            _after(image.key, entry)


def _not_saved(image: CaseImage, opinion: Opinion) -> None:
    try:
        person = session.who()
        given = settings.read()
    except DermlensError as e:
        st.caption(f":material/info: {widgets.escape(str(e), 400)}")
        return
    key = f"about-{image.key}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Save to the record",
            key=f"save-{image.key}",
            icon=":material/bookmark_add:",
            on_click=_begin,
            args=(image, opinion, person),
        )
        with st.popover("Patient and lesion", icon=":material/person:"):
            fields.about(key, person, given.key is not None, bool(given.pictures and given.key))
    if problem := st.session_state.pop(_PROBLEM, ""):
        st.error(widgets.escape(problem, 400), icon=":material/error:")


def _begin(image: CaseImage, opinion: Opinion, person: Who, readings: tuple = ()) -> None:
    if image.key in session.entries():  # another click came while the page was being drawn
        return
    try:
        saving = prepare(image, opinion, fields.about_of(f"about-{image.key}"), image.stored_aspect, readings)
    except RecordError as e:
        st.session_state[_PROBLEM] = str(e)
        return
    session.begin(image.key, saving, person, time.monotonic())


def _state(key: str, redraws: bool) -> None:
    """Redraws alone while a saving is under way."""
    entry = session.entries()[key]
    if entry.under_way:
        if not redraws:  # it was begun from here
            st.rerun()
        st.caption(":material/hourglass_top: Saving to the record. The answer above stands; go on as you like.")
        return
    streamlit_internals.stop_redrawing()
    saved = entry.saved
    if entry.problem:
        what = "" if saved is None else "Your reading with the answer is not saved. "
        st.warning(
            f"{what}{widgets.escape(entry.problem, 400)} The answer above stands.", icon=":material/bookmark_remove:"
        )
        st.button("Try again", key=f"again-{key}", icon=":material/refresh:", on_click=session.again, args=(key,))
    if saved is not None:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f":material/bookmark_added: Saved to the record as case {saved.lesion_id}.")
            st.page_link(RECORD.path, label="Open it", query_params={"case": str(saved.lesion_id)})
        for notice in saved.notices:
            st.caption(f":material/schedule: {widgets.escape(notice, 400)}")


def _after(image_key: str, entry: session.Entry) -> None:
    key = f"after-{image_key}"
    with st.form(key, border=False):
        st.header("Your reading now", anchor=False)
        st.caption("Once more, with the models' answer before you. It may be the same.")
        fields.reading(key)
        if st.form_submit_button("Put down", type="primary", icon=":material/lock:"):
            judgement = fields.reading_of(key, "after", time.monotonic() - entry.seen_at)
            if judgement is None:
                st.warning("Diagnosis and management are needed, and words for another diagnosis.")
            else:
                session.add_after(image_key, judgement)
                st.rerun()
