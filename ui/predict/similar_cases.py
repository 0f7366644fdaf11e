"""Similar training cases, on the Predict page."""

from collections import Counter

import pandas as pd
import streamlit as st

from dermlens.case.image import CaseImage, thumbnail
from dermlens.case.opinion import Opinion
from dermlens.dataset import isic_archive
from dermlens.labels import CONFIRMED, DIAGNOSES, INDEX, NAMES
from dermlens.trust.fit_command import fit_command
from dermlens.trust.ood import Neighbour, OodDetector
from ui import cache, dataset, widgets

NEIGHBOURS = 5

NO_PICTURES = (
    "No pictures: HAM10000 is not on this server, as its licence does not let it come with Dermlens. Each id leads to "
    "the picture in the ISIC Archive. To see them here, get the data set with `python -m data.download --to DIR` and "
    "start the dashboard with `HAM10000_DIR=DIR`."
)
SIMILAR = (
    "The training images that look most like this one to the model, one per lesion. They show what the model was "
    "taught on such pictures. They are not a second opinion: the model learned from them. Distance is between the "
    "directions of two embeddings: 0 is the same, 1 unrelated, 2 the opposite. Only cases confirmed by histology are "
    "certain."
)


@st.fragment
def similar_cases(image: CaseImage, opinion: Opinion) -> None:
    """Show the training cases that look most like the image to one model; redraws alone."""
    able = {m.id: m for m in opinion.calling if isinstance(m.fitted.ood, OodDetector)}
    if not able:
        st.caption(f"No model here has its training cases stored: run `{fit_command('ID', 'embeddings')}`.")
        return
    chosen = widgets.one_of("According to", list(able), "similar-by", format_func=lambda i: able[i].name)
    detector = able[chosen].fitted.ood
    assert isinstance(detector, OodDetector)
    own = lesion_of(image)
    found = detector.similar(opinion.answers[chosen].embedding, NEIGHBOURS, exclude_lesion=own)
    counts = Counter(case.dx for case in found)
    st.markdown("; ".join(f"**{n}** {DIAGNOSES[INDEX[code]].name}" for code, n in counts.most_common()))
    cells = st.grid(NEIGHBOURS, min_column_width=150)
    for rank, case in enumerate(found, start=1):
        with cells.cell(), st.container(border=True, gap="xsmall", height="stretch", key=f"similar-{rank}"):
            _card(rank, case)
    if not dataset.at_hand():
        st.caption(NO_PICTURES)
    elif any(dataset.pixels(case.image_id) is None for case in found):
        st.caption("A picture that is not shown is missing in the folder that HAM10000_DIR names, or cannot be read.")
    st.caption(SIMILAR + (" Cases of the image's own lesion are left out." if own else ""))


def of_first(opinion: Opinion, own: str | None) -> dict[str, list[Neighbour]]:
    """Return the name of the first model that has its training cases stored, and those most like the image.

    Args:
        opinion: of the models. own: lesion of the image, which is left out.
    """
    for model in opinion.calling:
        detector = model.fitted.ood
        if isinstance(detector, OodDetector):
            return {model.name: detector.similar(opinion.answers[model.id].embedding, NEIGHBOURS, exclude_lesion=own)}
    return {}


def lesion_of(image: CaseImage) -> str | None:
    """Return the lesion of an image whose file name is an id of the data set, None otherwise."""
    found = isic_archive.ID.search(image.name)
    table = cache.split_table().value if found else None
    if found is None or table is None:
        return None
    rows = table.loc[table["image_id"] == found.group(), "lesion_id"]
    return str(rows.iloc[0]) if len(rows) else None


def _card(rank: int, case: Neighbour) -> None:
    diagnosis = DIAGNOSES[INDEX[case.dx]]
    pixels = dataset.pixels(case.image_id)
    if pixels is not None:
        st.image(thumbnail(pixels, 240), width="stretch", alt=f"Similar case {rank}: {diagnosis.name}")
    st.markdown(f"**{NAMES[case.dx]}**")
    widgets.group_badge(diagnosis)
    age = "age unknown" if pd.isna(case.age) else f"{case.age:.0f} years"
    st.markdown(
        f"Confirmed by {CONFIRMED.get(case.dx_type, 'unknown means')}  \n{age}, sex {case.sex}, site {case.site}  \n"
        f"Distance {case.distance:.2f}  \n[{case.image_id}]({isic_archive.page_of(case.image_id)})"
    )
