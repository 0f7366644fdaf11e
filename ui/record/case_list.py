"""The list of cases, and what it can be narrowed to."""

from datetime import date

import pandas as pd
import streamlit as st

from dermlens.labels import CLASSES, NAMES
from dermlens.record import cases
from dermlens.record.cases import NO_CALL, PAGE, Wanted
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.store.database import Session
from dermlens.record.vocabulary import OTHER, SITES
from dermlens.wording import counted
from ui import widgets
from ui.record import fields

OUTCOMES = {"open": "Open", "known": "Known", **{c: f"Known: {NAMES[c]}" for c in CLASSES}, OTHER: "Known: another"}
SUSPECT = "Malignant or pre-malignant"
REFER = {True: "Referred", False: "Not referred"}


def section(database: Session, record: Record, who: Who) -> None:
    """Show the filters, and a page of the cases that pass them; a click on a row opens it."""
    wanted = _filters(record, who)
    total = cases.count(database, who, wanted)
    if not total:
        if wanted == Wanted():
            widgets.nothing_here("No case is kept yet.", "Save one on the page Predict.")
        else:
            widgets.nothing_here("No case matches these filters.", "Remove one of them.")
        return
    pages = -(-total // PAGE)
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.markdown(f"**{counted(total, 'case')}**, the newest first. Click on a row to open it.")
        number = 1
        if pages > 1:
            number = int(st.number_input(f"Page of {pages:,}", 1, pages, 1, 1, key="record-page", width=150))
    _table(cases.listed(database, who, wanted, (number - 1) * PAGE))


def _filters(record: Record, who: Who) -> Wanted:
    cells = st.grid(4, min_column_width=200)
    with cells.cell():
        days = st.date_input("Saved", [], key="record-days", max_value="today", help="From one day to another, UTC.")
    with cells.cell():
        site = st.selectbox("Site", SITES, None, str.capitalize, key="record-site", placeholder="Any")
    with cells.cell():
        called = st.selectbox("Call", cases.known_calls(), None, _call, key="record-call", placeholder="Any")
    with cells.cell():
        outcome = st.selectbox(
            "Outcome", list(OUTCOMES), None, OUTCOMES.__getitem__, key="record-outcome", placeholder="Any"
        )
    with cells.cell():
        refer = st.selectbox("Referral", list(REFER), None, REFER.__getitem__, key="record-refer", placeholder="Any")
    pseudonym = None
    if record.keys is not None and who.may("name the patient"):
        with cells.cell():
            typed = st.text_input("Patient", key="record-patient", max_chars=200, autocomplete="off", placeholder="Any")
            pseudonym = record.keys.pseudonym(typed) if typed.strip() else None
    with cells.cell(), st.container(height="stretch", vertical_alignment="bottom"):
        disagree = st.checkbox("Person and model disagree", key="record-disagree")
    since, until = _days(days)
    return Wanted(since, until, site, called, outcome, refer, disagree, pseudonym)


def _days(chosen: object) -> tuple[date | None, date | None]:
    days = [day for day in chosen if isinstance(day, date)] if isinstance(chosen, tuple) else []
    return (days[0], days[-1]) if days else (None, None)


def _call(code: str) -> str:
    return "None (refused, or no answer)" if code == NO_CALL else widgets.class_name(code)


def place(site: str | None, side: str | None) -> str:
    """Return where a lesion is, in words."""
    return ", ".join(part for part in (site, side) if part).capitalize()


def _table(found: pd.DataFrame) -> None:
    shown = pd.DataFrame(
        {
            "Case": found["case"],
            "Saved": found["saved_at"],
            "Images": found["images"],
            "Site": [place(a, b) for a, b in zip(found["site"], found["side"], strict=True)],
            "Label": found["label"].fillna(""),
            "Model calls": [
                NAMES[c] if c else ("No diagnosis" if r else "")
                for c, r in zip(found["called"], found["refused"], strict=True)
            ],
            SUSPECT: 100 * found["suspect"].astype(float),
            "Refer": found["refer"].map({True: "yes", False: "no"}).fillna(""),
            "Person says": [fields.said(c, None) if c else "" for c in found["person"]],
            "Outcome": [
                fields.said(c, w) if c else "" for c, w in zip(found["outcome"], found["outcome_words"], strict=True)
            ],
        }
    )

    def open_row() -> None:
        chosen = st.session_state["record-cases"].selection.rows
        if chosen:
            st.query_params["case"] = str(int(found["case"].iloc[chosen[0]]))

    st.dataframe(
        widgets.in_percent(shown, SUSPECT),
        hide_index=True,
        key="record-cases",
        on_select=open_row,
        selection_mode="single-row",
        height=min(36 * len(shown) + 38, 640),
        alt="The cases, a row each",
        column_order=[
            "Case",
            "Saved",
            "Site",
            "Model calls",
            "Person says",
            "Outcome",
            "Refer",
            SUSPECT,
            "Images",
            "Label",
        ],
        column_config={
            "Case": st.column_config.NumberColumn(width=70, format="%d"),
            "Model calls": st.column_config.TextColumn(help="As shown when it was saved, at the class mix set then"),
            "Saved": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", help="UTC", width=140),
            "Images": st.column_config.NumberColumn(width=65),
            SUSPECT: st.column_config.NumberColumn(width=190),
            "Refer": st.column_config.TextColumn(width=60),
        },
    )
