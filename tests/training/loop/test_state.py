import json
import math
from typing import Any

import pytest

from dermlens.errors import DataError
from tests.training.loop.toys import config
from training.config import Config
from training.loop.state import State


def rows(*values: tuple[float, float]) -> list[dict[str, float]]:
    return [{"val_cross_entropy": entropy, "val_loss": loss} for entropy, loss in values]


def follow_epochs(state: State, settings: Config, epochs: list[dict[str, float]]) -> list[Any]:
    for row in epochs:
        state.note_epoch(row, row["val_cross_entropy"] < state.best, settings)
    return [state.best, state.waited, state.plateau.factor, state.stopped_early]


def at(number: int) -> State:
    state = State()
    state.begin_phase(number)
    return state


def test_the_rate_falls_when_the_loss_has_not_for_longer_than_the_patience() -> None:
    settings = config(plateau_patience=2)
    losses = [(0.1, 1.0), (0.1, 1.1), (0.1, 1.0), (0.1, 0.9), (0.1, 0.95), (0.1, 0.95)]
    assert follow_epochs(at(0), settings, rows(*losses))[2] == 1.0
    assert follow_epochs(at(0), settings, rows(*losses, (0.1, 0.9)))[2] == pytest.approx(0.3)
    assert follow_epochs(at(0), settings, rows(*losses, *[(0.1, 0.9)] * 4))[2] == pytest.approx(0.09)
    assert follow_epochs(at(0), settings, rows((0.1, math.nan), (0.1, math.nan), (0.1, 1.0)))[2] == 1.0


def test_early_stopping_counts_in_the_last_phase_alone() -> None:
    settings, worse = config(patience=2), rows((0.5, 1), (0.6, 1), (0.6, 1), (0.6, 1))
    state = at(0)
    assert follow_epochs(state, settings, worse) == [0.5, 3, pytest.approx(0.3), False]
    state.begin_phase(1)
    assert follow_epochs(state, settings, rows((0.55, 1))) == [0.5, 1, 1.0, False]  # not the three of before
    assert follow_epochs(state, settings, rows((0.4, 1), (0.4, 1))) == [0.4, 1, 1.0, False]
    assert follow_epochs(state, settings, rows((0.7, 1)))[3] is True
    assert len(state.history) == 8
    assert follow_epochs(at(1), config(patience=0), worse * 3)[3] is False


def test_an_epoch_without_a_cross_entropy_is_never_the_best() -> None:
    nan = math.nan
    assert State(history=rows((nan, 1), (0.5, 1), (0.4, 1), (0.4, 2), (nan, 1))).best_row() == rows((0.4, 1))[0]
    assert State(history=rows((nan, 1), (nan, 1))).best_row() is None
    assert State().best_row() is None


OF_A_CHECKPOINT = (
    '{"history": [{"epoch": 1, "val_loss": 0.5}], "best": 0.25, "stopped_early": false, "finished": false, "phase": 1, '
    '"epoch_in_phase": 1, "waited": 0, "plateau": {"best": Infinity, "waited": 2, "factor": 0.3}}'
)


def test_a_state_is_written_and_read_as_it_stands_in_the_checkpoints_of_runs() -> None:
    state = State.from_dict(json.loads(OF_A_CHECKPOINT))
    assert (state.phase, state.best, state.plateau.best, state.plateau.factor) == (1, 0.25, math.inf, 0.3)
    assert json.dumps(state.to_dict()) == OF_A_CHECKPOINT
    assert State.from_dict(State().to_dict()) == State()
    assert json.loads(json.dumps(State().to_dict()))["best"] == math.inf  # any first epoch is better


@pytest.mark.parametrize("change", [{"plateau": None}, {"plateau": {"best": 1, "more": 2}}, {"more": 1}])
def test_a_state_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="no state that this version can go on from"):
        State.from_dict({**json.loads(OF_A_CHECKPOINT), **change})
