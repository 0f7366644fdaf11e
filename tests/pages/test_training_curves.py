import json
import os
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df
from streamlit.testing.v1 import AppTest

from dermlens.models.runs import ELSEWHERE
from tests.browser.app import serve
from tests.dashboard import add_run, check, open_page, text
from tests.visitor import Visitor


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_runs_are_listed_and_overlaid(runs: Path) -> None:
    add_run(runs, "one", 1)
    add_run(runs, "two", 2)
    add_run(runs.parent / "models", "toy", 3, id="three")
    app = open_page("training_curves")
    table = app.dataframe[0].value
    assert table["run"].tolist() == ["three", "two", "one"]
    assert table["published as"].tolist() == ["toy", "", ""]
    assert table["epochs"].tolist() == [12, 12, 12]
    assert app.multiselect(key="runs").value == ["three"], "published runs come first"
    app.multiselect(key="runs").set_value(["one", "two"])
    check(app.run())
    assert len(app.get("plotly_chart")) == 6
    differing = app.dataframe[1].value
    assert list(differing.index) == ["seed"]
    assert "EMA weights" in text(app)
    app.toggle(key="seeds").set_value(True)
    check(app.run())
    assert "toy (2 seeds)" in str(app.get("plotly_chart")[1].proto)


def test_a_run_that_was_measured_on_other_archives_too_is_drawn_like_any_other(runs: Path) -> None:
    add_run(runs, "one", 1)
    file = add_run(runs, "several", 2) / "history.csv"
    pd.read_csv(file, dtype=str).assign(**dict.fromkeys(ELSEWHERE, "0.5")).to_csv(file, index=False)
    history = pd.read_csv(file)
    app = open_page("training_curves", runs="several")
    assert len(app.get("plotly_chart")) == 6
    table = app.dataframe[0].value.set_index("run")
    best = history.loc[history["val_cross_entropy"].idxmin(), "val_balanced_accuracy"]
    assert table.loc["several", "validation balanced accuracy"] == pytest.approx(100 * best)
    assert "star marks the epoch of the lowest cross-entropy on validation" in text(app)


def test_an_interpolated_run_is_listed_without_the_figures_of_the_run_it_came_from(runs: Path) -> None:
    add_run(runs, "one", 1)
    between = {"run": "one", "start": "base", "share": 0.5}
    add_run(runs, "made", 1, interpolated=between)
    add_run(runs.parent / "models", "toy", 3, id="out", interpolated=between)
    app = open_page("training_curves")
    table = app.dataframe[0].value.set_index("run")
    assert set(states(app)) == {"one", "made", "out"}
    for name in ("made", "out"):
        assert table.loc[name, "state"] == "interpolated with one, not trained"
        assert pd.isna(table.loc[name, "validation balanced accuracy"])
        assert (table.loc[name, "epochs"], pd.isna(table.loc[name, "hours"])) == (0, True)
    assert table.loc["one", "validation balanced accuracy"] > 0
    assert app.multiselect(key="runs").options == ["one"]
    assert app.multiselect(key="runs").value == ["one"]
    assert len(app.get("plotly_chart")) == 6


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """What every part of a page that redraws alone is told to wait between two redraws."""
    asked: list[float | None] = []

    def fragment(draw: Callable, run_every: float | None = None) -> Callable:
        asked.append(run_every)
        return original(draw, run_every=run_every)

    original = st.fragment
    monkeypatch.setattr(st, "fragment", fragment)
    return asked


def states(app: AppTest) -> dict[str, str]:
    table = app.dataframe[0].value
    return dict(zip(table["run"], table["state"], strict=True))


def silence(folder: Path) -> None:
    """Have a run written its files a day ago."""
    for name in ("run.json", "history.csv"):
        os.utime(folder / name, (1e9, 1e9))


def test_a_running_run_is_chosen_and_redrawn_and_a_dead_one_is_neither(runs: Path, pauses: list) -> None:
    add_run(runs, "done", 1)
    folder = add_run(runs, "live", 2, finished="", epochs=(4,), config={"phases": [{"epochs": 4}, {"epochs": 8}]})
    silence(add_run(runs, "dead", 3, finished="", epochs=(5,), config={"phases": [{"epochs": 12}]}))
    add_run(runs.parent / "models", "toy", 4, id="out", finished="", epochs=(9,), config={"phases": [{"epochs": 10}]})
    app = open_page("training_curves")
    stopped = {"dead": "stopped after epoch 5 of 12", "out": "stopped after epoch 9 of 10"}
    assert states(app) == {"done": "finished", "live": "training", **stopped}
    assert app.multiselect(key="runs").value == ["live", "out"], "what is training and what is published"
    assert "A run is training" in text(app)
    assert pauses[-1] == 15
    silence(folder)
    app = open_page("training_curves")
    assert states(app)["live"] == "stopped after epoch 4 of 12"
    assert app.multiselect(key="runs").value == ["out"]
    assert "A run is training" not in text(app)
    assert pauses[-1] is None, "nothing is asked of the server for a run that is dead"


def test_table_and_curves_are_redrawn_together_until_the_run_is_finished(tmp_path: Path) -> None:
    folder = add_run(tmp_path / "runs", "live", finished="", epochs=(4,))
    settings = {"DERMLENS_MODELS": str(tmp_path / "models"), "DERMLENS_RUNS": str(tmp_path / "runs")}

    def drawn(visitor: Visitor) -> tuple[int, int]:
        """Return the epochs that the table gives and those that the first curve has."""
        table = convert_arrow_bytes_to_pandas_df(visitor.find("dataframe").arrow_data.data)
        x = json.loads(visitor.find("plotly_chart").spec)["data"][0]["x"]
        return table["epochs"].tolist()[0], len(np.frombuffer(b64decode(x["bdata"]), x["dtype"]))

    with serve(tmp_path / "log", settings) as address, Visitor(address, "training_curves") as visitor:
        assert drawn(visitor) == (4, 4)
        assert list(visitor.again.values()) == [15]
        whole = add_run(tmp_path / "made", "live", epochs=(4, 2))
        (whole / "history.csv").replace(folder / "history.csv")
        visitor.again = dict.fromkeys(visitor.again, 0.0)
        visitor.settle(0)
        assert drawn(visitor) == (6, 6)
        assert visitor.again, "it goes on"
        (whole / "run.json").replace(folder / "run.json")
        visitor.settle(0)
        assert not visitor.again, "there is nothing more to wait for"


def test_losses_are_not_overlaid_across_kinds_of_loss(runs: Path) -> None:
    add_run(runs, "one", 1)
    add_run(runs, "focal", 2, config={"loss": "focal"})
    app = open_page("training_curves", runs="one")
    assert len(app.get("plotly_chart")) == 6
    app.multiselect(key="runs").set_value(["one", "focal"])
    check(app.run())
    assert len(app.get("plotly_chart")) == 5
    assert "different losses" in text(app)


def test_a_run_without_history_and_a_damaged_one_are_told(runs: Path) -> None:
    add_run(runs, "new", 1, finished="")
    (runs / "new" / "history.csv").unlink()
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text("{")
    app = open_page("training_curves")
    shown = text(app).replace("\\", "")
    assert "has not finished an epoch yet" in shown
    assert "broken" in shown
    assert not app.get("plotly_chart")


def test_every_choice_draws(runs: Path) -> None:
    add_run(runs, "one", 1)
    app = open_page("training_curves")
    app.toggle(key="train").set_value(True)
    app.slider(key="smooth").set_value(0.5)
    app.button_group(key="by-time").set_value("hours")
    check(app.run())
    assert "Hours of training" in str(app.get("plotly_chart")[0].proto)
    app.multiselect(key="runs").set_value([])
    assert "Choose at least one run." in text(check(app.run()))


def test_without_runs_the_page_says_what_to_do(runs: Path) -> None:
    shown = text(open_page("training_curves"))
    assert "There is no training run yet." in shown
    assert "press Refresh" in shown, "it is not redrawn by itself"


def test_refresh_finds_a_run_that_started_after_the_page(runs: Path) -> None:
    app = open_page("training_curves")
    add_run(runs, "later", 1)
    next(b for b in app.button if b.label == "Refresh").click()
    check(app.run())
    assert list(states(app)) == ["later"]


def test_a_live_run_says_its_step_and_the_time_left(runs: Path) -> None:
    folder = add_run(runs, "live", 1, finished="", epochs=(4,), config={"phases": [{"epochs": 8}]})
    rows = pd.read_csv(folder / "history.csv", dtype=str).assign(seconds="600")
    rows.to_csv(folder / "history.csv", index=False)
    (folder / "progress.json").write_text(
        json.dumps({"epoch": 5, "step": 30, "steps": 60, "loss": 0.4567, "accuracy": 0.8})
    )
    said = open_page("training_curves").get("progress")[0].proto
    assert "epoch 5 of 8; step 30 of 60, training loss 0.457; about 35 min left, at the pace" in said.text
    assert said.value == 56
    (folder / "progress.json").write_text(json.dumps({"epoch": 4, "step": 60, "steps": 60, "loss": 1, "accuracy": 1}))
    said = open_page("training_curves").get("progress")[0].proto
    assert "step" not in said.text, "it is of an epoch that is finished"
    assert "about 40 min left" in said.text


def test_a_smoke_run_is_marked(runs: Path) -> None:
    add_run(runs, "tried", 1, config={"max_images": 28})
    assert states(open_page("training_curves"))["tried"] == "finished; smoke run, 28 images"


def test_it_says_why_nothing_is_averaged_and_why_published_numbers_differ(runs: Path) -> None:
    add_run(runs, "one", 1)
    add_run(runs, "two", 2, config={"dropout": 0.1})
    app = open_page("training_curves", runs="one")
    assert "numbers of an epoch are not the published ones" in text(app)
    app.toggle(key="seeds").set_value(True)
    assert "choose two or more runs" in text(check(app.run()))
    app.multiselect(key="runs").set_value(["one", "two"])
    assert "but by dropout" in text(check(app.run()))


def test_a_link_that_leaves_the_time_empty_means_epochs(runs: Path) -> None:
    add_run(runs, "one", 1)
    app = open_page("training_curves", **{"by-time": ""})
    assert "unexpected error" not in text(app)
    assert app.get("plotly_chart")
