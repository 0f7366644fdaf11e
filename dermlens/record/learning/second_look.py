"""Cases worth a second look: people and model disagree, the model is unsure, or the picture is unlike the others.

The list can be written to a folder with the pictures that may be trained with. Once a diagnosis is filled in,
`training` reads that folder as further data (`dermlens.dataset.labelled`).
"""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from dermlens.dataset.labelled import COLUMNS, LABELS, PICTURES
from dermlens.errors import DataError, RecordError
from dermlens.files.documents import unwritable, write_whole
from dermlens.files.tables import encode_csv
from dermlens.record import disclosures
from dermlens.record.at_mix import fitted_calls
from dermlens.record.cases import is_closed
from dermlens.record.open import Record
from dermlens.record.people import Who
from dermlens.record.store.frames import frame
from dermlens.record.store.tables import Image, Lesion, Outcome, Patient, Prediction, Reading
from dermlens.record.vocabulary import covers

UNSURE = 0.5
"""A case is uncertain if no diagnosis has so much."""
UNUSUAL = 0.95
"""A case is unusual if its embedding is farther from training's than so many of the record's, or if it was refused."""
FEW = 20
"""With fewer answers of a model, only what was refused counts as unusual."""
REASONS = ("disagreement", "uncertain", "unusual")


def queue(session: Session, who: Who) -> pd.DataFrame:
    """Return the images of open cases that are worth a second look, those with most reasons first; without those whose
    consent is withdrawn, as nothing can be added to them.

    Returns:
        case, image, saved_at, called and its probability, both at the class mix that the model was fitted for (None and
        NaN where refused), person (newest reading), reasons (texts of REASONS, joined by ";"), picture (name of the
        kept one, None), consent (key of CONSENTS, None), pixels_sha256.
    """
    who.need("see")
    reading, patient = aliased(Reading), aliased(Patient)
    newest = select(func.max(Reading.id)).where(Reading.image_id == Image.id).scalar_subquery()
    columns = {
        "case": Lesion.id,
        "image": Image.id,
        "saved_at": Image.saved_at,
        "model": Prediction.model_id,
        "called": Prediction.called,
        "probabilities": Prediction.probabilities,
        "refused_by": Prediction.refused_by,
        "person": reading.diagnosis,
        "picture": Image.picture,
        "consent": patient.consent_scope,
        "withdrawn_at": patient.withdrawn_at,
        "pixels_sha256": Image.pixels_sha256,
    }
    query = (
        select(*columns.values())
        .select_from(Prediction)
        .join(Image, Image.id == Prediction.image_id)
        .join(Lesion, Lesion.id == Image.lesion_id)
        .outerjoin(patient, patient.id == Lesion.patient_id)
        .outerjoin(reading, reading.id == newest)
        .where(
            Lesion.group_name.in_(who.groups),
            ~Image.synthetic,
            Prediction.lead,
            Prediction.probabilities.is_not(None),
            ~Lesion.id.in_(select(Outcome.lesion_id)),
            ~is_closed(),
        )
    )
    table = frame(session, query, list(columns))
    if table.empty:
        return table.assign(probability=[], reasons=[]).drop(
            columns=["probabilities", "refused_by", "withdrawn_at", "model"]
        )
    table = table.assign(called=fitted_calls(table))
    shares = zip(table["called"], table["probabilities"], strict=True)
    top = np.array([np.nan if called is None else max(p) for called, p in shares], float)
    far = _far(session, who)
    marks = {
        "disagreement": table["person"].notna() & (table["person"] != table["called"].fillna("")),
        "uncertain": pd.Series(top < UNSURE),
        "unusual": table["refused_by"].map(len).gt(0) | table["image"].isin(far),
    }
    reasons = [";".join(name for name in REASONS if marks[name].iloc[row]) for row in range(len(table))]
    table = table.assign(
        probability=top,
        reasons=reasons,
        number=[text.count(";") + bool(text) for text in reasons],
        consent=table["consent"].where(table["withdrawn_at"].isna(), None),
    )
    found = table[table["number"] > 0].sort_values(["number", "image"], ascending=[False, False], ignore_index=True)
    return found.drop(columns=["probabilities", "refused_by", "withdrawn_at", "model", "number"])


def _far(session: Session, who: Who) -> set[int]:
    """Return the images whose embedding lies farther out than most, for any network of the same weights."""
    query = (
        select(Prediction.model_id, Prediction.model_sha256, Prediction.image_id, Prediction.ood_score)
        .join(Image, Image.id == Prediction.image_id)
        .join(Lesion, Lesion.id == Image.lesion_id)
        .where(Lesion.group_name.in_(who.groups), ~Image.synthetic, Prediction.ood_score.is_not(None))
    )
    table = frame(session, query, ["model", "weights", "image", "score"])
    found: set[int] = set()
    for _, own in table.groupby(["model", "weights"]):
        if len(own) >= FEW:
            found |= set(own["image"][own["score"] > own["score"].quantile(UNUSUAL)])
    return found


def labels(table: pd.DataFrame) -> bytes:
    """Return the list as CSV with an empty column dx, to be filled in; `table` as `queue` gives it."""
    listed = pd.DataFrame(
        {
            "image": [f"record-{n}" for n in table["image"]],
            "lesion": [f"record-{n}" for n in table["case"]],
            "dx": "",
            "called": table["called"].fillna(""),
            "reasons": table["reasons"],
            "pixels_sha256": table["pixels_sha256"],
        }
    )
    assert tuple(listed.columns[:3]) == COLUMNS
    return encode_csv(listed)


def write(record: Record, who: Who, folder: Path) -> tuple[int, int]:
    """Write the list and its pictures, not encrypted, to a folder, for somebody to label.

    Only pictures that were kept, and whose patient agreed to training, are written.

    Returns:
        How many images were written, and how many of the queue were left out.

    Raises:
        RecordError: this person may not, no picture can be opened, or one is gone.
        DataError: the folder holds something already, or cannot be written.
    """
    who.need("export")
    if record.pictures is None:
        raise RecordError(
            "There are no kept pictures to label: DERMLENS_RECORD_PICTURES and DERMLENS_RECORD_KEY are needed."
        )
    with record.database.reading() as session:
        table = queue(session, who)
    usable = table[table["picture"].notna() & np.array([covers(c, "training") for c in table["consent"]], bool)]
    try:
        if folder.exists() and any(folder.iterdir()):
            raise DataError(f"{folder} is not empty. Name another folder.")
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise DataError(unwritable(folder, e)) from e
    disclosures.note(record, who, "second look", disclosures.FOLDER)
    for number, name in zip(usable["image"], usable["picture"], strict=True):
        done, png = cv2.imencode(".png", record.pictures.read(str(name))[..., ::-1])
        if not done:
            raise DataError(f"The picture of image {number} cannot be encoded.")
        write_whole(folder / PICTURES / f"record-{number}.png", png.tobytes())
    write_whole(folder / LABELS, labels(usable))
    return len(usable), len(table) - len(usable)
