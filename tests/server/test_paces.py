"""Who asks over HTTP is kept to a pace. The clock is the test's own."""

from dataclasses import replace

import pytest

from dermlens.server.limits import Limits
from dermlens.server.paces import MANY, Paces


def test_a_first_load_of_the_page_waits_for_nothing_and_a_flood_does() -> None:
    now = [0.0]
    paces = Paces(replace(Limits(), requests_burst=100, requests_rate=10.0), lambda: now[0])
    assert {paces.wait("one") for _ in range(100)} == {0.0}
    assert paces.wait("one") == pytest.approx(0.1)
    assert paces.wait("other") == 0.0
    for _ in range(1000):
        paces.wait("one")
    assert paces.wait("one") == pytest.approx(10.0), "no debt is longer than what may be asked at once"
    now[0] = 20.0
    assert {paces.wait("one") for _ in range(100)} == {0.0}


def test_who_has_asked_for_nothing_lately_is_forgotten() -> None:
    now = [0.0]
    paces = Paces(replace(Limits(), requests_burst=100, requests_rate=10.0), lambda: now[0])
    for i in range(MANY):
        paces.wait(f"{i}")
    now[0] = 21.0
    paces.wait("new")
    assert len(paces) == 1
