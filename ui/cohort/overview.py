"""How far a cohort is, what was called in it, and how far its images are from those of validation."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from dermlens.charts import cohort as charts
from dermlens.cohort.part import JUDGED
from dermlens.cohort.results import Status
from dermlens.cohort.store import Place
from dermlens.evaluation.class_mix import AT
from dermlens.evaluation.drift import MEANING
from dermlens.labels import CLASSES, NAMES
from dermlens.wording import counted, duration, percent
from ui import widgets
from ui.cohort import reading

OF_READABLE = "The share is of the images that could be read."


def counts(found: Status) -> None:
    """Say how far the run is and what was counted."""
    readable = max(1, found.done - found.counts["unreadable"])
    record = found.record
    name = widgets.escape(str(record.get("model_name", record.get("model"))))
    mix = AT.get(str(record.get("class_mix")), "")
    st.progress(found.done / max(1, found.rows), f"{found.done:,} of {counted(found.rows, 'image')}: {found.state}")
    st.caption(f"Answered by {name}; probabilities {mix}. Images: {widgets.escape(str(record.get('input')), 200)}")
    left = "" if found.finished or found.state == "stopped" else duration(found.seconds_left)
    rate = "n/a" if not found.rate > 0 else f"{found.rate:.1f} / s"
    cells = st.grid(3, min_column_width=150)
    for label, value, help_text in (
        ("Rate", rate, "Images a second, of all workers together, while they worked"),
        ("Time left" if left else "Not readable", left or f"{found.counts['unreadable']:,}", None),
        *((("Not readable", f"{found.counts['unreadable']:,}", None),) if left else ()),
        (
            "No diagnosis",
            _share(found, "refused", readable),
            f"{reading.UNLIKE}: they get no diagnosis. {OF_READABLE} n/a: the model cannot tell such images.",
        ),
        (
            "A rule for referral applies",
            _share(found, "referred", readable),
            f"Those without a diagnosis among them. {OF_READABLE} n/a: the model has no rules for referral.",
        ),
        ("Poor pictures", _share(found, "poor", readable), f"Blurred, badly lit or too small. {OF_READABLE}"),
    ):
        with cells.cell():
            st.metric(label, value, help=help_text)


def figures(table: pa.Table) -> None:
    """Draw what was called, and the suspect probabilities of the images that have a diagnosis."""
    counted_calls = {c["values"]: c["counts"] for c in pc.value_counts(table["call"]).to_pylist()}
    readable = len(table) - pc.sum(pc.is_valid(table["error"])).as_py()
    of_class = [counted_calls.get(code, 0) for code in CLASSES]
    shares = reading.diagnosed(table)["suspect"].to_numpy()
    left, right = st.columns(2, gap="medium")
    with left:
        none = readable - sum(of_class)
        data = pd.DataFrame({"call": [*(NAMES[c] for c in CLASSES), "No diagnosis"], "images": [*of_class, none]})
        widgets.chart(charts.calls(of_class, none), "Images by call", data.copy, "cohort-calls")
    with right:
        data_of_shares = pd.DataFrame({"suspect": shares})
        widgets.chart(charts.suspect(shares), "Suspect probabilities", data_of_shares.copy, "cohort-suspect")


def against_validation(output: Place, found: Status, table: pa.Table) -> None:
    """Say how far the images are from those that the model was measured on."""
    st.header("Against validation", anchor=False)
    compared, sentence = reading.compared(output, found, table)
    if compared is None:
        st.caption(widgets.escape(sentence, 400))
        return
    measured = [(one.name, one.drift) for one in compared if one.drift is not None]
    if measured:
        rows = [
            {
                "quantity": name,
                "verdict": d.verdict,
                "index": d.index,
                "by chance": d.by_chance,
                "largest gap": d.statistic,
                "p-value": d.p_value,
                "images": d.n,
                "validation": d.m,
            }
            for name, d in measured
        ]
        frame = pd.DataFrame(rows)
        widgets.chart(charts.drift(measured), "Index of every quantity", frame.copy, "cohort-drift")
        number = st.column_config.NumberColumn
        gap_help = "Between the two distribution functions; of calls Cramér's V"
        st.dataframe(
            frame,
            hide_index=True,
            alt="Distance of every quantity from validation",
            column_config={
                **{name: number(format="%.3f") for name in ("index", "by chance")},
                "largest gap": number(format="%.3f", help=gap_help),
                "p-value": number(format="%.2g"),
            },
        )
    why = {one.name: one.sentence for one in compared if one.drift is None}
    if not measured and len(set(why.values())) == 1:
        st.caption(widgets.escape(next(iter(why.values())), 300))
        return
    for name, sentence in why.items():
        st.caption(f"{name}: {widgets.escape(sentence, 300)}")
    if left_out := len(reading.refused(table)):
        st.caption(f"Calls and suspect probability are compared without {counted(left_out, 'refused image')}.")
    st.caption(MEANING)


def _share(found: Status, name: str, of: int) -> str:
    """Return how many images that is of so many; "n/a" where it was judged of none."""
    number = found.counts[name]
    return f"{number:,} ({percent(number / of, 1)})" if found.counts[JUDGED.get(name, "rows")] else "n/a"
