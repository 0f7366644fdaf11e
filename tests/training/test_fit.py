"""Fitting a published model: what is written is used, and a number that its predictions do not give is found."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.dataset.ham10000 import load_split
from dermlens.errors import DataError
from dermlens.evaluation.predictions import read_predictions
from dermlens.labels import CLASSES
from dermlens.models import registry
from dermlens.models.card import read_card
from dermlens.trust import calibration
from dermlens.trust.fit_command import fit_command
from dermlens.trust.fitted import PARTS, read_calibrated, read_fitted
from tests.dashboard import fill
from training import card, fit
from training.fits import calibration as step
from training.fits.subject import Subject
from training.model_card.write import metrics_of, note_hash


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with predictions and their calibration. Shared: copy it before changing anything."""
    folder = tmp_path_factory.mktemp("models") / "made-up"
    folder.mkdir()
    fill(folder)
    (folder / "card.json").write_text(
        json.dumps({"name": "Made up", "files": {"predictions.csv": registry.sha256(folder / "predictions.csv")}})
    )
    for name, content in step.make(Subject(folder, load_split())).items():
        (folder / name).write_bytes(content)
        note_hash(folder, name)
    (folder / "metrics.json").write_text(json.dumps(metrics_of(folder)))
    return folder


@pytest.fixture
def folder(fitted: Path, tmp_path: Path) -> Path:
    copy = tmp_path / fitted.name
    copy.mkdir()
    for file in fitted.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_what_was_fitted_on_validation_is_what_users_get(fitted: Path) -> None:
    raw = read_predictions(fitted / "predictions.csv")
    validation = raw.of_split("validation")
    stored = json.loads((fitted / "calibration.json").read_text())
    found = read_fitted(fitted, read_card(fitted)).calibration
    assert found is not None
    assert found == calibration.METHODS[stored["method"]](validation.logits, validation.y_true, stored["prior_sd"])
    users = read_calibrated(fitted, read_card(fitted))
    np.testing.assert_array_equal(users.probabilities, found.apply(raw.logits))
    assert (users.y_pred == found.apply(raw.logits).argmax(1)).all()
    assert stored["class_mix"] == np.bincount(validation.y_true, minlength=7).tolist()


def test_the_measured_figures_are_of_both_splits_and_validation_is_cross_fitted(fitted: Path) -> None:
    stored = json.loads((fitted / "calibration.json").read_text())
    raw = read_predictions(fitted / "predictions.csv")
    crossed = calibration.out_of_fold(raw.of_split("validation"), stored["method"], stored["prior_sd"])
    y = raw.of_split("validation").y_true
    nll = -np.log(crossed[np.arange(len(y)), y]).mean()
    assert stored["measured"]["validation"]["after"]["nll"]["value"] == pytest.approx(nll, abs=1e-6)
    for split, n in (("validation", len(y)), ("test", len(raw) - len(y))):
        before, after = (stored["measured"][split][k] for k in ("before", "after"))
        assert after["nll"]["value"] < before["nll"]["value"]
        assert after["ece"]["n_images"] == n


def test_right_files_have_no_problem_and_the_figures_are_of_the_calibrated_answers(folder: Path) -> None:
    assert card.problems(folder) == []
    published = json.loads((folder / "metrics.json").read_text())["test"]["cross_entropy"]["value"]
    assert published == pytest.approx(
        json.loads((folder / "calibration.json").read_text())["measured"]["test"]["after"]["nll"]["value"], abs=1e-6
    )


def test_a_figure_typed_by_hand_is_found_even_with_a_new_hash(folder: Path) -> None:
    measured = json.loads((folder / "calibration.json").read_text())["measured"]
    measured["test"]["after"]["ece"]["value"] = 0.001
    change(folder / "calibration.json", measured=measured)
    note_hash(folder, "calibration.json")
    assert any("calibration.json, measured, test, after, ece, value is 0.001" in p for p in card.problems(folder))


def test_a_map_that_was_not_fitted_on_these_predictions_is_found(folder: Path) -> None:
    change(folder / "calibration.json", bias=[0.1] * 7)
    note_hash(folder, "calibration.json")
    assert any(p.startswith("calibration.json, bias, 0 is 0.1") for p in card.problems(folder))


def test_without_the_file_the_model_is_uncalibrated_and_says_so(folder: Path) -> None:
    (folder / "calibration.json").unlink()
    found = read_fitted(folder, read_card(folder))
    assert found.calibration is None
    assert "There is no calibration.json, so its numbers are uncalibrated scores." in found.missing_sentences()
    users, raw = read_calibrated(folder, read_card(folder)), read_predictions(folder / "predictions.csv")
    np.testing.assert_array_equal(users.probabilities, raw.probabilities)


@pytest.mark.parametrize("spoilt", [b"{", b"", b'{"method": "vector"}'])
def test_a_changed_file_is_not_used_and_named(folder: Path, spoilt: bytes) -> None:
    (folder / "calibration.json").write_bytes(spoilt)
    found = read_fitted(folder, read_card(folder))
    assert found.calibration is None
    assert "calibration.json is not the file whose SHA-256 is in card.json" in found.missing["calibration"]
    note_hash(folder, "calibration.json")
    found = read_fitted(folder, read_card(folder))
    assert found.calibration is None
    assert "does not say what it was fitted on" in found.missing["calibration"]


def test_a_calibration_of_other_predictions_is_not_used(folder: Path) -> None:
    with (folder / "predictions.csv").open("a") as file:
        file.write("more,L,test,nv,0,0,0,0,0,1,0\n")
    note_hash(folder, "predictions.csv")
    found = read_fitted(folder, read_card(folder))
    assert found.calibration is None
    assert "another predictions.csv" in found.missing["calibration"]


def test_what_is_fitted_with_a_changed_file_is_named_and_fitting_that_file_fits_it_too(folder: Path) -> None:
    fit.fit(Subject(folder, load_split()), ["conformal", "thresholds", "referral"])
    change(folder / "conformal.json", another="way to write it")
    note_hash(folder, "conformal.json")
    found = read_fitted(folder, read_card(folder))
    assert list(found.missing) == ["ood", "referral"]
    assert "was fitted with another conformal.json than the one in the folder" in found.missing["referral"]
    fit.fit(Subject(folder, load_split()), ["conformal"])
    assert list(read_fitted(folder, read_card(folder)).missing) == ["ood"]
    (folder / "thresholds.json").unlink()
    fit.fit(Subject(folder, load_split()), ["calibration"])
    assert not (folder / "thresholds.json").exists(), "what was not fitted before is not asked for"


def test_a_folder_without_a_card_has_nothing_fitted(folder: Path) -> None:
    assert read_fitted(folder, None).calibration is None
    assert read_fitted(folder, {"files": None}).calibration is None


@pytest.mark.parametrize("part", PARTS)
def test_the_command_that_people_are_told_is_one(
    part: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[list[str], Path | None]] = []

    def fit_nothing(subject: Subject, steps: list[str]) -> dict[str, list[str]]:
        asked.append((steps, subject.data))
        return {}

    monkeypatch.setattr(fit, "fit", fit_nothing)
    command = fit_command(folder.name, PARTS[part].step, pictures=True).replace("DIR", str(tmp_path))
    program, option, module, *args = command.split()
    assert (program, option, module) == ("python", "-m", "training.fit")
    assert fit.main([*args, "--models-dir", str(folder.parent)]) == 0
    assert asked == [([PARTS[part].step], tmp_path)]


@pytest.mark.parametrize("card_json", [None, {"name": "Of another framework"}])
@pytest.mark.parametrize("submission", [False, True])
def test_predictions_alone_are_fitted_in_all_that_needs_no_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture, card_json: dict | None, submission: bool
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    fill(folder)
    (folder / "metrics.json").unlink()
    if submission:
        write_as_submission(folder)
    if card_json:
        (folder / "card.json").write_text(json.dumps(card_json))
    assert fit.main(["other", "--models-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert said.strip() == "Left out, as they need weights: embeddings, map, attention."
    found = read_fitted(folder, read_card(folder))
    assert list(found.missing) == ["ood"]
    assert card.problems(folder) == []
    assert registry.inspect(folder).name == (card_json or {}).get("name", "other")
    assert read_card(folder)["files"].keys() >= ({"truth.csv"} if submission else {"predictions.csv"})
    assert fit.main(["other", "--only", "embeddings", "--models-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().err.strip() == "Left out, as it needs weights: embeddings."
    if submission:
        truth = folder / "truth.csv"
        truth.write_text(truth.read_text().replace("validation", "test", 1))
        with pytest.raises(DataError, match=r"truth\.csv was changed"):
            read_calibrated(folder, read_card(folder))


def write_as_submission(folder: Path) -> None:
    """Put the predictions of a folder into the form of ISIC 2018, with a truth that names lesions and splits."""
    p = read_predictions(folder / "predictions.csv")
    columns = [code.upper() for code in CLASSES]
    shares = pd.DataFrame(p.probabilities, columns=columns).assign(image=p.image_id)
    shares.to_csv(folder / "predictions.csv", index=False)
    truth = pd.DataFrame(np.eye(len(CLASSES), dtype=int)[p.y_true], columns=columns)
    truth.assign(image=p.image_id, lesion_id=p.lesion_id, split=p.split).to_csv(folder / "truth.csv", index=False)
