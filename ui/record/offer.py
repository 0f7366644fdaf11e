"""What Predict and Compare have of the record: saving a case, and in a study the reading before the answer."""

import time

import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.errors import DermlensError, RecordError
from dermlens.image.encode import pixels_sha256
from dermlens.record import readings, settings
from dermlens.record.people import Who
from dermlens.record.readings import Judgement
from dermlens.record.save import amended, prepare
from ui import state, streamlit_internals, widgets
from ui.pages import RECORD
from ui.record import fields, session

POLL = 1.0
"""Seconds between two looks at whether a saving is over."""
_PROBLEM = "record_problem"


def reads_first(image: CaseImage, opinion: Opinion) -> bool:
    """In a study, show the image alone and ask for a reading, until the person has put one down.

    Args:
        image: to be read. opinion: as it will be shown.

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
    first_seen = session.of_case().first_seen.setdefault(image.key, time.monotonic())
    _choose_image()
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.image(image.pixels, width="stretch", alt="The image to be read")
    key = f"before-{image.key}"
    with right:
        st.header("Your reading first", anchor=False)
        st.caption("What the models say is shown once this is put down.")
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            _about(image.key, person)
        with st.form(key, border=False):
            fields.reading(key)
            if st.form_submit_button("Put down, and see the answer", type="primary", icon=":material/lock:"):
                judgement = fields.reading_of(key, "before", time.monotonic() - first_seen)
                if judgement is None:
                    st.warning("Diagnosis and management are needed, and words for another diagnosis.")
                else:
                    _begin(image, opinion, person, (judgement,))
                    st.rerun()
        _problem()
    return True


def unread(image: CaseImage) -> bool:
    """Return whether this is a study and the person has neither put down a reading of the image nor met its answer."""
    return settings.read().study and image.key not in session.entries() and not _met(image)


def _met(image: CaseImage) -> bool:
    """Return whether the record says that the person has read or saved the same pixels before."""
    met = session.of_case().met
    if image.key not in met:
        pixels = pixels_sha256(image.pixels)
        try:
            person = session.who()
            with session.record().database.reading() as database:
                met[image.key] = pixels in session.met() or readings.has_met(database, person, pixels)
        except DermlensError:  # asked again in the next run; until then the answer stays hidden
            return False
    return met[image.key]


def any_unread() -> bool:
    """Return whether the table of the case would show an answer that must not be seen yet."""
    return any(unread(image) for image in state.images().values())


def holds_answer() -> bool:
    """In a study, keep the answer as it was saved until the reading with it is put down, and say so.

    Returns:
        Whether nothing may be offered that changes the answer to an image of the case.
    """
    entries, held = session.entries(), state.images()
    if not settings.read().study or not any(key in held and entry.awaits_second for key, entry in entries.items()):
        return False
    st.caption("Class mix and models can be changed once every reading with the answer is put down.")
    return True


def not_yet() -> None:
    """Say on another page that the answer comes after the reading."""
    widgets.nothing_here("Your reading comes first.", "This is a study: put down your reading on the page Predict.")


def _choose_image() -> None:
    images = state.images()
    if len(images) > 1:
        keys = list(images)
        st.segmented_control(
            "Image",
            keys,
            format_func=lambda k: str(keys.index(k) + 1),
            key=state.IMAGE,
            required=True,
            persist_state="session",  # it is not drawn beside the answer, which must be that of the image just read
        )


def offer(image: CaseImage, opinion: Opinion) -> None:
    """Offer to save a case, quietly, and say what became of it."""
    with st.container(border=True, key="record"):
        entry = session.entries().get(image.key)
        if entry is None:
            _not_saved(image, opinion)
            return
        st.fragment(_state, run_every=POLL if entry.under_way else None)(image.key, entry.under_way)
        if settings.read().study and entry.awaits_second:
            _after(image.key, entry)


def _not_saved(image: CaseImage, opinion: Opinion) -> None:
    try:
        person = session.who()
        study = settings.read().study
    except DermlensError as e:
        st.caption(f":material/info: {widgets.escape(str(e), 400)}")
        return
    if study and session.of_case().met.get(image.key):
        st.caption("You have read or saved this picture before, so no reading is asked for.")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Save to the record",
            key=f"save-{image.key}",
            icon=":material/bookmark_add:",
            on_click=_begin,
            args=(image, opinion, person),
        )
        _about(image.key, person)
    _problem()


def _about(key: str, person: Who) -> None:
    """Draw the fields on patient and lesion, folded, and what of them will be saved."""
    given = settings.read()
    with st.popover("Patient and lesion", icon=":material/person:"):
        fields.about(key, person, given.key is not None, bool(given.pictures and given.key))
    st.caption(fields.in_short(fields.about_of(key)))


def _problem() -> None:
    if problem := st.session_state.pop(_PROBLEM, ""):
        st.error(widgets.escape(problem, 400), icon=":material/error:")


def _begin(image: CaseImage, opinion: Opinion, person: Who, given: tuple[Judgement, ...] = ()) -> None:
    if image.key in session.entries():  # another click came while the page was being drawn
        return
    try:
        saving = prepare(image, opinion, fields.about_of(image.key), image.stored_aspect, given)
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
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button("Try again", key=f"again-{key}", icon=":material/refresh:", on_click=_again, args=(key,))
            if saved is None:
                _about(key, entry.who)
        _problem()
    if saved is not None:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f":material/bookmark_added: Saved to the record as case {saved.lesion_id}.")
            st.page_link(RECORD.path, label="Open it", query_params={"case": str(saved.lesion_id)})
        for notice in saved.notices:
            st.caption(f":material/schedule: {widgets.escape(notice, 400)}")


def _again(key: str) -> None:
    """Try again, with what stands in the fields on patient and lesion now."""
    entry, image = session.entries()[key], state.images().get(key)
    try:
        changed = entry.saving if image is None else amended(entry.saving, fields.about_of(key), image.pixels)
    except RecordError as e:
        st.session_state[_PROBLEM] = str(e)
        return
    session.again(key, changed)


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
