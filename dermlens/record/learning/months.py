"""The record month by month: whether the model still meets the patients that it was measured on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from dermlens.estimate import Estimate
from dermlens.evaluation.intervals import share
from dermlens.models.card import identity_of
from dermlens.record.at_mix import fitted_calls, suspect_share
from dermlens.record.people import Who
from dermlens.record.store.frames import frame
from dermlens.record.store.tables import Image, Lesion, Prediction

SHARES = {
    "refer": "Referred",
    "suspect": "Called malignant or pre-malignant",
    "refused": "Refused",
    "poor": "Poor picture",
}
"""Column -> what it is called."""


def answered(session: Session, who: Who, model_id: str) -> pd.DataFrame:
    """Return a row for each answer of a model, oldest first; drawings of the project are left out.

    Returns:
        case, month ("2026-05", of saving), version (`models.card.identity_of` what answered), called and suspect
        (probability), both at the mix that the model was fitted for and None where refused, refer (None without rules),
        refused, poor (bool), sharpness, brightness, glare, ood_score (float, NaN where not known).
    """
    who.need("see")
    query = (
        select(
            Lesion.id,
            Image.saved_at,
            Prediction.called,
            Prediction.probabilities,
            Prediction.refer,
            Prediction.ood_score,
            Image.quality,
            Prediction.model_sha256,
            Prediction.fitted,
        )
        .join(Image, Image.id == Prediction.image_id)
        .join(Lesion, Lesion.id == Image.lesion_id)
        .where(
            Lesion.group_name.in_(who.groups),
            ~Image.synthetic,
            Prediction.model_id == model_id,
            Prediction.probabilities.is_not(None),
        )
        .order_by(Image.id)
    )
    names = ["case", "saved_at", "called", "probabilities", "refer", "ood_score", "quality", "weights", "fitted"]
    table = frame(session, query, names)
    quality = {name: [q.get(name) for q in table["quality"]] for name in ("sharpness", "brightness", "glare")}
    return table.assign(
        version=[identity_of(w, f) for w, f in zip(table["weights"], table["fitted"], strict=True)],
        month=pd.to_datetime(table["saved_at"], utc=True).dt.strftime("%Y-%m"),
        called=fitted_calls(table),
        suspect=[
            np.nan if c is None else suspect_share(p)
            for c, p in zip(table["called"], table["probabilities"], strict=True)
        ],
        refused=table["called"].isna(),
        poor=[bool(q.get("poor")) for q in table["quality"]],
        ood_score=table["ood_score"].astype(float),
        **{name: np.array(values, float) for name, values in quality.items()},
    ).drop(columns=["quality", "saved_at", "probabilities", "weights", "fitted"])


@dataclass(frozen=True, eq=False)
class Months:
    """Shares of the answers of each month."""

    months: tuple[str, ...]
    shares: Mapping[str, tuple[Estimate, ...]]
    """value of SHARES -> a share a month; where there were no rules, nothing was referred or not"""


def by_month(table: pd.DataFrame, suspect: tuple[str, ...]) -> Months:
    """Measure the months of a table as `answered` gives it.

    Args:
        suspect: codes of the diagnoses that are malignant or pre-malignant.
    """
    ruled = table["refer"].notna().to_numpy()
    hits = {
        "refer": table["refer"].eq(True),
        "suspect": table["called"].isin(suspect),
        "refused": table["refused"],
        "poor": table["poor"],
    }
    lesion = pd.factorize(table["case"])[0]
    months = tuple(sorted(table["month"].unique()))
    found: dict[str, tuple[Estimate, ...]] = {}
    for key, hit in hits.items():
        counts = ruled if key == "refer" else np.ones(len(table), bool)
        rows = [(table["month"] == month).to_numpy() & counts for month in months]
        found[SHARES[key]] = tuple(share(hit.to_numpy(bool)[own], lesion[own]) for own in rows)
    return Months(months, found)
