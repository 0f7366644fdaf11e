import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import DataError
from tests.training.loop.toys import small
from training.asked import FILE, PREDICTIONS, asked, check, note

HOME, AWAY = PREDICTIONS


def write(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).write_bytes(np.random.default_rng().bytes(8))
    return list(names)


def refused(folder: Path) -> None:
    with pytest.raises(DataError, match="not known to be of one network, asked in one way. Measure both again"):
        check(folder)


def test_both_files_of_one_network_and_number_of_views_are_taken_together(tmp_path: Path) -> None:
    refused(tmp_path)
    model = small()
    note(tmp_path, asked(model, 4), write(tmp_path, HOME, AWAY))
    check(tmp_path)
    stored = json.loads((tmp_path / FILE).read_text())
    for name in PREDICTIONS:
        assert stored[name]["sha256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert (stored[name]["views"], stored[name]["size"]) == (4, 4)
    note(tmp_path, asked(model, 4), write(tmp_path, HOME))
    check(tmp_path)  # what the same network said elsewhere is kept


@pytest.mark.parametrize("change", ["weights", "views"])
def test_answers_of_another_network_or_other_views_are_removed(tmp_path: Path, change: str) -> None:
    model = small()
    note(tmp_path, asked(model, 1), write(tmp_path, HOME, AWAY))
    if change == "weights":
        model.layers[-1].bias.assign(np.full(7, 0.5, np.float32))
    note(tmp_path, asked(model, 1 if change == "weights" else 4), write(tmp_path, HOME))
    assert not (tmp_path / AWAY).exists()
    refused(tmp_path)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_a_file_that_was_put_there_otherwise_is_noticed(tmp_path: Path, name: str) -> None:
    note(tmp_path, asked(small(), 1), write(tmp_path, HOME, AWAY))
    write(tmp_path, name)
    refused(tmp_path)
