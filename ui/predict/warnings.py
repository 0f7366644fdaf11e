"""Whether an image can be trusted to be answered at all, and the training cases it looks like."""

import streamlit as st

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.evaluation.predictions import SPLITS
from dermlens.labels import DIAGNOSES, INDEX
from dermlens.models.model import AnyModel, Ensemble, networks
from dermlens.wording import joined, percent
from ui import cache, widgets

OFTEN = 4
"""Times as often as all dermoscopic images: a diagnosis that is refused so often is named."""
DRAWN = (
    "This is a drawing, and not all models take it for a dermoscopic image. An upload like it may be refused; the "
    "models answer for the drawing all the same, to show what this page offers."
)
UNLIKE = "This does not look like a dermoscopic image."


def warnings(image: CaseImage, opinion: Opinion) -> None:
    """Say above a comparison what speaks against believing any answer: an unlike image, then its quality."""
    if opinion.withheld:
        st.warning(f"**{UNLIKE}** {_unlike(opinion)}", icon=":material/help:")
    drawing(image, opinion)
    poor = _poor(image)
    if poor:
        st.warning("  \n".join(["The image may be too poor to be read.", *poor]), icon=":material/blur_on:")
    notes(image, opinion)


def withheld(image: CaseImage, opinion: Opinion) -> None:
    """Fill the card of an image that is withheld: what it is not, what the picture lacks, and what to do."""
    st.header("No diagnosis", anchor=False)
    st.markdown(f"**{UNLIKE}** {_unlike(opinion)}")
    for line in _poor(image):
        st.markdown(f":material/blur_on: {line}")
    st.markdown(":material/forward: Take another picture, or refer: this page cannot help with this image.")


def drawing(image: CaseImage, opinion: Opinion) -> None:
    """Say of the project's own drawing that an upload like it would be refused, where it would."""
    if image.synthetic and False in opinion.accepted.values():
        st.caption(f":material/draw: {DRAWN}")


def notes(image: CaseImage, opinion: Opinion) -> None:
    """Say which model has not answered, what was passed over in the file, and what lies over the skin."""
    for name, failure in ((m.name, image.failures[m.id]) for m in opinion.models if m.id in image.failures):
        st.markdown(f":material/error: **No answer of {widgets.escape(name)}.** {widgets.escape(failure, 600)}")
    said = [widgets.escape(notice, 400) for notice in image.notices]
    said += [f"{f.text} {f.advice}" for f in image.quality.findings if not f.poor]
    if said:
        st.caption("  \n".join(f":material/info: {line}" for line in said))


def _poor(image: CaseImage) -> list[str]:
    return [f"**{f.text}** {f.advice}" for f in image.quality.findings if f.poor]


def _unlike(opinion: Opinion) -> str:
    refusing = [m for m in opinion.models if opinion.accepted.get(m.id) is False]
    names = joined([widgets.escape(m.name) for m in networks(refusing) or refusing])
    judge = next((m for m in refusing if isinstance(m, Ensemble)), refusing[0])
    return (
        f"It is not of the kind that {names} learned from, so no diagnosis is called and the numbers mean nothing. It "
        "may be another kind of picture, a poor one, or a lesion of a kind that was too rare to learn."
        f"{_how_often(judge)}"
    )


def _how_often(model: AnyModel) -> str:
    detector = model.fitted.ood
    measured = detector.measured.accepted if detector is not None else {}
    split = next((s for s in reversed(SPLITS) if s in measured), None)  # of this archive: others are another question
    if split is None:
        return ""
    share = 1 - measured[split].value
    refused = {DIAGNOSES[INDEX[code]].name: f.value for code, f in cache.refused_of(model.folder, split).items()}
    often = [f"{percent(value)} of the {name} images" for name, value in refused.items() if value > OFTEN * share]
    also = f", and {' and '.join(often)}" if often else ""
    return f" {percent(share, 1)} of the dermoscopic images of the {split} split get this warning too{also}."
