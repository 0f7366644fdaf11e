"""An ensemble on the pages: an entry like any other, no third opinion, and gone alone when a member is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dermlens.case.predict import predict
from dermlens.case.summary import called
from dermlens.ingest.read import read_image
from dermlens.labels import NAMES
from dermlens.models import registry
from tests.conftest import encode
from tests.dashboard import check, open_page, text
from training import ensemble


@pytest.fixture(scope="module")
def made(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("with-ensemble") / "models"
    shutil.copytree(pair, models)
    ensemble.make(models, "both", ["toy", "toy2"], "Both toys")
    return models


@pytest.fixture
def models(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERMLENS_MODELS", str(made))
    monkeypatch.delenv("HAM10000_DIR", raising=False)
    return made


def test_predict_shows_it_with_its_map_and_counts_two_opinions(models: Path, lesion: np.ndarray) -> None:
    app = open_page("predict", 120, **{"show-research": "true"})
    app.file_uploader[0].set_value([("lesion.png", encode(lesion), "image/png")])
    shown = text(check(app.run()))
    answer = predict(registry.load_any(registry.find(models, "both")), read_image(encode(lesion)).pixels)
    assert "Both toys" in shown
    assert NAMES[called(answer).code] in shown
    assert "All 3 models" not in shown
    assert " call it " in shown or "disagree" in shown
    assert "An ensemble has no network of its own: choose one of its members." in shown
    assert set(app.selectbox(key="method-model").options) == {"Toy toy", "Toy toy2"}
    app.segmented_control(key="network").set_value("both")
    check(app.run())


def test_home_metrics_and_compare_take_it(models: Path) -> None:
    home = text(open_page("home"))
    assert "Both toys" in home
    assert home.count("Predictions only") == 1, "the external model's"
    app = open_page("metrics")
    app.selectbox(key="of").set_value("both")
    check(app.run())
    assert "Validation split:" in text(app)
    app = open_page("compare", 120, compare="On a data split")
    app.multiselect(key="models").set_value(["both", "toy"])
    shown = text(check(app.run()))
    assert "Do Both toys and Toy toy really differ?" in shown


def test_a_renewed_member_takes_only_the_ensemble_away(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Path(shutil.copytree(made, tmp_path / "models"))
    monkeypatch.setenv("DERMLENS_MODELS", str(models))
    path = models / "both" / "card.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "member_hashes": dict.fromkeys(stored["member_hashes"], "0" * 64)}))
    shown = text(open_page("home"))
    assert "published again" in shown
    assert "Toy toy2" in shown
