"""The class mix that probabilities hold for: how frequent each diagnosis is, and what becomes of them elsewhere.

Calibrated probabilities hold where diagnoses are as frequent as among the images that calibration was fitted on, which
is the mix of HAM10000. Any other mix re-weights them, by Bayes' theorem: right if a diagnosis looks the same there and
only its frequency differs (Saerens, Latinne & Decaestecker, Neural Computation 14:21, 2002). The call is the most
probable diagnosis at the mix in question.

A mix is (7,) shares or counts in the order of labels.CLASSES, in any unit.
"""

import numpy as np

from dermlens.labels import N_CLASSES, SUSPECT

HAM10000 = "ham10000"
EQUAL = "equal"
AT = {HAM10000: "at HAM10000's mix", EQUAL: "at an equal mix"}
"""The two mixes at which every split is measured, and how that is said after the name of a metric."""
EVEN = np.ones(N_CLASSES)
"""The equal mix: what balanced accuracy and other means over the diagnoses ask about."""
WITHOUT = (
    "Not calibrated: its scores hold for no class mix and cannot be re-weighted, so they are taken as they are at both "
    "mixes."
)
"""Said beside the figures of a model without a calibration."""


def log_ratio(mix_from: np.ndarray, mix_to: np.ndarray) -> np.ndarray:
    """Return what is added to the log probabilities of one mix for another, (7,) float64, before they are normalised.

    Args:
        mix_from: >= 0; a diagnosis without an image counts as one image, so that it can be re-weighted at all.
        mix_to: >= 0; a diagnosis that does not occur gets -inf.
    """
    mix_from, mix_to = np.asarray(mix_from, np.float64), np.asarray(mix_to, np.float64)
    mix_from = np.where(mix_from > 0, mix_from, 1.0)
    with np.errstate(divide="ignore"):
        return np.log(mix_to / mix_to.sum()) - np.log(mix_from / mix_from.sum())


def reweight(probabilities: np.ndarray, mix_from: np.ndarray, mix_to: np.ndarray) -> np.ndarray:
    """Return what calibrated probabilities become where diagnoses are more or less frequent.

    Args:
        probabilities: (..., 7), calibrated for the class mix `mix_from`.
        mix_from, mix_to: as `log_ratio` has them.

    Returns:
        (..., 7) float64, summing to 1.
    """
    weighted = probabilities * np.exp(log_ratio(mix_from, mix_to))
    return weighted / weighted.sum(-1, keepdims=True)


def mix_at(mix: np.ndarray, prevalence: float) -> np.ndarray:
    """Return a class mix (7,) in which malignant and pre-malignant diagnoses have the share `prevalence` in all.

    Args:
        mix: inside the suspect and inside the benign diagnoses its proportions are kept.
        prevalence: 0..1.
    """
    suspect = np.isin(np.arange(N_CLASSES), SUSPECT)
    mix = np.asarray(mix, np.float64)
    return np.where(suspect, prevalence * mix / mix[suspect].sum(), (1 - prevalence) * mix / mix[~suspect].sum())
