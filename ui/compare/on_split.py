"""Two or more models on the same data split."""

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.case.timing import hardware
from dermlens.charts import compare as charts
from dermlens.charts.metrics import confusion_difference
from dermlens.dataset.isic2019 import TITLES
from dermlens.evaluation.class_mix import AT, EQUAL, HAM10000, WITHOUT
from dermlens.evaluation.compare import Comparison
from dermlens.evaluation.metrics import ELSEWHERE, OVERALL, confusion_matrix
from dermlens.evaluation.predictions import SPLIT_TITLES
from dermlens.labels import CLASSES, INDEX
from dermlens.models.model import AnyModel
from dermlens.models.registry import Entry
from dermlens.wording import counted, joined, points
from ui import cache, splits, widgets
from ui.metrics import cases, slices

WHO = {"a": "Only {0} is right", "b": "Only {1} is right", "cell": "Cell of the matrix"}


def headline(entries: list[Entry], split: str) -> None:
    """Show the headline metrics of every model with intervals, and what it costs to run it."""
    summaries, mixes = {}, {}
    shown = ELSEWHERE if split in TITLES else tuple(OVERALL)
    for entry in entries:
        predictions = cache.predictions(entry).value
        if predictions is not None:
            mixes[entry.name] = predictions.class_mix
            summaries[entry.name] = cache.summary(entry, (split,), predictions.of_split(split)).overall
    drawn = charts.headline(summaries, f"{SPLIT_TITLES[split]}, with 95 % intervals", shown)

    def data() -> pd.DataFrame:
        return pd.DataFrame(
            {"model": name, "metric": key, "value": f.value, "low": f.low, "high": f.high, "images": f.n_images}
            for name, found in summaries.items()
            for key, f in found.items()
        )

    widgets.chart(drawn, "Headline metrics of every model with 95 % intervals", data, "headline")
    for entry in entries:
        predictions = cache.predictions(entry).value
        if predictions is not None:
            widgets.assumed(predictions, entry.name)
    without = [name for name, mix in mixes.items() if mix is None]
    if without:
        st.caption(widgets.escape(f"{', '.join(without)}: {WITHOUT}", 1000))
    splits.warn_of_validation(split)
    ready = {m.id: m for m in cache.models()[0]}
    rows = [
        {
            "Model": entry.name,
            **{OVERALL[key].label: OVERALL[key].text(summaries[entry.name][key]) for key in shown},
            "Benign images referred by rules": splits.benign_referred(entry, split) or "not measured",
            **_cost(entry, ready.get(entry.id)),
        }
        for entry in entries
        if entry.name in summaries
    ]
    table = pd.DataFrame(rows).set_index("Model").T  # a model a column: a row of all metrics is wider than the page
    st.dataframe(table, height="content", alt="Headline metrics, size and speed of every model")
    if ready:
        st.caption(f"Time: one image with all heat maps, median and range, on this machine ({hardware()}).")


def _cost(entry: Entry, model: AnyModel | None) -> dict[str, str]:
    """Return size and speed of a model in words; one without weights has none."""
    parameters = (entry.card or {}).get("parameters")
    weights, none = entry.folder / "model.keras", "those of its members" if entry.is_ensemble else "no weights"
    time = "not run here"
    if model is not None:
        taken = cache.timing(model)
        time = f"{taken.median:.0f} ms ({taken.fastest:.0f} to {taken.slowest:.0f})"
    return {
        "Parameters": f"{parameters:,}" if isinstance(parameters, int) else "unknown",
        "File": f"{weights.stat().st_size / 2**20:.1f} MB" if weights.is_file() else none,
        "Time": time,
    }


def choose_pair(entries: list[Entry]) -> list[Entry]:
    """Let a person choose the two models whose difference is looked at."""
    by_id = {e.id: e for e in entries}
    with st.container(horizontal=True, gap="medium"):
        a = st.selectbox("A", list(by_id), key="a", format_func=lambda i: by_id[i].name, bind="query-params", width=300)
        others = [i for i in by_id if i != a]
        b = st.selectbox("B", others, key="b", format_func=lambda i: by_id[i].name, bind="query-params", width=300)
    return [by_id[a], by_id[b]]


def differ(a: Entry, b: Entry, split: str) -> None:
    """Show whether two trained models really differ, where, and on which cases."""
    st.header(f"Do {a.name} and {b.name} really differ?", anchor=False)
    result = cache.comparison(a, b, split)
    if result.value is None:
        widgets.nothing_here("These two cannot be compared.", widgets.escape(result.sentence, 400))
        return
    comparison = result.value
    st.markdown(_verdict(comparison, a.name, b.name))
    if comparison.left_out:
        st.caption(f"Left out: {counted(comparison.left_out, 'image')} that only one of them has answered.")

    def data() -> pd.DataFrame:
        rows = {**comparison.overall, **{f"recall of {code}": d for code, d in comparison.recall.items()}}
        return pd.DataFrame([{"metric": name, **vars(d)} for name, d in rows.items()])

    widgets.chart(
        charts.differences(comparison, (a.name, b.name)),
        f"Differences between {a.name} and {b.name} with intervals",
        data,
        "differences",
    )
    untested = [OVERALL[name].name for name, d in comparison.overall.items() if np.isnan(d.p)]
    st.caption(
        "Intervals by bootstrap over lesions, the same lesions for both; p by swapping the answers of whole lesions, "
        f"with Holm's correction among the classes. A filled mark: p < 0.05; no p is computed for {joined(untested)}. "
        "These are two trained models, not two designs: training with another seed would give other models."
    )
    _cases(comparison, a, b)


def _verdict(comparison: Comparison, a: str, b: str) -> str:
    m, d = comparison.mcnemar, comparison.overall["balanced_accuracy"]
    in_accuracy, balanced = ("differ" if p < 0.05 else "cannot be told apart" for p in (m.p, d.p))
    return (
        f"**In accuracy they {in_accuracy}**, by McNemar's test on one image of each of "
        f"{counted(m.n_lesions, 'lesion')} ({charts.p_value(m.p)}): only {a} is right on {m.only_a}, only {b} on "
        f"{m.only_b}, {AT[HAM10000]}. **In balanced accuracy they {balanced}** {AT[EQUAL]}: "
        f"{points(d.difference)} points (95 % {points(d.low)} to {points(d.high)}, {charts.p_value(d.p)})."
    )


@st.fragment
def _cases(comparison: Comparison, a: Entry, b: Entry) -> None:
    """Show the cases that only one of the two gets right, or those of a cell of the difference matrix."""
    names = (a.name, b.name)
    first, second = (confusion_matrix(p.y_true, p.y_pred) for p in (comparison.a, comparison.b))
    left, right = st.columns([3, 1], gap="medium")
    with right:
        labels = {key: text.format(*names) for key, text in WHO.items()}
        who = st.radio("Cases to list", list(labels), format_func=labels.get, key="who", bind="query-params")
        cell = slices.choose_cell()

    def take(points: list[dict]) -> None:
        slices.take_cell(points)
        if points:
            st.session_state["who"] = "cell"

    def data() -> pd.DataFrame:
        return pd.DataFrame(first - second, index=CLASSES, columns=CLASSES).rename_axis("true \\ called").reset_index()

    with left:
        figure = confusion_difference(first, second, names, cell)
        widgets.clickable(
            figure, f"Confusion matrix of {a.name} minus that of {b.name}", data, "confusion-difference", take
        )
    rows = _rows(comparison, who, cell)
    if rows is None:
        st.caption("Click a cell, or choose a true and a called diagnosis.")
        return
    st.markdown(f"**{labels[who]}**: {len(rows):,} of {counted(len(comparison.a), 'image')}")
    if len(rows):
        cases.table({a.name: comparison.a, b.name: comparison.b}, rows, "pair")
    cases.open_chosen([a, b])


def _rows(comparison: Comparison, who: str, cell: tuple[str, str] | None) -> np.ndarray | None:
    if who != "cell":
        return comparison.only_a if who == "a" else comparison.only_b
    if cell is None:
        return None
    true, called = (INDEX[code] for code in cell)
    either = (comparison.a.y_pred == called) | (comparison.b.y_pred == called)
    return np.flatnonzero((comparison.a.y_true == true) & either)
