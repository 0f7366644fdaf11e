import shutil
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dermlens.evaluation.metrics import accuracy, confusion_matrix
from dermlens.evaluation.predictions import Predictions, cases_of, read_cases, read_predictions
from dermlens.labels import INDEX
from tests.dashboard import check, fill, open_page, tables, text


@pytest.fixture
def models(pair: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    monkeypatch.delenv("HAM10000_DIR", raising=False)
    return pair


def of(models: Path, model: str, split: str) -> Predictions:
    return read_predictions(models / model / "predictions.csv").of_split(split)


def shown_accuracy(app: AppTest) -> str:
    return next(m.value for m in app.metric if m.label == "Accuracy")


def test_validation_comes_first_and_test_is_marked_as_final(models: Path) -> None:
    app = open_page("metrics")
    p = of(models, "toy", "validation")
    assert shown_accuracy(app) == f"{100 * accuracy(confusion_matrix(p.y_true, p.y_pred)):.1f} %"
    assert "Validation split:" in text(app)
    assert "Final" not in text(app)
    assert "chosen on this split, so these estimates flatter the model" in text(app), "as the card says"
    app.selectbox(key="split").set_value("test")
    check(app.run())
    assert "flatter" not in text(app)
    p = of(models, "toy", "test")
    assert shown_accuracy(app) == f"{100 * accuracy(confusion_matrix(p.y_true, p.y_pred)):.1f} %"
    assert "Final: not for choosing between models" in text(app)
    assert "Test split:" in text(app)


def test_a_chosen_cell_lists_its_cases(models: Path) -> None:
    app = open_page("metrics")
    app.selectbox(key="true").set_value("mel")
    app.selectbox(key="called").set_value("nv")
    check(app.run())
    p = of(models, "toy", "validation")
    wanted = (p.y_true == INDEX["mel"]) & (p.y_pred == INDEX["nv"])
    assert 0 < wanted.sum() <= 25, "the made-up model errs enough, on one page"
    table = app.dataframe[0].value
    assert set(table["image"]) == set(p.image_id[wanted])
    assert list(table["called, score"]) == sorted(table["called, score"], reverse=True)
    assert {"lesion", "true", "called", "age", "sex", "site", "confirmed by", "p(mel)"} <= set(table.columns)
    assert f"{wanted.sum()} of {(p.y_true == INDEX['mel']).sum()}" in text(app)


def test_a_deep_link_chooses_model_split_tab_and_cell(models: Path) -> None:
    query = {"of": "external", "split": "test", "true": "Melanoma", "called": "Melanocytic nevus"}
    app = open_page("metrics", **query)
    assert app.selectbox(key="of").value == "external"
    assert app.selectbox(key="split").value == "test"
    assert (app.selectbox(key="true").value, app.selectbox(key="called").value) == ("mel", "nv")


@pytest.mark.parametrize("tab", ["Per class", "Curves", "Slices"])
def test_every_tab_draws(models: Path, tab: str) -> None:
    app = open_page("metrics", show=tab)
    assert app.get("plotly_chart")
    if tab == "Per class":
        instead = tables(app)[0]["Most often called instead"]
        assert instead.str.contains(r"\d+ of \d+ called .+, \S+ %").any()
    if tab == "Curves":
        before = text(app)
        app.slider(key="at").set_value(5.0)
        check(app.run())
        assert "At a score of at least 5 %" in text(app)
        assert text(app) != before
    if tab == "Slices":
        assert "has no overall number" in text(app)


def test_a_filter_keeps_what_fits_it(models: Path) -> None:
    app = open_page("metrics")
    app.multiselect(key="sex").set_value(["female"])
    check(app.run())
    few = next(line for line in text(app).splitlines() if line.startswith("Validation split:"))
    assert few != "Validation split:"
    p = of(models, "toy", "validation")
    assert f"{len(p):,} images of" not in few


def test_slices_are_of_the_filtered_images(models: Path) -> None:
    app = open_page("metrics", show="Slices", by="Sex")
    women = cases_of(of(models, "toy", "validation"), read_cases())["sex"] == "female"
    p = of(models, "toy", "validation").select(women.to_numpy())
    assert f"Validation split, {len(p):,} images of {p.n_lesions:,} lesions. Slices" not in text(app)
    assert '"male' in drawn(app)
    app.multiselect(key="sex").set_value(["female"])
    check(app.run())
    assert f"Validation split, {len(p):,} images of {p.n_lesions:,} lesions. Slices" in text(app)
    assert '"female' in drawn(app)
    assert '"male' not in drawn(app)


def drawn(app: AppTest) -> str:
    """What is in the figures of the page."""
    return "\n".join(chart.proto.spec for chart in app.get("plotly_chart"))


def test_slices_of_one_class_are_drawn(models: Path) -> None:
    app = open_page("metrics", show="Slices", dx_type="follow-up")
    assert "has no overall number" in text(app)
    assert app.get("plotly_chart")


def test_a_section_of_the_whole_split_says_so_where_a_filter_is_chosen(models: Path) -> None:
    app = open_page("metrics", show="Unlike images")
    sentence = "Validation split, all of it: the filters chosen above do not apply here."
    assert sentence not in text(app)
    app.multiselect(key="sex").set_value(["female"])
    check(app.run())
    assert sentence in text(app)


def test_a_link_to_what_is_not_here_says_so(models: Path) -> None:
    shown = text(open_page("metrics", of="gone", show="Nowhere", split="test")).replace("\\", "")
    assert "The link names a model that is not here: gone." in shown
    assert "The link names a tab that is not here: Nowhere." in shown
    assert "not here: test" not in shown
    assert "not here" not in text(open_page("metrics", of="external", show="Curves"))


def test_several_diagnoses_are_drawn_on_one_pair_of_axes(models: Path) -> None:
    app = open_page("metrics", show="Curves")
    app.multiselect(key="curve").set_value(["mel", "bcc"])
    shown = text(check(app.run()))
    assert shown.count("missed**") == 2
    drawn = str(app.get("plotly_chart")[0].proto)
    assert "Melanoma: AUC" in drawn
    assert "Basal cell carcinoma: AUC" in drawn


def test_predictions_alone_are_never_told_to_run_what_fails(models: Path) -> None:
    for tab in ("Map", "Where it looked", "Unlike images", "Under other lights", "Another archive"):
        shown = text(open_page("metrics", of="external", show=tab))
        assert "python -m" not in shown, tab
        assert "this needs its weights" in shown, tab
    assert "training.fit external`" in text(open_page("metrics", of="external", show="Prediction sets"))


def test_what_a_file_does_not_say_is_said(own: Path) -> None:
    fill(own / "a")
    file = own / "a" / "predictions.csv"
    pd.read_csv(file).drop(columns="lesion_id").to_csv(file, index=False)
    (own / "a" / "metrics.json").unlink()
    assert "each image counts as a lesion of its own" in text(open_page("metrics"))


def test_without_the_data_set_the_gallery_says_how_to_get_it(models: Path) -> None:
    assert "HAM10000_DIR" in text(open_page("metrics", show="Gallery"))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    (tmp_path / "a").mkdir()
    return tmp_path


def test_a_class_without_images_is_left_out_of_the_means(own: Path) -> None:
    fill(own / "a", absent="df")
    for tab in ("Confusion matrix", "Per class", "Curves", "Slices"):
        app = open_page("metrics", show=tab, curve="Dermatofibroma (benign)")
        assert "over the 6 diagnoses" in text(app)


def test_a_file_with_other_columns_is_named_and_the_other_model_stays(own: Path) -> None:
    fill(own / "a")
    (own / "b").mkdir()
    (own / "b" / "predictions.csv").write_text("image,score\nx,1\n")
    shown = text(open_page("metrics"))
    assert "column image_id" in shown
    assert "Validation split:" in shown


def test_without_predictions_the_page_says_what_to_do(own: Path) -> None:
    shutil.rmtree(own / "a")
    assert "No model has predictions to measure." in text(open_page("metrics"))


def test_a_model_with_test_predictions_alone_is_not_shown_as_validation(own: Path) -> None:
    fill(own / "a")
    file = own / "a" / "predictions.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *(line for line in lines if ",test," in line)]) + "\n")
    app = open_page("metrics")
    assert app.selectbox(key="split").options == ["test"]
    assert "Test split:" in text(app)
    assert "Final: not for choosing between models" in text(app)


@pytest.mark.parametrize(("tab", "name"), [("Calibration", "bins"), ("Slices", "by"), ("Operating points", "target")])
def test_a_link_that_names_a_choice_and_leaves_it_empty_means_the_first_one(models: Path, tab: str, name: str) -> None:
    app = open_page("metrics", show=tab, **{name: ""})
    assert "unexpected error" not in text(app)
    assert text(app) == text(open_page("metrics", show=tab))
