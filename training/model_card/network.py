"""The model card's first table: what answers, one network or the members of an ensemble; and in which precision."""

from pathlib import Path
from typing import Any

from dermlens.files.documents import read_object
from dermlens.labels import CLASSES
from dermlens.models.card import FLOAT32, INT8, precision_of
from dermlens.wording import percent

SERVED_IN = {
    FLOAT32: "32-bit floating point",
    INT8: "8-bit integers (`serving_int8.tflite`); heat maps that need gradients are drawn by `model.keras`, in 32-bit "
    "floating point",
}
CHECKS = {
    "cross_entropy": "cross-entropy",
    "accuracy": "accuracy",
    "suspect_shift": "shift of the suspect probability, 99th percentile",
    "missed_melanomas": "melanomas missed at the same share referred",
    "map_correlation": "correlation of heat maps, median",
    "heat_inside": "share of the heat inside the lesion",
    "peak_inside": "hottest point inside the lesion",
}
"""Check of quantisation.json -> what a person reads."""


def network(card: dict[str, Any], calibrated: bool) -> list[str]:
    """Return the table from card.json; `calibrated` says whether there is a calibration.json."""
    then = "`calibration.json` makes probabilities of them" if calibrated else "their softmax is not calibrated"
    origin = "| Published |" if "members" in card else f"| Run | `{card['run']}`, published"
    return [
        "| | |",
        "| --- | --- |",
        *(_members(card) if "members" in card else _network(card)),
        f"| Output | logits of {', '.join(CLASSES)}; {then} |",
        f"{origin} {card['created']} |",
    ]


def data_of_members(card: dict[str, Any]) -> list[str]:
    """Return where an ensemble's card says what its members were trained on."""
    cards = ", ".join(f"[{name}](../{name}/README.md)" for name in card["members"])
    return [f"That of its members: {cards}.", ""]


def _network(card: dict[str, Any]) -> list[str]:
    side = card["input"]["size"]
    return [
        f"| Architecture | {card['architecture']}, {card['parameters']:,} parameters |",
        f"| Input | RGB, {side} × {side} pixels at true aspect; how an image is fitted is in `card.json` |",
        *([f"| Served in | {SERVED_IN[precision_of(card)]} |"] if "precision" in card else []),
        f"| Views | {card['views']}: an answer is the mean of the logits over these flips and turns |",
        *_adjustment(card),
    ]


def _members(card: dict[str, Any]) -> list[str]:
    weights = ", ".join(f"`{name}` {weight:g}" for name, weight in card["members"].items())
    return [
        f"| Members | {weights}: the weights of their logits, fitted on validation (`training.ensemble`) |",
        *_adjustment(card),
        f"| Parameters | {card['parameters']:,} in all |",
        "| Heat map | the members' Grad-CAM, added with the same weights |",
    ]


def _adjustment(card: dict[str, Any]) -> list[str]:
    tau = card.get("logit_adjustment")
    weight = card.get("melanoma_weight", 1)
    chosen = "chosen on validation when it was published; calibration takes it off again, so no call goes by it"
    if "members" in card:
        chosen += ", on top of the members' own"
    rows = []
    if tau:
        rows.append(f"| Logit adjustment | {tau}: rare diagnoses are favoured by this factor, {chosen} |")
    if weight != 1:
        rows.append(f"| Melanoma weight | {weight:g}: a missed melanoma counts as this many other mistakes, {chosen} |")
    return rows


def eight_bits(folder: Path) -> list[str]:
    """Return the section on the 8-bit file, served or refused; empty if none was tried."""
    if not (folder / "quantisation.json").is_file():
        return []
    report = read_object(folder / "quantisation.json")
    sizes = {name: f"{size / 1e6:.1f} MB" for name, size in report["bytes"].items()}
    outcome = "**It serves.**" if report["serves"] == INT8 else "**float32 serves.**"
    return [
        "## Eight bits",
        "",
        f"An 8-bit file ({sizes[INT8]}, float32 {sizes[FLOAT32]}) was made with ranges measured on "
        f"{report['ranges_from']['n_images']:,} training images, and may serve only if it is no worse than float32 on "
        f"{report['n_images']:,} validation images of {report['n_lesions']:,} lesions, paired, each calibrated by its "
        f"own map. {report['why']} {outcome} Both call the same diagnosis on {percent(report['same_call'], 1)} of the "
        "images. In brackets, 95 % intervals over lesions, whose upper end must keep the limit.",
        "",
        *checks(report),
        "",
    ]


def checks(report: dict[str, Any]) -> list[str]:
    """Return the checks of quantisation.json as a Markdown table."""
    return [
        "| check | measured | limit | kept |",
        "| --- | --- | --- | --- |",
        *[_check(CHECKS[name], check, name == "map_correlation") for name, check in report["checks"].items()],
    ]


def _check(name: str, check: dict[str, Any], at_least: bool) -> str:
    limit = f"at {'least' if at_least else 'most'} {check['limit']:g}"
    if "high" in check:
        measured = f"loss {check['value']:.4f} ({check['low']:.4f} to {check['high']:.4f})"
    elif INT8 in check:
        measured, limit = f"{check[INT8]}, in float32 {check[FLOAT32]}", "no more"
    else:
        measured = f"{check['value']:.3f}"
    return f"| {name} | {measured} | {limit} | {'yes' if check['ok'] else 'no'} |"
