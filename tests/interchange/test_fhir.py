import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from fhir.resources.R4B.bundle import Bundle

from dermlens.case.image import CaseImage, examine
from dermlens.case.opinion import form
from dermlens.errors import DermlensError
from dermlens.interchange import fhir
from dermlens.interchange.fhir import Subject, Truth, bundle
from dermlens.interchange.findings import SNOMED, Findings, find
from dermlens.labels import CLASSES
from dermlens.models.model import Model
from dermlens.trust.fitted import Fitted
from dermlens.trust.referral import Referral
from tests.conftest import encode

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
WHO = Subject("4711", "Müller^Änne^Maria", "1950-04-01", "F")


@pytest.fixture
def image(toy: Model, lesion: np.ndarray) -> CaseImage:
    return examine(encode(lesion), "Jane Doe.png", [toy])


@pytest.fixture
def found(toy: Model, image: CaseImage) -> Findings:
    own = Referral({"toy": 0.95}, {"toy": {"melanoma": 0.0, "malignant": 1.0}}, 0.4, {})
    return find(image, form([replace(toy, fitted=Fitted(referral=own))], image.answers), NOW)


def of_kind(made: bytes, kind: str) -> list[dict]:
    return [e["resource"] for e in json.loads(made)["entry"] if e["resource"]["resourceType"] == kind]


def test_a_bundle_is_valid_and_its_references_lead_somewhere(found: Findings) -> None:
    made = bundle([found], WHO, "1.2.3.4", Truth("mel", "", "Histology", NOW))
    read = Bundle.model_validate_json(made)
    urls = {entry.fullUrl for entry in read.entry}
    assert len(urls) == len(read.entry)
    [report], [patient], [device] = (of_kind(made, k) for k in ("DiagnosticReport", "Patient", "Device"))
    pointed = [r["reference"] for r in report["result"]]
    pointed += [o[k]["reference"] for o in of_kind(made, "Observation") for k in ("subject", "device") if k in o]
    assert set(pointed) <= urls
    assert report["imagingStudy"][0]["identifier"]["value"] == "urn:oid:1.2.3.4"
    assert report["conclusion"].startswith("Refer.")
    assert (patient["birthDate"], patient["gender"]) == ("1950-04-01", "female")
    assert patient["name"] == [{"family": "Müller", "given": ["Änne", "Maria"]}]
    assert device["identifier"][0]["value"] == found.models[0].sha256
    assert "Jane Doe" not in made.decode()


def test_every_number_stands_with_its_diagnosis(found: Findings) -> None:
    made = bundle([found])
    assert of_kind(made, "Patient") == []
    model, referral = of_kind(made, "Observation")
    numbers = {c["code"]["coding"][-1]["code"]: c["valueQuantity"]["value"] for c in model["component"]}
    assert numbers == pytest.approx(dict(zip(CLASSES, found.models[0].probabilities, strict=True)), abs=1e-12)
    coded = {c["code"]["coding"][-1]["code"]: c["code"]["coding"][0]["code"] for c in model["component"]}
    assert {code: coded[code] for code in SNOMED} == {code: value for code, (value, _) in SNOMED.items()}
    assert model["valueCodeableConcept"]["coding"][-1]["code"] == found.models[0].called
    assert referral["valueBoolean"] is True
    assert referral["note"][0]["text"] == found.reasons[0]


def test_a_refused_image_has_no_number(toy: Model, image: CaseImage) -> None:
    found = find(image, replace(form([toy], image.answers), refused=frozenset({"toy"})), NOW)
    made = bundle([found, found])
    assert len(of_kind(made, "DiagnosticReport")) == 2
    assert len(of_kind(made, "Device")) == 1, "one algorithm, however often it answered"
    for observation in of_kind(made, "Observation"):
        assert "component" not in observation
        assert "valueCodeableConcept" not in observation
        assert observation["dataAbsentReason"]["coding"][0]["code"] == "not-applicable"


@pytest.mark.parametrize("accepted", [True, False, None])
@pytest.mark.parametrize("withheld", [True, False])
def test_acceptance_is_told_where_it_was_found_and_nowhere_else(
    toy: Model, image: CaseImage, accepted: bool | None, withheld: bool
) -> None:
    judged = {} if accepted is None else {"toy": accepted}
    opinion = replace(form([toy], image.answers), accepted=judged, refused=frozenset({"toy"} if withheld else ()))
    made = bundle([find(image, opinion, NOW)])
    Bundle.model_validate_json(made)
    [observation] = of_kind(made, "Observation")
    told = [c["valueBoolean"] for c in observation.get("component", []) if "valueBoolean" in c]
    assert told == ([] if accepted is None else [accepted])
    assert ("dataAbsentReason" in observation) is withheld
    if withheld:
        not_the_kind = (
            "the image is not of the kind that the algorithm knows" in observation["dataAbsentReason"]["text"]
        )
        assert not_the_kind is (accepted is False)


def test_what_makes_a_person_look_again_is_told(found: Findings) -> None:
    doubted = replace(
        found, refer=False, reasons=(), beside=("Other would refer for melanoma.",), in_doubt=("It is blurred.",)
    )
    [report], [*_, referral] = (of_kind(bundle([doubted]), k) for k in ("DiagnosticReport", "Observation"))
    assert report["conclusion"].startswith(
        "No rule applies, but look again; that is not an all-clear. Other would refer for melanoma. It is blurred."
    )
    assert [note["text"] for note in referral["note"][1:]] == ["Other would refer for melanoma.", "It is blurred."]


def test_an_empty_prediction_set_is_not_the_lack_of_one(found: Findings) -> None:
    def told(codes: tuple[str, ...] | None) -> list[dict]:
        made = bundle([replace(found, models=(replace(found.models[0], prediction_set=codes),))])
        components = of_kind(made, "Observation")[0]["component"]
        return [c for c in components if c["code"]["coding"][0]["code"] == "not-ruled-out"]

    assert told(None) == []
    [none_left] = told(())
    assert none_left["valueString"].startswith("None: every diagnosis is ruled out")
    [melanoma] = told(("mel",))
    assert melanoma["valueCodeableConcept"]["coding"][-1]["code"] == "mel"
    assert "90 % prediction set" in melanoma["code"]["text"]


def test_another_outcome_is_told_in_words(found: Findings) -> None:
    [outcome] = [
        o
        for o in of_kind(bundle([found], truth=Truth("other", "Spitz nevus", "Histology", NOW)), "Observation")
        if o["status"] == "final"
    ]
    assert outcome["valueCodeableConcept"] == {"text": "Spitz nevus"}


def test_what_is_no_fhir_is_a_sentence_without_the_value(found: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DermlensError, match="birthDate") as told:
        bundle([found], Subject(birth_date="yesterday"))
    assert "yesterday" not in str(told.value)
    monkeypatch.setattr(fhir, "available", lambda: False)
    with pytest.raises(DermlensError, match="make exchange"):
        bundle([found])
