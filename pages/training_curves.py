"""Training curves: any number of runs overlaid, live while they train."""

import pandas as pd
import streamlit as st

from dermlens.charts import curves
from dermlens.runs import Run, best_epoch, differences
from ui import cache, widgets

LIVE_SECONDS = 15


def page() -> None:
    widgets.head("Training curves", "How the networks were trained, epoch by epoch.")
    runs, problems = cache.runs()
    widgets.problems(problems, "run folder" if len(problems) == 1 else "run folders")
    if not runs:
        widgets.nothing_here(
            "There is no training run yet.",
            "Start one with `python -m training.train CONFIG`; it appears here at once.",
        )
        return
    by_id = {run.id: run for run in runs}
    table(runs)
    first = [r.id for r in runs if r.published_as] or [runs[0].id]
    ids = st.multiselect("Runs to overlay", list(by_id), default=first[:4], key="runs", bind="query-params")
    chosen = [by_id[i] for i in ids]
    if not chosen:
        st.caption("Choose at least one run.")
        return
    live = any(not run.finished for run in chosen)
    st.fragment(overlay, run_every=LIVE_SECONDS if live else None)(chosen)
    settings(chosen)


def table(runs: list[Run]) -> None:
    rows = []
    for run in runs:
        history = cache.history(run).value
        best = None if history is None else best_epoch(history)
        rows.append(
            {
                "run": run.id,
                "published as": run.published_as,
                "config": run.config_name,
                "architecture": run.settings.get("architecture", ""),
                "loss": run.settings.get("loss", ""),
                "seed": run.settings.get("seed"),
                "state": "finished" if run.finished else "unfinished",
                "epochs": 0 if history is None else len(history),
                "hours": None if history is None else history["hours"].iloc[-1],
                "best balanced accuracy": None
                if history is None or best is None
                else history["val_balanced_accuracy"].iloc[best],
                "started": run.started[:16].replace("T", " "),
            }
        )

    def choose() -> None:
        rows_chosen = st.session_state["run-table"].selection.rows
        if rows_chosen:
            st.session_state["runs"] = [runs[i].id for i in rows_chosen]

    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="run-table",
        on_select=choose,
        selection_mode="multi-row",
        alt="Every training run; choose rows to overlay them",
        column_config={
            "best balanced accuracy": st.column_config.NumberColumn(format="percent", help="On validation"),
            "hours": st.column_config.NumberColumn(format="%.2f"),
        },
    )
    st.caption("Sort by a click on a heading, search with the magnifier, choose rows to overlay them.")


def overlay(chosen: list[Run]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        x = st.segmented_control(
            "By", ["epoch", "hours"], default="epoch", required=True, key="by-time", bind="query-params"
        )
        with_train = st.toggle("Training figures", key="train", bind="query-params")
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
    lines = grouped(runs, readable) if together else [curves.Line(r.id, (readable[r.id],)) for r in runs]
    cells = st.grid(2, min_column_width=330)
    for panel in curves.PANELS:
        with cells.cell():
            if panel.key == "loss" and len({run.loss for run in runs}) > 1:
                widgets.nothing_here(
                    "These runs have different losses.", "Their plain cross-entropy can be compared instead."
                )
                continue
            figure = curves.draw(panel, lines, x, smoothing, with_train)
            columns = [c for c in (panel.validation, panel.train) if c]
            data = pd.concat({r.id: readable[r.id][["epoch", "hours", *columns]] for r in runs}, names=["run"])
            widgets.chart(
                figure, f"{panel.title} of {len(runs)} runs", data.reset_index("run").copy, f"curve-{panel.key}"
            )
    weights = sorted({run.measured_weights for run in runs if run.measured_weights})
    st.caption(
        "Validation is drawn thick, training thin; the star marks the epoch that is kept, the dotted line a new phase. "
        + (f"Validation figures are of the {' and '.join(weights)} weights." if weights else "")
    )


def grouped(runs: list[Run], histories: dict[str, pd.DataFrame]) -> list[curves.Line]:
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return [
        curves.Line(
            members[0].config_name if len(members) > 1 else members[0].id, tuple(histories[r.id] for r in members)
        )
        for members in groups.values()
    ]


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
