"""Whether an image can be trusted to be answered at all, and the training cases it looks like."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dermlens import isic
from dermlens.case import CaseImage, thumbnail
from dermlens.charts import trust as charts
from dermlens.charts.style import NAMES, interval, percent
from dermlens.ensemble import Ensemble
from dermlens.familiarity import Familiarity, Measured, Neighbour
from dermlens.labels import DIAGNOSES, INDEX
from dermlens.registry import AnyModel, Entry, networks
from dermlens.trust import verdicts
from ui import cache, dataset, widgets

NEIGHBOURS = 5
OFTEN = 4
"""Times as often as all dermoscopic images: a diagnosis that is refused so often is named."""
CONFIRMED = {
    "histo": "histology",
    "follow_up": "follow-up",
    "consensus": "expert consensus",
    "confocal": "confocal microscopy",
}
SIMILAR = (
    "The training images whose embedding points most nearly the same way as this image's, one a lesion. They show what "
    "the model was taught on pictures that look alike to it. They are no second opinion: it learned from them. "
    "Distance: 0 is the same direction, 1 unrelated, 2 the opposite. Only cases confirmed by histology are sure."
)
DRAWN = (
    "This is a drawing, and not all models take it for a dermoscopic image. An upload would be refused for that, with "
    "no diagnosis called; the drawing is answered all the same, to show what this page offers."
)
NO_WORD = "No warning is no proof: an image may look familiar and be answered wrongly."


def warnings(image: CaseImage, models: Sequence[AnyModel]) -> None:
    """Say what speaks against believing any answer: an unlike image first, then its quality, with advice."""
    found = verdicts(image, models)
    unlike = [m for m in models if found.get(m.id) is False]
    if unlike and image.synthetic:
        st.info(DRAWN, icon=":material/draw:")
    elif unlike:
        names = _listed([m.name for m in networks(unlike) or unlike])
        judge = next((m for m in unlike if isinstance(m, Ensemble)), unlike[0])
        st.warning(
            f"**This does not look like a dermoscopic image** of the kind that {names} learned from, so no diagnosis "
            "is called and the numbers below mean nothing. It may be another kind of picture, a poor one, or a lesion "
            f"of a kind that was too rare to learn.{_how_often(judge)}",
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
    familiarity = model.fitted.familiarity
    if familiarity is None or not familiarity.measured.accepted:
        return ""
    split, accepted = list(familiarity.measured.accepted.items())[-1]
    share = 1 - accepted.value
    refused = {DIAGNOSES[INDEX[code]].name: f.value for code, f in cache.refused_of(model.folder, split).items()}
    often = [f"{percent(value)} of the {name} images" for name, value in refused.items() if value > OFTEN * share]
    also = f", and {' and '.join(often)}" if often else ""
    return f" {percent(share, 1)} of the dermoscopic images of the {split} split get this warning too{also}."


@st.fragment
def similar_cases(image: CaseImage, models: Sequence[AnyModel]) -> None:
    """Show the training cases that look most like the image to one model; redraws alone."""
    able = {m.id: m for m in models if isinstance(m.fitted.familiarity, Familiarity) and m.id in image.answers}
    st.header("Similar cases", anchor=False)
    if not able:
        st.caption("No model here holds its training cases: run `python -m training.fit ID --only embeddings`.")
        return
    chosen = st.segmented_control(
        "According to",
        list(able),
        key="similar-by",
        format_func=lambda i: able[i].name,
        required=True,
        default=next(iter(able)),
        bind="query-params",
    )
    familiarity = able[chosen].fitted.familiarity
    assert isinstance(familiarity, Familiarity)
    own = lesion_of(image)
    found = familiarity.similar(image.answers[chosen].embedding, NEIGHBOURS, exclude_lesion=own)
    counts = Counter(case.dx for case in found)
    st.markdown("; ".join(f"**{n}** {DIAGNOSES[INDEX[code]].name}" for code, n in counts.most_common()))
    cells = st.grid(NEIGHBOURS, min_column_width=150)
    for rank, case in enumerate(found, start=1):
        with cells.cell(), st.container(border=True, gap="xsmall", height="stretch", key=f"similar-{rank}"):
            _card(rank, case)
    st.caption(SIMILAR + (" Cases of the image's own lesion are left out." if own else ""))


def lesion_of(image: CaseImage) -> str | None:
    """Return the lesion of an image whose file name is an id of the data set, None otherwise."""
    table = cache.split_table().value
    found = isic.ID.search(image.name)
    if table is None or found is None:
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
        f"Distance {case.distance:.2f}  \n[{case.image_id}]({isic.page_of(case.image_id)})"
    )


def section(entry: Entry, split: str) -> None:
    """Show how well a model tells other pictures from dermoscopic images; part of the Metrics page."""
    found = cache.fitted(entry).familiarity
    if found is None:
        widgets.nothing_here(
            f"{entry.name} cannot say whether an image is like those it was trained on.",
            f"Run `python -m training.fit {entry.id} --only embeddings --data DIR`.",
        )
        return
    measured = found.measured
    if split in measured.accepted:
        accepted = measured.accepted[split]
        st.metric(f"Dermoscopic images accepted, {split} split", percent(accepted.value, 1), width=400)
        st.caption(f"95 %: {interval(accepted)}; {accepted.n_images:,} images of {accepted.n_lesions:,} lesions.")
    method = (
        "all members of the ensemble must accept an image"
        if not isinstance(found, Familiarity)
        else {"mahalanobis": "Mahalanobis distance", "knn": "distance to the 10th nearest training image"}.get(
            found.method, "energy of the logits"
        )
    )
    limit = measured.accepted.get("validation")
    st.markdown(
        f"Score: {method}. It was chosen on one half of the pictures below and is measured on the other half. "
        + (
            f"Its limit was set on the validation images, of which it accepts {percent(limit.value, 1)}. "
            if limit
            else ""
        )
        + NO_WORD
    )

    def data() -> pd.DataFrame:
        return _table(measured)

    _by_diagnosis(entry, split)
    figure = charts.refused(measured)
    widgets.chart(figure, "Share of other pictures refused, and AUROC against test images, by kind", data, "unfamiliar")


def _by_diagnosis(entry: Entry, split: str) -> None:
    refused = cache.refused_of(entry.folder, split)
    if not refused:
        return
    st.markdown(f"Dermoscopic images of the {split} split that it refuses, by true diagnosis:")
    rows = [
        {"Diagnosis": NAMES[code], "Refused": percent(f.value), "95 %": interval(f, 0), "Images": f.n_images}
        for code, f in refused.items()
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="content", alt="Share of images refused, by diagnosis")


def _table(measured: Measured) -> pd.DataFrame:
    rows = []
    for kind, refused in measured.refused.items():
        auroc = measured.auroc[kind]
        rows.append(
            {
                "kind": kind,
                "pictures": refused.n_images,
                "sources": refused.n_lesions,
                **{f"refused_{name}": getattr(refused, name) for name in ("value", "low", "high")},
                **{f"auroc_{name}": getattr(auroc, name) for name in ("value", "low", "high")},
            }
        )
    return pd.DataFrame(rows)
