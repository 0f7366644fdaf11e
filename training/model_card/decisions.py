"""The model card's sections on prediction sets, operating points and referral, made from their files."""

from pathlib import Path

from dermlens.labels import CLASSES, DIAGNOSES, INDEX
from dermlens.trust import conformal, thresholds
from dermlens.trust.conformal import CASE_LEVEL, CHOSEN_BY, NO_GUARANTEE, Measured, OfClass
from dermlens.trust.referral import RuleMeasured
from dermlens.trust.referral import read as read_referral
from dermlens.trust.referral_rules import RULES, Rule
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
        f"lesions. {CHOSEN_BY} {found.caveat()}".rstrip(),
        "",
    ]
    for split, rows in found.measured.items():
        measured = rows[row]
        lines += [
            f"| {split} | guarantee | images | true diagnosis in the set | diagnoses in the set |",
            "| --- | --- | --- | --- | --- |",
            _line("all", "of the average", measured),
            *[
                _line(code, "of its own" if found.own[row, i] else NO_GUARANTEE, measured.per_class[code])
                for i, code in enumerate(CLASSES)
            ],
            "",
            f"Sets of one diagnosis: {percent_with_interval(measured.single)}; "
            f"empty sets: {percent_with_interval(measured.empty)}.",
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
    found = read_referral(folder / "referral.json")
    targets = [rule for rule in RULES if rule.target]
    lines = [
        "## Referral",
        "",
        "An image is referred if at least one of the rules below applies, at the class mix of HAM10000 whatever mix is "
        "set. A rule with a threshold applies where one of these models reaches its own. Thresholds were chosen on "
        "validation, together: of the wanted sensitivities those that miss the fewest malignant and pre-malignant "
        f"images and keep the share of referred images at or below {short_percent(found.cap)}.{found.cap_broken} "
        "Validation is measured cross-fitted: by thresholds, sensitivities and prediction sets chosen on other "
        "lesions. An image that is not referred is not cleared.",
        "",
        f"| model | wanted sensitivity | {' | '.join(f'threshold: {rule.reason}' for rule in targets)} |",
        "| --- " * (2 + len(targets)) + "|",
        *[
            f"| `{model}` | {short_percent(found.sensitivity[model])} | "
            f"{' | '.join(percent(own[rule.key], 1) for rule in targets)} |"
            for model, own in found.thresholds.items()
        ],
        "",
    ]
    for split, measured in found.measured.items():
        missed = {f"missed: {DIAGNOSES[INDEX[code]].name}": share for code, share in measured.missed.items()}
        totals = {"referred": measured.referred, "benign images referred": measured.benign_referred, **missed}
        lines += [
            f"| {split} | images | share |",
            "| --- | --- | --- |",
            *[f"| {name} | {share.n_images} | {percent_with_interval(share)} |" for name, share in totals.items()],
            *[_rule_line(rule, measured.rules[rule.key]) for rule in RULES if rule.key in measured.rules],
            "",
        ]
    return lines


def _rule_line(rule: Rule, found: RuleMeasured) -> str:
    share = f"{percent_with_interval(found.fired)}, alone {percent(found.alone.value, 1)}"
    return f"| {rule.description.rstrip('.')} | {found.fired.n_images} | {share} |"


def _line(name: str, guarantee: str, found: Measured | OfClass) -> str:
    coverage, size = percent_with_interval(found.coverage), number_with_interval(found.size, 2)
    return f"| {name} | {guarantee} | {found.coverage.n_images} | {coverage} | {size} |"
