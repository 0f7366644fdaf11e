"""What goes into the record and out of it as a table."""

from pathlib import Path

import pandas as pd
import streamlit as st

from dermlens.errors import DermlensError
from dermlens.files.documents import Document
from dermlens.record import cases
from dermlens.record.cases import Wanted
from dermlens.record.exchange import export, outcome_table
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.readings import Found
from dermlens.record.store.database import Session
from dermlens.wording import counted
from ui import streamlit_internals, widgets
from ui.record import disclosing, fields

_ROWS = "record_outcomes"
_TOLD = "record_outcomes_told"
_NUMBER = "record_outcomes_number"
_REPLACE = "record_outcomes_replace"
_TO_FILL_IN = Wanted(outcome="open", closed=False)


def section(database: Session, record: Record, who: Who) -> None:
    """Offer outcomes by CSV, and the tables of answers and readings."""
    who.need("export")
    left, right = st.columns(2, gap="large")
    with left:
        _outcomes(database, record, who)
    with right:
        _export(record, who)


def _outcomes(database: Session, record: Record, who: Who) -> None:
    st.header("Outcomes by CSV", anchor=False)
    st.caption("Download the open cases, fill the table in, and hand it back. All rows are entered, or none.")

    def template() -> bytes:
        with record.database.reading() as own:  # a download is made after the run that offered it
            return outcome_table.template(cases.listed(own, who, _TO_FILL_IN, most=None))

    if cases.count(database, who, _TO_FILL_IN):
        st.download_button(
            "Open cases (CSV)",
            disclosing.noted(template, "open cases"),
            "outcomes.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    number = st.session_state.get(_NUMBER, 0)
    st.file_uploader(
        "Filled-in table", "csv", True, key=f"outcomes-{number}", on_change=_take, args=(f"outcomes-{number}",)
    )
    if told := st.session_state.get(_TOLD):
        show, sentence = told
        (st.success if show else st.error)(
            widgets.escape(sentence, 600), icon=":material/check:" if show else ":material/error:"
        )
    rows: list[outcome_table.Row] = st.session_state.get(_ROWS, [])
    if not rows:
        return
    there = outcome_table.standing(database, who, rows)
    st.dataframe(
        pd.DataFrame([_preview(row, there.get(row.lesion_id)) for row in rows]),
        hide_index=True,
        height=min(36 * len(rows) + 38, 320),
        alt="The outcomes to be entered",
    )
    others = sum(row.lesion_id in there and there[row.lesion_id] != row.found.checked() for row in rows)
    new = sum(there.get(row.lesion_id) != row.found.checked() for row in rows)
    replacing = others == 0 or st.checkbox(
        f"Replace {counted(others, 'outcome')} that the record has", key=f"{_REPLACE}-{number}"
    )
    if not new:
        st.caption("All of them stand in the record already.")
    elif st.button(f"Enter {counted(new, 'outcome')}", type="primary", disabled=not replacing):
        st.session_state[_ROWS] = []  # first: Streamlit breaks a run off at the session, if there was another click
        try:
            entered = outcome_table.enter_all(record, who, rows, replacing=there)
            st.session_state[_TOLD] = (True, f"{counted(entered, 'outcome')} entered.")
        except DermlensError as e:
            st.session_state[_ROWS], st.session_state[_TOLD] = rows, (False, str(e))
        st.rerun()


def _preview(row: outcome_table.Row, there: Found | None) -> dict[str, object]:
    kept = "" if there is None else f"{fields.said(there.diagnosis, there.words)}, by {there.basis}"
    return {
        "Case": row.lesion_id,
        "Outcome": fields.said(row.found.diagnosis, row.found.words),
        "By": row.found.basis,
        "Source": row.found.source,
        "In the record": "the same" if there == row.found.checked() else kept,
    }


def _take(key: str) -> None:
    for file in streamlit_internals.uploaded_files(st.session_state[key])[:1]:
        try:
            st.session_state[_ROWS] = outcome_table.read_outcomes(Document(Path("table.csv"), file.getvalue()))
            st.session_state[_TOLD] = None
        except DermlensError as e:
            st.session_state[_ROWS], st.session_state[_TOLD] = [], (False, str(e))
        streamlit_internals.forget_upload(file)
    st.session_state[_NUMBER] = st.session_state.get(_NUMBER, 0) + 1


def _export(record: Record, who: Who) -> None:
    st.header("Export", anchor=False)
    st.caption(
        "A row an answer, or a row a reading, of all your groups. Without pseudonyms, labels, notes, sources, devices "
        "and people; dates by the month, ages by ten years. Drawings of this project are left out."
    )
    for name, table in {"Answers": export.answers, "Readings": export.readings}.items():
        with st.container(horizontal=True, gap="small"):
            for kind, (suffix, mime) in export.FORMATS.items():

                def data(table=table, kind=kind) -> bytes:  # type: ignore[no-untyped-def]
                    with record.database.reading() as own:
                        return export.encode(table(own, who), kind)

                st.download_button(
                    f"{name} ({kind})",
                    disclosing.noted(data, name.lower()),
                    f"dermlens-{name.lower()}.{suffix}",
                    mime,
                    icon=":material/table:",
                    on_click="ignore",
                )
