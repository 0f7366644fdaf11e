"""Cases of a data split: a table of them, and one case opened."""

import html
from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.case.summary import quantity
from dermlens.charts import case as charts
from dermlens.charts.style import ROWS
from dermlens.evaluation.predictions import Predictions, cases_of
from dermlens.explain.grad_cam import heat_on_image, overlay
from dermlens.labels import CLASSES, CONFIRMED, INDEX, NAMES
from dermlens.wording import column_percents, percent
from ui import cache, dataset, state, widgets
from ui.pages import PREDICT

PAGE = 25
_OPEN = "record_open"


def table(answers: Mapping[str, Predictions], rows: np.ndarray, key: str) -> None:
    """List images, those called with most confidence first, a page at a time; a click on a row opens its case.

    Args:
        answers: model name -> predictions of the same images in the same order.
        rows: (k,) indices into them.
        key: of the widgets.
    """
    first = next(iter(answers.values()))
    confidence = first.probabilities[rows, first.y_pred[rows]]
    rows = rows[np.argsort(-confidence, kind="stable")]
    page = st.pagination(-(-len(rows) // PAGE), key=f"{key}-page") if len(rows) > PAGE else 1
    rows = rows[(page - 1) * PAGE : page * PAGE]
    ids = first.image_id[rows]
    shown = _frame({name: p.select(rows) for name, p in answers.items()})

    def take() -> None:
        chosen = st.session_state[f"{key}-table"].selection.rows
        if chosen:
            choose(str(ids[chosen[0]]))

    beyond = {"lesion", "confirmed by"} | ({"age", "sex", "site"} if len(answers) > 1 else set())
    of_calls = [f"{c}, score" for c in shown if f"{c}, score" in shown]
    scores = [c for c in shown if pd.api.types.is_float_dtype(shown[c]) and c != "age"]
    st.dataframe(
        shown,
        hide_index=True,
        key=f"{key}-table",
        on_select=take,
        selection_mode="single-row",
        alt="The images chosen; choose a row to open its case",
        row_height=52 if "picture" in shown else None,
        column_config={
            "picture": st.column_config.ImageColumn("", width=60),
            "image": st.column_config.TextColumn(width=105),
            **{
                c: st.column_config.TextColumn(width=150)
                for c in ("true", *(c.removesuffix(", score") for c in of_calls))
            },
            # Each is beside the call it belongs to; with a model's name before it, its head would be cut.
            **{
                c: st.column_config.NumberColumn("score" if c in of_calls else c, format=widgets.SHARE, width=70)
                for c in scores
            },
            "age": st.column_config.NumberColumn(format="%d", width=50),
            "sex": st.column_config.TextColumn(width=60),
            "site": st.column_config.TextColumn(width=90),
            # Beyond the page's width, and in the case that a row opens; the table's own menu shows them here as well.
            **dict.fromkeys(c for c in shown if c in beyond or c.startswith("p(")),
        },
    )
    st.caption("Most confident first. Choose a row to open its case.")


def _frame(answers: Mapping[str, Predictions]) -> pd.DataFrame:
    predictions = next(iter(answers.values()))
    known = cache.cases().value
    frame = pd.DataFrame({"true": [ROWS[CLASSES[i]] for i in predictions.y_true]})
    for name, p in answers.items():
        column = "called" if len(answers) == 1 else name
        frame[column] = [ROWS[CLASSES[i]] for i in p.y_pred]
        frame[f"{column}, score"] = column_percents(p.probabilities[np.arange(len(p)), p.y_pred])
    frame = frame.assign(image=predictions.image_id, lesion=predictions.lesion_id)
    if known is not None:
        facts = cases_of(predictions, known)
        names = {"age": "age", "sex": "sex", "localization": "site", "dx_type": "confirmed by"}
        facts = facts.assign(dx_type=facts["dx_type"].replace(CONFIRMED))
        frame = frame.assign(**{shown: facts[name].to_numpy() for name, shown in names.items()})
    if dataset.at_hand() or dataset.others_at_hand():
        frame.insert(0, "picture", [dataset.small(str(i)) for i in predictions.image_id])
    if len(answers) == 1:
        shares = column_percents(predictions.probabilities)
        frame = frame.assign(**{f"p({c})": shares[:, i] for i, c in enumerate(CLASSES)})
    return frame


def choose(image_id: str) -> None:
    """Have `open_chosen` open a case."""
    st.session_state[_OPEN] = image_id


def open_chosen(entries: list[cache.Entry]) -> None:
    """Open the case that a row was chosen for, once, as these models see it."""
    image_id = st.session_state.pop(_OPEN, None)
    if image_id:
        _record(image_id, entries)


@st.dialog("Case of the data set", width="large")
def _record(image_id: str, entries: list[cache.Entry]) -> None:
    answers: dict[str, np.ndarray] = {}
    lines = []
    truth = None
    for entry in entries:
        found = cache.predictions(entry).value
        at = cache.row_of(entry, image_id)
        if found is not None and at is not None:
            answers[entry.name] = found.probabilities[at]
            call = found.y_pred[at]
            lines.append(f"{entry.name}: {NAMES[CLASSES[call]]} {percent(float(found.probabilities[at, call]))}")
            truth = CLASSES[found.y_true[at]]
    facts = cache.facts_of(image_id)
    st.markdown(f"**{widgets.escape(image_id)}** · true diagnosis: **{NAMES[truth] if truth else 'unknown'}**")
    if facts:
        st.caption(" · ".join(f"{name} {widgets.escape(value)}" for name, value in facts.items()))
    _pictures(image_id, entries, truth)
    if answers:
        calibrated = {e.name: cache.fitted(e).calibration is not None for e in entries if e.name in answers}
        figure = charts.probabilities(answers, "Published answers", quantity(calibrated))
        data = pd.DataFrame({"class": CLASSES, **answers})
        widgets.chart(figure, "Answers of each model. Called: " + "; ".join(lines), lambda: data, "case-scores")
    data_file = dataset.file(image_id)
    label = "Close the open case and open this image in Predict" if state.images() else "Open in Predict"
    if data_file and st.button(label, icon=PREDICT.icon, key="open-in-predict"):
        state.new_case()  # a case of the data set and one that was uploaded are never one case
        state.hand_in(data_file, image_id)
        st.switch_page(PREDICT.path)


def _pictures(image_id: str, entries: list[cache.Entry], truth: str | None) -> None:
    pixels = dataset.pixels(image_id)
    if pixels is None:
        where = (
            "" if dataset.at_hand() else "Set HAM10000_DIR or ISIC2019_DIR to the data set's folder to see the images."
        )
        st.caption(f"The image is not available here. {where}")
        return
    ready, _ = cache.models()
    models = [m for m in ready if m.id in {e.id for e in entries}]
    code = st.selectbox("Evidence for", CLASSES, index=INDEX[truth or "mel"], format_func=widgets.class_name)
    cells = st.columns(1 + len(models))
    with cells[0]:
        st.image(pixels, caption="Image", alt=f"Image {html.escape(image_id)}", width="stretch")
    for cell, model in zip(cells[1:], models, strict=True):
        found = dataset.answer(image_id, model)
        if found is None:
            continue
        heat = heat_on_image(found.maps[INDEX[code]], pixels.shape[0], pixels.shape[1], model.geometry)
        caption = f"{model.name}: {percent(float(found.probabilities[INDEX[code]]))}"
        with cell:
            st.image(overlay(pixels, heat, 0.6), caption=caption, alt=f"Grad-CAM by {model.name}", width="stretch")
