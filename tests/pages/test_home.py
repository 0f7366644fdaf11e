import json
import shutil
from pathlib import Path

import pytest

from dermlens.case.summary import DISCLAIMER
from dermlens.evaluation.intervals import summarise
from dermlens.evaluation.predictions import read_predictions
from dermlens.models.published import read_estimates
from dermlens.wording import interval, percent
from tests.dashboard import check, open_page, text


@pytest.fixture
def models(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of one's own to spoil."""
    shutil.copytree(pair, tmp_path / "models")
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_home_shows_every_model_with_its_test_metrics(models: Path) -> None:
    app = open_page("home")
    shown = text(app)
    for model in ("toy", "toy2", "external"):
        estimate = read_estimates(models / model / "metrics.json")["test"]["balanced_accuracy"]
        assert percent(estimate.value, 1) in [m.value for m in app.metric]
    assert shown.count("Test split: ") == 3
    assert shown.count("lesions  \nFinal: not for choosing between models") == 3
    assert "Predictions only" in shown
    assert shown.count(DISCLAIMER) == 1
    assert "not an all-clear" in shown


@pytest.mark.parametrize(("toy", "toy2"), [(0.3, 0.4), (0.4, 0.3)])
def test_the_model_with_the_lowest_cross_entropy_on_validation_comes_first(
    models: Path, toy: float, toy2: float
) -> None:
    for model, value in (("toy", toy), ("toy2", toy2)):
        file = models / model / "metrics.json"
        record = json.loads(file.read_text())
        for metric in ("cross_entropy", "balanced_accuracy"):  # of the latter more would be better
            record["validation"][metric] |= {"value": value, "low": 0.1, "high": 0.9}
        file.write_text(json.dumps(record))
    names = [m.value for m in open_page("home").markdown if m.value in ("**Toy toy**", "**Toy toy2**")]
    assert names == (["**Toy toy**", "**Toy toy2**"] if toy < toy2 else ["**Toy toy2**", "**Toy toy**"])


def test_validation_stands_in_for_an_unmeasured_test_and_says_so(models: Path) -> None:
    file = models / "toy" / "metrics.json"
    file.write_text(file.read_text().replace('"test"', '"other"'))
    shown = text(open_page("home"))
    assert shown.count("Test split: ") == 2
    assert shown.count("Validation split: ") == 1
    assert shown.count("Final: not for choosing between models") == 2


def test_predictions_without_metrics_are_measured(models: Path) -> None:
    (models / "external" / "metrics.json").unlink()
    p = read_predictions(models / "external" / "predictions.csv").of_split("test")
    app = open_page("home")
    estimate = summarise(p).overall["balanced_accuracy"]
    assert percent(estimate.value, 1) in [m.value for m in app.metric]
    assert f"95 % interval {interval(estimate)}" in text(app)
    assert "training.publish" not in text(app)
    assert text(app).count("Test split: ") == 3


def test_predictions_that_cannot_be_measured_are_named(models: Path) -> None:
    (models / "external" / "metrics.json").unlink()
    (models / "external" / "predictions.csv").write_text("image,score\nx,1\n")
    shown = text(open_page("home"))
    assert "external/predictions.csv: column image_id" in shown
    assert shown.count("Test split: ") == 2


def test_damaged_metrics_and_models_are_named_and_the_others_stay(models: Path) -> None:
    (models / "toy" / "metrics.json").write_text("{")
    (models / "toy2" / "card.json").unlink()
    app = open_page("home")
    shown = text(app)
    assert "cannot be read as JSON" in shown
    assert "card.json is missing" in shown
    assert "external" in shown


def test_home_without_a_model_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    assert "No model is published yet." in text(open_page("home"))


def test_an_unforeseen_error_is_one_sentence(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("secret path /tmp/x")

    monkeypatch.setattr("ui.cache.entries", fail)
    app = open_page("home")
    check(app)
    assert len(app.error) == 1
    assert "unexpected error" in app.error[0].value
    assert "secret" not in text(app)
