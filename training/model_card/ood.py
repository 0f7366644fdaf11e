"""The model card's section on images unlike those of the training, made from familiarity.json."""

from math import isnan
from pathlib import Path

from dermlens.charts.style import interval, percent
from dermlens.errors import ModelError
from dermlens.estimate import Estimate
from dermlens.files.documents import read_object
from dermlens.trust.ood import MEMBERS, OOD_FILE, measured_of
from dermlens.trust.reference_set import NEIGHBOUR

METHODS = {
    "mahalanobis": "the Mahalanobis distance to the nearest class mean, with one covariance for all classes",
    "knn": f"the distance to the {NEIGHBOUR}th nearest training image",
    "energy": "the energy of the logits",
}


def ood(folder: Path) -> list[str]:
    """Return the section; empty if the model has no familiarity.json."""
    if not (folder / OOD_FILE).is_file():
        return []
    stored = read_object(folder / OOD_FILE, ModelError)
    found = measured_of(stored, OOD_FILE)
    if stored["method"] == MEMBERS:
        how = f"All of {', '.join(stored['members'])} must accept an image."
    else:
        how = f"Score: {METHODS[stored['method']]}. Training images: the {stored['n_train']:,} of the split table."
    accepted = "; ".join(f"{split} {_share(figure)}" for split, figure in found.accepted.items())
    return [
        "## Images unlike those of the training",
        "",
        f"{how} Fitted on validation and one half of the pictures below, measured on the other half. Dermoscopic "
        f"images accepted: {accepted}. An accepted image may still be answered wrongly.",
        "",
        "| other pictures | pictures / sources | refused | AUROC |",
        "| --- | --- | --- | --- |",
        *[
            f"| {kind} | {refused.n_images} / {refused.n_lesions} | {_share(refused)} | {_number(found.auroc[kind])} |"
            for kind, refused in found.refused.items()
        ],
        "",
    ]


def _share(figure: Estimate) -> str:
    return f"{percent(figure.value, 1)} ({interval(figure)})"


def _number(figure: Estimate) -> str:
    bounds = "too few sources for an interval" if isnan(figure.low) else f"{figure.low:.3f} to {figure.high:.3f}"
    return f"{figure.value:.3f} ({bounds})"
