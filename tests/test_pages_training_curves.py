from pathlib import Path

import pytest

from tests.dashboard import add_run, check, open_page, text


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
    assert "There is no training run yet." in text(open_page("training_curves"))
