import csv
import errno
import json
import math
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from dermlens.errors import DataError
from dermlens.files.documents import read_object, write_object
from dermlens.models.runs import ELSEWHERE, HISTORY, PROGRESS_FILE, best_row, read_history
from tests.training.loop.toys import small
from training import run
from training.loop.state import Plateau, State

ROW = dict.fromkeys(HISTORY, 0.123456789) | {"epoch": 3, "phase": 1}


def test_epochs_that_differ_in_the_last_digit_are_told_apart(tmp_path: Path) -> None:
    close = [0.45123449, 0.45123441, 0.45123444]  # the same with six digits
    rows = [{**ROW, "epoch": i, "val_cross_entropy": value} for i, value in enumerate(close, start=1)]
    run.write_history(tmp_path / "history.csv", rows)
    found = read_history(tmp_path / "history.csv")
    assert found["val_cross_entropy"].tolist() == close
    assert best_row(found)["epoch"] == 2
    run.write_history(tmp_path / "history.csv", [{**ROW, "val_cross_entropy": math.nan}])
    assert math.isnan(read_history(tmp_path / "history.csv")["val_cross_entropy"][0])


def variables() -> list[keras.Variable]:
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.normal(size=s).astype(np.float32)) for s in ((3, 2), (), (5,))]


def test_a_state_comes_back_bit_by_bit(tmp_path: Path) -> None:
    saved, count = variables(), keras.Variable(7, dtype="int32")
    state = State(history=[ROW], best=0.5, plateau=Plateau(best=math.inf, waited=1))
    run.save_state(tmp_path / "last.npz", {"model": saved, "optimizer": [count], "average": []}, state)
    arrays, found = run.load_state(tmp_path / "last.npz")
    assert found == state
    fresh, counted = [keras.Variable(np.zeros(v.shape)) for v in saved], keras.Variable(0, dtype="int32")
    run.restore(fresh, arrays, "model")
    run.restore([counted], arrays, "optimizer")
    run.restore([], arrays, "average")
    for a, b in zip(saved, fresh, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
    assert int(counted) == 7
    assert [f.name for f in tmp_path.iterdir()] == ["last.npz"]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b + b"x"])
def test_a_damaged_checkpoint_is_refused_with_a_sentence(tmp_path: Path, damage) -> None:
    file = tmp_path / "last.npz"
    run.save_state(file, {"model": variables()}, State())
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"Checkpoint .*last\.npz is damaged\. Delete it to start the run again"):
        run.load_state(file)


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "last.npz"
    run.save_state(file, {"model": variables()}, State())
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(DataError, match="is damaged"):
        run.load_state(file)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    run.save_state(tmp_path / "last.npz", {"model": variables()}, State())
    arrays, _ = run.load_state(tmp_path / "last.npz")
    with pytest.raises(DataError, match="holds 3 model variables, the network has 2"):
        run.restore(variables()[:2], arrays, "model")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_object(tmp_path / "run.json", {"a": "é"})
    assert read_object(tmp_path / "run.json") == {"a": "é"}

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match=r"run\.json cannot be written: No space left"):
        write_object(tmp_path / "run.json", {"a": 2})
    assert read_object(tmp_path / "run.json") == {"a": "é"}
    assert [f.name for f in tmp_path.iterdir()] == ["run.json"]


def test_history_has_the_columns_of_the_interface(tmp_path: Path) -> None:
    run.write_history(tmp_path / "history.csv", [ROW, ROW | {"epoch": 4, "val_melanoma_recall": math.nan}])
    with (tmp_path / "history.csv").open() as f:
        lines = list(csv.reader(f))
    assert ",".join(lines[0]) == (
        "epoch,phase,learning_rate,loss,val_loss,accuracy,val_accuracy,balanced_accuracy,val_balanced_accuracy,"
        "val_melanoma_recall,val_cross_entropy,seconds"
    )
    assert lines[1] == ["3", "1", *["0.123457"] * 8, "0.123456789", "0.123457"]
    assert lines[2][9] == "nan"


def test_figures_on_other_archives_are_columns_of_their_own_where_there_are_any(tmp_path: Path) -> None:
    more = dict(zip(ELSEWHERE, (0.5, math.nan, 1.25), strict=True))
    run.write_history(tmp_path / "history.csv", [ROW | more, ROW | {"epoch": 4} | more])
    with (tmp_path / "history.csv").open() as f:
        lines = list(csv.reader(f))
    assert lines[0] == [*HISTORY, *ELSEWHERE]
    assert [line[-3:] for line in lines[1:]] == [["0.5", "nan", "1.25"]] * 2
    assert len(read_history(tmp_path / "history.csv")) == 2


def test_environment_says_what_ran_where(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run.environment()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["keras"] == keras.__version__
    assert found["backend"] in found["versions"]
    assert found["hardware"]["cores"] >= 1
    monkeypatch.setenv("PATH", "")  # no git
    assert run.environment()["git_commit"] == "unknown"


def test_code_that_is_not_in_the_commit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*command: str) -> None:
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *command], check=True)

    for name in ("training", "dermlens"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("")
    monkeypatch.setattr(run, "__file__", str(tmp_path / "training" / "run.py"))
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "a")
    clean = run.commit()
    assert len(clean) == 40
    (tmp_path / "notes.txt").write_text("no code")
    assert run.commit() == clean
    for name in ("training/config.py", "dermlens/a.py"):
        (tmp_path / name).write_text("new = True")
        assert run.commit() == f"{clean}-dirty"
        (tmp_path / name).unlink()
        git("checkout", "-q", ".")


def test_what_a_kill_left_half_written_is_removed_when_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    write_object(tmp_path / "run.json", {})
    (tmp_path / ".history.csv.77.part").write_text("half")
    (tmp_path / "checkpoints" / ".last.npz.77.part").write_text("half")
    run.remove_partial(tmp_path)
    assert {f.name for f in tmp_path.rglob("*")} == {"checkpoints", "run.json"}


def test_the_best_weights_take_their_place_with_the_checkpoint_of_their_epoch_and_not_without(tmp_path: Path) -> None:
    best = tmp_path / "best.weights.h5"
    best.write_text("epoch 2")
    (tmp_path / ".best-3.weights.h5").write_text("epoch 3")
    run.settle_best(tmp_path, 2)  # killed before epoch 3 was in the checkpoint
    assert best.read_text() == "epoch 2"
    (tmp_path / ".best-3.weights.h5").write_text("epoch 3")
    run.settle_best(tmp_path, 3)
    assert best.read_text() == "epoch 3"
    run.settle_best(tmp_path, 4)  # a worse epoch
    assert best.read_text() == "epoch 3"
    assert [f.name for f in tmp_path.iterdir()] == ["best.weights.h5"]


def test_the_best_weights_are_not_begun_where_there_is_no_room_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small()
    model.compile(keras.optimizers.AdamW(0.1))
    model.optimizer.build(model.trainable_variables)
    reserved = []

    def write_bytes(file: Path, data: bytes) -> None:
        reserved.append(len(data))
        if len(reserved) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    run.save_best(model, tmp_path, 1)
    (saved,) = tmp_path.iterdir()
    assert saved.name == ".best-1.weights.h5"
    assert saved.stat().st_size <= reserved[0]
    monkeypatch.setattr(model, "save_weights", lambda _: pytest.fail("it was begun"))
    with pytest.raises(DataError, match=r"best\.weights\.h5 cannot be written: No space left on device\. What was"):
        run.save_best(model, tmp_path, 2)
    assert [f.name for f in tmp_path.iterdir()] == [".best-1.weights.h5"]


def test_the_step_of_an_epoch_is_written_at_once_and_then_every_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])
    note = run.progress_writer(tmp_path, epoch=3, steps=40)
    file = tmp_path / PROGRESS_FILE
    note(1, 1.5, 0.25)
    assert json.loads(file.read_text()) == {"epoch": 3, "step": 1, "steps": 40, "loss": 1.5, "accuracy": 0.25}
    note(2, 1.0, 0.5)
    assert json.loads(file.read_text())["step"] == 1
    clock[0] += run.PROGRESS_SECONDS
    note(3, 1.0, 0.5)
    assert json.loads(file.read_text())["step"] == 3
    run.progress_writer(tmp_path / "gone", 1, 1)(1, 1.0, 1.0)  # training goes on without it
