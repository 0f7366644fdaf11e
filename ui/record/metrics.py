"""The split "record" of the page Metrics: models and people on the cases whose outcome is known, and month by month."""

import pandas as pd
import streamlit as st

from dermlens.charts import metrics as metric_charts
from dermlens.charts import slices as charts
from dermlens.errors import RecordError
from dermlens.evaluation.class_mix import AT, HAM10000
from dermlens.evaluation.drift import MEANING
from dermlens.evaluation.intervals import Summary, summarise
from dermlens.evaluation.predictions import Predictions
from dermlens.labels import CLASSES, SUSPECT
from dermlens.models.registry import Entry
from dermlens.record.learning import drift, measured, months
from dermlens.record.learning.measured import FIGURES, SIDES, Changed, Compared
from dermlens.record.people import Who
from dermlens.record.store import audit
from dermlens.record.store.database import Session
from dermlens.wording import counted, joined, number, percent, percent_with_interval
from ui import cache, widgets
from ui.metrics import overview
from ui.record import session


def section(entry: Entry) -> None:
    """Show what the record teaches about a model, and about the people who use it."""
    record, who = session.record(), session.who()
    st.info(measured.BIAS, icon=":material/balance:")
    with record.database.reading() as database:
        head = audit.head(database)
        key = (record.settings.database, who, head.sha256 if head else "")
        tabs = st.tabs(["The model", "People and the model", "Month by month"], key="record-show", on_change="rerun")
        shows = (_model, _people, _months)
        for tab, show in zip(tabs, shows, strict=True):
            if tab.open:
                with tab:
                    try:
                        show(database, who, entry, key)
                    except RecordError as e:
                        st.info(widgets.escape(str(e), 400), icon=":material/lock:")


@st.cache_data(show_spinner="Measuring, with intervals", max_entries=32)
def _summary(key: tuple, model_id: str, _predictions: Predictions) -> Summary:
    return summarise(_predictions)


def _model(database: Session, who: Who, entry: Entry, key: tuple) -> None:
    found = measured.of_model(database, who, entry.id)
    if not len(found.predictions):
        widgets.nothing_here(
            f"No case with a known outcome was answered by {widgets.escape(entry.name)}.",
            "Enter outcomes on the page Record.",
        )
        return
    summary = _summary(key, entry.id, found.predictions)
    overview.headline(summary, measured.SPLIT)
    left_out = [
        f"{counted(found.other, 'image')} whose outcome is none of the seven diagnoses" if found.other else "",
        f"{counted(found.refused, 'image')} that the model refused" if found.refused else "",
        f"{counted(found.uncalibrated, 'image')} that it answered without a calibration" if found.uncalibrated else "",
    ]
    if any(left_out):
        st.caption(f"Left out: {joined([text for text in left_out if text])}.")
    if found.versions > 1:
        st.caption(f"{found.versions} different sets of weights answered under this name.")
    counts = summary.confusion
    figure = metric_charts.confusion_matrix(counts, f"{entry.name}, {AT[HAM10000]}", "count")

    def data() -> pd.DataFrame:
        return pd.DataFrame(counts, index=CLASSES, columns=CLASSES).rename_axis("true \\ called").reset_index()

    right = percent(float(counts.trace() / counts.sum()), 1)
    widgets.chart(figure, f"Confusion matrix on the record; {right} on the diagonal", data, "record-confusion")
    overview.per_class(summary, entry)


@st.cache_data(show_spinner="Measuring, with intervals", max_entries=32)
def _pairs(key: tuple, _table: pd.DataFrame) -> tuple[Changed, Compared]:
    return measured.changed(_table), measured.compared(_table)


def _people(database: Session, who: Who, entry: Entry, key: tuple) -> None:
    table = measured.paired_readings(database, who)
    if table.empty:
        widgets.nothing_here(
            "Nobody has read a case both before and with the model's answer.",
            "DERMLENS_RECORD_STUDY=1 asks for both; see docs/record.md.",
        )
        return
    changed, compared = _pairs(key, table)
    st.caption(
        "Read before the answer and once more with it, by the same person, before an outcome was entered; the model is "
        f"the one whose diagnosis was shown first, {AT[HAM10000]}. "
        f"{counted(compared.readings, 'reading')} of {counted(compared.lesions, 'lesion')} by "
        f"{compared.people} {'person' if compared.people == 1 else 'people'} have a known outcome."
    )
    rows = [
        {"": name, **{SIDES[side]: percent_with_interval(compared.figures[figure][side]) for side in SIDES}}
        for figure, name in FIGURES.items()
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Who is right how often, with 95 % intervals")
    for (a, b), test in compared.tests.items():
        st.markdown(
            f"{SIDES[a]} against {SIDES[b].lower()}: only the former right on **{test.only_a}**, only the latter on "
            f"**{test.only_b}** of {counted(test.n_lesions, 'lesion')} (McNemar, one reading a lesion, "
            f"p {'< 0.001' if test.p < 0.001 else f'= {number(test.p)}'})."
        )
    st.header("What the answer changed", anchor=False)
    st.caption("Against what the person saw the model call, at the class mix set then.")
    shares = {
        "The first reading was what the model called": changed.agreed_before,
        "The second one was": changed.agreed_after,
        "Overridden: the second one was not": changed.overridden,
        "The second reading was not the first": changed.changed,
        "Of those that first differed from the model, followed it": changed.followed,
        "Another management than before": changed.management,
    }
    st.dataframe(
        pd.DataFrame(
            [{"": name, "Readings": e.n_images, "Share": percent_with_interval(e)} for name, e in shares.items()]
        ),
        hide_index=True,
        alt="Agreement and overrides, with 95 % intervals",
    )
    seconds = {stage: number(value, 0) for stage, value in changed.seconds.items()}
    st.markdown(f"Median time: {seconds['before']} s without the answer, {seconds['after']} s more with it.")


def _months(database: Session, who: Who, entry: Entry, key: tuple) -> None:
    table = months.answered(database, who, entry.id)
    if table.empty:
        widgets.nothing_here(f"The record holds no answer of {widgets.escape(entry.name)}.", "Save cases on Predict.")
        return
    found = months.by_month(table, tuple(CLASSES[i] for i in SUSPECT))

    def data() -> pd.DataFrame:
        return pd.DataFrame(
            [
                {"month": month, "share": name, **estimate.to_dict()}
                for name, shares in found.shares.items()
                for month, estimate in zip(found.months, shares, strict=True)
            ]
        )

    figure = charts.shares_by_month(found.months, found.shares, "Answers, month by month")
    widgets.chart(
        figure, "Shares of the answers that were referred, suspect, refused or poor, by month", data, "months"
    )
    st.caption(
        "By the month of saving, whatever the outcome, with 95 % intervals; calls are those "
        f"{AT[HAM10000]}, whatever mix was set. Of the answers without rules for referral, none counts in Referred."
    )
    here = next((model.identity for model in cache.models()[0] if model.id == entry.id), "")
    answers = table["version"].value_counts()
    if len(answers) > 1 or here not in answers:
        each = [
            f"{version[:12]}{' (the one here)' if version == here else ''}, {n:,}" for version, n in answers.items()
        ]
        st.caption(f"Versions that answered under this name, with their answers: {'; '.join(each)}.")
    _drift(table, entry, here)


def _drift(table: pd.DataFrame, entry: Entry, version: str) -> None:
    """Say how far each month is from the images that the model was measured on; warn of the newest one."""
    st.header("Against validation, month by month", anchor=False)
    if version not in set(table["version"]):
        st.caption("The version of the model that is here has answered nothing yet, so there is nothing to compare.")
        return
    compared = drift.by_month(table, drift.references(entry), version)
    told = [(one, one.drift) for one in compared if one.drift is not None]
    if not told:
        sentence = compared[0].sentence if compared else "Nothing of its validation is here to compare with."
        st.caption(widgets.escape(sentence, 300))
        return
    newest = told[-1][0].month
    apart = [one.quantity.lower() for one, found in told if one.month == newest and found.verdict == "drift"]
    if apart:
        st.warning(
            f"In {newest}, {joined(apart)} drifted so far from validation that what was measured there need not hold.",
            icon=":material/moving:",
        )
    rows = [
        {
            "Month": one.month,
            "Quantity": one.quantity,
            "Verdict": found.verdict,
            "Index": found.index,
            "By chance": found.by_chance,
            "Images": found.n,
        }
        for one, found in reversed(told)
    ]
    number_column = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        alt="Distance of every month from validation",
        column_config={"Index": number_column, "By chance": number_column},
    )
    few: dict[str, list[str]] = {}
    for one in compared:
        if one.drift is None:
            few.setdefault(one.quantity.lower(), []).append(one.month)
    if few:
        parts = (f"{quantity} in {joined(months_of)}" for quantity, months_of in few.items())
        st.caption(f"Too few values to compare: {'; '.join(parts)}.")
    st.caption(MEANING)
