"""No name, no pseudonym and no note in any log: the server's, whatever level it is set to, and the database's own."""

import logging
import re

import numpy as np
import pytest

from dermlens.errors import RecordError
from dermlens.record import cases, readings, save
from dermlens.record.cases import Wanted
from dermlens.record.open import Record
from dermlens.record.people import NOBODY_SIGNED_IN as ME
from dermlens.record.readings import Found, Judgement
from dermlens.record.save import About
from dermlens.record.store.tables import Image, Patient
from tests.record.filled import saving

NAME, NOTE, SOURCE = "Jekyll, Henry", "he changes at night", "report of Dr Lanyon"


def add(record: Record, row: object) -> None:
    with record.database.writing() as session:
        session.add(row)
        session.flush()


def test_no_log_tells_of_a_patient(
    record: Record, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("sqlalchemy.engine", "sqlalchemy.pool", "sqlalchemy.orm"):
        caplog.set_level(logging.DEBUG, logger=name)
    rng = np.random.default_rng(0)
    about = About(patient=NAME, birth_year=1886, consent="record", label="the hand")
    kept = saving(rng, 4, about, readings=(Judgement("before", "mel", 70, "biopsy", note=NOTE),))
    saved = save.save(record, ME, kept)
    readings.enter_outcome(record, ME, saved.lesion_id, Found("mel", "histology", source=SOURCE))
    assert record.keys is not None
    pseudonym = record.keys.pseudonym(NAME)
    with record.database.reading() as session:
        assert cases.count(session, ME, Wanted(pseudonym=pseudonym)) == 1
    for wrong in (
        Patient(group_name=ME.groups[0], pseudonym=pseudonym),  # there already
        Patient(group_name=None, pseudonym=pseudonym),
        Image(lesion_id=10**9, token=NOTE),
    ):
        with pytest.raises(RecordError) as told:
            add(record, wrong)
        assert not any(secret in str(told.value) for secret in (NAME, NOTE, pseudonym))
    logs = caplog.text
    assert "INSERT INTO patient" in logs, "statements were logged, so this could fail"
    if not record.database.is_file:
        own = request.getfixturevalue("postgres").log()
        assert "duplicate key" in own
        logs += own
    for secret in (NAME, "Jekyll", NOTE, SOURCE, pseudonym, "the hand"):
        assert secret not in logs, secret
    year = re.search(r"(?<![\w.])1886(?!\w)", logs)  # a duration of 0.1886 s and an address in memory tell no year
    assert year is None, year
