"""Publish several models as one: `python -m training.ensemble ID --members A B ...` fills models/ID/.

Its answer is the weighted mean of its members' logits. The weights are fitted on validation; nothing is trained and no
picture is needed, as the members' predictions are enough. Make it again when a member is published again.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from dermlens.errors import ConfigError, DermlensError, ModelError
from dermlens.evaluation.compare import align
from dermlens.evaluation.metrics import log_softmax
from dermlens.evaluation.predictions import Predictions, read_predictions, write_predictions
from dermlens.files.documents import write_object
from dermlens.image.preprocess import Geometry
from dermlens.labels import CLASSES, N_CLASSES
from dermlens.models import registry
from dermlens.models.card import bias_of, check_card, read_card, served_hash
from dermlens.models.ensemble import check_views, mean_logits
from dermlens.trust.fit_command import FIT
from training.folders import model_folder, whole
from training.model_card.write import write

PRIOR_SD = 5.0
"""Standard deviation of the normal prior on every bias, as wide as the widest of dermlens.trust.calibration."""
DIGITS = 3
TOLERANCE = 2.5 * 10**-DIGITS
LOGIT_TOLERANCE = 1e-4


def fit_weights(logits: Sequence[np.ndarray], y_true: np.ndarray) -> np.ndarray:
    """Fit the members' weights by the negative log likelihood of the calibrated mixture, a convex problem.

    Scale and bias of every class are fitted with them and left to the ensemble's own calibration, so that a member is
    judged by what it knows and not by how it is calibrated (stacking, Breiman, Machine Learning 24:49, 1996; weights
    >= 0).

    Args:
        logits: (n, 7) of each member. y_true: (n,) int.

    Returns:
        (members,) float64, >= 0, adding up to 1, rounded to DIGITS; all the same if no member knows anything.
    """
    stack = np.stack(logits)
    n = len(y_true)
    hit = np.eye(N_CLASSES)[y_true]
    centre = np.eye(N_CLASSES) - 1 / N_CLASSES
    k = len(stack)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        bias = centre @ x[k:]
        log_p = log_softmax(np.tensordot(x[:k], stack, 1) + bias)
        slope = (np.exp(log_p) - hit) / n
        prior = bias / (PRIOR_SD**2 * n)
        gradient = np.append((stack * slope).sum((1, 2)), centre @ (slope.sum(0) + prior))
        return float(-(log_p * hit).sum() / n + prior @ bias / 2), gradient

    start = np.append(np.full(k, 1 / k), np.zeros(N_CLASSES))
    bounds = [(0, None)] * k + [(None, None)] * N_CLASSES
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000}
    found = minimize(objective, start, method="L-BFGS-B", jac=True, bounds=bounds, options=options).x[:k]
    shares = found / found.sum() if found.sum() > 0 else np.full(k, 1 / k)
    rounded = np.round(shares, DIGITS)
    rounded[shares.argmax()] += 1 - rounded.sum()
    return np.round(rounded, DIGITS)


def join(members: Sequence[Predictions]) -> list[Predictions]:
    """Bring the members' predictions onto the same rows, in the first one's order.

    Raises:
        DataError: they share no image, or disagree on one. ModelError: they answered different images of a split.
    """
    first = members[0]
    for other in members[1:]:
        first, _, _ = align(first, other)
    for own in members:
        for split in first.splits:
            mine, common = (int((p.split == split).sum()) for p in (own, first))
            if mine != common:
                raise ModelError(
                    f"The members have answered different images of the {split} split: {mine:,} and {common:,} in "
                    "common. Publish them on the same data."
                )
    return [align(first, own)[1] for own in members]


def combine(members: Sequence[Predictions], card: dict[str, Any]) -> Predictions:
    """Return the predictions that an ensemble with this card gives of the images that `join` gave."""
    first = members[0]
    logits = mean_logits([m.logits for m in members], list(card["members"].values()), bias_of(card))
    return Predictions(first.image_id, first.lesion_id, first.split, first.y_true, logits)


def fitted_weights(members: Sequence[Predictions]) -> np.ndarray:
    """Return `fit_weights` on the validation split of joined predictions."""
    validation = [m.of_split("validation") for m in members]
    return fit_weights([m.logits for m in validation], validation[0].y_true)


def make(models: Path, model_id: str, member_ids: Sequence[str], name: str = "Ensemble", replace: bool = False) -> Path:
    """Fill a model folder from the predictions of its members; whole or not at all.

    Returns:
        The folder.

    Raises:
        ConfigError: the id is not one, or there are not two different members. ModelError: there is such a model
            already, a member cannot be used, or only one member has a weight. DataError: predictions do not match.
    """
    target = model_folder(models, model_id, replace)
    if len(set(member_ids)) < 2 or len(set(member_ids)) < len(member_ids) or model_id in member_ids:
        raise ConfigError(f"An ensemble is made of two or more different models, got {', '.join(member_ids)}.")
    entries = [registry.find(models, member) for member in member_ids]
    hashes = {e.id: served_hash(check_card(e.folder, e.card)) for e in entries}
    cards = [e.card or {} for e in entries]
    check_views({e.id: Geometry.from_dict(c["input"]) for e, c in zip(entries, cards, strict=True)})
    joined = join([read_predictions(e.folder / "predictions.csv") for e in entries])
    weights = {e.id: float(w) for e, w in zip(entries, fitted_weights(joined), strict=True)}
    if max(weights.values()) == 1:
        raise ModelError(f"On validation one member alone does as well as all of them: the weights are {weights}.")
    card = {
        "id": model_id,
        "name": name,
        "architecture": "ensemble",
        "classes": list(CLASSES),
        "members": weights,
        "member_hashes": hashes,
        "files": {},
        "parameters": sum(c.get("parameters", 0) for c in cards),
        "created": datetime.now(UTC).date().isoformat(),
    }
    with whole(target) as folder:
        write_predictions(folder / "predictions.csv", combine(joined, card))
        write_object(folder / "card.json", card)
        write(folder, models)
    return target


def problems(folder: Path, card: dict[str, Any]) -> list[str]:
    """Return where an ensemble's weights or predictions are not what its members give."""
    paths = [folder.parent / member / "predictions.csv" for member in card["members"]]
    try:
        joined = join([read_predictions(path) for path in paths])
    except DermlensError as e:
        return [f"the members cannot be joined: {e}"]
    found = []
    fitted = fitted_weights(joined)
    stored = list(card["members"].values())
    if np.abs(fitted - stored).max() > TOLERANCE:
        found.append(f"card.json, members: the weights are {stored}, the members' predictions give {fitted.tolist()}")
    aligned, same, left_out = align(read_predictions(folder / "predictions.csv"), combine(joined, card))
    if left_out or np.abs(aligned.logits - same.logits).max() > LOGIT_TOLERANCE:
        found.append("predictions.csv is not the weighted mean of the members' predictions")
    return found


def main(argv: list[str] | None = None) -> int:
    """Publish one ensemble; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.ensemble", description=__doc__.partition("\n")[0])
    parser.add_argument("id", help="name of the folder in models/")
    parser.add_argument("--members", nargs="+", required=True, metavar="ID", help="models to combine")
    parser.add_argument("--name", default="Ensemble", help="what a person reads (default: %(default)s)")
    parser.add_argument("--replace", action="store_true", help="replace a model of that id")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        folder = make(args.models_dir, args.id, args.members, args.name, args.replace)
        weights = read_card(folder)["members"]
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2
    print(f"{folder}: {', '.join(f'{w:g} of {member}' for member, w in weights.items())}")
    print(f"Now fit it: {FIT} {args.id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
