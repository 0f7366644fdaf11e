"""How images come in: uploads, drawn examples, the table of a case with many images."""

import pandas as pd
import streamlit as st

from dermlens import examples
from dermlens.case import thumbnail
from dermlens.charts.style import NAMES, data_uri
from dermlens.preprocess import STORED_ASPECTS
from dermlens.registry import Model
from dermlens.summary import called
from ui import state, widgets


def receive(models: list[Model]) -> None:
    """Examine what was handed in since the last run, and say what could not be used."""
    if models:
        state.examine_waiting(models, st.session_state.get("stored_aspect", "as-is"))


def dead_link() -> None:
    """Say that a link to an image of another session leads nowhere any more."""
    if state.link_is_dead():
        st.info(
            "This link was to an image of an earlier session. Images live only in the session that uploaded them, so "
            "it is gone; upload it again to see it.",
            icon=":material/link_off:",
        )


def welcome() -> None:
    """Fill the page of a case without images: the uploader, and drawings for who has no image at hand."""
    uploader()
    _refusals()
    st.subheader("No image at hand?", anchor=False)
    st.caption("Four drawings made by this project. They are synthetic and show no real lesion.")
    cells = st.grid(4, min_column_width=180)
    for example in examples.EXAMPLES:
        with cells.cell():
            st.image(examples.draw(example), width="stretch", alt=f"Synthetic drawing: {example.name}")
            st.button(
                example.name, key=f"example-{example.key}", on_click=_take_example, args=(example,), width="stretch"
            )


def add_more() -> None:
    """Offer to add images to the case at hand."""
    with st.popover("Add images", icon=":material/add_photo_alternate:"):
        uploader()
    _refusals()


def uploader() -> None:
    """Take images, or a whole folder, by drag and drop."""
    key = f"upload-{st.session_state.get(state.NONCE, 0)}"
    st.file_uploader(
        "Dermoscopic images",
        accept_multiple_files=True,
        key=key,
        on_change=_take_uploads,
        args=(key,),
        help="JPEG, PNG, WebP or BMP, up to 50 MB each. Images stay in this session's memory and are never stored.",
    )
    st.selectbox(
        "Aspect the files are stored in",
        list(STORED_ASPECTS),
        key="stored_aspect",
        persist_state="session",
        format_func=lambda a: "As it is" if a == "as-is" else f"Squeezed from {a} (as in some copies of HAM10000)",
    )


def case_table(models: list[Model]) -> None:
    """List the images of a case; a click on a row opens it."""
    images = list(state.images().values())
    rows = []
    for image in images:
        calls = {m.name: called(image.answers[m.id].probabilities) for m in models if m.id in image.answers}
        row = {"image": data_uri(thumbnail(image.pixels, 64)), "file": image.name}
        for m in models:
            if m.id in image.answers:
                row[m.name] = NAMES[calls[m.name].code]
                row[f"{m.name} score"] = float(image.answers[m.id].probabilities.max())
        row["agree"] = "yes" if len({d.code for d in calls.values()}) == 1 else "no"
        rows.append(row)

    def open_row() -> None:
        chosen = st.session_state["case-table"].selection.rows
        if chosen:
            state.select(images[chosen[0]].key)

    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        row_height=52,
        key="case-table",
        on_select=open_row,
        selection_mode="single-row",
        alt="The images of this case with the call of each model",
        column_config={
            "image": st.column_config.ImageColumn("Image", width="small"),
            "file": st.column_config.TextColumn("File"),
            **{
                f"{m.name} score": st.column_config.ProgressColumn("score", min_value=0, max_value=1, format="percent")
                for m in models
            },
        },
    )


def _take_uploads(key: str) -> None:
    for file in st.session_state[key]:
        state.hand_in(file.getvalue(), file.name)
    state.renew_uploader()


def _take_example(example: examples.Example) -> None:
    state.hand_in(examples.png(example), f"{example.name} (synthetic drawing)", synthetic=True)


def _refusals() -> None:
    for problem in state.refused():
        st.error(
            f"**{widgets.escape(problem.name)}**: {widgets.escape(problem.sentence, 400)}",
            icon=":material/broken_image:",
        )
