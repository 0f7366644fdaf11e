import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.case.image import examine
from dermlens.case.predict import Prediction
from dermlens.explain.localisation_results import FILE
from dermlens.models import registry
from dermlens.models.model import Model
from tests.conftest import encode
from tests.dashboard import open_page, text
from tests.explain.test_localisation_results import rows
from tests.explain.test_localisation_results import write as write_attention
from training.model_card.render import attention
from ui.predict.heat_map import map_warning

TAB = "Where it looked"


def measured() -> pd.DataFrame:
    """Two methods on validation, Grad-CAM on test."""
    compared = rows(42, ("grad_cam", "score_cam"), 42, split="validation")
    return pd.concat([compared, rows(measured=42)])


@pytest.fixture
def looked(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models of `pair`, the toy's attention measured."""
    models = tmp_path / "models"
    shutil.copytree(pair, models)
    path = write_attention(models / "toy", measured())
    card = json.loads((models / "toy" / "card.json").read_text())
    card["files"][FILE] = registry.sha256(path)
    (models / "toy" / "card.json").write_text(json.dumps(card))
    monkeypatch.setenv("DERMLENS_MODELS", str(models))
    return models


def test_the_tab_says_that_it_is_of_test_whatever_split_is_chosen(looked: Path) -> None:
    app = open_page("metrics", of="Toy toy", show=TAB, split="validation")
    own, shown = rows(measured=42), text(app)
    assert "Measured on the test split" in shown
    assert "140 images of 70 lesions" in shown
    inside = next(m.value for m in app.metric if m.label == "Heat in the lesion")
    assert inside == f"{100 * own['energy_share'].mean():.1f} %"
    beyond = next(m.value for m in app.metric if m.label == "Beyond the mean map")
    assert beyond == f"{100 * (own['energy_share'] - own['usual_share']).mean():+.1f} points"
    assert len(app.get("plotly_chart")) == 4
    methods = app.dataframe[0].value
    assert list(methods["Method"]) == ["Grad-CAM", "Score-CAM"]
    assert list(methods["Offered"]) == ["yes", "yes"]
    assert f"**{100 * (own['warning'] != '').mean():.1f} %** of the test images" in shown


def test_methods_alone_are_shown_where_test_is_not_measured(looked: Path) -> None:
    compared = rows(140, ("grad_cam", "score_cam"), 140, split="validation").assign(blob_share=0.95)
    path = write_attention(looked / "toy", compared)
    card = json.loads((looked / "toy" / "card.json").read_text())
    card["files"][FILE] = registry.sha256(path)
    (looked / "toy" / "card.json").write_text(json.dumps(card))
    app = open_page("metrics", of="Toy toy", show=TAB)
    assert "Not measured on test" in text(app)
    assert list(app.dataframe[0].value["Offered"]) == ["no", "no"]
    written = "\n".join(attention(looked / "toy"))
    assert "| Grad-CAM |" in written
    assert written.count("| no |") == 2


def test_a_model_without_the_measurement_says_how_to_get_it(looked: Path) -> None:
    shown = text(open_page("metrics", of="Toy toy2", show=TAB))
    assert "has not been measured" in shown
    assert "training.fit toy2" in shown.replace("\\", "")
    with (looked / "toy" / FILE).open("a") as file:
        file.write("\n")
    assert "SHA-256" in text(open_page("metrics", of="Toy toy", show=TAB)).replace("\\", "")


def test_a_map_in_a_corner_gets_a_sentence_and_one_on_the_lesion_none(toy: Model, lesion: np.ndarray) -> None:
    image = examine(encode(lesion), "a.png", [toy])
    maps = np.zeros((7, 8, 8), np.float32)
    maps[4, 0, 7], maps[5, 4, 4] = 1, 1
    changed = {name: value for name, value in vars(image.answers["toy"]).items() if name != "maps"}
    answer = Prediction(**changed, maps=maps)
    said = map_warning(image, toy, answer, "mel")
    assert said is not None
    assert "evidence for melanoma lies in the top right corner of what Toy toy saw" in said
    assert map_warning(image, toy, answer, "nv") is None
    assert map_warning(image, toy, answer, "df") is None, "no heat at all"
