import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.errors import DataError
from dermlens.models.runs import (
    ELSEWHERE,
    best_epoch,
    best_row,
    differences,
    find_runs,
    flat,
    is_training,
    mean_and_range,
    read_history,
    read_run,
    runs_dir,
    smoothed,
    state,
)
from tests.dashboard import add_run


def test_runs_are_found_newest_first_and_a_published_one_appears_once(tmp_path: Path) -> None:
    runs, models = tmp_path / "runs", tmp_path / "models"
    add_run(runs, "first", seed=1)
    add_run(runs, "second", seed=2, finished="")
    add_run(models, "model", seed=1, id="first")
    add_run(models, "alone", seed=3, id="third")
    (runs / "damaged").mkdir()
    (runs / "damaged" / "run.json").write_text("{")
    found, problems = find_runs(runs, models)
    assert [(r.id, r.published_as, r.finished) for r in found] == [
        ("third", "alone", True),
        ("second", "", False),
        ("first", "model", True),
    ]
    assert found[2].folder == runs / "first"
    assert list(problems) == ["damaged"]
    assert find_runs(tmp_path / "nowhere", tmp_path / "nowhere") == ([], {})


def test_runs_are_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_RUNS", "/somewhere")
    assert runs_dir() == Path("/somewhere")
    monkeypatch.delenv("DERMLENS_RUNS")
    assert runs_dir() == Path(__file__).parents[2] / "runs"


@pytest.mark.parametrize("text", ["", "[]", '{"config": 1}', "{}"])
def test_a_damaged_run_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json"):
        read_run(tmp_path / "run.json")


def test_history_has_hours_and_numbers(tmp_path: Path) -> None:
    folder = add_run(tmp_path, "run", epochs=(2, 3))
    history = read_history(folder / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert history["phase"].tolist() == [1, 1, 2, 2, 2]
    assert history["hours"].iloc[-1] == pytest.approx(history["seconds"].sum() / 3600)


def test_a_history_with_figures_on_other_archives_is_read_like_any_other(tmp_path: Path) -> None:
    file = add_run(tmp_path, "run", epochs=(2, 3)) / "history.csv"
    before = read_history(file)
    pd.read_csv(file, dtype=str).assign(**dict.fromkeys(ELSEWHERE, "0.5")).to_csv(file, index=False)
    pd.testing.assert_frame_equal(read_history(file), before)


def test_an_empty_cell_of_a_history_is_missing_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    file = add_run(tmp_path, "run", epochs=(2,)) / "history.csv"
    table = pd.read_csv(file, dtype=str)
    table.loc[1, "val_loss"] = ""
    table.to_csv(file, index=False)
    assert np.isnan(read_history(file)["val_loss"].iloc[1])
    table.loc[1, "val_loss"] = "wide"
    table.to_csv(file, index=False)
    with pytest.raises(DataError, match=r"run/history\.csv, line 3, column val_loss: 'wide'"):
        read_history(file)


def test_a_history_without_columns_rows_or_file_is_refused(tmp_path: Path) -> None:
    file = add_run(tmp_path, "run", epochs=(1,)) / "history.csv"
    header = file.read_text().splitlines()[0]
    for text, words in (("", "the file is empty"), (header, "no epoch"), ("epoch,loss\n1,2\n", "column phase")):
        file.write_text(text)
        with pytest.raises(DataError, match=words):
            read_history(file)
    file.unlink()
    with pytest.raises(DataError, match="no such file"):
        read_history(file)


def test_settings_are_flat_and_their_differences_found(tmp_path: Path) -> None:
    assert flat({"a": 1, "b": {"c": [2, {"d": 3}]}}) == {"a": 1, "b.c.0": 2, "b.c.1.d": 3}
    one = read_run(add_run(tmp_path, "one", seed=1) / "run.json")
    two = read_run(add_run(tmp_path, "two", seed=2, config={"loss": "focal"}) / "run.json")
    table = differences([one, two])
    assert table.loc["loss"].tolist() == ["cross_entropy", "focal"]
    assert table.loc["seed"].tolist() == ["1", "2"]
    assert len(table) == 2
    assert differences([one, one]).empty


def test_only_runs_with_the_same_loss_share_it_and_seeds_share_a_group(tmp_path: Path) -> None:
    one, two = (read_run(add_run(tmp_path, f"r{seed}", seed=seed) / "run.json") for seed in (1, 2))
    focal = read_run(add_run(tmp_path, "focal", config={"loss": "focal"}) / "run.json")
    assert one.loss == two.loss != focal.loss
    assert one.group == two.group != focal.group


def test_an_interpolated_run_is_named_so_and_is_no_further_seed(tmp_path: Path) -> None:
    one = read_run(add_run(tmp_path, "one", seed=1) / "run.json")
    between = {"run": "one", "start": "base", "share": 0.5}
    made = read_run(add_run(tmp_path, "made", seed=1, finished="", interpolated=between) / "run.json")
    assert (one.interpolated, made.interpolated) == ("", "one")
    assert one.group != made.group
    assert not is_training(made, None, made.touched)
    assert state(made, None, made.touched) == "interpolated with one, not trained"


def test_losses_on_the_labels_of_another_teacher_are_others(tmp_path: Path) -> None:
    def loss(name: str, **config: object) -> tuple[object, ...]:
        return read_run(add_run(tmp_path, name, config=config) / "run.json").loss

    assert loss("older") == loss("alone", teacher="", teacher_share=0.5)
    taught = loss("taught", teacher="resnet50", teacher_share=0.5)
    assert len({loss("other", teacher="resnet18", teacher_share=0.5), taught, loss("alone-2", teacher="")}) == 3
    assert loss("less", teacher="resnet50", teacher_share=0.2) != taught


def test_a_run_trains_until_it_is_finished_or_has_been_silent_for_too_long(tmp_path: Path) -> None:
    folder = add_run(tmp_path, "run", epochs=(4, 8), finished="")
    run, history = read_run(folder / "run.json"), read_history(folder / "history.csv")
    assert run.planned == 12
    for epoch, silence, words in (
        (60, 7100, "training"),
        (60, 7300, "stopped after epoch 12 of 12"),
        (3600, 10700, "training"),  # epochs of an hour: silent between two of them
        (3600, 10900, "stopped after epoch 12 of 12"),
        (np.inf, 24 * 3600 + 100, "stopped after epoch 12 of 12"),
        (np.nan, 7300, "stopped after epoch 12 of 12"),
    ):
        slow = history.assign(seconds=epoch)
        for now in (run.touched + silence, run.touched - silence):  # a clock that was set back proves nothing either
            assert state(run, slow, now) == words
            assert is_training(run, slow, now) == (words == "training")
    assert state(run, None, run.touched + 7100) == "training"
    assert state(run, None, run.touched + 7300) == "stopped"
    assert state(run, history.head(3), run.touched + 1e6) == "stopped after epoch 3 of 12"
    finished = read_run(add_run(tmp_path, "finished") / "run.json")
    assert state(finished, history, finished.touched) == "finished"


def test_a_new_line_of_the_history_is_a_sign_of_life(tmp_path: Path) -> None:
    folder = add_run(tmp_path, "run", finished="")
    for name in ("run.json", "history.csv"):
        os.utime(folder / name, (1000, 1000))
    assert read_run(folder / "run.json").touched == 1000
    os.utime(folder / "history.csv", (2000, 2000))
    assert read_run(folder / "run.json").touched == 2000


def test_a_published_run_that_was_stopped_is_neither_finished_nor_training(tmp_path: Path) -> None:
    folder = add_run(tmp_path / "models", "model", epochs=(2, 3), finished="", config={"phases": [{"epochs": 10}]})
    (run,), _ = find_runs(tmp_path / "runs", tmp_path / "models")
    history = read_history(folder / "history.csv")
    assert (run.published_as, run.finished) == ("model", False)
    assert state(run, history, (folder / "run.json").stat().st_mtime) == "stopped after epoch 5 of 10"


def test_epochs_are_planned_only_where_the_settings_say_so(tmp_path: Path) -> None:
    for i, phases in enumerate(([{"epochs": "many"}], [{"epochs": 4}, {"epochs": -1}], [{"epochs": True}], [], 3)):
        run = read_run(add_run(tmp_path, f"run-{i}", config={"phases": phases}) / "run.json")
        assert run.planned == 0


def test_smoothing_by_hand() -> None:
    values = pd.Series([1.0, 0.0, np.nan, 3.0])
    pd.testing.assert_series_equal(smoothed(values, 0), values)
    half = smoothed(values, 0.5)
    assert half[0] == 1
    assert half[1] == pytest.approx((0.5 * 1 + 0) / 1.5)
    assert np.isnan(half[2])
    assert half[3] == pytest.approx((0.25 * 1 + 0.5 * 0 + 3) / 1.75)


def test_the_best_epoch_is_the_one_of_the_lowest_cross_entropy() -> None:
    one = pd.DataFrame({"epoch": [1, 2, 3], "val_cross_entropy": [0.7, 0.5, 0.6], "val_balanced_accuracy": [1, 0, 1]})
    assert best_epoch(one) == 1
    assert best_row(one)["epoch"] == 2
    assert best_epoch(one.assign(val_cross_entropy=[np.nan, 0.6, 0.6])) == 1
    none = one.assign(val_cross_entropy=np.nan)
    assert best_epoch(none) is None
    with pytest.raises(DataError, match="gives no epoch a cross-entropy"):
        best_row(none)


def test_mean_and_range_by_hand() -> None:
    one = pd.DataFrame({"epoch": [1, 2, 3], "val_balanced_accuracy": [0.5, 0.7, 0.6]})
    two = pd.DataFrame({"epoch": [1, 2], "val_balanced_accuracy": [0.3, np.nan]})
    both = mean_and_range([one, two], "val_balanced_accuracy")
    assert both.loc[1].tolist() == pytest.approx([0.4, 0.3, 0.5])
    assert both.loc[2].tolist() == pytest.approx([0.7, 0.7, 0.7])
    assert both.loc[3].tolist() == pytest.approx([0.6, 0.6, 0.6])


def test_an_unfinished_run_of_another_format_still_shows(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text(json.dumps({"config": {"x": None}}))
    run = read_run(tmp_path / "odd" / "run.json")
    assert (run.id, run.finished, run.config_name) == ("odd", False, "")
