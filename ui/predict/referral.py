"""Refer or not: the first line of a case, and the rules behind it."""

import streamlit as st

from dermlens.case.decision import FITTED_MIX, Decision, decide
from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.trust import referral as rules
from dermlens.trust.referral import Referral
from dermlens.trust.referral_rules import RULES
from dermlens.wording import interval, percent, short_percent
from ui import widgets


def sentence(image: CaseImage, opinion: Opinion) -> None:
    """Say whether to refer, by the rules over all models shown for diagnosis; say so if there are none."""
    decision = decide(opinion)
    if decision is None:
        st.caption("No model here has rules for referral: decide without this page.")
        return
    said = decision.sentence
    poor = any(finding.poor for finding in image.quality.findings)
    if poor:
        said += " The picture may be too poor to be judged: take a better one first."
    alarm = poor or decision.refer or decision.beside
    show, icon = (st.warning, ":material/forward:") if alarm else (st.info, ":material/info:")
    show(f"{widgets.escape(said, 2000)} *(by the rules of {widgets.escape(decision.model.name)})*", icon=icon)
    with st.expander("The rules", icon=":material/rule:"):
        _list_rules(decision, {m.id: m.name for m in opinion.models})


def _list_rules(decision: Decision, names: dict[str, str]) -> None:
    marks = {True: "**fires**", False: "does not fire"}
    fired = decision.fired
    lines = [f"- {rule.description} *On this image:* {marks[fired[rule.key]]}." for rule in RULES if rule.key in fired]
    st.markdown("An image is referred if at least one of these holds:\n\n" + "\n".join(lines))
    referral = decision.referral
    wanted = [f"{short_percent(s)} ({widgets.escape(names.get(m, m))})" for m, s in referral.sensitivity.items()]
    st.caption(
        f"Each model has thresholds of its own, chosen on validation to find {', '.join(wanted)} of the images there: "
        "the choice that missed the fewest and kept the share of referred images at or below "
        f"{percent(referral.cap)}. {FITTED_MIX} {_measured(referral)}"
    )


def _measured(referral: Referral) -> str:
    split = "test" if "test" in referral.measured else "validation"
    found = referral.measured[split].referred
    missed = rules.what_is_missed(referral)
    share = f"They refer {percent(found.value)} of the {split} split (95 % interval {interval(found, 0)});"
    return f"{share} {missed}"
