"""The model card's first table: what answers, one network or the members of an ensemble."""

from typing import Any

from dermlens.labels import CLASSES


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
