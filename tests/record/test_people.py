from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select

from dermlens.errors import RecordError
from dermlens.record import cases, consent, readings, save
from dermlens.record.cases import Wanted
from dermlens.record.exchange import export, outcome_table
from dermlens.record.exchange.outcome_table import Row
from dermlens.record.learning import measured, months, second_look
from dermlens.record.open import Record
from dermlens.record.people import NEEDS, NOBODY_SIGNED_IN, Who, signed_in
from dermlens.record.readings import Found, Judgement
from dermlens.record.save import About
from dermlens.record.store.tables import Person
from dermlens.record.vocabulary import ROLES
from tests.record.filled import fill, saving

ANNA = Who("anna", "admin", ("north",))
BERT = Who("bert", "admin", ("south",))
RNG = np.random.default_rng(0)


def test_role_and_groups_come_from_claims_or_from_the_list_in_the_secrets() -> None:
    claims = {"sub": "42", "roles": ["clinician", "cleaner"], "groups": ["north", "south"], "name": "Anna"}
    assert signed_in(claims, "roles", "groups") == Who("42", "clinician", ("north", "south"))
    assert signed_in({**claims, "roles": "reader"}, "roles", "groups").role == "reader"
    assert signed_in({**claims, "r": ["admin", "reader"], "g": "x"}, "r", "g") == Who("42", "admin", ("x",))
    listed = {"42": {"role": "reader", "groups": ["east"]}}
    assert signed_in(claims, "roles", "groups", listed) == Who("42", "reader", ("east",))
    for wrong, said in (
        ({}, "names no subject"),
        ({"sub": "42", "groups": ["a"]}, "no role in the record"),
        ({"sub": "42", "roles": ["Admin"], "groups": ["a"]}, "no role in the record"),
        ({"sub": "42", "roles": ["admin"]}, "no group"),
        ({"sub": "42", "roles": ["admin"], "groups": [3]}, "no group"),
    ):
        with pytest.raises(RecordError, match=said):
            signed_in(wrong, "roles", "groups", {"43": listed["42"]})


def test_nobody_sees_or_changes_what_is_of_another_group(record: Record) -> None:
    fill(record, 4, who=ANNA)
    with record.database.reading() as session:
        assert cases.count(session, ANNA) == 4
        for query in (
            lambda: cases.count(session, BERT),
            lambda: len(cases.listed(session, BERT)),
            lambda: sum(cases.totals(session, BERT).values()),
            lambda: len(export.answers(session, BERT)),
            lambda: len(export.readings(session, BERT)),
            lambda: len(second_look.queue(session, BERT)),
            lambda: len(measured.models(session, BERT)),
            lambda: len(measured.of_model(session, BERT, "ensemble").predictions),
            lambda: len(measured.paired_readings(session, BERT)),
            lambda: len(months.answered(session, BERT, "ensemble")),
            lambda: len(cases.of_patient(session, BERT, record.keys.pseudonym("p0-0"))[1]),
        ):
            assert query() == 0
        assert len(cases.of_patient(session, ANNA, record.keys.pseudonym("p0-0"))[1]) == 2
        with pytest.raises(RecordError, match="no such case"):
            cases.one(session, BERT, 1)
        before = cases.one(session, ANNA, 1)
        image = before.images[0].id
    said = Judgement("after", "nv", 50, "none")
    for change in (
        lambda: readings.read(record, BERT, image, said),
        lambda: readings.enter_outcome(record, BERT, 1, Found("nv", "histology")),
        lambda: outcome_table.enter_all(record, BERT, [Row(1, Found("nv", "histology"))]),
        lambda: consent.withdraw(record, BERT, 1),
        lambda: save.edit(record, BERT, About(lesion_id=1, site="back")),
        lambda: save.save(record, BERT, saving(RNG, 5, About(lesion_id=1))),
    ):
        with pytest.raises(RecordError, match="in your groups"):
            change()
    with record.database.reading() as session:
        after = cases.one(session, ANNA, 1)
        assert len(after.history) == len(before.history)
        assert len(after.images) == 1


def test_every_role_may_do_what_it_needs_and_nothing_more(record: Record) -> None:
    fill(record, 1, who=ANNA)
    reader, clinician = (Who(f"c-{role}", role, ("north",)) for role in ROLES[:2])
    with record.database.reading() as session:
        image = cases.one(session, reader, 1).images[0].id
    readings.read(record, reader, image, Judgement("after", "nv", 50, "none"))
    assert save.save(record, reader, saving(RNG, 5)).lesion_id == 2
    for what in (
        lambda: readings.enter_outcome(record, reader, 1, Found("nv", "histology")),
        lambda: save.save(record, reader, saving(RNG, 5, About(patient="x"))),
        lambda: save.edit(record, reader, About(lesion_id=1, patient="x")),
        lambda: consent.withdraw(record, clinician, 1),
    ):
        with pytest.raises(RecordError, match="takes the role"):
            what()
    with record.database.reading() as session, pytest.raises(RecordError, match="To export takes the role clinician"):
        export.answers(session, reader)
    readings.enter_outcome(record, clinician, 1, Found("nv", "histology"))
    assert all(NOBODY_SIGNED_IN.may(what) for what in NEEDS)
    assert [sum(Who("x", role, ("g",)).may(what) for what in NEEDS) for role in ROLES] == [3, 8, 10]


def test_somebody_of_two_groups_sees_both_and_saves_into_the_chosen_one(record: Record) -> None:
    both = Who("carl", "clinician", ("north", "south"))
    fill(record, 1, who=ANNA)
    fill(record, 1, who=BERT, seed=1)
    with record.database.reading() as session:
        assert cases.count(session, both) == 2
    save.save(record, both.within("south"), saving(RNG, 5))
    with record.database.reading() as session:
        assert cases.count(session, ANNA) == 1
        assert cases.count(session, BERT, Wanted()) == 2
    with pytest.raises(RecordError, match="not one of yours"):
        both.within("east")


def test_what_is_added_to_a_case_of_ones_other_group_is_by_the_person_in_that_group(record: Record) -> None:
    south = Who("carl", "clinician", ("south",))
    both = Who("carl", "clinician", ("north", "south"))
    case = save.save(record, south, saving(RNG, 5)).lesion_id
    first = Judgement("before", "nv", 50, "none", seconds=3)
    one = saving(RNG, 5, About(patient="x", lesion_id=case), readings=(first,))
    saved = save.save(record, both, one)
    second = Judgement("after", "mel", 50, "none", seconds=2)
    save.save(record, both, replace(one, readings=(first, second)))
    save.edit(record, both, About(lesion_id=case, site="back"))
    with record.database.reading() as session:
        (person,) = session.scalars(select(Person))
        found = cases.one(session, both, case)
        assert person.group_name == found.patient.group_name == "south"
        assert {a.person_id for a in found.predictions[saved.image_id]} == {person.id}
        assert measured.paired_readings(session, both)[["before", "after"]].to_numpy().tolist() == [["nv", "mel"]]


def test_who_has_read_or_saved_a_picture_has_met_its_answer(record: Record) -> None:
    one, other = saving(RNG, 5), saving(RNG, 5)
    saved = save.save(record, ANNA, one)
    pixels = str(one.image["pixels_sha256"])

    def met(who: Who, of: str = pixels) -> bool:
        with record.database.reading() as session:
            return readings.has_met(session, who, of)

    assert met(ANNA)
    assert not met(ANNA, str(other.image["pixels_sha256"]))
    carl = Who("carl", "reader", ("north",))
    assert not met(carl)
    readings.read(record, carl, saved.image_id, Judgement("after", "nv", 50, "none"))
    assert met(carl)
    assert met(replace(carl, groups=("south",))), "whichever group they work for"
