"""How well a model tells other pictures from dermoscopic images; part of the Metrics page."""

import pandas as pd
import streamlit as st

from dermlens.charts import elsewhere as charts
from dermlens.labels import NAMES
from dermlens.models.registry import Entry
from dermlens.trust.fit_command import fit_command
from dermlens.trust.ood import Measured, OodDetector
from dermlens.wording import interval, percent
from ui import cache, widgets

NO_WORD = "The absence of a warning proves nothing: an image may look familiar and still be answered wrongly."


def section(entry: Entry, split: str) -> None:
    """Show how well a model tells other pictures from dermoscopic images; part of the Metrics page."""
    found = cache.fitted(entry).ood
    if found is None:
        widgets.nothing_here(
            f"{entry.name} cannot say whether an image is like those it was trained on.",
            f"Run `{fit_command(entry.id, 'embeddings', pictures=True)}`.",
        )
        return
    measured = found.measured
    if split in measured.accepted:
        accepted = measured.accepted[split]
        st.metric(f"Dermoscopic images accepted, {split} split", percent(accepted.value, 1), width=400)
        st.caption(f"95 %: {interval(accepted)}; {accepted.n_images:,} images of {accepted.n_lesions:,} lesions.")
    if isinstance(found, OodDetector):
        names = {"mahalanobis": "Mahalanobis distance", "knn": "distance to the 10th nearest training image"}
        method = (
            f"Score: {names.get(found.method, 'energy of the logits')}. It was chosen on one half of the pictures "
            "below and is measured on the other half. "
        )
    else:
        method = "The ensemble accepts an image if all of its members do. It is measured on one half of the pictures. "
    limit = measured.accepted.get("validation")
    st.markdown(
        method
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
    st.markdown(f"Dermoscopic images of the {split} split that the model refuses, by true diagnosis:")
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
