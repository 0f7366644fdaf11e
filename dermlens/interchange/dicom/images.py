"""Pictures as DICOM: the photograph itself, and the picture under its heat map as Secondary Capture."""

import warnings
from datetime import datetime
from typing import Any

import numpy as np
from highdicom.base import SOPClass
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    DermoscopicPhotographyImageStorage,
    ExplicitVRLittleEndian,
    VLPhotographicImageStorage,
    generate_uid,
)

from dermlens.case.software import app_version
from dermlens.interchange.dicom.identity import Identity

# What pydicom and highdicom warn of repeats names and other values, and warnings go to the server's log.
warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)(\.|$)")

MAKER = "Dermlens"
_UTF8 = "ISO_IR 192"
_NOT_KNOWN = "unknown"


def photograph(
    pixels: np.ndarray,
    identity: Identity,
    now: datetime,
    *,
    study: str,
    series: str,
    instance: str,
    dermoscopic: bool,
    derived: str,
) -> Dataset:
    """Return a picture that did not come as DICOM, as Dermoscopic Photography Image or VL Photographic Image.

    Args:
        pixels: (h, w, 3) uint8 sRGB.
        identity: checked. now: with zone. study, series, instance: UIDs.
        dermoscopic: whether the picture was taken through a dermatoscope.
        derived: what was done to the original's pixels, in words; empty if they are its own.
    """
    sop_class = DermoscopicPhotographyImageStorage if dermoscopic else VLPhotographicImageStorage
    image: Dataset = SOPClass(
        study_instance_uid=study,
        series_instance_uid=series,
        series_number=1,
        sop_instance_uid=instance,
        sop_class_uid=sop_class,
        instance_number=1,
        modality="DMS" if dermoscopic else "XC",
        manufacturer=_NOT_KNOWN,  # the camera is not known; what wrote the object is among the software
        manufacturer_model_name=_NOT_KNOWN,
        device_serial_number=_NOT_KNOWN,
        software_versions=f"{MAKER} {app_version()}",
        series_description="Dermoscopic image" if dermoscopic else "Photograph of the skin",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **_about(identity, now),
    )
    image.ImageType = ["DERIVED" if derived else "ORIGINAL", "PRIMARY"]
    if derived:
        image.DerivationDescription = derived
        image.DerivationCodeSequence = [_coded(codes.DCM.SpatialResampling)]
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.Rows, image.Columns = pixels.shape[:2]
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = np.ascontiguousarray(pixels).tobytes() + b"\0" * (pixels.size % 2)
    image.LossyImageCompression = None  # of the file it came from, which is not kept
    image.PatientOrientation = None
    image.AcquisitionContextSequence = []
    image.AnatomicRegionSequence = [_coded(codes.SCT.Skin)]
    image.Laterality = None
    if dermoscopic:
        image.FrameOfReferenceUID, image.PositionReferenceIndicator = generate_uid(prefix=None), None
        image.LightSourcePolarization = image.EmitterColorTemperature = image.ContactMethod = None
        image.OpticalMagnificationFactor = None
        image.RecognizableVisualFeatures = "YES"  # nobody looked for tattoos or a face: the careful answer
    return image


def secondary_capture(
    pixels: np.ndarray, identity: Identity, now: datetime, *, source: Dataset, series: str, instance: str, what: str
) -> Dataset:
    """Return a picture under its heat map.

    Args:
        pixels: (h, w, 3) uint8 RGB. identity: checked. now: with zone.
        source: the image that it was made from. series, instance: UIDs. what: it shows, at most 64 characters.
    """
    capture: Dataset = SCImage(
        pixel_array=np.ascontiguousarray(pixels),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=series,
        series_number=2,
        sop_instance_uid=instance,
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        device_serial_number=app_version(),
        software_versions=app_version(),
        series_description="Heat map of the model's diagnosis",
        patient_orientation=("L", "F"),
        **_about(identity, now),
    )
    capture.PatientOrientation = capture.Laterality = None  # not known
    capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    capture.ImageComments = what
    capture.DerivationDescription = "Grad-CAM of the diagnosis that the model called, laid over the picture"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [_coded(codes.DCM.SourceImageForImageProcessingOperation)]
    capture.SourceImageSequence = [reference]
    return capture


def stand_in(study: str, series: str, sop_class: str, instance: str, identity: Identity) -> Dataset:
    """Return an object that lies elsewhere, as far as a report needs to point at it."""
    image = Dataset()
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.SOPClassUID, image.SOPInstanceUID = UID(sop_class), UID(instance)
    image.PatientID, image.PatientName = identity.patient_id, identity.patient_name
    image.PatientBirthDate, image.PatientSex = identity.birth_date, identity.sex
    image.AccessionNumber, image.StudyID = identity.accession_number, identity.study_id
    image.StudyDate, image.StudyTime = identity.study_date, identity.study_time
    image.ReferringPhysicianName = identity.referring_physician
    image.SpecificCharacterSet = _UTF8
    return image


def _about(identity: Identity, now: datetime) -> dict[str, Any]:
    """Return what every object says of patient, study and time."""
    day, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    return {
        "patient_id": identity.patient_id,
        "patient_name": identity.patient_name,
        "patient_birth_date": identity.birth_date,
        "patient_sex": identity.sex or None,
        "accession_number": identity.accession_number,
        "study_id": identity.study_id,
        "study_date": identity.study_date or None,
        "study_time": identity.study_time or None,
        "referring_physician_name": identity.referring_physician,
        "content_date": day,
        "content_time": time,
        "series_date": day,
        "series_time": time,
        "specific_character_set": _UTF8,
    }


def _coded(code: Any) -> CodedConcept:
    return CodedConcept.from_code(code)
