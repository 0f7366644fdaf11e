"""Cohort: a running or finished output folder of dermlens.cohort."""

from pathlib import Path

import streamlit as st

from dermlens.cohort import results
from dermlens.cohort.store import Place
from ui import streamlit_internals, widgets
from ui.cohort import overview, reading, table
from ui.pages import COHORT

LIVE_SECONDS = 15


def page() -> None:
    widgets.head(COHORT)
    places = {Path(place.address).name: place for place in results.find_cohorts(results.cohorts_dir())}
    if not places:
        widgets.nothing_here(
            "There is no cohort yet.",
            "Answer a folder of images with `python -m dermlens.cohort run --model ID --input DIR --output "
            "cohorts/NAME`, and reload this page to see it.",
        )
        return
    widgets.unknown_in_link("cohort", places, "a cohort")
    name = st.selectbox("Cohort", list(places), key="cohort", bind="query-params", width=300)
    found = reading.status(places[name]).value
    running = found is not None and found.state == "running"
    st.fragment(everything, run_every=LIVE_SECONDS if running else None)(places[name])


def everything(output: Place) -> None:
    """Redraws alone while the cohort is running."""
    found, sentence = reading.status(output)
    if found is None:
        st.error(widgets.escape(sentence, 400), icon=":material/warning:")
        return
    if found.state == "running":
        st.caption(f":material/autorenew: The cohort is running: its parts are read again every {LIVE_SECONDS} s.")
    else:
        streamlit_internals.stop_redrawing()
    overview.counts(found)
    if not found.parts:
        st.caption("No shard is finished yet.")
        return
    rows, sentence = reading.rows(output, found)
    if rows is None:
        st.error(widgets.escape(sentence, 400), icon=":material/warning:")
        return
    table.by_risk(found, rows)
    table.not_readable(rows)
    overview.figures(rows)
    overview.against_validation(output, found, rows)


page()
