"""The images of a cohort, those most at risk first; a row opens the case if its file is there."""

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from dermlens.cohort.results import Status
from dermlens.errors import DermlensError
from dermlens.files.tables import plain_cell
from dermlens.ingest.read import file_bytes
from dermlens.labels import NAMES
from dermlens.wording import column_percents, counted
from ui import state, widgets
from ui.cohort import reading
from ui.pages import PREDICT

PAGE = 25
LISTED = 1000
"""Most images of a list that is not ranked."""


def by_risk(found: Status, table: pa.Table) -> None:
    """List the images that have a diagnosis, a page at a time, and apart from them those that were refused."""
    st.header("Images by risk", anchor=False)
    diagnosed, refused = reading.diagnosed(table), reading.refused(table)
    if len(diagnosed):
        order = np.argsort(-diagnosed["suspect"].to_numpy(), kind="stable")
        pages = -(-len(order) // PAGE)
        page = st.pagination(pages, key="cohort-page") if pages > 1 else 1
        chosen = diagnosed.take(order[(page - 1) * PAGE : page * PAGE]).to_pylist()
        _list(
            found, chosen, "cohort-table", "The images of the cohort, most at risk first; choose a row to open its case"
        )
        closes = " The open case is closed then." if state.images() else ""
        st.caption(f"Most at risk first. Choose a row to open its case with every model, if its file is there.{closes}")
    else:
        st.caption("No image has a diagnosis." if len(refused) else "No image could be read yet.")
    said = st.session_state.pop("cohort-opened", None)
    if said == "":
        st.switch_page(PREDICT.path)
    elif said:
        st.error(widgets.escape(said, 400), icon=":material/broken_image:")
    if len(refused):
        _refused(found, refused)


def _refused(found: Status, rows: pa.Table) -> None:
    is_none = "is" if len(rows) == 1 else "are"
    with st.expander(f"{counted(len(rows), 'image')} without a diagnosis", icon=":material/block:"):
        st.caption(
            f"{reading.UNLIKE}, so {is_none} not ranked: take them again or refer. Choose a row to open its case."
        )
        _list(
            found,
            rows.slice(0, LISTED).to_pylist(),
            "cohort-refused",
            "The images without a diagnosis; choose a row to open its case",
            ranked=False,
        )
        if len(rows) > LISTED:
            st.caption(f"The first {LISTED:,} of {len(rows):,}.")


def _list(found: Status, chosen: list[dict], key: str, alt: str, ranked: bool = True) -> None:
    """Draw a row an image; one that is chosen opens its case."""
    rows = [
        {
            "image": plain_cell(row["image"]),
            **({"suspect": float(column_percents(row["suspect"])), "call": NAMES[row["call"]]} if ranked else {}),
            "refer": {None: "", True: "yes", False: "no"}[row["refer"]],
            "why": ", ".join(row["reasons"] or ()),
            "picture": ", ".join(row["quality"]),
        }
        for row in chosen
    ]

    def open_row() -> None:
        picked = st.session_state[key].selection.rows
        if picked:
            _open(found, chosen[picked[0]]["image"])

    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key=key,
        on_select=open_row,
        selection_mode="single-row",
        alt=alt,
        column_config={
            "suspect": widgets.share_bar("suspect", help="Malignant or pre-malignant"),
            "why": st.column_config.TextColumn("rules that apply"),
        },
    )


def not_readable(table: pa.Table) -> None:
    """List the files without an answer, each with its reason."""
    failed = table.filter(pc.is_valid(table["error"])).select(["image", "error", "error_sentence"])
    if not len(failed):
        return
    with st.expander(f"{counted(len(failed), 'file')} could not be answered", icon=":material/broken_image:"):
        rows = [(plain_cell(r["image"]), r["error"], r["error_sentence"]) for r in failed.slice(0, LISTED).to_pylist()]
        st.dataframe(
            pd.DataFrame(rows, columns=["file", "code", "reason"]), hide_index=True, alt="Files without an answer"
        )
        if len(failed) > len(rows):
            st.caption(f"The first {len(rows):,} of {len(failed):,}.")


def _open(found: Status, image: str) -> None:
    """Put an image of the cohort into the session's case; what is wrong is said when the page is drawn."""
    where = str(found.record.get("input"))
    try:
        if "://" in where:
            raise DermlensError("The images of this cohort are in an object store: they are not opened from here.")
        data = file_bytes(Path(where) / image)
    except (DermlensError, OSError) as e:
        reason = str(e) if isinstance(e, DermlensError) else f"{image} cannot be read: {e.strerror}."
        st.session_state["cohort-opened"] = reason
        return
    state.new_case()  # one of a cohort and one that was uploaded are never one case
    st.session_state[state.STORED_ASPECT] = str(found.record.get("stored_aspect", "as-is"))  # as its row was answered
    state.hand_in(data, PurePosixPath(image).name)
    st.session_state["cohort-opened"] = ""
