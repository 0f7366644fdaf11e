"""The queue of cases worth a second look."""

import pandas as pd
import streamlit as st

from dermlens.labels import NAMES
from dermlens.record.learning import second_look
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.store.database import Session
from dermlens.record.vocabulary import covers
from dermlens.wording import counted, short_percent
from ui import widgets
from ui.record import disclosing, fields

MOST = 1000
"""Images that are listed; the file has all."""


def section(database: Session, record: Record, who: Who) -> None:
    """List open cases in which people and model disagree, the model is unsure, or the picture is unusual."""
    st.caption(
        "Open cases in which person and model disagree, no diagnosis has "
        f"{short_percent(second_look.UNSURE)}, or the picture is unlike the others. The model is taken at the class "
        "mix that it was fitted for, whatever mix was set."
    )
    found = second_look.queue(database, who)
    if found.empty:
        widgets.nothing_here("No open case is worth a second look.", "More come with more cases.")
        return
    st.markdown(f"**{counted(len(found), 'image')}**, those with most reasons first. Click on a row to open its case.")
    listed = found.head(MOST)
    if len(listed) < len(found):
        st.caption(f"The first {len(listed):,} are listed.")

    def open_row() -> None:
        chosen = st.session_state["second-look"].selection.rows
        if chosen:
            st.query_params["case"] = str(int(listed["case"].iloc[chosen[0]]))

    shown = pd.DataFrame(
        {
            "Case": listed["case"],
            "Saved": listed["saved_at"],
            "Why": listed["reasons"].str.replace(";", ", "),
            "Model calls": [NAMES[c] if c else "No diagnosis" for c in listed["called"]],
            "Probability": 100 * listed["probability"].astype(float),
            "Person says": [fields.said(c, None) if c else "" for c in listed["person"]],
        }
    )
    st.dataframe(
        widgets.in_percent(shown, "Probability"),
        hide_index=True,
        key="second-look",
        on_select=open_row,
        selection_mode="single-row",
        height=min(36 * len(listed) + 38, 560),
        alt="Cases worth a second look, a row each",
        column_config={
            "Saved": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", help="UTC"),
            "Probability": st.column_config.NumberColumn(),
        },
    )
    if not who.may("export"):
        return
    st.download_button(
        "List to label (CSV)",
        disclosing.noted(lambda: second_look.labels(found), "second look"),
        "second-look.csv",
        "text/csv",
        icon=":material/checklist:",
        on_click="ignore",
    )
    usable = sum(bool(p) and covers(c, "training") for p, c in zip(found["picture"], found["consent"], strict=True))
    st.caption(
        f"With {counted(usable, 'kept picture')} whose patient agreed to training, `python -m dermlens.record "
        "second-look FOLDER` writes a folder to label: fill in its column dx, and `python -m training.train … "
        "--labelled FOLDER` trains on it as well."
    )
