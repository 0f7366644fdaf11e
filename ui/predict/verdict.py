"""The answer to one image on one card: refer or not and why, the diagnosis, the agreement, what is not ruled out."""

import streamlit as st

from dermlens.case.decision import REFER, Decision
from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.case.summary import agreement, group_totals
from dermlens.labels import GROUP_TITLES, GROUPS, INDEX, NAMES
from dermlens.models.model import AnyModel
from dermlens.trust.conformal import CASE_LEVEL
from dermlens.trust.referral import what_is_missed
from dermlens.wording import joined, percent, short_percent
from ui import splits, widgets
from ui.predict import warnings


def card(image: CaseImage, opinion: Opinion, decision: Decision | None) -> None:
    """Show the verdict; of an image that no model knows, that and nothing else."""
    kind = "withheld" if opinion.withheld else "refer" if decision and decision.refer else "none"
    with st.container(border=True, gap="xsmall", key=f"verdict-{kind}"):
        if not opinion.asked:
            st.header("No answer", anchor=False)
            st.text("\n".join(image.failures.get(m.id, "Not asked.") for m in opinion.models))
            return
        if opinion.withheld:
            warnings.withheld(image, opinion)
            return
        _decision(image, decision)
        if opinion.lead:
            _diagnosis(opinion, opinion.lead)
        _agreement(opinion)
        _not_ruled_out(opinion)


def _decision(image: CaseImage, decision: Decision | None) -> None:
    poor = image.quality.poor
    if decision is None:
        st.header("No rules for referral", anchor=False)
        st.markdown("No model here has rules for referral: decide without this page.")
    elif decision.refer:
        st.header(f":material/forward: {REFER}", anchor=False)
        reason, *more = decision.reasons
        also = f" {_more(len(more))}" if more else ""
        st.markdown(f"{widgets.escape(reason[0].upper() + reason[1:], 600)}.{also}")
        _beside(decision)
    else:
        st.header(decision.verdict, anchor=False)
        _beside(decision)
        st.markdown(f"That is **not an all-clear**: {what_is_missed(decision.referral)}{_elsewhere(decision)}")
    if poor:
        found = [f for f in image.quality.findings if f.poor]
        st.markdown(
            f":material/blur_on: **{found[0].text}** It may be too poor to be judged: take a better one first. "
            f"{found[0].advice}"
        )


def _elsewhere(decision: Decision) -> str:
    said = splits.not_referred_elsewhere(decision.model.id)
    return f" {said}" if said else ""


def _beside(decision: Decision) -> None:
    for said in decision.beside:
        st.markdown(f":material/visibility: {widgets.escape(said, 600)}")


def _more(count: int) -> str:
    return "One more reason is listed below." if count == 1 else f"{count} more reasons are listed below."


def _diagnosis(opinion: Opinion, model: AnyModel) -> None:
    answer, diagnosis = opinion.shown[model.id], opinion.call(model)
    share = percent(float(answer.probabilities[INDEX[diagnosis.code]]))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="diagnosis"):
        st.subheader(f"{NAMES[diagnosis.code]} {share}", anchor=False)
        widgets.group_badge(diagnosis)
    totals = group_totals(answer.probabilities)
    shares = [f"{GROUP_TITLES[g]} {percent(totals[g])}" for g in reversed(GROUPS)]
    whole = " · ".join(shares).replace("-", "\u2011").replace(" %", "\u00a0%")
    st.caption(
        f"{'Probability' if answer.calibrated else 'Uncalibrated score'} by {widgets.escape(model.name)}. {whole}"
    )


def _agreement(opinion: Opinion) -> None:
    if opinion.voices:
        icon = "call_split" if not opinion.agree else "join_inner" if len(opinion.voices) > 1 else "person"
        said = agreement({m.name: opinion.shown[m.id] for m in opinion.voices})
        st.markdown(f":material/{icon}: {widgets.escape(said, 1000)}")
    silent = [m.name for m in opinion.asked if m.id in opinion.refused]
    if silent:
        one = len(silent) == 1
        does, calls = ("does", "calls") if one else ("do", "call")
        names = widgets.escape(joined(silent), 400)
        st.markdown(f":material/help: :gray[{names} {does} not know images like this one and {calls} nothing.]")


def _not_ruled_out(opinion: Opinion) -> None:
    sets = opinion.lead.fitted.prediction_sets if opinion.lead else None
    if sets is None or opinion.lead is None:
        return
    said = sets.sentence(sets.sets(opinion.answers[opinion.lead.id].probabilities), promise=False)
    st.markdown(f":material/checklist: {said} *({short_percent(CASE_LEVEL)} prediction set)*")
