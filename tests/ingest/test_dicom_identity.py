import warnings
from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread

from dermlens.errors import DataError, DecoderError
from dermlens.ingest import pool
from dermlens.ingest.read import dicom_identity, read_image
from dermlens.interchange.dicom.identity import check, source_of
from tests import image_files


def test_which_object_a_file_is_and_whose_is_told_only_where_it_is_asked_for() -> None:
    data = image_files.dicom(image_files.picture())
    file = dcmread(BytesIO(data))
    found = dicom_identity(data)
    assert found["SOPInstanceUID"] == file.SOPInstanceUID
    assert {tag: found[tag] for tag in image_files.PLAIN} == image_files.PLAIN
    assert set(found) <= {"StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", *image_files.PLAIN}
    read = read_image(data)
    assert not any(value in str(read.notices) for value in image_files.PLAIN.values())


def test_values_are_told_as_they_are_and_several_are_not_made_one() -> None:
    file = dcmread(BytesIO(image_files.dicom(image_files.picture())))
    file.SpecificCharacterSet, file.StudyInstanceUID, file.SeriesInstanceUID = "ISO_IR 192", "1.2.3", "1.2.5"
    wanted = {
        "PatientName": "Müller\u00a0von^Anna=山田\u3000太郎",
        "PatientID": "A\\B",
        "IssuerOfPatientID": "Clinic 7",
        "AccessionNumber": "7" * 300,
    }
    with warnings.catch_warnings(action="ignore"):
        for tag, value in wanted.items():
            setattr(file, tag, value)
        out = BytesIO()
        file.save_as(out)
    found = dicom_identity(out.getvalue())
    assert {tag: found[tag] for tag in wanted} == {**wanted, "AccessionNumber": "7" * 195}
    source = source_of(found)
    assert source is not None
    with pytest.raises(DataError, match="PatientID must be one value"):
        check(source.identity)
    with pytest.raises(DataError, match="AccessionNumber"):
        check(replace(source.identity, patient_id="A"))


def test_a_decoder_that_was_stopped_is_no_file_without_an_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise DecoderError("The decoder was stopped.")

    monkeypatch.setattr(pool, "identity", stopped)
    with pytest.raises(DecoderError):
        dicom_identity(image_files.dicom(image_files.picture()))


def test_other_and_damaged_files_tell_nothing() -> None:
    data = image_files.dicom(image_files.picture())
    assert dicom_identity(image_files.saved(image_files.picture(), "PNG")) == {}
    assert dicom_identity(data[:140]) == {}
    assert dicom_identity(data[:128] + b"DICM" + bytes(2000)) == {}
