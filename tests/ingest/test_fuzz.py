import numpy as np
import pytest

from dermlens.ingest.formats import ACCEPTED, LIMITS
from tests.fuzz import CHANGES, MAX_SECONDS, Tally, fuzz, mutant, table

IN_ALL = 2000


@pytest.mark.parametrize("kind", ACCEPTED)
def test_mutated_files_give_pixels_or_a_sentence_within_the_limits(kind: str) -> None:
    count = -(-IN_ALL // len(ACCEPTED))
    tally = fuzz(kind, count)
    assert tally.tried == tally.accepted + tally.refused == count
    assert min(tally.accepted, tally.refused) > count // 50, "mutations must neither spare nor spoil every file"
    assert tally.lost == 0, tally.remarkable
    assert tally.seconds <= MAX_SECONDS
    assert tally.memory <= LIMITS.memory
    assert tally.survived


def test_mutants_differ_and_can_be_made_again() -> None:
    made = [mutant("PNG", 0, i) for i in range(50)]
    assert made == [mutant("PNG", 0, i) for i in range(50)]
    assert len(set(made)) > 45
    assert mutant("PNG", 1, 0) != made[0]


def test_every_change_takes_a_file_of_which_nothing_is_left() -> None:
    for change in CHANGES:
        for seed in range(20):
            change(bytearray(), np.random.default_rng(seed), [b"whole"])


def test_what_is_lost_or_costs_too_much_is_no_survival() -> None:
    assert Tally("PNG").survived
    assert not Tally("PNG", lost=1).survived
    assert not Tally("PNG", seconds=MAX_SECONDS + 1).survived
    assert not Tally("PNG", memory=LIMITS.memory + 1).survived
    assert "| PNG | 1,000 |" in table([Tally("PNG", tried=1000)])
