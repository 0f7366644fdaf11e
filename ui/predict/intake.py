"""How images come in: uploads, an id of the ISIC Archive, drawn examples."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dermlens.dataset import isic_archive
from dermlens.errors import DermlensError
from dermlens.files.tables import plain_cell
from dermlens.image import examples
from dermlens.image.preprocess import STORED_ASPECTS
from dermlens.ingest import folder as folders
from dermlens.ingest.formats import LISTED
from dermlens.models.model import AnyModel
from dermlens.wording import counted
from ui import settings, state, streamlit_internals, widgets

KINDS = ("Images", "A folder", "By ISIC id")
SHOWN_REFUSALS = 5


def receive(models: Sequence[AnyModel]) -> None:
    """Examine what was handed in since the last run, and say what could not be used."""
    if models:
        state.examine_waiting(models, st.session_state.get(state.STORED_ASPECT) or settings.stored_aspect())


def welcome() -> None:
    """Fill the page of a case without images: the uploader, and drawings for anyone without an image."""
    uploader()
    refusals()
    st.header("No image at hand?", anchor=False)
    st.caption("Four drawings made by this project. They are synthetic and show no real lesion.")
    cells = st.grid(4, min_column_width=180)
    for example in examples.EXAMPLES:
        with cells.cell():
            st.image(examples.draw(example), width="stretch", alt=f"Synthetic drawing: {example.name}")
            st.button(
                example.name, key=f"example-{example.key}", on_click=_take_example, args=(example,), width="stretch"
            )


def add_more() -> None:
    """Offer to add images to the open case."""
    with st.popover("Add images", icon=":material/add_photo_alternate:"):
        uploader()


def uploader() -> None:
    """Take images by drag and drop, a whole folder, or an image of the ISIC Archive by its id."""
    number = st.session_state.get(state.NONCE, 0)
    kind = st.segmented_control("Add", KINDS, default=KINDS[0], required=True, key="kind", label_visibility="collapsed")
    if kind == "By ISIC id":
        _by_id(number)
        return
    folder = kind == "A folder"
    key = f"upload-{number}-{'folder' if folder else 'files'}"
    st.file_uploader(
        "A folder of dermoscopic images" if folder else "Dermoscopic images",
        accept_multiple_files="directory" if folder else True,
        key=key,
        on_change=_take_uploads,
        args=(key, folder),
        help=f"{LISTED}. Images stay in this session's memory, unless you keep or send one.",
    )
    st.selectbox(
        "Aspect the files are stored in",
        list(STORED_ASPECTS),
        index=list(STORED_ASPECTS).index(settings.stored_aspect()),
        key=state.STORED_ASPECT,
        persist_state="session",
        format_func=lambda a: "As it is" if a == "as-is" else f"Squeezed from {a} to a square",
        help="Some copies of HAM10000 are squeezed from 4:3 to a square, and nothing inside the files says so.",
    )


def _by_id(number: int) -> None:
    with st.form(f"isic-{number}", border=False):
        image_id = st.text_input("ISIC id", placeholder="ISIC_0024306", max_chars=20).strip()
        st.caption(
            "This server then asks the ISIC Archive (api.isic-archive.com, and the file store that it names) for that "
            "public image, and for nothing else."
        )
        asked = st.form_submit_button("Load from the ISIC Archive", icon=":material/cloud_download:")
    if asked:
        try:
            with st.spinner("Asking the ISIC Archive"):
                data = isic_archive.fetch(image_id)
        except DermlensError as e:
            st.error(widgets.escape(str(e), 400), icon=":material/cloud_off:")
            return
        state.hand_in(data, image_id)
        state.renew_uploader()
        st.rerun()


def _take_uploads(key: str, folder: bool) -> None:
    files = streamlit_internals.uploaded_files(st.session_state[key])
    for file in files:
        data = file.getvalue()
        kind = folders.kind_by_name(file.name) if folder else "image"
        if kind == "unknown" and folders.is_image(file.name, data[: folders.HEAD]):
            kind = "image"
        if kind == "image":
            state.hand_in(data, file.name)
        else:
            state.skip()
        streamlit_internals.forget_upload(file)  # which would outlive "New case"
    if files:
        state.renew_uploader()


def _take_example(example: examples.Example) -> None:
    state.hand_in(examples.png(example), f"{example.name} (synthetic drawing)", synthetic=True)


def refusals() -> None:
    """Say which files could not be used, and why."""
    if state.skipped():
        is_none = (
            "is not an image, or only a mask, and was"
            if state.skipped() == 1
            else "are not images, or only masks, and were"
        )
        st.caption(f"{counted(state.skipped(), 'file')} of the folder {is_none} passed over.")
    found = state.refused()
    if len(found) <= SHOWN_REFUSALS:
        for problem in found:
            name, sentence = widgets.escape(problem.name), widgets.escape(problem.sentence, 400)
            st.error(f"**{name}**: {sentence}", icon=":material/broken_image:")
    else:
        st.error(f"{counted(len(found), 'file')} could not be used.", icon=":material/broken_image:")
        st.dataframe(
            pd.DataFrame([(plain_cell(name), why) for name, why in found], columns=["file", "reason"]),
            hide_index=True,
            alt="Files that could not be used",
        )
