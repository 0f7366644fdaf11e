"""Many images: a table of the case, riskiest first, whose rows open an image."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dermlens.case.decision import decide
from dermlens.case.image import CaseImage, thumbnail
from dermlens.case.opinion import Opinion, form
from dermlens.case.summary import share_called
from dermlens.image.encode import data_uri
from dermlens.labels import NAMES, SUSPECT
from dermlens.models.model import AnyModel
from dermlens.wording import percent
from ui import state
from ui.predict import prevalence

ROWS = 10
"""Shown at once; the others are scrolled to."""
ROW = 42
"""Height of a row in pixels."""
HEAD = 36
"""Height of the column titles in pixels."""
REFER, RETAKE, NO_RULE, UNKNOWN = "Refer", "Take again or refer", "No rule applies", "No rules"
ORDER = {REFER: 0, RETAKE: 1, UNKNOWN: 2, NO_RULE: 2}
"""What is said of an image -> its place in the table; inside a place the suspect probability decides."""
NOTHING_SAVED = "Nothing is kept: save the table or a report before you close this page."


def table(models: Sequence[AnyModel]) -> None:
    """List the images of the case; a click on a row opens it.

    Args:
        models: that were asked, in the order they are shown.
    """
    images = list(state.images().values())
    rows = pd.DataFrame(
        [_row(image, prevalence.at_chosen(form(models, image.answers, image.synthetic))) for image in images]
    )
    order = sorted(range(len(images)), key=lambda i: (ORDER[rows["refer"][i]], -rows["suspect"].fillna(0)[i]))
    images, rows = [images[i] for i in order], rows.iloc[order]
    shown = state.current()
    at = next((i for i, image in enumerate(images) if shown and image.key == shown.key), 0)
    key = f"triage-{len(images)}"

    def open_row() -> None:
        chosen = st.session_state[key].selection.rows
        if chosen:
            state.select(images[chosen[0]].key)

    st.dataframe(
        rows.assign(shown=["▶" if i == at else "" for i in range(len(rows))])[["shown", *rows.columns]],
        hide_index=True,
        row_height=ROW,
        height=HEAD + ROW * min(len(rows), ROWS) + 2,
        key=key,
        on_select=open_row,
        selection_mode="single-row",
        selection_default={"selection": {"rows": [at]}},  # type: ignore[arg-type, typeddict-item]
        alt="The images of this case, riskiest first",
        column_config={
            "shown": st.column_config.TextColumn("", width=30, help="The image shown below"),
            "image": st.column_config.ImageColumn("Image", width=60),
            "refer": st.column_config.TextColumn("Refer", width=140),
            "suspect": st.column_config.ProgressColumn(
                "Malignant or pre-malignant", min_value=0, max_value=1, format="percent", width=150
            ),
            "diagnosis": st.column_config.TextColumn("Diagnosis", width=210),
            "agreement": st.column_config.TextColumn("Networks", width=110),
            "quality": st.column_config.TextColumn("Picture", width=110),
            "file": st.column_config.TextColumn("File", width=140),
        },
    )
    refer = int((rows["refer"] == REFER).sum())
    st.caption(f"{refer} of {len(rows)} images to refer; riskiest first. Choose a row to see its image below.")


def _row(image: CaseImage, opinion: Opinion) -> dict[str, object]:
    row: dict[str, object] = {"image": data_uri(thumbnail(image.pixels, 64)), **summary(image, opinion)}
    return {**row, "file": image.name}


def summary(image: CaseImage, opinion: Opinion) -> dict[str, object]:
    """Return what one row says of an image: refer, suspect, diagnosis, agreement and quality."""
    decision, lead = decide(opinion), opinion.lead
    if opinion.withheld or (decision and decision.unreliable):
        said = RETAKE
    else:
        said = UNKNOWN if decision is None else REFER if decision.refer else NO_RULE
    silent = any(m.id in opinion.refused for m in opinion.asked)
    shares = opinion.shown[lead.id].probabilities if lead else None
    return {
        "refer": said,
        "suspect": float(shares[list(SUSPECT)].sum()) if shares is not None else None,
        "diagnosis": f"{NAMES[opinion.call(lead).code]} {percent(share_called(opinion.shown[lead.id]))}"
        if lead
        else "",
        "agreement": _agreement(opinion) + (", one silent" if silent and opinion.voices else ""),
        "quality": ", ".join(f.name for f in image.quality.findings) or "good",
    }


def _agreement(opinion: Opinion) -> str:
    if len(opinion.voices) < 2:
        return "one alone" if opinion.voices else "silent"
    return "agree" if opinion.agree else "disagree"
