"""The class mix that a case's probabilities hold for, and another one that a person may set."""

from dataclasses import replace

import numpy as np
import streamlit as st

from dermlens.case.opinion import Opinion
from dermlens.labels import CLASSES, SUSPECT
from dermlens.trust.calibration import mix_at
from dermlens.wording import percent
from ui import cache, state, widgets

STEP = 0.5  # percent
UNCHANGED = "Calibrated probabilities hold for the class mix of HAM10000."
"""Shown where no other one can be set."""


def choose(opinion: Opinion) -> Opinion:
    """Let a person set how many lesions are malignant or pre-malignant where the image comes from.

    Args:
        opinion: uncalibrated scores hold for no class mix and stay as they are.

    Returns:
        The opinion at that class mix, with a sentence that says which; without one if no model is calibrated.
    """
    table = cache.split_table()
    if not any(a.calibrated for a in opinion.answers.values()):
        return opinion
    if table.value is None:
        st.caption(widgets.escape(table.sentence, 400))
        return opinion
    mix = np.array([(table.value["dx"] == code).sum() for code in CLASSES])
    usual = mix[list(SUSPECT)].sum() / mix.sum()
    nearest = STEP * round(100 * usual / STEP)
    with st.popover(f"Class mix: {percent(_chosen(usual, nearest), 1)} malignant or pre-malignant", key="class-mix"):
        wanted = st.slider(
            "Malignant or pre-malignant among the lesions you see",
            STEP,
            90.0,
            nearest,
            STEP,
            format="%.1f %%",
            key=state.PREVALENCE,
            bind="query-params",
        )
        st.caption(
            "Re-weights the calibrated probabilities for a clinic that sees more or fewer of them. The proportions "
            "among the malignant and pre-malignant diagnoses, and among the benign ones, stay those of HAM10000."
        )
    if wanted == nearest:
        return replace(
            opinion,
            class_mix=f"The probabilities hold where {percent(usual, 1)} of lesions are malignant or pre-malignant, as "
            "in HAM10000.",
        )
    return opinion.at_mix(
        mix,
        mix_at(mix, wanted / 100),
        f"The probabilities are re-weighted for lesions of which {percent(wanted / 100, 1)} are malignant or "
        f"pre-malignant; in HAM10000 {percent(usual, 1)} are. That holds only if each diagnosis looks the same there. "
        "The calls stay as they are, and so does all that was fitted for the class mix of HAM10000: prediction sets, "
        "thresholds, rules for referral.",
    )


def _chosen(usual: float, nearest: float) -> float:
    wanted = float(st.session_state.get(state.PREVALENCE, nearest))
    return usual if wanted == nearest else wanted / 100
