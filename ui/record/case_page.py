"""One case in full: its images over time, what was answered, read and found, and who did what when."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.case.decision import REFER, verdict
from dermlens.charts import case as charts
from dermlens.errors import RecordError
from dermlens.interchange import fhir
from dermlens.labels import DIAGNOSES, INDEX, NAMES
from dermlens.record import cases, consent, readings
from dermlens.record.answers import beside
from dermlens.record.at_mix import shown_shares, suspect_share
from dermlens.record.cases import Case
from dermlens.record.exchange.fhir import case_as_fhir
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.store.database import Session
from dermlens.record.store.tables import Image, Person, Prediction
from dermlens.record.vocabulary import BASES, CONSENTS, MANAGEMENTS, STAGES
from dermlens.wording import counted
from ui import cache, widgets
from ui.record import disclosing, fields, images, lesion
from ui.record.case_list import SUSPECT, place


def show(database: Session, record: Record, who: Who, number: str) -> None:
    """Show the case whose number stands in the link."""
    st.button("All cases", icon=":material/arrow_back:", on_click=_leave, type="tertiary")
    try:
        if not number.isascii() or not number.isdigit() or len(number) > 15:
            raise RecordError(readings.NO_CASE)
        case = cases.one(database, who, int(number))
    except RecordError as e:
        st.info(widgets.escape(str(e), 400), icon=":material/folder_off:")
        return
    if told := st.session_state.pop(lesion.TOLD, ""):
        st.error(widgets.escape(told, 600), icon=":material/error:")
    _head(case)
    images.over_time(record, case)
    _probabilities(case)
    _answers(case)
    closed = readings.is_withdrawn(database, case.lesion)
    left, right = st.columns(2, gap="medium")
    with left:
        _outcome(record, who, case, closed)
    with right:
        _readings(record, who, case, closed)
    with st.expander("Patient and lesion", icon=":material/person:"):
        lesion.show(record, who, case)
    with st.expander("History", icon=":material/history:"):
        _history(case)
    if who.may("export") and fhir.available():
        _as_fhir(record, who, case.lesion.id)
    if who.may("withdraw consent"):
        with st.expander("Withdraw consent", icon=":material/person_remove:"):
            _withdraw(record, who, case)


def _as_fhir(record: Record, who: Who, number: int) -> None:
    def made() -> bytes:
        with record.database.reading() as database:
            return case_as_fhir(cases.one(database, who, number), who)

    st.download_button(
        "Save as FHIR R4 (JSON)",
        disclosing.noted(made, "fhir", lesion_id=number),
        f"case-{number}.json",
        "application/fhir+json",
        key="case-fhir",
        icon=":material/download:",
        on_click="ignore",
        help="The answers and the outcome for a program to read; of the patient birth year and sex alone.",
    )


def _leave() -> None:
    st.query_params.pop("case", None)


def _head(case: Case) -> None:
    where = place(case.lesion.site, case.lesion.side)
    label = f" · {widgets.escape(case.lesion.label)}" if case.lesion.label else ""
    st.header(f"Case {case.lesion.id}", anchor=False)
    parts = [where or "Site not said", counted(len(case.images), "image")]
    if case.patient is None:
        parts.append("no patient")
    elif case.patient.withdrawn_at is not None:
        parts.append(f"consent withdrawn on {case.patient.withdrawn_at:%d %B %Y}")
    else:
        born = f", born {case.patient.birth_year}" if case.patient.birth_year else ""
        sex = f", {case.patient.sex}" if case.patient.sex else ""
        agreed = CONSENTS.get(case.patient.consent_scope or "", "no consent put down")
        parts.append(f"patient {case.patient.id}{born}{sex} ({agreed.lower()})")
    st.markdown(f"{' · '.join(parts)}{label}")
    if any(image.synthetic for image in case.images):
        st.caption("Synthetic drawing: shows no real lesion, and is left out of all figures and exports.")


def _probabilities(case: Case) -> None:
    lead = [(i, p) for i in case.images for p in case.predictions[i.id] if p.lead and p.probabilities and p.called]
    if len(lead) < 2:
        return
    table = np.array([p.probabilities for _, p in lead], float)
    times = [i.taken_at or i.saved_at for i, _ in lead]
    names = sorted({_name(p.model_id) for _, p in lead})
    figure = charts.over_time(times, table, ", ".join(names))

    def data() -> pd.DataFrame:
        return pd.DataFrame(table, columns=list(INDEX)).assign(time=times)

    last = DIAGNOSES[int(table[-1].argmax())].name
    widgets.chart(figure, f"Probabilities of the case over time; the last image: {last}.", data, "over-time")
    if any(p.shown for _, p in lead):
        st.caption("At the class mix that the model was fitted for, whatever mix was set.")


def _answers(case: Case) -> None:
    st.header("What was answered", anchor=False)
    rows = [_answer_row(image, answer) for image in case.images for answer in case.predictions[image.id]]
    st.dataframe(
        widgets.in_percent(pd.DataFrame(rows), "Probability", SUSPECT),
        hide_index=True,
        alt="The answers of the models, a row each",
        column_config={
            "Image": st.column_config.DateColumn(format="YYYY-MM-DD", width=100),
            "Probability": st.column_config.NumberColumn(width=120),
            SUSPECT: st.column_config.NumberColumn(width=190),
            "Milliseconds": st.column_config.NumberColumn(format="%.0f", width=90),
        },
    )
    for image in case.images:
        lead = next((a for a in case.predictions[image.id] if a.lead), None)
        if lead is not None and lead.refer is not None:
            also = beside(lead)
            said = f"{REFER}: {'; '.join(lead.reasons)}" if lead.refer else verdict(False, also)
            said = " ".join([f"{said}.", *also])
            st.caption(f"{(image.taken_at or image.saved_at):%d %B %Y}: {widgets.escape(said, 600)}")
    mixes = {str(a.settings.get("class_mix") or "") for i in case.images for a in case.predictions[i.id] if a.shown}
    if mixes:
        said = " ".join(sorted(mixes - {""}))
        st.caption(
            "Calls and probabilities are those that were shown, at the class mix that was set. "
            f"{widgets.escape(said, 600)} What is not ruled out and referral go by the mix that models were fitted for."
        )


def _name(model_id: str) -> str:
    """Return what people read for a model; its id where it is not here any more."""
    return next((entry.name for entry in cache.entries() if entry.id == model_id), model_id)


def _answer_row(image: Image, answer: Prediction) -> dict[str, object]:
    shares = shown_shares(answer.called, answer.shown, answer.probabilities)
    suspect = suspect_share(shares)
    return {
        "Image": image.taken_at or image.saved_at,
        "Model": _name(answer.model_id),
        "Call": NAMES[answer.called] if answer.called else "No answer" if answer.error else "No diagnosis",
        "Probability": 100 * max(shares) if shares else np.nan,
        SUSPECT: np.nan if suspect is None else 100 * suspect,
        "Not ruled out": ", ".join(answer.prediction_set or ()) if answer.called else "",
        "Refer": {True: "yes", False: "no", None: ""}[answer.refer],
        "Version": f"{answer.model_sha256[:12]}, Dermlens {answer.app_version}",
        "Milliseconds": answer.milliseconds,
        "Error": answer.error or "",
    }


def _outcome(record: Record, who: Who, case: Case, closed: bool) -> None:
    st.header("What it turned out to be", anchor=False)
    gone = cases.superseded(case.outcomes)
    if case.outcome is None:
        st.caption("Open.")
    for found in reversed(case.outcomes):
        said = widgets.escape(fields.said(found.diagnosis, found.diagnosis_words), 200)
        line = f"{said}, by {BASES[found.basis].lower()}, {found.at:%d %B %Y}"
        source = f" ({widgets.escape(found.source, 120)})" if found.source else ""
        st.markdown(f"~~{line}~~ superseded" if found.id in gone else f"**{line}**{source}")
    if closed or not who.may("enter outcomes"):
        return
    with st.popover("Enter an outcome" if case.outcome is None else "Correct the outcome", icon=":material/edit:"):
        found_now = fields.outcome(f"outcome-{case.lesion.id}-{len(case.outcomes)}")
        if (
            st.button("Enter", key="enter-outcome", type="primary", disabled=found_now is None)
            and found_now is not None
        ):
            _told(lambda: readings.enter_outcome(record, who, case.lesion.id, found_now))


def _readings(record: Record, who: Who, case: Case, closed: bool) -> None:
    st.header("What people said", anchor=False)
    every = [(image, reading) for image in case.images for reading in case.readings[image.id]]
    gone = cases.superseded([reading for _, reading in every])
    if not every:
        st.caption("Nobody has put down a reading.")
    known = case.outcomes[0].at if case.outcomes else None
    for image, reading in every:
        who_said = _called(case.people[reading.person_id], who)
        line = (
            f"{widgets.escape(fields.said(reading.diagnosis, reading.diagnosis_words), 200)}, "
            f"{reading.confidence} % sure, {MANAGEMENTS[reading.management].lower()}"
        )
        about = f"{who_said}, {STAGES[reading.stage]}, image of {(image.taken_at or image.saved_at):%d %B %Y}"
        if known is not None and reading.at > known:
            about += ", once the outcome was known"
        st.markdown(f"~~{line}~~ superseded" if reading.id in gone else f"**{line}**")
        st.caption(
            about + (f": {widgets.escape(reading.note, 2000)}" if reading.note and reading.id not in gone else "")
        )
    if closed or not who.may("read") or not case.images:
        return
    image = case.images[-1]
    with st.popover("Put down a reading", icon=":material/edit_note:"):
        key = f"reading-{image.id}-{len(every)}"
        fields.reading(key)
        given = fields.reading_of(key, "after")
        if st.button("Put down", key="put-down", type="primary", disabled=given is None) and given is not None:
            _told(lambda: readings.read(record, who, image.id, given))


def _told(change: Callable[[], object]) -> None:
    """Change something and draw the page anew, or say why it cannot be changed."""
    try:
        change()
    except RecordError as e:
        st.error(widgets.escape(str(e), 400), icon=":material/error:")
        return
    st.rerun()


def _called(person: Person, who: Who) -> str:
    return "You" if person.subject == who.subject else f"{person.role.capitalize()} {person.id}"


def _history(case: Case) -> None:
    st.dataframe(
        pd.DataFrame(
            [
                {"Line": h.sequence, "At": h.at, "By": h.actor, "What": h.action, "Of": h.object, "Hash": h.sha256[:16]}
                for h in case.history
            ]
        ),
        hide_index=True,
        alt="The lines of the audit chain about this case",
        column_config={"At": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss", help="UTC")},
    )


def _withdraw(record: Record, who: Who, case: Case) -> None:
    whose = "of the patient, in all the patient's cases" if case.patient else "of this case"
    st.markdown(
        f"Erases what tells who somebody is, {whose}: pictures, pseudonym, birth year, sex, place, labels, notes, "
        "sources and devices. Answers, readings and outcomes stay. This cannot be undone."
    )
    sure = st.checkbox("Consent is withdrawn", key=f"withdraw-{case.lesion.id}")
    st.button(
        "Erase",
        icon=":material/delete_forever:",
        disabled=not sure,
        on_click=_erase,
        args=(record, who, case.lesion.id),
    )


def _erase(record: Record, who: Who, number: int) -> None:
    """Runs before the page reads: while anybody does, what was erased stays in the file beside that of SQLite."""
    try:
        erased = consent.withdraw(record, who, number)
    except RecordError as e:
        st.session_state[lesion.TOLD] = str(e)
        return
    st.toast(f"Erased in {counted(erased, 'case')}.")
