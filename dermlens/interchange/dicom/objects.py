"""All objects of one case: the picture if it did not come as DICOM, its heat map, and the report."""

from dataclasses import replace
from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dermlens.case.image import CaseImage
from dermlens.case.opinion import Opinion
from dermlens.errors import DataError
from dermlens.explain.grad_cam import heat_on_image, overlay
from dermlens.interchange.dicom import images
from dermlens.interchange.dicom.identity import Identity, Source, check
from dermlens.interchange.dicom.report import structured_report
from dermlens.interchange.findings import find
from dermlens.labels import INDEX


def objects_of(
    image: CaseImage,
    opinion: Opinion,
    identity: Identity,
    source: Source | None,
    now: datetime,
    *,
    dermoscopic: bool = True,
    mapped: frozenset[str] | None = None,
    opacity: float = 0.6,
) -> list[Dataset]:
    """Return what is sent of a case; the objects are of one study: that of the source, or a new one.

    Args:
        image: answered. opinion: of the models, at the class mix that is shown.
        identity: what the person typed; for an image that came as DICOM, its own is taken.
        source: the object that the image came from; None if it was no DICOM file.
        now: with zone. opacity: of the heat map, 0..1.
        dermoscopic: whether the picture was taken through a dermatoscope.
        mapped: ids of the models whose heat map may be sent; None for all.

    Raises:
        DataError: a field cannot stand in a DICOM object, or no model has answered.
    """
    if not opinion.asked:
        raise DataError("No model has answered about this image: there is nothing to send.")
    check(identity if source is None else source.identity)
    try:
        return _objects(image, opinion, identity, source, now.astimezone(), dermoscopic, mapped, opacity)
    except (ValueError, TypeError):  # whose message may repeat the value
        raise DataError("A value of patient or study cannot stand in a DICOM object. Correct it.") from None


def _objects(
    image: CaseImage,
    opinion: Opinion,
    identity: Identity,
    source: Source | None,
    now: datetime,
    dermoscopic: bool,
    mapped: frozenset[str] | None,
    opacity: float,
) -> list[Dataset]:
    found = []
    if source is None:
        study = generate_uid(prefix=None)
        identity = replace(
            identity, study_date=identity.study_date or now.strftime("%Y%m%d"), study_time=now.strftime("%H%M%S")
        )
        picture = images.photograph(
            image.pixels,
            identity,
            now,
            study=study,
            series=generate_uid(prefix=None),
            instance=generate_uid(prefix=None),
            dermoscopic=dermoscopic,
            derived=_derived(image),
        )
        found.append(picture)
    else:
        identity = source.identity
        picture = images.stand_in(source.study, source.series, source.sop_class, source.sop_instance, identity)
    lead, evidence = opinion.lead, []
    if lead is not None and (mapped is None or lead.id in mapped):
        called = opinion.call(lead)
        evidence.append(
            images.secondary_capture(
                _drawn(image, opinion, opacity),
                identity,
                now,
                source=picture,
                series=generate_uid(prefix=None),
                instance=generate_uid(prefix=None),
                what=f"{lead.name}: where it looked for {called.name}",
            )
        )
    report = structured_report(
        find(image, opinion, now),
        picture,
        evidence,
        now,
        series=generate_uid(prefix=None),
        instance=generate_uid(prefix=None),
    )
    found += [*evidence, report]
    if identity.issuer:
        for made in found:
            made.IssuerOfPatientID = identity.issuer
    return found


def _derived(image: CaseImage) -> str:
    """Say what was done to the pixels of the file; empty if nothing."""
    reduced = image.pixels.shape[:2] != (image.height, image.width)
    done = ["stretched to its true width"] * image.stretched + ["resampled to fewer pixels"] * reduced
    return " and ".join(done).capitalize()


def _drawn(image: CaseImage, opinion: Opinion, opacity: float) -> np.ndarray:
    lead = opinion.lead
    assert lead is not None
    height, width = image.pixels.shape[:2]
    heat = heat_on_image(opinion.answers[lead.id].maps[INDEX[opinion.call(lead).code]], height, width, lead.geometry)
    return overlay(image.pixels, heat, opacity)
