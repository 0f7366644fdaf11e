"""The model card's section on images unlike the training images, made from familiarity.json."""

from pathlib import Path

from dermlens.errors import ModelError
from dermlens.files.documents import read_object
from dermlens.trust.ood import MEMBERS, OOD_FILE, measured_of
from dermlens.trust.reference_set import NEIGHBOUR
from dermlens.wording import number_with_interval, percent_with_interval

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
    accepted = "; ".join(f"{split} {percent_with_interval(share)}" for split, share in found.accepted.items())
    return [
        "## Images unlike the training images",
        "",
        f"{how} Fitted on validation and one half of the pictures below, measured on the other half. Dermoscopic "
        f"images accepted: {accepted}. An accepted image may still be answered wrongly. An AUROC of "
        "too few sources has no interval.",
        "",
        "| other pictures | pictures / sources | refused | AUROC |",
        "| --- | --- | --- | --- |",
        *[
            f"| {kind} | {refused.n_images} / {refused.n_lesions} | {percent_with_interval(refused)} | "
            f"{number_with_interval(found.auroc[kind])} |"
            for kind, refused in found.refused.items()
        ],
        "",
    ]
