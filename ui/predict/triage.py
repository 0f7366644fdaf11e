"""Many images: a table of the case, riskiest first, whose rows open an image."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dermlens.case import decision as verdicts
from dermlens.case.decision import REFER, decide
from dermlens.case.image import CaseImage, thumbnail
from dermlens.case.opinion import Opinion, form
from dermlens.case.summary import share_called
from dermlens.charts.style import ROWS as ROW_NAMES
from dermlens.files.tables import plain_cell
from dermlens.image.encode import data_uri
from dermlens.labels import SUSPECT
from dermlens.models.model import AnyModel
from dermlens.wording import column_percents, counted, percent
from ui import state, widgets
from ui.predict import prevalence

ROWS = 10
"""Shown at once; the others are scrolled to."""
ROW = 42
"""Height of a row in pixels."""
HEAD = 36
"""Height of the column titles in pixels."""
RETAKE, AGAIN, NO_RULE, UNKNOWN = "Take again or refer", "Look again", "No rule applies", "No rules"
SHORT = {verdicts.LOOK_AGAIN: AGAIN, verdicts.NO_RULE: NO_RULE}
"""Verdict -> what a narrow column has room for."""
ORDER = {REFER: 0, RETAKE: 1, AGAIN: 2, UNKNOWN: 3, NO_RULE: 3}
"""What is said of an image -> its place in the table; inside a place the suspect probability decides."""
SHOWN = "▶"
SUSPECT_HELP = "Probability of the malignant and pre-malignant diagnoses together"


def ranked(models: Sequence[AnyModel]) -> list[tuple[CaseImage, dict[str, object]]]:
    """Return the images of the case with what their rows say, riskiest first.

    Args:
        models: that were asked, in the order they are shown.
    """
    opinions = {i.key: prevalence.at_chosen(form(models, i.answers, i.synthetic)) for i in state.images().values()}
    rows = [(image, summary(image, opinions[image.key])) for image in state.images().values()]
    return sorted(rows, key=lambda row: (ORDER[str(row[1]["refer"])], -float(row[1]["suspect"] or 0)))  # type: ignore[arg-type]


def table(rows: Sequence[tuple[CaseImage, dict[str, object]]], shown: CaseImage) -> None:
    """List the images of the case; a click on a row opens it.

    Args:
        rows: as `ranked` gives them. shown: the image that the page shows.
    """
    at = next(i for i, (image, _) in enumerate(rows) if image.key == shown.key)
    key = f"triage-{len(rows)}"

    def open_row() -> None:
        chosen = st.session_state[key].selection.rows
        if chosen:
            state.select(rows[chosen[0]][0].key)

    frame = pd.DataFrame(
        {
            "shown": SHOWN if i == at else "",
            "image": data_uri(thumbnail(image.pixels, 64)),
            **said,
            "file": plain_cell(image.name),
        }
        for i, (image, said) in enumerate(rows)
    )
    text = st.column_config.TextColumn
    st.dataframe(
        frame.assign(suspect=column_percents(frame["suspect"])),
        hide_index=True,
        row_height=ROW,
        height=HEAD + ROW * min(len(rows), ROWS) + 2,
        key=key,
        on_select=open_row,
        selection_mode="single-row",
        selection_default={"selection": {"rows": [at]}},
        alt="The images of this case, riskiest first",
        column_config={
            "shown": text("", width=28, help="The image shown below"),
            "image": st.column_config.ImageColumn("Image", width=60),
            "refer": text("Refer", width=142),
            "suspect": widgets.share_bar("Suspect", width=120, help=SUSPECT_HELP),
            "diagnosis": text("Diagnosis", width=190),
            "agreement": text("Networks", width=96),
            "quality": text("Picture", width=96),
            "file": text("File", width=118),
        },
    )
    st.caption(f"{_counted([str(said['refer']) for _, said in rows])}. Choose a row to see its image below.")


def _counted(said: Sequence[str]) -> str:
    """Say how many images are to be referred, to be taken again or referred, and judged by no rules."""
    more = ((RETAKE, "to take again or refer"), (AGAIN, "to look at again"), (UNKNOWN, "without rules for referral"))
    rest = "".join(f", {said.count(key)} {words}" for key, words in more if key in said)
    return f"{said.count(REFER)} of {counted(len(said), 'image')} to refer{rest}; riskiest first"


def summary(image: CaseImage, opinion: Opinion) -> dict[str, object]:
    """Return what one row says of an image: refer, suspect, diagnosis, agreement and quality."""
    decision, lead = decide(opinion), opinion.lead
    if opinion.withheld or (decision and decision.unreliable):
        said = RETAKE
    else:
        said = UNKNOWN if decision is None else SHORT.get(decision.verdict, decision.verdict)
    shares = opinion.shown[lead.id].probabilities if lead else None
    return {
        "refer": said,
        "suspect": float(shares[list(SUSPECT)].sum()) if shares is not None else None,
        "diagnosis": f"{ROW_NAMES[opinion.call(lead).code]} {percent(share_called(opinion.shown[lead.id]))}"
        if lead
        else "",
        "agreement": _agreement(opinion),
        "quality": ", ".join(f.name for f in image.quality.findings) or "no findings",
    }


def _agreement(opinion: Opinion) -> str:
    if not opinion.voices:
        return "none answers"
    if len(opinion.voices) == 1:
        return "one answers"
    return "agree" if opinion.agree else "disagree"
