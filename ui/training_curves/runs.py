"""Training runs on a page: which of them are training, and the table of all."""

import time

import pandas as pd
import streamlit as st

from dermlens.models.runs import Run, best_epoch, is_training, read_progress, seconds_left, state
from dermlens.wording import column_percents, counted
from ui import cache, widgets


def training(runs: list[Run]) -> list[str]:
    """Return the ids of the runs that are training now."""
    return [run.id for run in runs if is_training(run, cache.history(run).value, time.time())]


def live(runs: list[Run], ids: list[str]) -> None:
    """Show of every run that is training how far its epoch is, and how long it still takes."""
    for run in (r for r in runs if r.id in ids):
        history = cache.history(run).value
        progress = read_progress(run, history)
        left = seconds_left(run, history, progress)
        done = 0 if history is None else len(history)
        said = [f"**{widgets.escape(run.id)}**: epoch {done + 1}" + (f" of {run.planned}" if run.planned else "")]
        if progress:
            said.append(f"step {progress.step:,} of {progress.steps:,}, training loss {progress.loss:.3f}")
        if left is not None:
            patient = " at most" if run.settings.get("patience") else ""
            said.append(f"about {duration(left)} left{patient}, at the pace of its last epochs")
        share = (done + (progress.step / progress.steps if progress else 0)) / run.planned if run.planned else 0.0
        st.progress(min(1.0, share), "; ".join(said))


def duration(seconds: float) -> str:
    """Return a length of time as a person says it: "2 h 5 min"."""
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes or not hours else [])])


def table(runs: list[Run], key: str) -> None:
    """Draw a row a run; the rows that a person chooses become the value of the widget `key`, as a list of ids."""

    def choose() -> None:
        chosen = [runs[i] for i in st.session_state["run-table"].selection.rows]
        if ids := [run.id for run in chosen if not run.interpolated]:
            st.session_state[key] = ids

    st.dataframe(
        pd.DataFrame([_row(run) for run in runs]),
        hide_index=True,
        key="run-table",
        on_select=choose,
        selection_mode="multi-row",
        alt="Every training run; choose rows to overlay them",
        column_config={
            "validation balanced accuracy": st.column_config.NumberColumn(
                format=widgets.SHARE, help="In the epoch of the lowest cross-entropy"
            ),
            "hours": st.column_config.NumberColumn(format="%.2f", width=60),
            "epochs": st.column_config.NumberColumn(width=60),
            "seed": st.column_config.NumberColumn(width=50),
            "published as": st.column_config.TextColumn(width=115),
            "started": st.column_config.TextColumn(width=125),
            # Beyond the page's width; the config says them, and the table's own menu shows them here as well.
            **dict.fromkeys(("architecture", "loss")),
            "state": st.column_config.TextColumn(
                help="A run that has written nothing for two hours, or for three times its longest epoch, has stopped. "
                "Interpolated weights have no epochs of their own: what they are worth, the model card says."
            ),
        },
    )
    st.caption("Click a heading to sort, use the magnifier to search, choose rows to overlay them.")


def _row(run: Run) -> dict[str, object]:
    history = None if run.interpolated else cache.history(run).value
    best = None if history is None else best_epoch(history)
    found = (
        None if history is None or best is None else float(column_percents(history["val_balanced_accuracy"].iloc[best]))
    )
    tried = f"; smoke run, {counted(run.tried_on, 'image')}" if run.tried_on else ""
    return {
        "run": run.id,
        "published as": run.published_as,
        "config": run.config_name,
        "state": state(run, history, time.time()) + tried,
        "epochs": 0 if history is None else len(history),
        "hours": None if history is None else history["hours"].iloc[-1],
        "validation balanced accuracy": found,
        "architecture": run.settings.get("architecture", ""),
        "loss": run.settings.get("loss", ""),
        "seed": run.settings.get("seed"),
        "started": run.started[:16].replace("T", " "),
    }
