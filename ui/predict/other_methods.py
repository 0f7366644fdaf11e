"""What a case offers to anyone who wants more: every class at once, other methods, and the downloads."""

import streamlit as st

from dermlens.case.image import CaseImage, thumbnail
from dermlens.case.opinion import Opinion
from dermlens.errors import DermlensError
from dermlens.explain.grad_cam import heat_on_image, overlay
from dermlens.explain.methods import METHODS, SCORE_CAM_CHANNELS, explain_with
from dermlens.labels import CLASSES, INDEX, NAMES, SHOWN
from dermlens.models.card import INT8
from dermlens.models.model import networks
from dermlens.server.limiter import SLOW
from dermlens.wording import joined, percent
from ui import cache, state, waiting, widgets
from ui.predict import heat_map

SIDE = 300
WORSE = "Measured on validation, it finds the lesion less well than a blob in the middle of the picture does."
NONE_OFFERED = (
    "No slower method is offered for this model: each finds the lesion less well than a blob in the middle does."
)


def every_class(image: CaseImage, opinion: Opinion) -> None:
    """Show the Grad-CAM of all seven classes and every model as small pictures on one scale per model."""
    small = thumbnail(image.pixels, SIDE)
    for model in heat_map.mapped(opinion):
        found = opinion.shown[model.id]
        highest = float(found.maps.max())
        st.markdown(f"**{widgets.escape(model.name)}**")
        cells = st.grid(7, min_column_width=105)
        for i in SHOWN:
            own = float(found.maps[i].max())
            heat = heat_on_image(found.maps[i], small.shape[0], small.shape[1], model.geometry) * (
                own / highest if highest > 0 else 0
            )
            name = NAMES[CLASSES[i]]
            with cells.cell():
                st.image(overlay(small, heat, 0.65), width="stretch", alt=f"Grad-CAM of {name} by {model.name}")
                st.caption(f"{name} {percent(float(found.probabilities[i]))}")
    st.caption("One scale per model: a dark picture means little evidence compared with the brightest one.")


@st.fragment
def other_methods(image: CaseImage, opinion: Opinion) -> None:
    """Draw a heat map by a slower method on demand; what was drawn stays until the case is closed."""
    by_id = {m.id: m for m in networks(opinion.calling)}
    if not by_id:
        st.caption("An ensemble has no network of its own: these methods are drawn for its members.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        model = by_id[
            st.selectbox("Model", list(by_id), format_func=lambda i: by_id[i].name, key="method-model", width=240)
        ]
        offered = [m for m in METHODS if m in cache.maps_offered(model)]
        if not offered:
            st.caption(NONE_OFFERED)
            return
        method = st.selectbox("Method", offered, format_func=METHODS.__getitem__, key=f"method-{model.id}", width=200)
        own = opinion.call(model).code
        code = st.selectbox(
            "Class", CLASSES, index=INDEX[own], format_func=widgets.class_name, key="method-class", width=320
        )
        wanted = st.button("Draw", icon=":material/brush:")
    passes = SCORE_CAM_CHANNELS * model.views
    said = f"Score-CAM asks the network {passes} times, SmoothGrad loads TensorFlow first: both take a while."
    if model.precision == INT8:
        said += f" {model.name} answers in 8-bit integers; SmoothGrad is drawn by the network it was made from."
    if len(by_id) < len(opinion.calling):
        said += " An ensemble has no network of its own: choose one of its members."
    if len(offered) < len(METHODS):
        left_out = joined([name for key, name in METHODS.items() if key not in offered])
        said += f" Not offered for this model: {left_out}. {WORSE}"
    st.caption(said)
    key = (image.key, model.id, method, code)
    if wanted and key not in state.drawn():
        bar = st.progress(0.0, f"{METHODS[method]} for {NAMES[code]}")

        def show(share: float) -> None:
            bar.progress(min(1.0, share))

        try:
            with waiting.turn(SLOW, bar):
                state.drawn()[key] = explain_with(method, model, image.pixels, INDEX[code], show)
        except DermlensError as e:
            st.error(widgets.escape(str(e), 400), icon=":material/error:")
        bar.empty()
    if key not in state.drawn():
        return
    small = thumbnail(image.pixels, 700)
    pictures = {
        "Grad-CAM": opinion.answers[model.id].maps[INDEX[code]],
        METHODS[method]: state.drawn()[key],
    }
    cells = st.columns(2, gap="medium")
    for cell, (name, heat) in zip(cells, pictures.items(), strict=True):
        with cell:
            drawn = overlay(small, heat_on_image(heat, small.shape[0], small.shape[1], model.geometry), 0.6)
            st.image(
                drawn, width="stretch", caption=f"{name}: {NAMES[code]}", alt=f"{name} of {NAMES[code]} by {model.name}"
            )
