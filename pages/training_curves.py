"""Training curves: any number of runs overlaid, live while they train."""

import pandas as pd
import streamlit as st

from dermlens.charts import curves
from dermlens.models.runs import Run, differences
from dermlens.wording import counted, joined
from ui import cache, streamlit_internals, widgets
from ui.pages import TRAINING_CURVES
from ui.training_curves import runs as shown

LIVE_SECONDS = 15
UNLIKE_PUBLISHED = (
    "The numbers of an epoch are not the published ones: here the network is asked in one view and not calibrated, "
    "while it trains; published is what the serving file answers, averaged over its views and calibrated, with recalls "
    "and balanced accuracy at an equal class mix."
)


def page() -> None:
    widgets.head(TRAINING_CURVES)
    st.button("Refresh", icon=":material/refresh:", help="Looks for runs that have started since.")
    runs, problems = cache.runs()
    widgets.problems(problems, "run folder" if len(problems) == 1 else "run folders")
    if not runs:
        widgets.nothing_here(
            "There is no training run yet.",
            "Start one with `python -m training.train CONFIG`, and press Refresh to see it.",
        )
        return
    st.fragment(everything, run_every=LIVE_SECONDS if shown.training(runs) else None)()


def everything() -> None:
    """Redraws alone while a run is training: the table, the curves and the settings of the runs as they stand then."""
    runs, _ = cache.runs()
    training = shown.training(runs)
    if training:
        st.caption(f":material/autorenew: A run is training: table and curves are read again every {LIVE_SECONDS} s.")
        shown.live(runs, training)
    else:
        streamlit_internals.stop_redrawing()
    shown.table(runs, "runs")
    by_id = {run.id: run for run in runs if not run.interpolated}
    published = (run.id for run in by_id.values() if run.published_as)
    first = dict.fromkeys([*training, *published]) or dict.fromkeys(list(by_id)[:1])
    widgets.unknown_in_link("runs", by_id, "a run")
    ids = st.multiselect("Runs to overlay", list(by_id), default=list(first)[:4], key="runs", bind="query-params")
    chosen = [by_id[i] for i in ids]
    if not chosen:
        st.caption("Choose at least one run.")
        return
    overlay(chosen)
    settings(chosen)


def overlay(chosen: list[Run]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        x = widgets.one_of("By", ["epoch", "hours"], "by-time")
        with_train = st.toggle("Training metrics", key="train", bind="query-params")
        together = st.toggle("Seeds of one config together", key="seeds", bind="query-params")
        smoothing = st.slider("Smoothing", 0.0, 0.95, 0.0, 0.05, key="smooth", bind="query-params", width=200)
    readable = {}
    for run in chosen:
        result = cache.history(run)
        if result.value is None:
            st.caption(f"{widgets.escape(run.id)}: {widgets.escape(result.sentence, 300)}")
        else:
            readable[run.id] = result.value
    runs = [run for run in chosen if run.id in readable]
    if not runs:
        return
    lines = curves.lines_of(runs, readable, together)
    cells = st.grid(2, min_column_width=330)
    for panel in curves.PANELS:
        with cells.cell():
            if panel.key == "loss" and len({run.loss for run in runs}) > 1:
                widgets.nothing_here("These runs have different losses.", "Compare their plain cross-entropy instead.")
                continue
            figure = curves.draw(panel, lines, x, smoothing, with_train)
            columns = [c for c in (panel.validation, panel.train) if c]
            data = pd.concat({r.id: readable[r.id][["epoch", "hours", *columns]] for r in runs}, names=["run"])
            widgets.chart(
                figure,
                f"{panel.title} of {counted(len(runs), 'run')}",
                data.reset_index("run").copy,
                f"curve-{panel.key}",
            )
    if together and all(len(line.histories) == 1 for line in lines):
        st.caption(widgets.escape(not_averaged(runs), 600))
    weights = sorted({run.measured_weights for run in runs if run.measured_weights})
    st.caption(
        curves.reading(lines, with_train)
        + (f" Validation metrics are of the {' and '.join(weights)} weights." if weights else "")
    )
    st.caption(UNLIKE_PUBLISHED)


def not_averaged(runs: list[Run]) -> str:
    """Say why no two of some runs are put together."""
    if len(runs) < 2:
        return "There is nothing to average: choose two or more runs of one config that differ by their seed."
    names = [str(name) for name in differences(runs).index if name != "seed"]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"There is nothing to average: no two of these runs differ by seed alone, but by {joined(names[:5])}{more}."


def settings(chosen: list[Run]) -> None:
    if len(chosen) > 1:
        differing = differences(chosen)
        st.header("Settings that differ", anchor=False)
        if differing.empty:
            st.caption("None: these runs have the same settings.")
        else:
            st.dataframe(differing, alt="Settings in which the chosen runs differ")
    with st.expander("All settings"):
        frame = pd.DataFrame({run.id: {k: str(v) for k, v in run.settings.items()} for run in chosen}).fillna("")
        st.dataframe(frame.rename_axis("setting"), alt="All settings of the chosen runs")


page()
