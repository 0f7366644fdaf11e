"""The model card's section on images unlike the training images, made from familiarity.json."""

from pathlib import Path

from dermlens.errors import ModelError
from dermlens.files.documents import read_object
from dermlens.labels import CLASSES
from dermlens.trust import withholding
from dermlens.trust.ood import MEMBERS, OOD_FILE, measured_of
from dermlens.trust.reference_set import NEIGHBOUR
from dermlens.trust.withholding import TradeOff, Withholding
from dermlens.wording import number_with_interval, percent, percent_with_interval

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
        rule = withholding.from_dict(stored.get("withholding"), stored["members"], OOD_FILE)
        how = f"A member refuses for itself what lies beyond its own limit, and is then silent. {rule.sentence({})}"
        curve = _curve(rule)
    else:
        curve = []
        elsewhere = stored.get("n_train_other_archives")
        more = f" and {elsewhere:,} of other archives" if elsewhere else ""
        apart = "" if stored.get("gaussians", 1) == 1 else ", BCN20000's images apart from all others"
        how = f"Score: {METHODS[stored['method']]}{apart}. Training images: {stored['n_train']:,} of HAM10000{more}."
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
        *curve,
    ]


def _curve(rule: Withholding) -> list[str]:
    """Return the table of all rules that an ensemble's was chosen among."""
    return [
        "The rules it was chosen among, with the images of validation that each withholds and the photographs of the "
        "measuring half that it refuses; the choice is in bold. It was made on the other half: the most photographs, "
        "then no diagnosis over the wanted share, then the most other pictures, then the fewest images.",
        "",
        f"| goes by | beyond | {' | '.join(CLASSES)} | all | photographs | other pictures |",
        "| --- " * (len(CLASSES) + 5) + "|",
        *[_point(point, point == rule.chosen) for point in rule.curve],
        "",
    ]


def _point(point: TradeOff, chosen: bool) -> str:
    cells = [point.by, f"{point.limit:.2f}", *(f"{n} of {of}" for n, of in point.withheld.values())]
    cells += [percent(point.share, 1), f"{point.photographs[0]} of {point.photographs[1]}", percent(point.others, 1)]
    return f"| {' | '.join(f'**{cell}**' if chosen else cell for cell in cells)} |"
