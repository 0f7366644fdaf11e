import hashlib
import json

import numpy as np
import pytest
from fhir.resources.R4B.bundle import Bundle

from dermlens.errors import RecordError
from dermlens.labels import CLASSES
from dermlens.record import cases, save
from dermlens.record.exchange.fhir import case_as_fhir
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.people import Who
from tests.record.filled import fill, saving


def test_a_case_of_the_record_is_a_valid_bundle_that_names_nobody(record: Record) -> None:
    fill(record, 8, known=1)
    with record.database.reading() as session:
        case = cases.one(session, ME, 1)
        made = case_as_fhir(case, ME)
        Bundle.model_validate_json(made)
        resources = [entry["resource"] for entry in json.loads(made)["entry"]]
        [patient] = [r for r in resources if r["resourceType"] == "Patient"]
        assert patient == {"resourceType": "Patient", "gender": "female", "birthDate": "1960"}
        answers = {a.model_sha256: a for a in case.predictions[case.images[0].id]}
        devices = [r for r in resources if r["resourceType"] == "Device"]
        made_of = {f"{a.model_sha256}\ncalibration.json {a.fitted['calibration.json']}" for a in answers.values()}
        told_of = {d["identifier"][0]["value"] for d in devices}
        assert told_of == {hashlib.sha256(parts.encode()).hexdigest() for parts in made_of}
        observations = [r for r in resources if r["resourceType"] == "Observation"]
        told = [
            [c["valueQuantity"]["value"] for c in o["component"] if "valueQuantity" in c]
            for o in observations
            if "component" in o
        ]
        assert told == [pytest.approx(a.probabilities) for a in answers.values() if a.called]
        [outcome] = [o for o in observations if o["status"] == "final"]
        assert case.outcome is not None
        assert case.outcome.diagnosis in CLASSES
        assert outcome["valueCodeableConcept"]["coding"][-1]["code"] == case.outcome.diagnosis
        for secret in (case.patient.pseudonym, case.lesion.label, "note 0", case.outcome.source):
            assert secret
            assert secret not in made.decode()
        with pytest.raises(RecordError, match="export"):
            case_as_fhir(case, Who("x", "reader", ME.groups))


def test_a_network_that_accepted_an_image_that_the_ensemble_withheld_is_not_said_to_refuse_it(record: Record) -> None:
    one = saving(np.random.default_rng(0), 5)
    for values in one.predictions:
        values.update(called=None, refused_by=["ensemble", "one"])
        values["ood_score"] = None if values["lead"] else 1.0
    saved = save.save(record, ME, one)
    with record.database.reading() as session:
        made = case_as_fhir(cases.one(session, ME, saved.lesion_id), ME)
    Bundle.model_validate_json(made)
    observations = [e["resource"] for e in json.loads(made)["entry"] if e["resource"]["resourceType"] == "Observation"]
    models = [o for o in observations if "device" in o]
    assert [[c["valueBoolean"] for c in o["component"]] for o in models] == [[False], [False], [True]]
    assert all("dataAbsentReason" in o for o in models)
