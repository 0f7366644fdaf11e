"""The class mix that a case's probabilities hold for, and another one that a person may set."""

from dataclasses import replace

import numpy as np
import streamlit as st

from dermlens.case.decision import FITTED_MIX
from dermlens.case.opinion import Opinion
from dermlens.evaluation.class_mix import mix_at
from dermlens.labels import SUSPECT
from dermlens.wording import percent
from ui import state

LEAST, MOST, STEP = 0.5, 90.0, 0.1  # percent


def choose(opinion: Opinion) -> Opinion:
    """Let a person set how many images are malignant or pre-malignant where the image comes from.

    Args:
        opinion: uncalibrated scores hold for no class mix and stay as they are.

    Returns:
        The opinion at that class mix, with a sentence that says which; without one if no model is calibrated.
    """
    mix = _fitted_mix(opinion)
    if mix is None:
        return opinion
    usual, nearest = _usual(mix)
    with st.popover(f"Class mix: {percent(_chosen(usual, nearest), 1)} malignant or pre-malignant", key="class-mix"):
        st.slider(
            "Malignant or pre-malignant among the images you take",
            LEAST,
            MOST,
            nearest,
            STEP,
            format="%.1f %%",
            key=state.PREVALENCE,
            bind="query-params",
        )
        st.caption(
            "Re-weights the calibrated probabilities for a clinic that sees more or fewer of them; the calls follow. "
            "The proportions among the malignant and pre-malignant diagnoses, and among the benign ones, stay those of "
            "HAM10000."
        )
    return at_chosen(opinion)


def at_chosen(opinion: Opinion) -> Opinion:
    """Return the opinion at the class mix that was chosen, as `choose` does."""
    mix = _fitted_mix(opinion)
    if mix is None:
        return opinion
    usual, nearest = _usual(mix)
    wanted = _chosen(usual, nearest)
    if wanted == usual:
        return replace(
            opinion,
            class_mix=f"The probabilities hold where {percent(usual, 1)} of the images are malignant or pre-malignant, "
            "as in HAM10000.",
        )
    return opinion.at_mix(
        mix_at(mix, wanted),
        f"The probabilities, and the calls with them, are re-weighted for images of which {percent(wanted, 1)} are "
        f"malignant or pre-malignant; in HAM10000 {percent(usual, 1)} are. That holds only if each diagnosis looks the "
        f"same there. {FITTED_MIX}",
    )


def _fitted_mix(opinion: Opinion) -> np.ndarray | None:
    """Return the class mix (7,) that the first calibrated model holds for, None if none is calibrated."""
    for model in opinion.asked:
        if opinion.answers[model.id].calibrated and model.fitted.calibration is not None:
            return np.array(model.fitted.calibration.class_mix)
    return None


def _usual(mix: np.ndarray) -> tuple[float, float]:
    """Return the share that is malignant or pre-malignant in a class mix, and the nearest step in percent."""
    usual = float(mix[list(SUSPECT)].sum() / mix.sum())
    return usual, round(100 * usual, 1)


def _chosen(usual: float, nearest: float) -> float:
    wanted = float(st.session_state.get(state.PREVALENCE, nearest))
    linked = state.linked(state.PREVALENCE)
    if linked is not None:  # numbers are worked out before the slider that takes its value from the link is drawn
        try:
            wanted = float(linked) if LEAST <= float(linked) <= MOST else nearest
        except ValueError:
            wanted = nearest
    return usual if wanted == nearest else wanted / 100
