"""The model card's sections on prediction sets, operating points and referral, made from their files."""

from pathlib import Path

from dermlens.estimate import Estimate
from dermlens.labels import CLASSES, DIAGNOSES
from dermlens.trust import conformal, thresholds
from dermlens.trust import referral as rules
from dermlens.trust.conformal import CASE_LEVEL, NO_GUARANTEE
from dermlens.trust.thresholds import TARGETS
from dermlens.wording import number_with_interval, percent, percent_with_interval, short_percent


def prediction_sets(folder: Path) -> list[str]:
    """Return the section on prediction sets; empty if the model has none."""
    if not (folder / "conformal.json").is_file():
        return []
    found = conformal.read(folder / "conformal.json")
    row = found.row(CASE_LEVEL)
    lines = [
        "## Prediction sets",
        "",
        f"Class-conditional conformal sets at {short_percent(CASE_LEVEL)}, the level used on a case: of new lesions of "
        "a diagnosis, at least that share has it in the set, as long as they are like those of HAM10000. Fitted on "
        f"{sum(found.lesions):,} validation lesions, one image each; validation is measured with thresholds from other "
        f"lesions. {found.caveat()}".rstrip(),
        "",
    ]
    for split, rows in found.measured.items():
        estimates = rows[row]
        lines += [
            f"| {split} | guarantee | images | true diagnosis in the set | diagnoses in the set |",
            "| --- | --- | --- | --- | --- |",
            _line("all", "of the average", estimates["coverage"], estimates["size"]),
            *[
                _line(code, "of its own" if found.own[row, i] else NO_GUARANTEE, *estimates["per_class"][code].values())
                for i, code in enumerate(CLASSES)
            ],
            "",
            f"Sets of one diagnosis: {percent_with_interval(estimates['single'])}; "
            f"empty sets: {percent_with_interval(estimates['empty'])}.",
            "",
        ]
    return lines


def operating_points(folder: Path) -> list[str]:
    """Return the section on operating points; empty if the model has none."""
    if not (folder / "thresholds.json").is_file():
        return []
    found = thresholds.read(folder / "thresholds.json")
    lines = [
        "## Operating points",
        "",
        "Thresholds on calibrated probabilities, chosen on validation for a wanted sensitivity. There each image is "
        "measured with a threshold chosen on other lesions.",
        "",
    ]
    for split in found.splits:
        lines += [
            f"| {split} | wanted | from | sensitivity | specificity |",
            "| --- | --- | --- | --- | --- |",
            *[
                f"| {TARGETS[target].title.lower()} | {short_percent(p.wanted)} | {percent(p.threshold, 1)} | "
                f"{percent_with_interval(p.measured[split].sensitivity)} | "
                f"{percent_with_interval(p.measured[split].specificity)} |"
                for target, points in found.points.items()
                for p in points
            ],
            "",
        ]
    return lines


def referral(folder: Path) -> list[str]:
    """Return the section on the rules for referral; empty if the model has none."""
    if not (folder / "referral.json").is_file():
        return []
    found = rules.read(folder / "referral.json")
    lines = [
        "## Referral",
        "",
        "An image is referred if at least one of the rules below fires. Both thresholds, "
        f"{percent(found.melanoma, 1)} for melanoma and {percent(found.malignant, 1)} for malignant and pre-malignant "
        f"diagnoses together, were chosen on validation to find {short_percent(found.sensitivity)} there: of the "
        f"wanted sensitivities the highest that keeps the share of referred images at or below "
        f"{short_percent(found.cap)}, the lowest if none does. An image that is not referred is not cleared.",
        "",
    ]
    for split, measured in found.measured.items():
        missed = {f"missed: {DIAGNOSES[i].name}": measured["missed"][CLASSES[i]] for i in rules.SUSPECT}
        totals = {"referred": measured["referred"], "referred of the benign": measured["benign_referred"], **missed}
        lines += [
            f"| {split} | images | share |",
            "| --- | --- | --- |",
            *[f"| {name} | {share.n_images} | {percent_with_interval(share)} |" for name, share in totals.items()],
            *[
                f"| {rules.RULES[key].rstrip('.')} | {fired.n_images} | {percent_with_interval(fired)}, alone "
                f"{percent(alone.value, 1)} |"
                for key, (fired, alone) in ((k, (v["fired"], v["alone"])) for k, v in measured["rules"].items())
            ],
            "",
        ]
    return lines


def _line(name: str, guarantee: str, coverage: Estimate, size: Estimate) -> str:
    shown = (name, guarantee, str(coverage.n_images), percent_with_interval(coverage), number_with_interval(size, 2))
    return f"| {' | '.join(shown)} |"
