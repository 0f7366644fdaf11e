"""What the pages say of images that look unlike the training's, and of similar cases."""

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dermlens.case.image import CaseImage
from dermlens.case.opinion import form
from dermlens.case.predict import predict
from dermlens.dataset.ham10000 import load_split
from dermlens.image.synthetic import draw_lesion
from dermlens.interchange.report import case_report
from dermlens.labels import CONFIRMED, INDEX
from dermlens.models import registry
from dermlens.trust import reference_set
from dermlens.trust.ood import OodDetector, read
from dermlens.trust.reference_set import mahalanobis, make_reference_set
from tests.conftest import encode
from tests.dashboard import check, open_page, text
from training.model_card.write import note_hash
from ui.predict.similar_cases import NEIGHBOURS, NO_PICTURES, lesion_of

UNLIKE = "This does not look like a dermoscopic image"
ESTIMATE = {"low": 0.95, "high": 0.99, "n_images": 40, "n_lesions": 30}


@pytest.fixture(scope="module")
def models(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy models, the first with a reference set around the embedding of a drawn lesion."""
    folder = tmp_path_factory.mktemp("trusted") / "models"
    shutil.copytree(pair, folder)
    toy = folder / "toy"
    model = registry.load(registry.inspect(toy))
    middle = predict(model, draw_lesion(np.random.default_rng(7), 90, 120)).embedding
    rows = load_split().query("split == 'train'").groupby("dx").head(30)
    embeddings = middle + np.random.default_rng(0).normal(0, 0.02, (len(rows), len(middle)))
    y = rows["dx"].map(INDEX).to_numpy()
    reference = make_reference_set(
        rows["image_id"].to_numpy(str), (embeddings, y), 8, (model.head_kernel, model.head_bias)
    )
    stored = reference_set.encode(reference)
    (toy / "embeddings.npz").write_bytes(stored)
    note_hash(toy, "predictions.csv")
    auroc = {"photograph": {**ESTIMATE, "value": 0.98}}
    refused = {"photograph": {**ESTIMATE, "value": 0.97}}
    content = {
        "method": "mahalanobis",
        "threshold": float(4 * mahalanobis(reference, embeddings.astype(np.float32)).max()),
        "embeddings_sha256": hashlib.sha256(stored).hexdigest(),
        "fitted_on": {"predictions_sha256": registry.sha256(toy / "predictions.csv")},
        "measured": {"test": {"accepted": {**ESTIMATE, "value": 0.963}, "auroc": auroc, "refused": refused}},
    }
    (toy / "familiarity.json").write_text(json.dumps(content))
    for name in ("embeddings.npz", "familiarity.json"):
        note_hash(toy, name)
    return folder


@pytest.fixture
def app(models: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("DERMLENS_MODELS", str(models))
    monkeypatch.delenv("HAM10000_DIR", raising=False)
    return open_page("predict", **{"show-similar": "true"})


def upload(app: AppTest, name: str, pixels: np.ndarray) -> str:
    app.file_uploader[0].set_value([(name, encode(pixels), "image/png")])
    return text(check(app.run()))


def test_a_familiar_image_is_answered_with_similar_cases(app: AppTest, lesion: np.ndarray, models: Path) -> None:
    shown = upload(app, "lesion.png", lesion)
    assert UNLIKE not in shown
    found = read(models / "toy" / "familiarity.json")
    assert isinstance(found, OodDetector)
    model = registry.load(registry.inspect(models / "toy"))
    answer = predict(model, lesion)
    assert answer.unlikeness == found.score(answer.embedding)
    cases = found.similar(answer.embedding, NEIGHBOURS)
    assert len(cases) == NEIGHBOURS
    for case in cases:
        assert f"[{case.image_id}](https://api.isic-archive.com/images/{case.image_id}/)" in shown
        assert f"Distance {case.distance:.2f}" in shown
    assert f"Confirmed by {CONFIRMED[cases[0].dx_type]}" in shown
    assert NO_PICTURES in shown


@pytest.fixture
def alone(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page with the one model that can tell."""
    shutil.copytree(models / "toy", tmp_path / "toy")
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    monkeypatch.delenv("HAM10000_DIR", raising=False)
    return open_page("predict")


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)


def test_an_image_that_no_model_knows_is_named_first_and_diagnosed_nowhere(
    alone: AppTest, lesion: np.ndarray, models: Path
) -> None:
    shown = upload(alone, "cat.png", noise())
    said = next(str(m.value) for m in alone.markdown if UNLIKE in str(m.value))
    assert shown.count(UNLIKE) == 1, "one banner"
    assert "no diagnosis is called" in said
    assert "3.7 % of the dermoscopic images of the test split" in said
    assert [h.value for h in alone.header] == ["No diagnosis"]
    assert "altered copies" not in shown
    image: CaseImage = alone.session_state["case_images"][alone.session_state["image"]]
    opinion = form([registry.load(registry.inspect(models / "toy"))], image.answers)
    assert opinion.withheld
    report = case_report(image, opinion, datetime.now(UTC))
    assert "No diagnosis</strong><ul><li>The image does not look like" in report
    assert "<h2>Diagnosis" not in report


def test_one_network_that_refuses_is_silent_and_the_other_goes_on(
    app: AppTest, lesion: np.ndarray, models: Path
) -> None:
    shown = upload(app, "cat.png", noise())
    image: CaseImage = app.session_state["case_images"][app.session_state["image"]]
    ready = [registry.load(registry.inspect(models / name)) for name in ("toy", "toy2")]
    opinion = form(ready, image.answers)
    assert opinion.refused == {"toy"}, "toy2 cannot tell"
    assert UNLIKE not in shown
    assert "Toy toy does not know images like this one and calls nothing" in shown.replace("\\", "")
    assert "No diagnosis" not in shown
    assert app.button_group(key="network").options == ["Toy toy2"]
    assert "Toy toy (calls nothing)" in "".join(str(chart.proto) for chart in app.get("plotly_chart"))
    report = case_report(image, opinion, datetime.now(UTC))
    assert "<td>Toy toy</td><td>calls nothing: unlike its images</td>" in report
    upload(app, "lesion.png", lesion)
    table = app.dataframe[0].value.set_index("file")
    assert table.loc["cat.png", "agreement"] == "one answers"
    assert table.loc["lesion.png", "agreement"] in ("agree", "disagree")
    app.session_state["image"] = image.key
    app.switch_page("pages/compare.py")
    shown = text(check(app.run()))
    assert " call it " not in shown
    assert "models disagree" not in shown
    assert "differ most on" not in shown
    assert "scores are the same" not in shown
    assert "No map of Toy toy: the image is not of the kind that is known." in shown.replace("\\", "")
    assert "of the evidence for" not in shown, "a map of what is refused is put into words nowhere"


def test_a_poor_image_is_named_with_advice(app: AppTest, lesion: np.ndarray) -> None:
    upload(app, "small.png", lesion)
    said = next(str(m.value) for m in app.markdown if "too poor" in str(m.value))
    assert "The shorter side has 90 pixels" in said
    assert "Send the original file" in said


def test_cases_of_the_images_own_lesion_are_left_out(app: AppTest, lesion: np.ndarray, models: Path) -> None:
    model = registry.load(registry.inspect(models / "toy"))
    found = read(models / "toy" / "familiarity.json")
    assert isinstance(found, OodDetector)
    (first,) = found.similar(predict(model, lesion).embedding, 1)
    shown = upload(app, f"{first.image_id}.png", lesion)
    assert f"[{first.image_id}]" not in shown
    assert "Cases of the image's own lesion are left out." in shown


def test_the_lesion_of_an_image_is_known_by_its_name_alone() -> None:
    row = load_split().iloc[0]
    for name in (f"{row['image_id']}.jpg", f"folder/{row['image_id']}.png"):
        assert lesion_of(SimpleNamespace(name=name)) == row["lesion_id"]  # type: ignore[arg-type]
    for name in ("ISIC_9999999.jpg", "mole.jpg", ""):
        assert lesion_of(SimpleNamespace(name=name)) is None  # type: ignore[arg-type]


def test_models_without_a_reference_set_say_how_to_make_one(
    pair: Path, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    shown = upload(open_page("predict", **{"show-similar": "true"}), "lesion.png", lesion)
    assert "--only embeddings" in shown
    assert UNLIKE not in shown


def test_the_metrics_page_shows_how_often_unlike_images_are_refused(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(models))
    app = open_page("metrics", of="toy", show="Unlike images", split="test")
    shown = text(app)
    assert "Mahalanobis distance" in shown
    assert [m.value for m in app.metric if "accepted" in m.label] == ["96.3 %"]
    assert any("photograph" in str(chart.proto) for chart in app.get("plotly_chart"))
    app.selectbox(key="of").set_value("toy2")
    check(app.run())
    assert "cannot say whether an image is like those" in text(app)
