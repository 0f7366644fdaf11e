"""Where a model looked: the Grad-CAM of a class over the image, as Predict and Compare show it."""

import numpy as np
import streamlit as st

from dermlens.case.image import CaseImage, seen_part
from dermlens.case.opinion import Opinion
from dermlens.case.predict import Prediction
from dermlens.charts import case as charts
from dermlens.explain.grad_cam import heat_on_image, overlay
from dermlens.explain.localisation import map_seen, where_it_sits
from dermlens.labels import CLASSES, DIAGNOSES, INDEX, NAMES
from dermlens.models.model import AnyModel
from dermlens.wording import joined, percent
from ui import cache, widgets

FRAME = "dashed frame: what the model sees"
PREDICTED = "predicted"
READING = (
    "Bright areas raised the probability of the chosen diagnosis (Grad-CAM). That shows where the model looked, not "
    "why, and not whether it was right. Outside the dashed frame it saw nothing."
)
GRAD_CAM = "grad_cam"
HEIGHT = 375  # pixels


def mapped(opinion: Opinion) -> list[AnyModel]:
    """Return the models whose Grad-CAM may be shown: those that call something, and whose maps are worth looking at."""
    return [m for m in opinion.calling if GRAD_CAM in cache.maps_offered(m)]


@st.fragment
def where_it_looked(image: CaseImage, opinion: Opinion) -> None:
    """Show the image with the heat map of one model and diagnosis. Redraws alone: no choice made here asks a model."""
    by_id = {m.id: m for m in mapped(opinion)}
    if not by_id:
        plain(image, opinion.asked[0], "image")
        st.caption(not_shown([m.name for m in opinion.calling]))
        return
    place = st.container(key="heat-place")
    first = opinion.lead.id if opinion.lead and opinion.lead.id in by_id else next(iter(by_id))
    model = by_id[
        widgets.one_of(
            "Heat map of",
            list(by_id),
            "network",
            first,
            format_func=lambda i: by_id[i].name,
            label_visibility="collapsed",
        )
    ]
    one, two = st.columns([3, 2], gap="small", vertical_alignment="bottom")
    with one:
        code = st.selectbox(
            "Evidence for",
            (PREDICTED, *CLASSES),
            key="class",
            bind="query-params",
            format_func=lambda c: "What the model called it" if c == PREDICTED else widgets.class_name(c),
        )
    with two:
        opacity = st.slider("Opacity", 0, 100, 60, 5, format="%d %%", key="opacity", bind="query-params")
    answer, code = opinion.answers[model.id], opinion.call(model).code if code == PREDICTED else code
    with place:
        heat_map(image, model, answer, code, opacity / 100, "heat")
    warning = map_warning(image, model, answer, code)
    if warning:
        st.caption(f":material/crop_free: **{widgets.escape(warning, 1000)}**")
    st.caption(READING)
    left_out = [m.name for m in opinion.calling if m.id not in by_id]
    if left_out:
        st.caption(not_shown(left_out))


def not_shown(names: list[str]) -> str:
    """Say why there is no heat map of some models."""
    return (
        f"Not shown for {widgets.escape(joined(names), 400)}: measured on validation, the heat map finds the lesion "
        "less well than a blob in the middle of the picture does."
    )


def heat_map(
    image: CaseImage, model: AnyModel, answer: Prediction, code: str, opacity: float, key: str, height: int = HEIGHT
) -> None:
    """Show the image with the Grad-CAM of one class and model over it."""
    heat = heat_on_image(answer.maps[INDEX[code]], image.pixels.shape[0], image.pixels.shape[1], model.geometry)
    where = _strongest(heat)
    title = f"{model.name}: {NAMES[code]}"
    figure = charts.picture(
        overlay(image.pixels, heat, opacity), title, seen=seen_part(image, model.geometry), heat=True, height=height
    )
    widgets.zoomable(figure, f"Grad-CAM of {NAMES[code]} by {model.name} over the image, {where}.", key)


def plain(image: CaseImage, model: AnyModel, key: str, height: int = HEIGHT) -> None:
    """Show the image alone, the part that the model does not see dimmed."""
    figure = charts.picture(image.pixels, "Image", FRAME, seen_part(image, model.geometry), height=height)
    widgets.zoomable(figure, "The image; what lies outside the dashed frame is not seen by the model.", key)


def _strongest(heat: np.ndarray) -> str:
    if heat.max() <= 0:
        return "without any evidence for it"
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    vertical = ("top", "middle", "bottom")[min(2, 3 * row // heat.shape[0])]
    horizontal = ("left", "centre", "right")[min(2, 3 * column // heat.shape[1])]
    return f"strongest at the {vertical} {horizontal}"


def map_warning(image: CaseImage, model: AnyModel, answer: Prediction, code: str) -> str | None:
    """Return a sentence if the heat map of a class lies where a lesion seldom is, else None.

    Args:
        image: the picture. model, answer: whose map. code: of the class.
    """
    heat, (height, width) = answer.maps[INDEX[code]], image.pixels.shape[:2]
    finding = where_it_sits(map_seen(heat, height, width, model.geometry))
    if finding is None:
        return None
    where = f"in the {finding.place} corner" if finding.kind == "corner" else "along the border"
    side = f", mostly at the {finding.place}" if finding.kind == "border" and finding.place != "all sides" else ""
    return (
        f"{percent(finding.share)} of the evidence for {DIAGNOSES[INDEX[code]].name} lies {where} of what {model.name} "
        f"saw{side}. Check that the lesion is whole and in the middle, and that no ruler, ink, hair or dark edge lies "
        "there."
    )
