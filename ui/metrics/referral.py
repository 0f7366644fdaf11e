"""What the rules for referral refer and miss; part of the Metrics page."""

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.charts import decisions as charts
from dermlens.estimate import Estimate
from dermlens.evaluation.predictions import Predictions
from dermlens.labels import NAMES
from dermlens.models.registry import Entry
from dermlens.trust import referral as rules
from dermlens.trust.referral import Referral
from dermlens.trust.referral_rules import RULES
from dermlens.trust.thresholds import TARGETS
from dermlens.wording import counted, interval, percent, percent_with_interval, short_percent
from ui import cache, widgets

CHOSEN = (
    "The rules were chosen on validation, where they are measured cross-fitted: each image by rules fitted on other "
    "lesions."
)


def section(entry: Entry, split: str, whole: Predictions) -> None:
    """Show how much the rules refer, what they miss, and accuracy against coverage; part of the Metrics page.

    Args:
        entry: the model. split: the chosen split. whole: the model's predictions of all its images.
    """
    referral = cache.fitted(entry).referral
    known = referral is not None and split in referral.measured
    st.caption(
        f"{split.capitalize()} split, all of it: {counted(len(whole), 'image')} of "
        f"{counted(whole.n_lesions, 'lesion')}; 95 % intervals over lesions. {CHOSEN} "
        "Filters chosen above do not apply here."
    )
    if referral is None or not known:
        widgets.not_fitted(entry, "rules for referral that were measured on this split", "referral")
    else:
        _tables(referral, split, {e.id: e.name for e in cache.entries()})
    p, probabilities = cache.unseen(entry, split).value or (whole, whole.probabilities)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == p.y_true
    curve, intervals = rules.coverage_curve(confidence, right), _intervals(confidence, right, p.lesion)
    kept = 1 - referral.measured[split].referred.value if referral is not None and known else None

    def data() -> pd.DataFrame:
        ends = {end: {place: getattr(e, end) for place, e in intervals.items()} for end in ("low", "high")}
        return pd.DataFrame({"coverage": curve[0], "accuracy": curve[1]}).join(pd.DataFrame(ends), on="coverage")

    half = curve[1][np.searchsorted(curve[0], 0.5)]
    widgets.chart(
        charts.coverage(curve, intervals, kept, f"{entry.name}, {split}"),
        f"Accuracy against the share of images kept, surest first: {percent(half, 1)} of the calls are right on the "
        f"surest half, {percent(curve[1][-1], 1)} on all.",
        data,
        "coverage",
    )
    st.caption(
        "Surest first: by the probability of the diagnosis called. The dotted line, where there is one, is at the "
        "share of images that the rules do not refer; the rules look at more than this probability."
    )


@st.cache_data(show_spinner="Measuring the curve, with intervals", max_entries=64)
def _intervals(confidence: np.ndarray, right: np.ndarray, lesion: np.ndarray) -> dict[float, Estimate]:
    return rules.coverage_intervals(confidence, right, lesion)


def _tables(referral: Referral, split: str, names: dict[str, str]) -> None:
    found = referral.measured[split]
    st.markdown(
        "Each of these models has thresholds of its own. They were chosen together: of the wanted sensitivities those "
        "that miss the fewest malignant and pre-malignant images of validation and refer at most "
        f"{percent(referral.cap)} of its images.{referral.cap_broken}"
    )
    targets = {rule.key: TARGETS[rule.target].title for rule in RULES if rule.target}
    limits = [
        {
            "Model": names.get(model, model),
            "Wanted sensitivity": short_percent(referral.sensitivity[model]),
            **{f"{title}, threshold": percent(own[key], 1) for key, title in targets.items()},
        }
        for model, own in referral.thresholds.items()
    ]
    widgets.table(pd.DataFrame(limits), "The thresholds of every model")
    totals = {"Referred": found.referred, "Benign images referred": found.benign_referred}
    missed = {f"{NAMES[code]}, not referred": share for code, share in found.missed.items()}
    rows = [{"What": name, **_cells(f)} for name, f in {**totals, **missed}.items()]
    widgets.table(
        pd.DataFrame(rows),
        "Share referred, and malignant or pre-malignant images not referred, with intervals",
    )
    of_rules = [
        {
            "Rule": rule.description,
            "Applies": percent_with_interval(found.rules[rule.key].fired),
            "Applies alone": percent_with_interval(found.rules[rule.key].alone),
        }
        for rule in RULES
        if rule.key in found.rules
    ]
    widgets.table(pd.DataFrame(of_rules), "How often each rule applies, and applies alone")


def _cells(estimate: Estimate) -> dict[str, str]:
    count = (
        "n/a" if np.isnan(estimate.value) else f"{round(estimate.value * estimate.n_images):,} of {estimate.n_images:,}"
    )
    return {"Share": percent(estimate.value, 1), "95 % interval": interval(estimate), "Images": count}
