"""What leaves the record as a table: a row an answer, without anything that tells who the patient or the person is."""

import io
from typing import Any

import pandas as pd
from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased

from dermlens.files.tables import encode_csv
from dermlens.labels import CLASSES
from dermlens.record.at_mix import fitted_calls, suspect_share
from dermlens.record.people import Who
from dermlens.record.store.frames import frame
from dermlens.record.store.tables import Image, Lesion, Outcome, Patient, Prediction, Reading
from dermlens.record.vocabulary import STAGES

FORMATS = {"CSV": ("csv", "text/csv"), "Parquet": ("parquet", "application/vnd.apache.parquet")}
"""Name -> suffix and type."""
READING = ("diagnosis", "diagnosis_words", "confidence", "management", "seconds")


def answers(session: Session, who: Who) -> pd.DataFrame:
    """Return a row for each answer of a model in the person's groups.

    Left out are pseudonyms, labels, notes, sources, devices, groups and people; patients and lesions go by numbers, and
    dates by the month. The birth year is given as ten years of age at the image. `called`, `shown_*` and
    `suspect_shown` are at the class mix that was set (the latter two empty where none was); `probabilities_*`,
    `suspect` and `called_fitted` at the one that the model was fitted for.

    Args:
        session: reading. who: needs the right to export.
    """
    who.need("export")
    outcome, patient = aliased(Outcome), aliased(Patient)
    newest = select(func.max(Outcome.id)).where(Outcome.lesion_id == Lesion.id).scalar_subquery()
    columns: dict[str, Any] = {
        "case": Lesion.id,
        "patient": Lesion.patient_id,
        "image": Image.id,
        "saved_at": Image.saved_at,
        "taken_at": Image.taken_at,
        "birth_year": patient.birth_year,
        "sex": patient.sex,
        "site": Lesion.site,
        "side": Lesion.side,
        "pixels_sha256": Image.pixels_sha256,
        "file_sha256": Image.file_sha256,
        "width": Image.width,
        "height": Image.height,
        "quality": Image.quality,
        "outcome": outcome.diagnosis,
        "outcome_words": outcome.diagnosis_words,
        "outcome_basis": outcome.basis,
        **{
            name: getattr(Prediction, name)
            for name in (
                *("lead", "model_id", "model_sha256", "app_version", "settings", "logits", "probabilities", "shown"),
                *("calibrated", "called", "suspect", "prediction_set", "refused_by", "ood_score", "refer", "reasons"),
                *("heat_map_sha256", "milliseconds", "error"),
            )
        },
    }
    query = (
        select(*(value.label(name) for name, value in columns.items()))
        .select_from(Prediction)
        .join(Image, Image.id == Prediction.image_id)
        .join(Lesion, Lesion.id == Image.lesion_id)
        .outerjoin(patient, patient.id == Lesion.patient_id)
        .outerjoin(outcome, outcome.id == newest)
        .where(Lesion.group_name.in_(who.groups), ~Image.synthetic)
        .order_by(Prediction.id)
    )
    return _flat(frame(session, query, list(columns)))


def readings(session: Session, who: Who) -> pd.DataFrame:
    """Return a row for each reading that holds in the person's groups; readers go by numbers. As for `answers`.

    `outcome_known` tells whether an outcome of the lesion was there already. One that was put down then takes the place
    of no earlier one: what the person said without knowing is kept beside it.
    """
    who.need("export")
    known = select(func.min(Outcome.at)).where(Outcome.lesion_id == Lesion.id).scalar_subquery()
    columns = (Reading.person_id, Reading.stage, and_(known.is_not(None), Reading.at > known))
    query = (
        select(Lesion.id, Image.id, *columns, *(getattr(Reading, name) for name in READING))
        .select_from(Reading)
        .join(Image, Image.id == Reading.image_id)
        .join(Lesion, Lesion.id == Image.lesion_id)
        .where(Lesion.group_name.in_(who.groups), ~Image.synthetic)
        .order_by(Reading.id)
    )
    table = frame(session, query, ["case", "image", "reader", "stage", "outcome_known", *READING])
    table = table.drop_duplicates(["image", "reader", "stage", "outcome_known"], keep="last", ignore_index=True)
    table["outcome_known"] = table["outcome_known"].astype(bool)
    order = {number: place for place, number in enumerate(sorted(table["reader"].unique()), start=1)}
    assert set(table["stage"]) <= set(STAGES)
    return table.assign(reader=table["reader"].map(order))


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """Give lists columns of their own or one text, and blur what could tell who somebody is."""
    at = table["taken_at"].fillna(table["saved_at"])
    years = pd.to_datetime(at, utc=True).dt.year
    age = years - pd.to_numeric(table["birth_year"])
    found = table.drop(
        columns=["birth_year", "saved_at", "taken_at", "quality", "settings", "logits", "probabilities", "shown"]
    )
    found.insert(3, "month", pd.to_datetime(at, utc=True).dt.strftime("%Y-%m"))
    found.insert(4, "age", (age // 10 * 10).astype("Int64"))
    found["poor"] = [bool(q.get("poor")) for q in table["quality"]]
    found["findings"] = [";".join(q.get("findings", ())) for q in table["quality"]]
    found["stored_aspect"] = [s.get("stored_aspect", "") for s in table["settings"]]
    for name in ("prediction_set", "refused_by", "reasons"):
        found[name] = [None if v is None else ";".join(v) for v in table[name]]
    for name in ("logits", "probabilities", "shown"):
        for place, code in enumerate(CLASSES):
            found[f"{name}_{code}"] = [float("nan") if v is None else v[place] for v in table[name]]
    found["called_fitted"] = fitted_calls(table)
    found["suspect_shown"] = [float("nan") if v is None else suspect_share(v) for v in table["shown"]]
    return found


def encode(table: pd.DataFrame, kind: str) -> bytes:
    """Return a table as a file; kind: key of FORMATS."""
    if kind == "CSV":
        texts = table.select_dtypes(include=["object", "string"])
        return encode_csv(table.assign(**texts.map(_harmless)))
    out = io.BytesIO()
    table.to_parquet(out, index=False)
    return out.getvalue()


def _harmless(cell: Any) -> Any:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell
