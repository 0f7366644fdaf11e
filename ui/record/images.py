"""The images of a case over time, side by side, each laid on the first one where features of both allow it."""

import numpy as np
import streamlit as st

from dermlens.errors import RecordError
from dermlens.image.registration import laid_over, register
from dermlens.labels import NAMES
from dermlens.record.cases import Case
from dermlens.record.open import Record
from dermlens.record.store.tables import Image
from ui import widgets

MOST = 4
"""Images side by side; of more, those that are chosen."""


def over_time(record: Record, case: Case) -> None:
    """Show the images of a case, oldest first, with what the lead model called."""
    if not case.images:
        return
    if len(case.images) > 1:
        st.header("Over time", anchor=False)
    chosen = list(case.images)
    if len(chosen) > MOST:
        by_id = {image.id: image for image in case.images}
        start = [case.images[0].id, *(image.id for image in case.images[1 - MOST :])]
        ids = st.pills(
            "Images", list(by_id), selection_mode="multi", default=start, format_func=lambda i: _day(by_id[i]),
            key=f"images-{case.lesion.id}",
        )  # fmt: skip
        chosen = [image for image in case.images if image.id in (ids or [])][:MOST]
    pictures = {image.id: _picture(record, image) for image in chosen}
    there = [image for image in chosen if isinstance(pictures[image.id], np.ndarray)]
    laid = len(there) > 1 and st.toggle("Lay each on the first", True, key=f"laid-{case.lesion.id}")
    cells = st.grid(min(len(chosen), MOST) or 1, min_column_width=220)
    for image in chosen:
        with cells.cell():
            _one(case, image, pictures[image.id], there[0] if there else None, pictures, laid)


def _one(case: Case, image: Image, picture: object, first: Image | None, pictures: dict, laid: bool) -> None:
    said = ""
    if isinstance(picture, np.ndarray):
        if laid and first is not None and image is not first:
            found = _registered(image.pixels_sha256, first.pixels_sha256, picture, pictures[first.id])
            said = "could not be laid on the first" if found is None else "laid on the first"
            picture = picture if found is None else found
        st.image(picture, width="stretch", alt=f"The image of {_day(image)}{f', {said}' if said else ''}")
    else:
        with st.container(border=True, height=160, horizontal_alignment="center", vertical_alignment="center"):
            st.caption(str(picture))
    lead = next((p for p in case.predictions[image.id] if p.lead), None)
    called = "No answer" if lead is None else NAMES[lead.called] if lead.called else "No diagnosis"
    st.markdown(f"**{_day(image)}** · {called}")
    details = [f"{image.width} × {image.height}", *([image.device] if image.device else [])]
    details += [*image.quality.get("findings", []), *([said] if said else [])]
    st.caption(widgets.escape(", ".join(details), 300))
    st.caption(f"Pixels {image.pixels_sha256[:12]}")


def _picture(record: Record, image: Image) -> np.ndarray | str:
    """Return the kept pixels of an image, or in words why there are none."""
    if image.picture is None:
        return "No picture is kept."
    if record.pictures is None:
        return "The picture cannot be opened without its key and store."
    try:
        return record.pictures.read(image.picture)
    except RecordError as e:
        return str(e)


def _registered(moving_hash: str, fixed_hash: str, moving: np.ndarray, fixed: np.ndarray) -> np.ndarray | None:
    """Lay a picture on another one, once a session: how, not the picture, is remembered."""
    known = st.session_state.setdefault("record_registered", {})
    key = (moving_hash, fixed_hash)
    if key not in known:
        known[key] = register(moving, fixed)
    return None if known[key] is None else laid_over(moving, fixed, known[key])


def _day(image: Image) -> str:
    return f"{(image.taken_at or image.saved_at):%d %B %Y}"
