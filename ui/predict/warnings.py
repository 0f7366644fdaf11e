"""Whether an image can be trusted to be answered at all, and the training cases it looks like."""

import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.labels import DIAGNOSES, INDEX
from dermlens.models.model import AnyModel, Ensemble
from dermlens.wording import percent
from ui import cache, widgets

OFTEN = 4
"""Times as often as all dermoscopic images: a diagnosis that is refused so often is named."""
DRAWN = (
    "This is a drawing, and not all models take it for a dermoscopic image. An upload would be refused for that, with "
    "no diagnosis called; the models answer for the drawing all the same, to show what this page offers."
)


def warnings(image: CaseImage, opinion: Opinion) -> None:
    """Say what speaks against believing any answer: an unlike image first, then its quality, with advice."""
    unlike = [m for m in opinion.models if opinion.accepted.get(m.id) is False]
    if unlike and image.synthetic:
        st.info(DRAWN, icon=":material/draw:")
    elif opinion.withheld:
        judge = next((m for m in unlike if isinstance(m, Ensemble)), unlike[0])
        st.warning(
            "**This does not look like a dermoscopic image** of the kind that the models learned from, so no diagnosis "
            "is called and the numbers below mean nothing. It may be another kind of picture, a poor one, or a lesion "
            f"of a kind that was too rare to learn.{_how_often(judge)}",
            icon=":material/help:",
        )
    elif unlike:
        do, call = ("does", "calls") if len(unlike) == 1 else ("do", "call")
        st.info(
            f"**{_listed([m.name for m in unlike])} {do} not know images like this one** and {call} no diagnosis. The "
            "others go on: a case is withheld only where the rule for all of them says so.",
            icon=":material/help:",
        )
    if image.notices:
        st.info("  \n".join(widgets.escape(notice, 400) for notice in image.notices), icon=":material/info:")
    quality = image.quality.findings
    poor = [f"**{f.text}** {f.advice}" for f in quality if f.poor]
    if poor:
        st.warning("  \n".join(["The image may be too poor to be read.", *poor]), icon=":material/blur_on:")
    notes = [f"{f.text} {f.advice}" for f in quality if not f.poor]
    if notes:
        st.info("  \n".join(notes), icon=":material/info:")


def _listed(names: list[str]) -> str:
    *most, last = map(widgets.escape, names)
    return f"{', '.join(most)} and {last}" if most else last


def _how_often(model: AnyModel) -> str:
    detector = model.fitted.ood
    if detector is None or not detector.measured.accepted:
        return ""
    split, accepted = list(detector.measured.accepted.items())[-1]
    share = 1 - accepted.value
    refused = {DIAGNOSES[INDEX[code]].name: f.value for code, f in cache.refused_of(model.folder, split).items()}
    often = [f"{percent(value)} of the {name} images" for name, value in refused.items() if value > OFTEN * share]
    also = f", and {' and '.join(often)}" if often else ""
    return f" {percent(share, 1)} of the dermoscopic images of the {split} split get this warning too{also}."
