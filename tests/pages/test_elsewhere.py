"""The Metrics and Compare pages on other archives and under other lights."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from dermlens.dataset import isic2019
from dermlens.dataset.ham10000 import load_split
from dermlens.dataset.isic2019 import CARCINOMAS, held_back, load_external
from dermlens.evaluation import metrics, other_archives, other_lights
from dermlens.evaluation.predictions import EXTERNAL_FILE, Predictions, read_predictions, write_predictions
from dermlens.image.other_light import Change
from dermlens.labels import CLASSES, INDEX, MELANOMA
from tests.dashboard import check, fill, open_page, tables, text
from training.fits import other_archives as step
from training.fits.subject import Subject

CHANGES = (Change("warm light", gains=(1.08, 1.0, 0.92)), Change("compressed", jpeg=40))


def answer_elsewhere(folder: Path, seed: int) -> None:
    rows = held_back(load_external()).groupby("split", sort=False).head(150)
    y = rows["dx"].map({**INDEX, CARCINOMAS: -1}).to_numpy()
    logits = np.random.default_rng(seed).normal(0, 1, (len(y), 7)) + 1.5 * np.eye(7)[y]
    ids = (rows[name].to_numpy(object) for name in ("image_id", "lesion_id", "split"))
    write_predictions(folder / EXTERNAL_FILE, Predictions(*ids, y, logits))
    (folder / other_archives.FILE).write_bytes(step.make(Subject(folder, load_split()))[other_archives.FILE])


def look_under_lights(folder: Path) -> None:
    p = read_predictions(folder / "predictions.csv").of_split("validation")
    worse = np.where(np.arange(len(p)) % 10 == 0, INDEX["vasc"], p.y_pred)
    calls = {other_lights.UNCHANGED: p.y_pred, "warm light": worse, "compressed": p.y_pred}
    found = other_lights.measure(p, calls, CHANGES, 4)
    (folder / other_lights.FILE).write_text(json.dumps(found.to_dict()))
    table = pd.DataFrame({"image_id": p.image_id, **{name: np.array(CLASSES)[y] for name, y in calls.items()}})
    table.to_csv(folder / other_lights.CALLS_FILE, index=False)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HAM10000_DIR", "ISIC2019_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path / "models"))
    for seed, name in enumerate(("a", "b")):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        fill(folder, seed=seed)
        (folder / "card.json").write_text(json.dumps({"files": {}}))
        answer_elsewhere(folder, seed)
        look_under_lights(folder)
    return tmp_path / "models"


def test_another_archive_is_a_split_with_the_metrics_that_go_by_no_class_mix(models: Path) -> None:
    app = open_page("metrics", of="a", split="ISIC 2017")
    p = read_predictions(models / "a" / EXTERNAL_FILE, splits=isic2019.HELD_BACK).of_split("isic2017")
    shown = {m.label: m.value for m in app.metric}
    auc = metrics.roc_auc(p.y_true == MELANOMA, metrics.log_softmax(p.logits)[:, MELANOMA])
    assert shown["AUC of melanoma"] == f"{100 * auc:.1f} %"
    assert set(shown) == {"Balanced accuracy", "Melanoma recall", "Macro AUC", "AUC of melanoma"}
    assert "Final: not for choosing between models" in text(app)
    assert f"ISIC 2017: {len(p)} images" in text(app)
    options = app.selectbox(key="split").options
    assert options == ["validation", "test", "ISIC 2017", "BCN20000"], "no split of carcinomas, none that only chooses"


@pytest.mark.parametrize("tab", ["Calibration", "Prediction sets", "Operating points", "Referral", "Slices"])
def test_what_was_fitted_for_ham10000_is_not_shown_of_another_archive(models: Path, tab: str) -> None:
    app = open_page("metrics", of="a", split="BCN20000", show=tab)
    assert "The tab Another archive says what it does on BCN20000" in text(app)
    assert not app.get("plotly_chart")


def test_the_tab_shows_every_archive_and_what_carcinomas_are_called(models: Path) -> None:
    app = open_page("metrics", of="a", show="Another archive")
    everything = read_predictions(models / "a" / EXTERNAL_FILE, splits=isic2019.HELD_BACK)
    for split, title in isic2019.TITLES.items():
        p = everything.of_split(split)
        benign = np.isin(p.y_pred, [INDEX[c] for c in ("bkl", "df", "nv", "vasc")]) & (p.y_true == MELANOMA)
        assert f"**{benign.sum()} of {(p.y_true == MELANOMA).sum()} melanomas called benign**" in text(app)
        assert title in text(app)
    assert "Set ISIC2019_DIR to the folder" in text(app)
    assert f"all {len(everything.of_split(CARCINOMAS))} images" in text(app)
    assert len(app.get("plotly_chart")) == 3, "recall of either archive, and what carcinomas are called"


def test_melanomas_that_are_missed_are_shown_where_the_archive_is_at_hand(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = read_predictions(models / "a" / EXTERNAL_FILE, splits=isic2019.HELD_BACK)
    (tmp_path / isic2019.IMAGE_FOLDER).mkdir()
    for name in everything.image_id[everything.y_true == MELANOMA]:
        cv2.imwrite(str(tmp_path / isic2019.IMAGE_FOLDER / f"{name}.jpg"), np.full((40, 40, 3), 90, np.uint8))
    monkeypatch.setenv("ISIC2019_DIR", str(tmp_path))
    app = open_page("metrics", of="a", show="Another archive")
    missed = {name for split in isic2019.TEST_SETS for name in _missed(everything.of_split(split))}
    assert missed == {c.value.partition(":")[0] for c in app.caption if c.value.startswith("ISIC_")}
    assert "Set ISIC2019_DIR" not in text(app)


def _missed(p: Predictions) -> list[str]:
    """Return the eight melanomas that are called benign with the highest score."""
    benign = np.isin(p.y_pred, [INDEX[c] for c in ("bkl", "df", "nv", "vasc")]) & (p.y_true == MELANOMA)
    rows = np.flatnonzero(benign)
    return p.image_id[rows[np.argsort(-p.probabilities[rows].max(1))][:8]].tolist()


def test_the_tab_on_other_lights_says_what_is_lost(models: Path) -> None:
    app = open_page("metrics", of="a", show="Under other lights")
    found = other_lights.read(models / "a")
    shown = {m.label: m.value for m in app.metric}
    assert shown["Balanced accuracy lost on average, at an equal mix"] == f"{100 * found.lost.value:.1f} points"
    (table,) = tables(app)
    assert table["Of"].tolist() == ["red × 1.08, blue × 0.92", "quality 40"]
    assert "Set HAM10000_DIR" in text(app)


def test_what_is_not_measured_is_said_with_the_command_that_measures_it(models: Path) -> None:
    for name in (EXTERNAL_FILE, other_archives.FILE, other_lights.FILE):
        (models / "a" / name).unlink()
    assert "--external DIR" not in text(open_page("metrics", of="a", show="Another archive")), "it has no weights"
    (models / "a" / "model.keras").write_bytes(b"weights")
    assert "python -m training.external a" in text(open_page("metrics", of="a", show="Another archive"))
    assert "python -m training.other_lights a" in text(open_page("metrics", of="a", show="Under other lights"))


def test_a_damaged_file_is_named(models: Path) -> None:
    (models / "a" / other_lights.FILE).write_text("{")
    (models / "a" / other_archives.FILE).write_text("{}")
    assert "other\\_lights\\.json" in text(open_page("metrics", of="a", show="Under other lights"))
    assert "other\\_archives\\.json" in text(open_page("metrics", of="a", show="Another archive"))


def test_two_models_are_compared_on_another_archive(models: Path) -> None:
    app = check(open_page("compare", compare="On a data split", split="BCN20000"))
    assert "by McNemar's test" in text(app)
    assert "no p is computed for Macro F1 and Macro AUC." in text(app)
    assert [c for c in app.dataframe[0].value.index if "at" in c] == [
        metrics.OVERALL[k].label for k in metrics.ELSEWHERE
    ]
