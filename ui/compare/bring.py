"""The button that takes predictions of another framework for the session."""

import hashlib
from itertools import chain, count
from pathlib import Path

import streamlit as st

from dermlens.errors import DataError, DermlensError
from dermlens.evaluation.predictions import read_predictions
from dermlens.files.documents import Document
from dermlens.models.card import NAME
from dermlens.wording import counted
from ui import brought, cache, streamlit_internals, widgets

_NUMBER = "brought_number"
_FILES = "brought_files"
"""What was handed in so far, until it is compared: part -> file."""
_TOLD = "brought_told"
ABOUT = (
    "A CSV with image_id, y_true and logit_akiec, … or p_akiec, …, or an ISIC 2018 submission (image, MEL, NV, …) and "
    "the truth in the same form. Held for this session alone: never written down, gone when the page is closed."
)


def button() -> None:
    """Offer to bring predictions, and list what was brought; what a file lacks is said in a sentence."""
    with st.popover("Bring predictions", icon=":material/upload_file:"):
        st.caption(ABOUT)
        number = st.session_state.setdefault(_NUMBER, 0)
        st.text_input("Name", key=f"bring-name-{number}", placeholder="My network", max_chars=60)
        files = _files()
        for part, label in (("predictions", "Predictions (CSV)"), ("truth", "Truth (CSV), for a submission")):
            key = f"bring-{part}-{number}"
            st.file_uploader(label, "csv", True, key=key, on_change=_keep, args=(part, key))
            if part in files:
                st.caption(f":material/check: {widgets.escape(files[part].name)}")
        ready = "predictions" in files
        st.button("Compare with these", type="primary", disabled=not ready, on_click=_take, args=(number,))
        if told := st.session_state.get(_TOLD):
            st.error(widgets.escape(told, 800), icon=":material/error:")
        for model_id, own in list(brought.held().items()):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"{widgets.escape(own.entry.name)}: {counted(len(own.predictions), 'image')}")
                st.button("Remove", key=f"drop-{model_id}", type="tertiary", on_click=_drop, args=(model_id,))


def _files() -> dict[str, Document]:
    found: dict[str, Document] = st.session_state.setdefault(_FILES, {})
    return found


def _keep(part: str, key: str) -> None:
    """Take a file over as soon as it is there: Streamlit drops what nobody has taken for a while."""
    files = _files()
    if (file := _document(key)) is not None:
        files[part] = file


def _take(number: int) -> None:
    files = _files()
    file, truth = files.pop("predictions", None), files.pop("truth", None)
    try:
        if file is None:
            raise DataError("Choose a CSV file with predictions first.")
        if len(brought.held()) >= brought.MOST:
            raise DataError(f"A session holds {brought.MOST} brought tables at most. Remove one first.")
        name = str(st.session_state.get(f"bring-name-{number}") or "").strip() or Path(file.name).stem
        if not NAME.fullmatch(name):
            raise DataError("A name has 1 to 80 plain characters. Choose another one.")
        predictions = read_predictions(file, truth=truth)
        if len(predictions) > brought.MOST_IMAGES:
            most = f"{brought.MOST_IMAGES:,}"
            raise DataError(f"{file.name} has {len(predictions):,} images; a session takes {most}. Put it in models/.")
        digest = hashlib.sha256(b"\0".join([file.data, truth.data if truth else b""])).hexdigest()
        model_id = f"brought-{digest[:8]}"
        brought.hold(model_id, _of_its_own(name, model_id), predictions)
        chosen = [i for i in st.session_state.get("models", []) if i != model_id]
        st.session_state["models"] = [*chosen[:1], model_id] if chosen else [model_id]
        st.session_state[_TOLD] = None
    except DermlensError as e:
        st.session_state[_TOLD] = str(e)
    st.session_state[_NUMBER] = number + 1  # the uploaders come up empty


def _of_its_own(name: str, model_id: str) -> str:
    """Return the name, with a number where another model has it already."""
    known = [*cache.entries(), *(own.entry for own in brought.held().values())]
    taken = {entry.name for entry in known if entry.id != model_id}
    numbered = (f"{name} {number}" for number in count(2))
    return next(one for one in chain([name], numbered) if one not in taken)


def _document(key: str) -> Document | None:
    """Return the first file of an uploader as one that was read, and have Streamlit forget it."""
    for file in streamlit_internals.uploaded_files(st.session_state.get(key))[:1]:
        found = Document(Path(file.name), file.getvalue())
        streamlit_internals.forget_upload(file)
        return found
    return None


def _drop(model_id: str) -> None:
    brought.drop(model_id)
    st.session_state["models"] = [i for i in st.session_state.get("models", []) if i != model_id]
