"""Refer or not: a few fixed rules over what is known of a case, which a clinician can read and check.

A rule that fires is a reason to refer. That none fires is never an all-clear: what the rules miss is measured on the
test split and said with every answer.
"""

from dataclasses import asdict, dataclass

import numpy as np

from dermlens.errors import DataError, ModelError
from dermlens.estimate import Estimate
from dermlens.files.documents import File, read_object
from dermlens.labels import CLASSES, DIAGNOSES, GROUPS, MELANOMA
from dermlens.trust.thresholds import TARGETS

SUSPECT = (MELANOMA, *(i for i in TARGETS["malignant"].classes if i != MELANOMA))
"""Class indices of what a referral must not miss."""
MANY = 5
"""A prediction set of so many of the seven diagnoses rules next to nothing out."""
RULES = {
    "unfamiliar": "The image does not look like the dermoscopic images that the models were trained on.",
    "melanoma": "The probability of melanoma reaches the threshold for it.",
    "malignant": "The probability of a malignant or pre-malignant lesion reaches the threshold for it.",
    "disagree": "The models' calls fall into different groups (benign, pre-malignant, malignant).",
    "undecided": f"The 90 % prediction set is empty or holds {MANY} or more of the seven diagnoses.",
}
_GROUP = np.array([GROUPS.index(d.group) for d in DIAGNOSES])


@dataclass(frozen=True)
class Referral:
    """The rules of one model, as fitted on validation, and what they were measured to do.

    Attributes:
        sensitivity: what both thresholds were chosen for on validation, 0..1.
        melanoma: threshold on the calibrated probability of melanoma.
        malignant: threshold on the summed calibrated probability of malignant and pre-malignant diagnoses.
        cap: the largest share of validation images that may be referred; the sensitivity is the highest that keeps it.
        measured: split -> {"referred", "benign_referred", "missed" by class code, "rules" by key: Figures}.
    """

    sensitivity: float
    melanoma: float
    malignant: float
    cap: float
    measured: dict

    def fired(
        self,
        probabilities: np.ndarray,
        sets: np.ndarray | None = None,
        calls: np.ndarray | None = None,
        unfamiliar: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Say which rules fire on n images; a rule whose input is missing is left out.

        Args:
            probabilities: (n, 7) calibrated, of the model the rules belong to.
            sets: (n, 7) bool, its 90 % prediction sets.
            calls: (n, m) int, the class that each of m >= 2 models calls.
            unfamiliar: (n,) bool, not recognised as a dermoscopic image.

        Returns:
            key of RULES -> (n,) bool, in the order of RULES.
        """
        found = {
            "melanoma": TARGETS["melanoma"].score(probabilities) >= self.melanoma,
            "malignant": TARGETS["malignant"].score(probabilities) >= self.malignant,
        }
        if unfamiliar is not None:
            found["unfamiliar"] = np.asarray(unfamiliar, bool)
        if calls is not None:
            found["disagree"] = np.ptp(_GROUP[calls], axis=1) > 0
        if sets is not None:
            size = sets.sum(1)
            found["undecided"] = (size == 0) | (size >= MANY)
        return {key: found[key] for key in RULES if key in found}


def any_of(fired: dict[str, np.ndarray]) -> np.ndarray:
    """Return (n,) bool: whether at least one rule fires."""
    return np.logical_or.reduce(list(fired.values()))


def reasons(referral: Referral, probabilities: np.ndarray, fired: dict[str, np.ndarray]) -> list[str]:
    """Say for one image, in a few words each, why the rules that fired did.

    Args:
        referral: the rules.
        probabilities: (7,) calibrated.
        fired: as `Referral.fired` gives it for this one image.
    """
    wanted = f"{100 * referral.sensitivity:g} %"
    together = float(TARGETS["malignant"].score(probabilities))
    words = {
        "unfamiliar": "it does not look like the dermoscopic images that the models were trained on",
        "melanoma": (
            f"melanoma has {_percent(probabilities[MELANOMA])}, at or above the threshold of "
            f"{_percent(referral.melanoma)}, chosen on validation to find {wanted} of melanomas"
        ),
        "malignant": (
            f"malignant and pre-malignant diagnoses together have {_percent(together)}, at or above the threshold of "
            f"{_percent(referral.malignant)}, chosen on validation to find {wanted} of them"
        ),
        "disagree": "the models' calls fall into different groups",
        "undecided": "the 90 % prediction set is empty, or rules out hardly any diagnosis",
    }
    return [words[key] for key, here in fired.items() if here[0]]


def sentence(referral: Referral, probabilities: np.ndarray, fired: dict[str, np.ndarray]) -> str:
    """Return the one sentence at the top of a case; arguments as `reasons`."""
    why = reasons(referral, probabilities, fired)
    if fired.get("unfamiliar", np.zeros(1, bool))[0]:
        return "Do not rely on these numbers, and refer or take another picture: " + why[0] + "."
    if why:
        return "Refer: " + "; ".join(why) + "."
    return "No rule for referral fires. That is not an all-clear: " + what_is_missed(referral)


def n_missed(referral: Referral, split: str) -> int:
    """Return how many malignant and pre-malignant images of a split the rules missed."""
    return sum(_count(referral.measured[split]["missed"][CLASSES[i]]) for i in SUSPECT)


def what_is_missed(referral: Referral) -> str:
    """Say what the rules missed on the test split; on validation, and so said, if test was not measured."""
    split = "test" if "test" in referral.measured else "validation"
    missed = []
    for i in SUSPECT:
        figure = referral.measured[split]["missed"][CLASSES[i]]
        missed.append(f"{_count(figure)} of {figure.n_images} {_PLURALS[CLASSES[i]]}")
    return f"on the {split} split these rules missed {', '.join(missed[:-1])} and {missed[-1]}."


def _count(share: Estimate) -> int:
    return round(share.value * share.n_images) if share.n_images else 0


def read(file: File) -> Referral:
    """Read referral.json.

    Raises:
        ModelError: it is missing or not what training.fit writes.
    """
    stored = read_object(file, ModelError)
    try:
        numbers = {name: float(stored[name]) for name in ("sensitivity", "melanoma", "malignant", "cap")}
        measured = {split: _figures(values) for split, values in stored["measured"].items()}
        missed = [values["missed"][CLASSES[i]] for values in measured.values() for i in SUSPECT]
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as e:
        raise ModelError(f"{file.parent.name}/{file.name} cannot be used ({e!r}). Make it with training.fit.") from e
    if not (measured and missed and all(0 <= n <= 1 for n in numbers.values())):
        raise ModelError(f"{file.parent.name}/{file.name}: numbers from 0 to 1 and measured splits expected.")
    return Referral(**numbers, measured=measured)


def to_dict(referral: Referral) -> dict:
    """Return what referral.json holds of the rules, without what was measured."""
    return {name: value for name, value in asdict(referral).items() if name != "measured"}


_PLURALS = {
    "mel": "melanomas",
    "bcc": "basal cell carcinomas",
    "akiec": "actinic keratoses or Bowen's diseases",
}


def _figures(stored: dict) -> dict:
    """Turn every {"value", "low", "high", ...} of a nested object into a Figure."""
    if "value" in stored:
        return Estimate.from_dict(stored)  # type: ignore[return-value]
    return {k: _figures(v) for k, v in stored.items() if isinstance(v, dict)}


def coverage_curve(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how accurate a model is on the share of images it is surest of (El-Yaniv & Wiener, JMLR 11:1605, 2010).

    Args:
        confidence: (n,) float, images with the same one are kept or left together. right: (n,) bool.

    Returns:
        coverage (k,), rising to 1, and the accuracy (k,) on that share of the images.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return (last + 1) / len(ranked), right[order].cumsum()[last] / (last + 1)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
