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

    def open_row() -> None:
        chosen = st.session_state["second-look"].selection.rows
        if chosen:
            st.query_params["case"] = str(int(found["case"].iloc[chosen[0]]))

    st.dataframe(
        pd.DataFrame(
            {
                "Case": found["case"],
                "Saved": found["saved_at"],
                "Why": found["reasons"].str.replace(";", ", "),
                "Model calls": [NAMES[c] if c else "No diagnosis" for c in found["called"]],
                "Probability": 100 * found["probability"].astype(float),
                "Person says": [fields.said(c, None) if c else "" for c in found["person"]],
            }
        ),
        hide_index=True,
        key="second-look",
        on_select=open_row,
        selection_mode="single-row",
        height=min(36 * len(found) + 38, 560),
        alt="Cases worth a second look, a row each",
        column_config={
            "Saved": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", help="UTC"),
            "Probability": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%.0f %%"),
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
