"""Refer or not: the sentence at the top of a case, and what the rules did on the data, on page Metrics."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from dermlens import referral as rules
from dermlens.case import CaseImage
from dermlens.charts import referral as charts
from dermlens.charts.style import NAMES, interval, percent
from dermlens.intervals import Figure
from dermlens.labels import CLASSES
from dermlens.predictions import Predictions
from dermlens.referral import RULES, Referral
from dermlens.registry import AnyModel, Entry
from dermlens.trust import accepts, refusing
from ui import cache, widgets


def sentence(image: CaseImage, models: Sequence[AnyModel]) -> None:
    """Say whether to refer, by the rules of one model; say so if none has any.

    All rules refer at most the same share, so those that missed the fewest malignant and pre-malignant images of
    validation speak; of equals, the best model's.
    """
    having = [(m, m.fitted.referral) for m in models if m.fitted.referral is not None and m.id in image.answers]
    if not having:
        st.caption("No model here has rules for referral: decide without this page.")
        return
    model, referral = min(having, key=lambda pair: rules.n_missed(pair[1], "validation"))
    probabilities = image.answers[model.id].probabilities
    fired = _fired(image, model, referral, models)
    said = rules.sentence(referral, probabilities, fired)
    poor = any(finding.poor for finding in image.quality.findings)
    if poor:
        said += " The picture may be too poor to be judged: take a better one first."
    show, icon = (st.warning, ":material/forward:") if poor or rules.any_of(fired)[0] else (st.info, ":material/info:")
    show(f"{widgets.escape(said, 2000)} *(by {widgets.escape(model.name)})*", icon=icon)
    with st.expander("The rules", icon=":material/rule:"):
        _list_rules(referral, {key: bool(here[0]) for key, here in fired.items()})


def _fired(image: CaseImage, model: AnyModel, referral: Referral, models: Sequence[AnyModel]) -> dict[str, np.ndarray]:
    probabilities = image.answers[model.id].probabilities[None]
    sets = model.fitted.prediction_sets
    members = [image.answers[m] for m in model.card.get("members", {}) if m in image.answers]
    can_tell = accepts(model, image.answers) is not None
    return referral.fired(
        probabilities,
        sets.sets(probabilities) if sets else None,
        np.array([[int(a.logits.argmax()) for a in members]]) if len(members) > 1 else None,
        np.array([model.id in refusing(image, models)]) if can_tell else None,
    )


def _list_rules(referral: Referral, fired: dict[str, bool]) -> None:
    marks = {True: "**fires**", False: "does not fire"}
    lines = [f"- {RULES[key]}{_limit(referral, key)} *On this image:* {marks[here]}." for key, here in fired.items()]
    st.markdown("An image is referred if at least one of these holds:\n\n" + "\n".join(lines))
    st.caption(
        f"Both thresholds were chosen on validation to find {100 * referral.sensitivity:g} % there, the most that "
        f"keeps the share of referred images at or below {percent(referral.cap)}. {_measured(referral)}"
    )


def _limit(referral: Referral, key: str) -> str:
    limit = {"melanoma": referral.melanoma, "malignant": referral.malignant}.get(key)
    return "" if limit is None else f" Threshold: {percent(limit, 1)}."


def _measured(referral: Referral) -> str:
    split = "test" if "test" in referral.measured else "validation"
    found: Figure = referral.measured[split]["referred"]
    missed = rules.what_is_missed(referral)
    share = f"They refer {percent(found.value)} of the {split} split (95 % interval {interval(found, 0)});"
    return f"{share} {missed}"


def section(entry: Entry, split: str, whole: Predictions) -> None:
    """Show how much the rules refer, what they miss, and accuracy against coverage; part of the Metrics page.

    Args:
        entry: the model. split: the chosen split. whole: the model's predictions of all its images.
    """
    referral = cache.fitted(entry).referral
    known = referral is not None and split in referral.measured
    st.caption(
        f"{split.capitalize()} split, all of it: {len(whole):,} images of {whole.n_lesions:,} lesions; 95 % intervals "
        "over lesions. The rules were chosen on validation. Filters chosen above do not apply here."
    )
    if referral is None or not known:
        widgets.nothing_here(
            "This model has no rules for referral that were measured on this split.",
            f"{_why(entry)}Make them with `python -m training.fit {entry.id} --only referral`.",
        )
    else:
        _tables(referral, split)
    p, probabilities = cache.unseen(entry, split).value or (whole, whole.probabilities)
    curve = rules.coverage_curve(probabilities[np.arange(len(p)), p.y_pred], p.y_pred == p.y_true)
    kept = 1 - referral.measured[split]["referred"].value if referral is not None and known else None

    def data() -> pd.DataFrame:
        return pd.DataFrame({"coverage": curve[0], "accuracy": curve[1]})

    half = curve[1][np.searchsorted(curve[0], 0.5)]
    widgets.chart(
        charts.coverage({entry.name: curve}, kept),
        f"Accuracy against the share of images kept, surest first: {percent(half, 1)} of the calls are right on the "
        f"surest half, {percent(curve[1][-1], 1)} on all.",
        data,
        "coverage",
    )
    st.caption(
        "Surest first: by the probability of the diagnosis called. The dotted line, where there is one, is at the "
        "share of images that the rules do not refer; the rules go by more than this order."
    )


def _why(entry: Entry) -> str:
    why = next((s for s in cache.fitted(entry).missing if "referral.json" in s), "")
    return f"{widgets.escape(why, 400)} " if why else ""


def _tables(referral: Referral, split: str) -> None:
    found = referral.measured[split]
    st.markdown(
        f"Thresholds for {100 * referral.sensitivity:g} % sensitivity: melanoma {percent(referral.melanoma, 1)}, "
        f"malignant or pre-malignant {percent(referral.malignant, 1)}. "
        f"At most {percent(referral.cap)} of the validation images were to be referred."
    )
    totals = {"Referred": found["referred"], "Benign images referred": found["benign_referred"]}
    missed = {f"{NAMES[CLASSES[i]]}, not referred": found["missed"][CLASSES[i]] for i in rules.SUSPECT}
    rows = [{"What": name, **_cells(f)} for name, f in {**totals, **missed}.items()]
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Share referred, and cancers not referred, with intervals")
    of_rules = [
        {
            "Rule": RULES[key],
            "Fires": percent(values["fired"].value, 1),
            "95 % interval": interval(values["fired"]),
            "Fires alone": percent(values["alone"].value, 1),
        }
        for key, values in found["rules"].items()
    ]
    st.dataframe(pd.DataFrame(of_rules), hide_index=True, alt="How often each rule fires, and fires alone")


def _cells(figure: Figure) -> dict[str, str]:
    count = "n/a" if np.isnan(figure.value) else f"{round(figure.value * figure.n_images)} of {figure.n_images}"
    return {"Share": percent(figure.value, 1), "95 % interval": interval(figure), "Images": count}
