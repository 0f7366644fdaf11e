"""Every fault that takes seconds to inject; `python -m tests.faults` injects the others too, and more of each."""

import shutil
from pathlib import Path

import pytest

from tests.faults import QUICK, Fault
from tests.faults.kit import Count

SLOW = {"server_killed", "model_files"}


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, id=f.__name__, marks=[pytest.mark.slow] if f.__name__ in SLOW else []) for f in QUICK],
)
def test_nothing_is_lost_and_each_fault_is_one_sentence(fault: Fault, pair: Path, tmp_path: Path) -> None:
    models = tmp_path / "given"
    shutil.copytree(pair, models)
    count = fault(False, tmp_path, models)
    assert count.wrong == []
    assert count.tried > 0
    row = count.row()
    assert row["survived"] == row["tried"]


def test_a_fault_that_is_not_survived_is_counted() -> None:
    count = Count("x")
    with count.attempt("one"):
        count.told("It is full; make room.", "room")
    with count.attempt("two"):
        count.told("Traceback (most recent call last):\n ...")
    with count.attempt("three"):
        raise OSError("gone")
    row = count.row()
    assert (row["tried"], row["survived"], row["lost"]) == (3, 1, 2)
    assert "two: AssertionError" in row["note"]
    assert "three: OSError: gone" in row["note"]
