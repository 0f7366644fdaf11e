"""Errors as pictures, and the map of the embeddings; part of the Metrics page."""

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.case.image import thumbnail
from dermlens.charts import data as charts
from dermlens.evaluation.compare import disagreement, hardness
from dermlens.evaluation.predictions import Predictions
from dermlens.files.tables import plain_cell
from dermlens.labels import CLASSES, DIAGNOSES, NAMES
from dermlens.models.registry import Entry
from dermlens.trust.embedding_map import AXES, share_on_axes
from dermlens.trust.fit_command import fit_command
from dermlens.trust.ood import OodDetector
from dermlens.wording import counted, percent
from ui import cache, dataset, splits, widgets
from ui.metrics import cases, slices

PAGE = 12
SIDE = 260
TAGS = "gallery_tags"
CONFIDENCE, DISAGREEMENT, HARDNESS = "Confidence", "Disagreement", "Hardness"
SORTED = {
    CONFIDENCE: "First what the model called wrongly with the highest probability.",
    DISAGREEMENT: "First where the networks lie furthest apart: the mean total variation distance of two of them.",
    HARDNESS: "First what is hardest for all networks: the mean of -log p(true diagnosis).",
}
COLOURED = {"Diagnosis": "true diagnosis", "Error": "right or wrong"}


@st.fragment
def errors(chosen: Predictions, entry: Entry) -> None:
    """Show what a model called wrongly as pictures, in the order that a person chooses; redraws alone."""
    if not (dataset.at_hand() or dataset.others_at_hand()):
        widgets.nothing_here(
            "The pictures are not here.", "Set `HAM10000_DIR` to the data set's folder and start the dashboard again."
        )
        return
    left, right = st.columns([3, 1], gap="medium")
    with right:
        slices.choose_cell()
    true, called = (None if (c := st.session_state[key]) == slices.ANY else c for key in ("true", "called"))
    rows = splits.rows_in(chosen, true, called)
    rows = rows[chosen.y_pred[rows] != chosen.y_true[rows]]
    with left:
        networks = _networks(chosen)
        by = widgets.one_of("Sort by", list(SORTED) if len(networks) > 1 else [CONFIDENCE], "sorted")
        order = _order(chosen, rows, networks, by)
        rows = rows[np.argsort(-order, kind="stable")]
        st.markdown(f"**{counted(len(rows), 'error')}** among {counted(len(chosen), 'image')}. {SORTED[by]}")
        if not len(rows):
            return
        page = st.pagination(-(-len(rows) // PAGE), key="gallery-page") if len(rows) > PAGE else 1
        shown = rows[(page - 1) * PAGE : page * PAGE]
        grid = st.grid(4, min_column_width=150)
        for row in shown:
            with grid.cell(), st.container(border=True, gap="xsmall", height="stretch"):
                _cell(chosen, row)
        _export(chosen)
    cases.open_chosen([entry])


def _cell(chosen: Predictions, row: int) -> None:
    image_id, true, said = str(chosen.image_id[row]), chosen.y_true[row], chosen.y_pred[row]
    pixels = dataset.pixels(image_id)
    words = f"{DIAGNOSES[true].name}, called {DIAGNOSES[said].name}"
    if pixels is None:
        st.caption("No picture here.")
    else:
        st.image(thumbnail(pixels, SIDE), alt=f"{image_id}: {words}", width="stretch")
    st.caption(f"{words}, {percent(float(chosen.probabilities[row, said]))}")
    st.button("Open", key=f"open-{image_id}", type="tertiary", on_click=cases.choose, args=(image_id,))
    st.text_input(
        "Tag",
        value=tags().get(image_id, ""),
        key=f"tag-{image_id}",
        placeholder="Tag",
        max_chars=40,
        label_visibility="collapsed",
        on_change=_tag,
        args=(image_id,),
    )


def tags() -> dict[str, str]:
    """Return what a person wrote to images in this session, by image."""
    found: dict[str, str] = st.session_state.setdefault(TAGS, {})
    return found


def _tag(image_id: str) -> None:
    tags()[image_id] = str(st.session_state[f"tag-{image_id}"]).strip()
    if not tags()[image_id]:
        del tags()[image_id]


def _export(chosen: Predictions) -> None:
    kept = dict(tags())
    if not kept:
        st.caption("A tag is yours to choose. Tags are kept for this session and can be saved as a table.")
        return
    at = {image_id: row for row, image_id in enumerate(chosen.image_id)}

    def table() -> bytes:
        rows = [
            {
                "image_id": image_id,
                "tag": plain_cell(tag),
                "true": CLASSES[chosen.y_true[at[image_id]]] if image_id in at else "",
                "called": CLASSES[chosen.y_pred[at[image_id]]] if image_id in at else "",
            }
            for image_id, tag in kept.items()
        ]
        return pd.DataFrame(rows).to_csv(index=False).encode()

    label = f"Save {counted(len(kept), 'tag')} (CSV)"
    st.download_button(
        label, table, "tags.csv", "text/csv", key="save-tags", icon=":material/download:", on_click="ignore"
    )


def _networks(chosen: Predictions) -> np.ndarray:
    """Return what every network says of the images, (m, n, 7); those that lack one of them are left out."""
    found = []
    for entry in cache.entries():
        p = None if entry.is_ensemble or not entry.has_predictions else cache.predictions(entry).value
        if p is None:
            continue
        rows = pd.Series(np.arange(len(p)), p.image_id).reindex(chosen.image_id)
        if not rows.isna().any():
            found.append(p.probabilities[rows.to_numpy(np.int64)])
    return np.array(found)


def _order(chosen: Predictions, rows: np.ndarray, networks: np.ndarray, by: str) -> np.ndarray:
    if by == CONFIDENCE:
        return chosen.probabilities[rows, chosen.y_pred[rows]]
    return disagreement(networks[:, rows]) if by == DISAGREEMENT else hardness(networks[:, rows], chosen.y_true[rows])


@st.fragment
def embeddings(chosen: Predictions, entry: Entry) -> None:
    """Show where a network puts the images, coloured by diagnosis or error; a point opens its case; redraws alone."""
    members = (entry.card or {}).get("members", {}) if entry.is_ensemble else {entry.id: None}
    having = {e.id: e for e in cache.entries() if e.id in members and cache.map_of(e) is not None}
    if not having:
        command = fit_command("ID" if entry.is_ensemble else entry.id, "map", pictures=True)
        of = " for each of its networks" if entry.is_ensemble else ""
        widgets.nothing_here(
            f"{widgets.escape(entry.name)} has no map of its embeddings.",
            widgets.advice(entry, f"Make it with `{command}`{of}."),
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        of = st.selectbox(
            "Network", list(having), key="map-of", format_func=lambda i: having[i].name, bind="query-params", width=260
        )
        by = widgets.one_of("Colour by", list(COLOURED), "coloured")
    result = cache.map_of(having[of])
    if result is None or result.value is None:
        widgets.nothing_here("The map cannot be shown.", widgets.escape(result.sentence if result else "", 400))
        return
    places = result.value.reindex(chosen.image_id)
    known = places[AXES[0]].notna().to_numpy()
    p, at = chosen.select(known), places[known]
    if not len(p):
        widgets.nothing_here("None of these images is on the map.", "It holds validation and test images of HAM10000.")
        return
    wrong = (p.y_pred != p.y_true).astype(int)
    group, names = (p.y_true, [NAMES[c] for c in CLASSES]) if by == "Diagnosis" else (wrong, ["Right", "Wrong"])
    said = [
        f"{DIAGNOSES[t].name}, called {DIAGNOSES[c].name}, {percent(float(q[c]))}"
        for t, c, q in zip(p.y_true, p.y_pred, p.probabilities, strict=True)
    ]
    details = list(zip(p.image_id.tolist(), said, strict=True))
    title = f"{having[of].name}, by {COLOURED[by]}"
    figure = charts.embedding_map(at.to_numpy(), group, names, details, title, widgets.theme_colour("backgroundColor"))
    alt = f"{counted(len(p), 'image')} on the first two principal axes; {counted(int(wrong.sum()), 'error')}"
    widgets.clickable(figure, alt, partial(_map_table, p, at), "embedding-map", _open_point)
    fitted = cache.fitted(having[of]).ood
    share = (
        f" ({percent(share_on_axes(fitted.reference))} of their variance)" if isinstance(fitted, OodDetector) else ""
    )
    st.caption(
        f"The network's embeddings on the first two principal axes of the training images{share}: what lies together "
        "here may lie apart along the others. Click a point to open its case, a name in the legend to hide its points."
    )
    cases.open_chosen([entry])


def _open_point(points: list[dict]) -> None:
    if points:
        cases.choose(points[0]["customdata"][0])


def _map_table(p: Predictions, at: pd.DataFrame) -> pd.DataFrame:
    codes = np.array(CLASSES, object)
    return at.reset_index(names="image_id").assign(true=codes[p.y_true], called=codes[p.y_pred])
