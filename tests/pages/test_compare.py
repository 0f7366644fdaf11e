import shutil
from pathlib import Path

import numpy as np
import pytest

from dermlens.evaluation.compare import compare
from dermlens.evaluation.predictions import read_predictions
from tests.conftest import encode
from tests.dashboard import check, fill, open_page, text

SPLIT = "On a data split"


@pytest.fixture
def models(pair: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    monkeypatch.delenv("HAM10000_DIR", raising=False)
    return pair


def test_two_models_on_one_image(models: Path, lesion: np.ndarray) -> None:
    app = open_page("predict")
    app.file_uploader[0].set_value([("a.png", encode(lesion), "image/png")])
    app.run()
    app.switch_page("pages/compare.py").run()
    shown = text(check(app))
    assert "disagree" in shown or " call it " in shown
    assert "differ most on" in shown or "same within" in shown
    assert "of the evidence for" in shown or "no evidence" in shown
    titles = str([c.proto for c in app.get("plotly_chart")])
    assert "Toy toy: " in titles
    assert "Toy toy2: " in titles


def test_without_an_image_it_points_to_predict(models: Path) -> None:
    app = open_page("compare")
    assert "There is no image to compare them on." in text(app)
    assert app.get("page_link")


def test_a_split_is_compared_with_intervals_and_tests(models: Path) -> None:
    app = open_page("compare", compare=SPLIT)
    p = [read_predictions(models / m / "predictions.csv").of_split("validation") for m in ("toy", "toy2")]
    result = compare(*p)
    shown = text(app)
    assert f"only Toy toy is right on {result.mcnemar.only_a}" in shown
    assert f"one image of each of {result.mcnemar.n_lesions:,} lesions" in shown
    assert "two trained models, not two designs" in shown
    assert "these estimates flatter the model" in shown
    assert "flatter" not in text(open_page("compare", compare=SPLIT, split="test"))
    table = app.dataframe[0].value
    assert table.columns.tolist() == ["Toy toy", "Toy toy2"]
    assert table.loc["Time"].str.contains(r"\d+ ms \(\d+ to \d+\)").all()
    assert f"**Only Toy toy is right**: {len(result.only_a):,} of" in shown
    cases = app.dataframe[1].value
    assert set(cases["image"]) <= set(result.a.image_id[result.only_a])


def test_predictions_without_weights_are_a_full_citizen(models: Path) -> None:
    app = open_page("compare", compare=SPLIT)
    app.multiselect(key="models").set_value(["toy", "toy2", "external"])
    check(app.run())
    app.selectbox(key="b").set_value("external")
    check(app.run())
    table = app.dataframe[0].value
    assert table.loc["Time", "external"] == "not run here"
    assert table.loc["File", "external"] == "no weights"
    assert "Do Toy toy and external really differ?" in text(app)


def test_a_cell_of_the_difference_lists_its_cases(models: Path) -> None:
    app = open_page("compare", compare=SPLIT)
    app.selectbox(key="true").set_value("mel")
    app.selectbox(key="called").set_value("nv")
    app.radio(key="who").set_value("cell")
    check(app.run())
    cases = app.dataframe[1].value
    assert set(cases["true"]) == {"Melanoma"}
    assert ((cases["Toy toy"] == "Melanocytic nevus") | (cases["Toy toy2"] == "Melanocytic nevus")).all()


def test_the_test_split_is_marked_as_final(models: Path) -> None:
    app = open_page("compare", compare=SPLIT, split="test")
    assert "Final: not for choosing between models" in text(app)


def test_models_that_share_no_image_are_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    for name in "ab":
        (tmp_path / name).mkdir()
        fill(tmp_path / name, share=0.1)
    file = tmp_path / "b" / "predictions.csv"
    file.write_text(file.read_text().replace("ISIC_", "OTHER_"))
    assert "share no image" in text(open_page("compare", compare=SPLIT)).replace("\\", "")


@pytest.mark.parametrize("kept", [[], ["toy"], ["external"]])
def test_fewer_than_two_models_are_not_compared(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: list[str]
) -> None:
    for name in kept:
        shutil.copytree(pair / name, tmp_path / name)
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    assert "Fewer than two models can be asked." in text(open_page("compare"))
    assert "Fewer than two models have predictions" in text(open_page("compare", compare=SPLIT))
