"""How well models and people do on the cases of the record whose outcome is known, and what the answer changes.

Outcomes are known mostly where something was cut out, so all of it is about lesions that looked worth a biopsy, not
about all that were seen (verification bias; Begg & Greenes, Biometrics 39:207, 1983).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sqlalchemy import ScalarSelect, func, or_, select
from sqlalchemy.orm import Session, aliased

from dermlens.estimate import Estimate
from dermlens.evaluation.class_mix import log_ratio
from dermlens.evaluation.compare import McNemar, mcnemar
from dermlens.evaluation.intervals import share
from dermlens.evaluation.predictions import Predictions, make_predictions
from dermlens.labels import CLASSES, INDEX, MELANOMA, N_CLASSES, SUSPECT
from dermlens.record.at_mix import fitted_calls
from dermlens.record.people import Who
from dermlens.record.store.frames import frame
from dermlens.record.store.tables import Image, Lesion, Outcome, Prediction, Reading

SPLIT = "record"
BIAS = (
    "Only cases whose outcome is known are measured, and outcomes are known mostly where something was cut out: these "
    "figures are about lesions that looked suspicious to somebody, not about all that were seen."
)
_SMALLEST = 1e-12


def models(session: Session, who: Who) -> list[str]:
    """Return the ids of the models that have answered cases with a known outcome, the one with most answers first."""
    query = (
        select(Prediction.model_id, func.count())
        .join(Image, Image.id == Prediction.image_id)
        .join(Lesion, Lesion.id == Image.lesion_id)
        .where(Lesion.group_name.in_(who.groups), ~Image.synthetic, Lesion.id.in_(select(Outcome.lesion_id)))
        .group_by(Prediction.model_id)
        .order_by(func.count().desc(), Prediction.model_id)
    )
    return [model_id for model_id, _ in session.execute(query)]


@dataclass(frozen=True, eq=False)
class OfModel:
    """A model's answers to images whose outcome is one of the seven diagnoses."""

    predictions: Predictions
    other: int
    """images whose outcome is another diagnosis, which no model can call: left out"""
    refused: int
    """images that were refused: left out"""
    uncalibrated: int
    """images that were answered without a calibration while others were with one: left out"""
    versions: int
    """different weights that answered under this id"""


def of_model(session: Session, who: Who, model_id: str) -> OfModel:
    """Return what a model answered, at the class mix that it was fitted for; drawings of the project are left out.

    Where it was fitted anew meanwhile, all answers are brought to the mix of the newest one.
    """
    table = _known(session, who, Prediction.model_id == model_id)
    other = ~table["outcome"].isin(CLASSES)
    refused = table["called"].isna() & ~other
    there = table[~other & ~refused]
    mixes = there["settings"].map(lambda settings: settings.get("fitted_mix") or None)
    uncalibrated = mixes.isna() & mixes.notna().any()
    there, mixes = there[~uncalibrated], mixes[~uncalibrated]
    logits = _logits(np.array(there["probabilities"].tolist(), np.float64).reshape(-1, N_CLASSES))
    mix = None if mixes.isna().any() or mixes.empty else np.array(mixes.iloc[-1], np.float64)
    if mix is not None:
        logits += np.array([log_ratio(np.array(own), mix) for own in mixes])
    found = make_predictions(
        there["image"].astype(str), there["case"].astype(str), SPLIT, there["outcome"].map(INDEX), logits
    )
    return OfModel(
        replace(found, class_mix=mix),
        int(other.sum()),
        int(refused.sum()),
        int(uncalibrated.sum()),
        there["model_sha256"].nunique(),
    )


def _logits(shares: np.ndarray) -> np.ndarray:
    return np.log(np.clip(shares, _SMALLEST, 1))


def _known(session: Session, who: Who, condition: object) -> pd.DataFrame:
    who.need("see")
    outcome = aliased(Outcome)
    newest = select(func.max(Outcome.id)).where(Outcome.lesion_id == Lesion.id).scalar_subquery()
    columns = (Prediction.called, Prediction.probabilities, Prediction.settings, Prediction.model_sha256)
    query = (
        select(Image.id, Lesion.id, outcome.diagnosis, *columns)
        .select_from(Prediction)
        .join(Image, Image.id == Prediction.image_id)
        .join(Lesion, Lesion.id == Image.lesion_id)
        .join(outcome, outcome.id == newest)
        .where(Lesion.group_name.in_(who.groups), ~Image.synthetic, Prediction.probabilities.is_not(None), condition)  # type: ignore[arg-type]
        .order_by(Image.id)
    )
    names = ["image", "case", "outcome", "called", "probabilities", "settings", "model_sha256"]
    return frame(session, query, names)


SIDES = {"before": "People alone", "after": "People with the model", "model": "The model"}
"""Column of `readings_with_outcome` -> who that is."""
FIGURES = {
    "right": "Accuracy",
    "melanoma": "Melanoma recall",
    "suspect": "Sensitivity, malignant or pre-malignant",
    "benign": "Specificity, malignant or pre-malignant",
}


@dataclass(frozen=True, eq=False)
class Changed:
    """What people did with the answer that they saw, as shares of readings before and with it, whatever the outcome."""

    agreed_before: Estimate
    """the first reading was what the model called"""
    agreed_after: Estimate
    overridden: Estimate
    """the second reading was not what the model called"""
    changed: Estimate
    """the second reading was not the first one"""
    followed: Estimate
    """of those that first differed from the model, how many then said what it called"""
    management: Estimate
    """another management than before"""
    seconds: dict[str, float]
    """stage -> median seconds; NaN without any"""


@dataclass(frozen=True, eq=False)
class Compared:
    """People alone, people with the model, and the model, on the same readings with a known outcome."""

    readings: int
    lesions: int
    people: int
    figures: dict[str, dict[str, Estimate]]
    """key of FIGURES -> key of SIDES -> the share"""
    tests: dict[tuple[str, str], McNemar]
    """two keys of SIDES -> McNemar's test on who is right, one reading a lesion"""


def paired_readings(session: Session, who: Who) -> pd.DataFrame:
    """Return a row for each image and person with a reading before and one with the answer.

    Of each, the last one that was put down before the first outcome of the lesion was entered: who knows the outcome
    does not read any more.

    Returns:
        image, case, person; before, after, shown, model (diagnoses; "" where the lead model called none), outcome (None
        while open), management_before, management_after, seconds_before, seconds_after. `shown` is what the person saw
        called, at the class mix that was set; `model` is what is called at the one that the model was fitted for.
    """
    who.need("see")
    before, after, outcome = aliased(Reading), aliased(Reading), aliased(Outcome)
    newest = select(func.max(Outcome.id)).where(Outcome.lesion_id == Lesion.id).scalar_subquery()
    columns = {
        "image": Image.id,
        "case": Lesion.id,
        "person": before.person_id,
        "before": before.diagnosis,
        "after": after.diagnosis,
        "called": Prediction.called,
        "probabilities": Prediction.probabilities,
        "outcome": outcome.diagnosis,
        "management_before": before.management,
        "management_after": after.management,
        "seconds_before": before.seconds,
        "seconds_after": after.seconds,
    }
    query = (
        select(*columns.values())
        .select_from(before)
        .join(after, (after.image_id == before.image_id) & (after.person_id == before.person_id))
        .join(Image, Image.id == before.image_id)
        .join(Lesion, Lesion.id == Image.lesion_id)
        .join(Prediction, (Prediction.image_id == Image.id) & Prediction.lead)
        .outerjoin(outcome, outcome.id == newest)
        .where(
            before.stage == "before",
            after.stage == "after",
            before.id == _last_in_time(before),
            after.id == _last_in_time(after),
            Lesion.group_name.in_(who.groups),
            ~Image.synthetic,
        )
        .order_by(Image.id, before.person_id)
    )
    found = frame(session, query, list(columns))
    calls = {"shown": found["called"].fillna(""), "model": fitted_calls(found).fillna("")}
    return found.assign(**calls).drop(columns=["called", "probabilities"])


def _last_in_time(reading: type[Reading]) -> ScalarSelect[int | None]:
    """Return the id of the last reading like another one, by stage and person, that no outcome of the lesion precedes.

    In a query over that reading and its Lesion.
    """
    own = aliased(Reading)
    known = select(func.min(Outcome.at)).where(Outcome.lesion_id == Lesion.id).correlate(Lesion).scalar_subquery()
    return (
        select(func.max(own.id))
        .where(
            own.image_id == reading.image_id,
            own.person_id == reading.person_id,
            own.stage == reading.stage,
            or_(known.is_(None), own.at <= known),
        )
        .correlate(reading, Lesion)
        .scalar_subquery()
    )


def changed(table: pd.DataFrame) -> Changed:
    """Measure what people did with the answer that they saw; `table` as `paired_readings` gives it."""
    called = table[table["shown"] != ""]
    differed = called[called["before"] != called["shown"]]

    def of(rows: pd.DataFrame, hit: pd.Series) -> Estimate:
        return share(hit.to_numpy(bool), _lesions(rows))

    return Changed(
        of(called, called["before"] == called["shown"]),
        of(called, called["after"] == called["shown"]),
        of(called, called["after"] != called["shown"]),
        of(table, table["after"] != table["before"]),
        of(differed, differed["after"] == differed["shown"]),
        of(table, table["management_after"] != table["management_before"]),
        {stage: float(table[f"seconds_{stage}"].astype(float).median()) for stage in ("before", "after")},
    )


def compared(table: pd.DataFrame) -> Compared:
    """Measure all three sides on the same readings, those with a known outcome.

    A model that refused an image, or a person who named another diagnosis, was not right, and called the lesion neither
    suspect nor benign. An outcome that is none of
    the seven diagnoses counts as right for nobody, and is left out. The model is taken at the class mix that it was
    fitted for, whatever mix the person had set.

    Args:
        table: as `paired_readings` gives it.
    """
    known = table[table["outcome"].isin(CLASSES)].reset_index(drop=True)
    lesion, true = _lesions(known), known["outcome"].to_numpy(object)
    suspect = [CLASSES[i] for i in SUSPECT]
    benign = [code for code in CLASSES if code not in suspect]
    is_suspect, is_melanoma = np.isin(true, suspect), true == CLASSES[MELANOMA]
    figures: dict[str, dict[str, Estimate]] = {key: {} for key in FIGURES}
    right = {}
    for side in SIDES:
        said = known[side].to_numpy(object)
        right[side] = said == true
        says_suspect, says_benign = np.isin(said, suspect), np.isin(said, benign)
        figures["right"][side] = share(right[side], lesion)
        figures["melanoma"][side] = share(right[side][is_melanoma], lesion[is_melanoma])
        figures["suspect"][side] = share(says_suspect[is_suspect], lesion[is_suspect])
        figures["benign"][side] = share(says_benign[~is_suspect], lesion[~is_suspect])
    return Compared(
        len(known),
        known["case"].nunique(),
        known["person"].nunique(),
        figures,
        {
            (a, b): _test(right[a], right[b], known)
            for a, b in (("after", "before"), ("after", "model"), ("before", "model"))
        },
    )


def _test(a: np.ndarray, b: np.ndarray, table: pd.DataFrame) -> McNemar:
    ids: Sequence[str] = [
        f"{image:012d} {person:012d}" for image, person in zip(table["image"], table["person"], strict=True)
    ]
    dummy = make_predictions(
        ids, table["case"].astype(str), SPLIT, np.zeros(len(table)), np.zeros((len(table), N_CLASSES))
    )
    return mcnemar(a.astype(bool), b.astype(bool), dummy) if len(table) else McNemar(0, 0, 0, 1.0)


def _lesions(table: pd.DataFrame) -> np.ndarray:
    return pd.factorize(table["case"])[0]
