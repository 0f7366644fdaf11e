"""The form of Send to PACS: what is sent is shown first, and what could not be sent stays in sight."""

from datetime import UTC, date, datetime

import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.errors import DataError, DermlensError
from dermlens.interchange.dicom.identity import SEXES, Identity, Source, check, source_of
from dermlens.interchange.dicom.objects import objects_of
from dermlens.interchange.dicom.outbox import Fate, Waiting
from dermlens.interchange.dicom.sender import Sender
from dermlens.interchange.dicom.settings import Settings
from dermlens.wording import counted
from ui import state, streamlit_internals, widgets
from ui.predict import heat_map
from ui.sending import session

NOT_SENT = "This image was taken out of the outbox and not sent. Send it if the PACS should have it."
POLL = 2.0
"""Seconds between two looks at whether something was sent."""


def show(image: CaseImage, opinion: Opinion, given: Settings) -> None:
    """Draw the form for an answered image, or that it was handed over, and what is waiting."""
    try:
        sender = session.sender(given)
    except DermlensError as e:
        st.caption(f":material/info: {widgets.escape(str(e), 400)}")
        return
    if image.synthetic:
        st.caption("A drawing is not sent: it shows no real lesion.")
    elif _handed_over(image.key, sender):
        st.caption("This image was handed over. Send it again only if the PACS has lost it.")
        st.button("Send again", on_click=_forget, args=(image.key,), key="pacs-again", type="tertiary")
    else:
        if given.exposed:
            st.caption(":material/lock_open: The way to this PACS is not encrypted.")
        _form(image, opinion, given.host, sender)
    outbox(sender)


def outbox(sender: Sender) -> None:
    """Show what of this person's is not sent yet, as long as there is something."""
    try:
        waiting = bool(sender.outbox.waiting(session.owner()))
    except DermlensError as e:
        st.warning(widgets.escape(str(e), 300), icon=":material/error:")
        return
    st.fragment(_outbox, run_every=POLL if waiting else None)(sender)


def _sent() -> dict[str, str]:
    """Return the entry of the outbox by the key of the image."""
    return st.session_state.setdefault(state.SENT, {})


def _handed_over(key: str, sender: Sender) -> bool:
    """Return whether an image waits or was sent, as far as can be read."""
    entry = _sent().get(key)
    try:
        return entry is not None and sender.outbox.fate(entry) is not Fate.GONE
    except DermlensError:  # which the outbox below says
        return True


def _forget(key: str) -> None:
    _sent().pop(key, None)


def _form(image: CaseImage, opinion: Opinion, host: str, sender: Sender) -> None:
    source = source_of(state.sources().get(image.key, {}))
    st.markdown(f"To **{widgets.escape(host, 120)}**")
    identity = _of_source(source) if source else _typed(image.key)
    dermoscopic = source is not None or st.checkbox(
        "Taken through a dermatoscope",
        not opinion.withheld,
        key=f"pacs-dermoscopic-{image.key}",
        help="Otherwise the picture is sent as a photograph of the skin.",
    )
    mapped = frozenset(m.id for m in heat_map.mapped(opinion))
    st.markdown("**What is sent**")
    st.markdown("\n".join(f"- {line}" for line in _what(image, opinion, source, dermoscopic, mapped)))
    problem = ""
    try:
        check(identity)
        if source is None and not identity.patient_id:
            problem = "A patient ID is needed, so that it cannot join another's images."
    except DataError as e:
        problem = f"{e} The DICOM file has it otherwise." if source else str(e)
    if problem:
        st.caption(f":material/info: {widgets.escape(problem, 300)}")
    if st.button("Send", key="pacs-send", type="primary", icon=":material/send:", disabled=bool(problem)):
        now = datetime.now(UTC)
        try:
            with st.spinner("Making the objects"):
                objects = objects_of(image, opinion, identity, source, now, dermoscopic=dermoscopic, mapped=mapped)
                row, owner = session.written_down(image, host), session.owner()
                sent = _sent()  # first: Streamlit breaks a run off where it asks for the session
                sent[image.key] = sender.outbox.put(objects, owner, image.key, now, row)
        except DermlensError as e:
            st.error(widgets.escape(str(e), 300), icon=":material/error:")
            return
        sender.wake()
        st.rerun()


def _typed(key: str) -> Identity:
    one, two = st.columns(2)
    patient_id = one.text_input("Patient ID", key=f"pacs-id-{key}", max_chars=64, autocomplete="off")
    accession = two.text_input("Accession number", key=f"pacs-accession-{key}", max_chars=16, autocomplete="off")
    one, two = st.columns(2)
    family = one.text_input("Family name", key=f"pacs-family-{key}", max_chars=40, autocomplete="off")
    given = two.text_input("Given name", key=f"pacs-given-{key}", max_chars=23, autocomplete="off")
    one, two = st.columns(2)
    born = one.date_input("Born on", None, date(1900, 1, 1), "today", key=f"pacs-born-{key}")
    sex = two.selectbox("Sex", list(SEXES), None, lambda s: SEXES[s].capitalize(), key=f"pacs-sex-{key}")
    name = f"{family.strip()}^{given.strip()}" if family.strip() or given.strip() else ""
    day = born.strftime("%Y%m%d") if isinstance(born, date) else ""
    return Identity(patient_id.strip(), name, day, sex or "", accession.strip())


def _of_source(source: Source) -> Identity:
    who = source.identity
    told = (who.patient_name.replace("^", " ").strip(), who.patient_id, who.birth_date, SEXES.get(who.sex, ""))
    st.caption(
        "The image came as DICOM. What is sent joins its study, under the same patient: "
        + (widgets.escape(", ".join(part for part in told if part), 200) or "none named")
        + "."
    )
    return who


def _what(
    image: CaseImage, opinion: Opinion, source: Source | None, dermoscopic: bool, mapped: frozenset[str]
) -> list[str]:
    height, width = image.pixels.shape[:2]
    lines = []
    if source is None:
        kind = "dermoscopic image" if dermoscopic else "photograph of the skin"
        less = f", of {image.width} x {image.height}" if (height, width) != (image.height, image.width) else ""
        lines.append(f"The picture as {kind}, {width} x {height} pixels{less}")
    if opinion.lead is not None and opinion.lead.id in mapped:
        lines.append(f"The heat map of {widgets.escape(opinion.lead.name)} over the picture")
    answers = counted(len(opinion.asked), "model")
    lines.append(f"A structured report: answers of {answers} with their hashes, and whether to refer")
    return lines


def _outbox(sender: Sender) -> None:
    """Redraws alone while something is waiting."""
    owner = session.owner()
    image = state.current()
    mine = _sent().get(image.key) if image else None
    try:
        waiting = sender.outbox.waiting(owner)
        fate = sender.outbox.fate(mine) if mine else None
    except DermlensError as e:
        st.warning(widgets.escape(str(e), 300), icon=":material/error:")
        return
    if fate is Fate.SENT:
        st.markdown(":material/check: The PACS has it.")
    elif fate is Fate.GONE:
        st.warning(NOT_SENT, icon=":material/error:")
    if not waiting:
        streamlit_internals.stop_redrawing()
        return
    st.markdown(f"**Outbox**, {counted(len(waiting), 'image')} not sent yet")
    for entry in waiting:
        _entry(sender, entry, owner)


def _entry(sender: Sender, entry: Waiting, owner: str) -> None:
    with st.container(border=True, gap="xsmall", key=f"outbox-{entry.id[:8]}"):
        if not entry.readable:
            st.warning(widgets.escape(entry.error, 400), icon=":material/error:")
            return
        st.markdown(f"Image {widgets.escape(entry.image)}, {entry.at:%d %B %Y, %H:%M} UTC")
        if entry.error:
            st.warning(widgets.escape(entry.error, 300), icon=":material/cloud_off:")
            attempts = counted(entry.attempts, "attempt")
            st.caption(f"{attempts}; the next at {entry.next_at:%H:%M:%S} UTC")
        else:
            st.caption(":material/hourglass_top: On its way")
        with st.container(horizontal=True):
            st.button("Try again", key=f"retry-{entry.id}", icon=":material/refresh:", on_click=_retry, args=(sender,))
            st.button(
                "Discard",
                key=f"discard-{entry.id}",
                icon=":material/delete:",
                type="tertiary",
                on_click=_discard,
                args=(sender, entry, owner),
            )


def _retry(sender: Sender) -> None:
    sender.outbox.hurry(session.owner(), datetime.now(UTC))
    sender.wake()


def _discard(sender: Sender, entry: Waiting, owner: str) -> None:
    try:
        sender.outbox.discard(entry.id, owner)
    except DermlensError as e:
        st.toast(str(e))
        return
    if _sent().get(entry.image) == entry.id:
        _sent().pop(entry.image)
