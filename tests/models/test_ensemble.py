"""An ensemble: its weights are recovered, its answer is its members' mean, and it fails alone when a member does."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dermlens import score
from dermlens.case import predict as serving
from dermlens.case.image import examine
from dermlens.case.opinion import form
from dermlens.case.predict import predict
from dermlens.case.timing import time_model
from dermlens.errors import ConfigError, DataError, ModelError
from dermlens.estimate import Estimate
from dermlens.evaluation.metrics import log_softmax
from dermlens.evaluation.predictions import make_predictions, read_predictions
from dermlens.explain.grad_cam import grad_cam
from dermlens.image.preprocess import Geometry
from dermlens.interchange.report import case_report
from dermlens.labels import N_CLASSES
from dermlens.models import registry
from dermlens.models.card import check_weights
from dermlens.models.ensemble import add_maps, check_views, mean_logits
from dermlens.models.model import Ensemble, Model
from dermlens.trust.calibration import Calibration
from dermlens.trust.fitted import Fitted, read_fitted
from tests.conftest import encode
from training import card, ensemble, export
from training.model_card.write import note_hash


@pytest.fixture(scope="module")
def made(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with two toys and their ensemble. Shared: copy it before changing anything."""
    models = tmp_path_factory.mktemp("ensemble") / "models"
    shutil.copytree(pair, models)
    ensemble.make(models, "both", ["toy", "toy2"], "Both toys")
    return models


@pytest.fixture
def models(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "models"))


@pytest.fixture(scope="module")
def both(made: Path) -> Ensemble:
    loaded = registry.load_any(registry.find(made, "both"))
    assert isinstance(loaded, Ensemble)
    return loaded


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two members' logits and classes drawn from their sum, weighted 0.3 and 0.7."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 3, (2, n, N_CLASSES))
    y = (np.exp(log_softmax(0.3 * a + 0.7 * b)).cumsum(1) < rng.random((n, 1))).sum(1).clip(max=6)
    return a, b, y


def test_the_weights_that_made_the_classes_are_found() -> None:
    a, b, y = drawn(8000)
    assert ensemble.fit_weights([a, b], y) == pytest.approx([0.3, 0.7], abs=0.02)
    # neither a member's temperature as a whole nor a bias for rare classes changes what it knows
    shift = np.linspace(-2, 2, N_CLASSES)
    assert ensemble.fit_weights([2 * a + shift, 2 * b], y) == pytest.approx([0.3, 0.7], abs=0.02)


def test_a_member_that_knows_nothing_weighs_nothing_and_copies_share() -> None:
    a, b, y = drawn(4000)
    noise = np.random.default_rng(9).normal(0, 3, a.shape)
    weights = ensemble.fit_weights([a, b, noise], y)
    assert weights[2] <= 0.02
    assert weights.sum() == pytest.approx(1)
    against = ensemble.fit_weights([b, -a], y)
    assert against.tolist() == [1, 0]


def test_maps_of_one_grid_add_up_as_the_logits_do() -> None:
    rng = np.random.default_rng(1)
    maps = [rng.random((N_CLASSES, 5, 5)).astype(np.float32) for _ in range(2)]
    np.testing.assert_allclose(add_maps(maps, (0.25, 0.75)), 0.25 * maps[0] + 0.75 * maps[1], rtol=1e-5)


def test_a_coarse_map_keeps_its_sum_on_a_finer_grid() -> None:
    rng = np.random.default_rng(2)
    features, kernel = np.abs(rng.normal(size=(4, 4, 3))).astype(np.float32), np.ones((3, N_CLASSES), np.float32)
    coarse, fine = grad_cam(features, kernel), np.zeros((N_CLASSES, 8, 8), np.float32)
    added = add_maps([coarse, fine], (0.5, 0.5))
    assert added.shape == (N_CLASSES, 8, 8)
    np.testing.assert_allclose(added.sum((1, 2)), 0.5 * coarse.sum((1, 2)), rtol=0.05)
    assert (added >= 0).all()


def test_the_answer_is_the_weighted_mean_of_the_members(both: Ensemble, lesion: np.ndarray) -> None:
    a, b = (predict(m, lesion) for m in both.members)
    found = predict(both, lesion)
    mean = both.weights[0] * a.logits + both.weights[1] * b.logits
    np.testing.assert_allclose(found.logits, mean + both.bias, atol=1e-5)
    np.testing.assert_allclose(found.maps, add_maps([a.maps, b.maps], both.weights), rtol=1e-5)
    assert found.probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert (found.model_id, found.embedding.size, found.height) == ("both", 0, lesion.shape[0])
    assert time_model(both, lesion).median > 0


def test_no_network_runs_twice_for_a_case(both: Ensemble, lesion: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    forward = serving.forward

    def counted(model: Model, square: np.ndarray) -> tuple[np.ndarray, ...]:
        runs.append(model.id)
        return forward(model, square)

    monkeypatch.setattr(serving, "forward", counted)
    image = examine(encode(lesion), "a.png", [both, *both.members])
    assert sorted(runs) == ["toy", "toy2"]
    assert list(image.answers) == ["both", "toy", "toy2"], "in the order they are shown"
    runs.clear()
    assert "both" in examine(encode(lesion), "a.png", [both]).answers
    assert sorted(runs) == ["toy", "toy2"], "alone it asks its members"


def test_the_report_names_what_it_is_made_of(both: Ensemble, lesion: np.ndarray) -> None:
    from datetime import UTC, datetime

    image = examine(encode(lesion), "a.png", [both, *both.members])
    opinion = form([both, *both.members], image.answers)
    report = case_report(image, opinion, datetime(2026, 1, 1, tzinfo=UTC))
    for member in both.members:
        assert f"of {member.id}, SHA-256 {member.identity}" in report
    assert "All 3 models" not in report, "the ensemble is no third opinion"


def test_its_identity_is_of_all_that_is_in_use_and_of_nothing_else(both: Ensemble) -> None:
    first = both.members[0]
    calibration = Calibration("temperature", (1.0,) * 7, (0.0,) * 7, (1,) * 7)

    def fitted(digest: str, used: bool = True) -> Model:
        card = {**first.card, "files": {**first.card["files"], "calibration.json": digest}}
        return replace(first, card=card, fitted=Fitted(calibration=calibration if used else None))

    one, two = fitted("1" * 64), fitted("2" * 64)
    weights = registry.sha256(first.folder / "model.keras")
    assert one.weights_sha256 == two.weights_sha256 == first.weights_sha256 == weights
    assert one.identity == hashlib.sha256(f"{weights}\ncalibration.json {'1' * 64}".encode()).hexdigest()
    assert len({first.identity, one.identity, two.identity}) == 3
    assert fitted("1" * 64, used=False).identity == first.identity, "a file that cannot be used changes no answer"
    ensembles = [replace(both, members=(member, both.members[1])) for member in (first, one, two)]
    assert len({e.identity for e in ensembles}) == 3
    assert len({e.weights_sha256 for e in ensembles}) == 1


def test_its_files_are_what_its_members_give(made: Path) -> None:
    stored = json.loads((made / "both" / "card.json").read_text())
    a, b, own = (read_predictions(made / i / "predictions.csv") for i in ("toy", "toy2", "both"))
    weights = list(stored["members"].values())
    assert sum(weights) == pytest.approx(1)
    np.testing.assert_allclose(own.logits, weights[0] * a.logits + weights[1] * b.logits, atol=1e-5)
    assert "bias" not in stored
    validation = a.split == "validation"
    expected = ensemble.fit_weights([a.logits[validation], b.logits[validation]], a.y_true[validation])
    assert weights == expected.tolist()
    assert card.problems(made / "both") == []
    readme = (made / "both" / "README.md").read_text()
    assert f"`toy` {weights[0]:g}, `toy2` {weights[1]:g}" in readme
    assert "## Recipe" not in readme


def test_it_is_an_entry_that_can_be_asked_and_export_leaves_it_alone(models: Path) -> None:
    entry = registry.find(models, "both")
    assert (entry.problem, entry.can_be_asked, entry.is_ensemble, entry.has_weights) == (None, True, True, False)
    assert entry.name == "Both toys"
    assert export.main(["--all", "--models-dir", str(models)]) == 0
    assert not (models / "both" / "build").exists()
    with pytest.raises(ModelError, match="is an ensemble"):
        registry.load(entry)


def test_a_folder_is_scored_with_it(models: Path, both: Ensemble, lesion: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(encode(lesion))
    where = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out.csv"), "--models-dir", str(models)]
    assert score.main(["--model", "both", *where]) == 0
    melanoma = float((tmp_path / "out.csv").read_text().splitlines()[1].split(",")[1])
    assert melanoma == pytest.approx(float(predict(both, lesion).probabilities[4]), abs=1e-6)


def test_the_rule_on_unlike_images_is_not_dropped_without_a_word_where_a_member_cannot_be_asked(models: Path) -> None:
    of_one = {"accepted": Estimate(0.97, 0.9, 1, 10, 9).to_dict(), "auroc": {}, "refused": {}}
    predictions = registry.sha256(models / "both" / "predictions.csv")
    rule = {"method": "members", "members": ["toy", "toy2"], "fitted_on": {"predictions_sha256": predictions}}
    (models / "both" / "familiarity.json").write_text(json.dumps({**rule, "measured": {"test": of_one}}))
    note_hash(models / "both", "familiarity.json")
    entry = registry.find(models, "both")
    assert read_fitted(entry.folder, entry.card).ood is not None
    loaded = registry.load_any(entry)
    assert loaded.fitted.ood is None
    [said] = [s for s in loaded.fitted.missing_sentences() if "familiarity.json" in s]
    assert said.startswith("familiarity.json goes by that of its member toy, which cannot be used (There is no ")


def test_a_lost_or_renewed_member_disables_only_the_ensemble(models: Path) -> None:
    path = models / "toy2" / "card.json"
    good = path.read_text()
    stored = json.loads(good)
    stored["files"]["model.keras"] = "0" * 64
    path.write_text(json.dumps(stored))
    problems = {e.id: e.problem for e in registry.discover(models)}
    assert "published again" in str(problems["both"])
    assert problems["toy"] is None
    path.write_text(good)
    (models / "toy2" / "model.keras").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="Its member toy2 cannot be used: .*model.keras"):
        registry.load_any(registry.find(models, "both"))
    shutil.rmtree(models / "toy2")
    problems = {e.id: e.problem for e in registry.discover(models)}
    assert "Its member toy2 is missing" in str(problems["both"])
    assert problems["toy"] is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"members": {"toy": 0.5, "toy2": 0.6}}, "adding up to 1"),
        ({"members": {"toy": 1.5, "toy2": -0.5}}, "weights of 0..1"),
        ({"members": {"toy": 1}}, "two or more"),
        ({"members": {"toy": 0.5, "toy2": True}}, "two or more"),
        ({"members": ["toy", "toy2"]}, "'members' must be a dict"),
        ({"bias": None}, "'bias' must be 7 numbers"),
        ({"bias": [0.0] * 6}, "'bias' must be 7 numbers"),
        ({"bias": [0.0] * 6 + [float("nan")]}, "'bias' must be 7 numbers"),
        ({"bias": [0.0] * 6 + [10**400]}, "'bias' must be 7 numbers"),
        ({"bias": [0.0] * 6 + [True]}, "'bias' must be 7 numbers"),
        ({"member_hashes": {"toy": "0" * 64}}, "must name the members"),
        ({"member_hashes": {"toy": "0" * 64, "../toy2": "0" * 64}}, "names of files"),
        ({"classes": []}, "classes"),
    ],
)
def test_a_card_that_is_none_is_a_problem(models: Path, values: dict, told: str) -> None:
    path = models / "both" / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    entry = registry.find(models, "both")
    assert told in str(entry.problem)
    with pytest.raises(ModelError):
        registry.load_any(entry)


def test_members_must_see_the_same_part_and_weigh_something() -> None:
    with pytest.raises(ModelError, match="different parts"):
        check_views({"a": Geometry(32), "b": Geometry(32, max_crop=0.1)})
    check_views({"a": Geometry(32), "b": Geometry(64)})
    check_weights({"a": 0.4, "b": 0.6}, {"a": "", "b": ""}, "card.json")
    assert mean_logits([np.ones(7), np.zeros(7)], (0.4, 0.6), np.arange(7)) == pytest.approx(0.4 + np.arange(7))


def test_a_changed_weight_or_prediction_is_found(models: Path) -> None:
    path = models / "both" / "card.json"
    good = path.read_text()
    stored = json.loads(good)
    first, second = stored["members"].values()
    stored["members"] = {"toy": round(first - 0.1, 3), "toy2": round(second + 0.1, 3)}
    path.write_text(json.dumps(stored))
    found = ensemble.problems(models / "both", stored)
    assert any("members' predictions give" in p for p in found)
    assert any("weighted mean" in p for p in found)
    stored = json.loads(good)
    found = ensemble.problems(models / "both", {**stored, "bias": [0.5] * 7})
    assert found == ["predictions.csv is not the weighted mean of the members' predictions"]


def test_an_older_card_with_an_adjustment_loads_and_adds_its_bias(models: Path, lesion: np.ndarray) -> None:
    path = models / "both" / "card.json"
    plain = registry.load_any(registry.inspect(models / "both"))
    bias = [0.0, 0.5, 0.0, 0.0, 0.25, -0.5, 0.0]
    older = {"logit_adjustment": 0.2, "melanoma_weight": 1.25, "bias": bias}
    path.write_text(json.dumps({**json.loads(path.read_text()), **older}))
    moved = registry.load_any(registry.inspect(models / "both"))
    np.testing.assert_allclose(predict(moved, lesion).logits, predict(plain, lesion).logits + bias, atol=1e-5)


def test_what_cannot_be_combined_is_refused(models: Path) -> None:
    with pytest.raises(ModelError, match="exists"):
        ensemble.make(models, "both", ["toy", "toy2"])
    with pytest.raises(ConfigError, match="different models"):
        ensemble.make(models, "new", ["toy", "toy"])
    with pytest.raises(ConfigError, match="a-z"):
        ensemble.make(models, "../new", ["toy", "toy2"])
    with pytest.raises(ModelError, match="no model 'nobody'"):
        ensemble.make(models, "new", ["toy", "nobody"])
    assert ensemble.main(["both", "--members", "toy", "toy2", "--replace", "--models-dir", str(models)]) == 0
    assert ensemble.main(["both", "--members", "toy", "toy2", "--models-dir", str(models)]) == 2


def test_members_must_have_answered_the_same_images() -> None:
    y = np.array([0, 1, 2, 3])
    a = make_predictions("ABCD", "abcd", "validation", y, np.zeros((4, 7)))
    mixed = make_predictions("DCBA", "dcba", "validation", y[::-1], np.arange(28).reshape(4, 7))
    joined = ensemble.join([a, mixed])
    assert joined[1].image_id.tolist() == list("ABCD")
    with pytest.raises(ModelError, match="different images of the validation split: 4 and 3"):
        ensemble.join([a, mixed.select(np.arange(3))])
    with pytest.raises(DataError, match="share no image"):
        ensemble.join([a, make_predictions("XYZ", "xyz", "validation", y[:3], np.zeros((3, 7)))])
