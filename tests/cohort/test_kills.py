from pathlib import Path

import pytest

from tests.cohort.kills import KINDS, killed_run


def test_killed_driver_worker_and_decoder_cost_no_row(published: Path, tmp_path: Path) -> None:
    done, _ = killed_run(published, tmp_path / "run", 200, ["worker", "decoder", "driver"], seed=1)
    assert all(done[kind] == 1 for kind in KINDS)
    assert done["lives"] == 2


@pytest.mark.slow
def test_twenty_random_kills_cost_no_row(published: Path, tmp_path: Path) -> None:
    import random

    rng = random.Random(2)
    done, _ = killed_run(published, tmp_path / "run", 900, [rng.choice(KINDS) for _ in range(20)], seed=2)
    assert sum(done[kind] for kind in KINDS) == 20
