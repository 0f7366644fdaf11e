"""Calibrated answers on the pages: what is shown is what the calibration gives, and a page says what it is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dermlens import score
from dermlens.case.opinion import form
from dermlens.case.predict import predict
from dermlens.case.summary import called, share_called
from dermlens.dataset.ham10000 import load_split
from dermlens.evaluation.class_mix import EVEN, mix_at, reweight
from dermlens.image.synthetic import draw_lesion
from dermlens.ingest.read import read_image
from dermlens.labels import CLASSES, NAMES, SUSPECT
from dermlens.models import registry
from dermlens.models.card import read_card
from dermlens.trust.fitted import read_calibrated
from dermlens.wording import percent
from tests.conftest import encode
from tests.dashboard import check, open_page, tables, text
from training.fits import calibration
from training.fits.subject import Subject
from training.model_card.write import note_hash
from ui import cache
from ui.metrics.calibration import AFTER, BEFORE, CROSSED


@pytest.fixture(scope="module")
def models(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two toy models with predictions, of which "toy" is calibrated. Shared: copy it before changing anything."""
    models = tmp_path_factory.mktemp("calibrated") / "models"
    shutil.copytree(pair, models)
    note_hash(models / "toy", "predictions.csv")
    for name, content in calibration.make(Subject(models / "toy", load_split())).items():
        (models / "toy" / name).write_bytes(content)
        note_hash(models / "toy", name)
    return models


@pytest.fixture
def open_at(models: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("DERMLENS_MODELS", str(models))
    return open_page


def uploaded(app: AppTest, lesion: np.ndarray) -> AppTest:
    app.file_uploader[0].set_value([("lesion.png", encode(lesion), "image/png")])
    return check(app.run())


def test_a_case_shows_calibrated_probabilities_and_names_the_model_without(open_at, models: Path, lesion) -> None:
    app = uploaded(open_at("predict", **{"show-limits": "true"}), lesion)
    shown, drawn = text(app), "".join(str(chart.proto) for chart in app.get("plotly_chart"))
    answer = predict(registry.load(registry.find(models, "toy")), read_image(encode(lesion)).pixels)
    assert answer.calibrated
    assert [h.value for h in app.subheader] == [f"{NAMES[called(answer).code]} {percent(share_called(answer))}"]
    assert "Probability by Toy toy." in shown
    assert "Calibrated probability (Toy toy2: uncalibrated score)" in drawn
    assert "There is no calibration.json, so its numbers are uncalibrated scores." in shown


def test_another_prevalence_reweights_the_calibrated_model_only_and_the_call_follows(open_at, models, lesion) -> None:
    app = uploaded(open_at("predict"), lesion)
    mix = np.array(json.loads((models / "toy" / "calibration.json").read_text())["class_mix"])
    usual = mix[list(SUSPECT)].sum() / mix.sum()
    assert [p.proto.popover.label for p in app.get("popover") if "Class mix" in p.proto.popover.label] == [
        f"Class mix: {percent(usual, 1)} malignant or pre-malignant"
    ]
    app.slider(key="prevalence").set_value(60.0)
    shown = text(check(app.run()))
    assert "re-weighted for images of which 60.0 % are malignant or pre-malignant" in shown
    pixels = read_image(encode(lesion)).pixels
    toy = predict(registry.load(registry.find(models, "toy")), pixels)
    toy2 = predict(registry.load(registry.find(models, "toy2")), pixels)
    there = reweight(toy.probabilities, mix, mix_at(mix, 0.6))
    assert there.max() != pytest.approx(share_called(toy), abs=0.02)
    assert [h.value for h in app.subheader] == [f"{NAMES[CLASSES[int(there.argmax())]]} {percent(there.max())}"]
    drawn = json.loads(next(c.proto.spec for c in app.get("plotly_chart") if "uncalibrated score" in c.proto.spec))
    of_toy2 = next(t for t in drawn["data"] if t.get("name") == "Toy toy2")
    assert percent(share_called(toy2), 1) in {row[2] for row in of_toy2["customdata"]}


def test_the_tab_shows_errors_before_and_after_and_the_diagram_of_what_is_chosen(open_at) -> None:
    app = open_at("metrics", show="Calibration", split="test")
    table = tables(app)[-1]
    assert list(table.columns) == ["Metric", "Before", "After", "A perfect model"]
    before, after = (float(table[c][0].split()[0]) for c in ("Before", "After"))
    assert after < before
    for of in ("called", "suspect", "mel"):
        app.selectbox(key="stated").set_value(of)
        check(app.run())
    assert "cross-fitted" not in text(app)
    assert "cross-fitted" in text(open_at("metrics", show="Calibration", split="validation"))


def test_the_tab_agrees_with_the_fitted_file(open_at, models: Path) -> None:
    stored = json.loads((models / "toy" / "calibration.json").read_text())["measured"]
    for split in ("validation", "test"):
        table = tables(open_at("metrics", show="Calibration", split=split))[-1]
        for row, name in enumerate(("ece", "adaptive_ece", "classwise_ece", "brier", "nll")):
            after = CROSSED if split == "validation" else AFTER
            for column, part in ((BEFORE, "before"), (after, "after")):
                assert table[column][row].startswith(f"{stored[split][part][name]['value']:.3f} (")


def test_a_model_without_a_calibration_says_so_on_its_tab(open_at) -> None:
    app = open_at("metrics", show="Calibration", split="test")
    app.selectbox(key="of").set_value("toy2")
    check(app.run())
    assert "These are uncalibrated scores." in text(app)
    assert list(tables(app)[-1].columns) == ["Metric", "Before", "A perfect model"]


def test_without_a_calibration_nothing_else_that_is_missing_is_blamed(models: Path) -> None:
    found = cache.unseen(registry.find(models, "toy2"), "test")
    assert found.value is None
    assert found.sentence == (
        "The model is not calibrated. There is no calibration.json, so its numbers are uncalibrated scores."
    )


@pytest.mark.parametrize("more", [(), ("--class-mix", "ham10000"), ("--class-mix", "equal")])
def test_the_largest_number_of_a_row_is_the_call_at_the_stated_mix(
    more: tuple[str, ...], models: Path, lesion: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(3)
    pictures = {"a": lesion, **{f"b{i}": draw_lesion(rng, 60, 80) for i in range(6)}}
    for name, pixels in pictures.items():
        (tmp_path / "in" / f"{name}.png").write_bytes(encode(pixels))
    where = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out.csv"), "--models-dir", str(models)]
    assert score.main(["--model", "toy", *where, *more]) == 0
    equal = "equal" in more
    at = "at an equal mix" if equal else "at HAM10000's mix"
    assert f"Each number is a calibrated probability {at}." in capsys.readouterr().err
    toy = registry.load(registry.find(models, "toy"))
    mix = np.array(json.loads((models / "toy" / "calibration.json").read_text())["class_mix"])
    header, *rows = (line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines())
    for row in rows:
        found = np.array([float(row[header.index(code.upper())]) for code in CLASSES])
        expected = predict(toy, read_image(encode(pictures[row[0]])).pixels)
        opinion = form([toy], {"toy": expected})
        opinion = opinion.at_mix(EVEN, "") if equal else opinion
        assert CLASSES[int(found.argmax())] == opinion.call(toy).code
        wanted = expected.probabilities * (1 / mix if equal else 1)
        np.testing.assert_allclose(found, wanted / wanted.sum(), atol=1e-6)


def test_a_model_without_a_calibration_is_not_scored_at_another_mix(
    models: Path, lesion: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(encode(lesion))
    where = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out.csv"), "--models-dir", str(models)]
    assert score.main(["--model", "toy2", *where, "--class-mix", "equal"]) == 2
    assert "Not scored: toy2 is not calibrated, so it" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
    assert score.main(["--model", "toy2", *where]) == 0
    assert "Each number is an uncalibrated score." in capsys.readouterr().err


def test_the_headline_is_of_the_calibrated_answers(open_at, models: Path) -> None:
    from dermlens.evaluation.intervals import summarise

    answers = read_calibrated(models / "toy", read_card(models / "toy")).of_split("test")
    auc = summarise(answers, replicates=20).overall["macro_auc"].value
    app = open_at("metrics", split="test")
    assert percent(auc, 1) in {m.value for m in app.metric}
