from pydicom import dcmread

from dermlens.ingest.read import dicom_identity, read_image
from tests import image_files


def test_which_object_a_file_is_and_whose_is_told_only_where_it_is_asked_for() -> None:
    data = image_files.dicom(image_files.picture())
    file = dcmread(__import__("io").BytesIO(data))
    found = dicom_identity(data)
    assert found["SOPInstanceUID"] == file.SOPInstanceUID
    assert {tag: found[tag] for tag in image_files.PLAIN} == image_files.PLAIN
    assert set(found) <= {"StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", *image_files.PLAIN}
    read = read_image(data)
    assert not any(value in str(read.notices) for value in image_files.PLAIN.values())


def test_other_and_damaged_files_tell_nothing() -> None:
    data = image_files.dicom(image_files.picture())
    assert dicom_identity(image_files.saved(image_files.picture(), "PNG")) == {}
    assert dicom_identity(data[:140]) == {}
    assert dicom_identity(data[:128] + b"DICM" + bytes(2000)) == {}
