"""Rules for referral are measured with the calls that users get: those of calibrated probabilities."""

from pathlib import Path

import numpy as np
import pytest

from dermlens.dataset.ham10000 import load_split
from dermlens.files.documents import Document, read_object, write_object
from dermlens.labels import INDEX
from dermlens.trust import calibration, conformal
from dermlens.trust.referral import any_of, read
from tests.dashboard import fill
from training.fits import calibration as fit_calibration
from training.fits import conformal as fit_conformal
from training.fits import referral
from training.fits.subject import Subject
from training.model_card.write import note_hash


def _three(tmp_path: Path) -> tuple[Subject, Subject, Subject]:
    """An ensemble of two models and these, fitted up to their prediction sets."""
    for seed, name in enumerate(("both", "a", "b")):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, seed=seed, skill=3.0)
        card = {"id": name, "files": {}, **({"members": {"a": 0.5, "b": 0.5}} if name == "both" else {})}
        write_object(tmp_path / name / "card.json", card)
        note_hash(tmp_path / name, "predictions.csv")
    both, a, b = (Subject(tmp_path / name, load_split()) for name in ("both", "a", "b"))
    for subject in (both, a, b):
        for step in (fit_calibration, fit_conformal):
            for name, content in step.make(subject).items():
                (subject.folder / name).write_bytes(content)
                note_hash(subject.folder, name)
    return both, a, b


def test_members_are_asked_by_their_own_calibration_out_of_fold_on_validation(tmp_path: Path) -> None:
    both, a, b = _three(tmp_path)
    sets = conformal.read(both.folder / "conformal.json")
    for split in ("validation", "test"):
        found = referral._answers(both, split, sets).inputs.probabilities
        assert list(found) == ["both", "a", "b"]
        for subject in (a, b):
            own = subject.predictions.of_split(split)
            fitted = calibration.read(subject.folder / "calibration.json")
            np.testing.assert_array_equal(own.image_id, both.predictions.of_split(split).image_id)
            np.testing.assert_array_equal(found[subject.folder.name], calibration.unseen(own, fitted))
            assert (found[subject.folder.name].argmax(1) != own.y_pred).any()


def test_the_rules_of_an_ensemble_look_at_its_members_and_are_measured_as_one(tmp_path: Path) -> None:
    both, *_ = _three(tmp_path)
    stored = read_object(Document(Path("referral.json"), referral.make(both)["referral.json"]))
    assert list(stored["models"]) == ["both", "a", "b"]
    sets = conformal.read(both.folder / "conformal.json")
    test = referral._answers(both, "test", sets)
    own = read(Document(Path("referral.json"), referral.make(both)["referral.json"]))
    referred = any_of(own.fired(test.inputs))
    assert stored["measured"]["test"]["referred"]["value"] == pytest.approx(referred.mean(), abs=1e-6)
    loud = [p[:, INDEX["mel"]] >= own.thresholds[m]["melanoma"] for m, p in test.inputs.probabilities.items()]
    assert (referred | ~np.logical_or.reduce(loud)).all(), "every model's alarm refers"
    validation = referral._answers(both, "validation", sets)
    as_fitted = any_of(own.fired(validation.inputs)).mean()
    assert as_fitted <= own.cap
    crossed = any_of(referral.cross_fitted(validation, sets)).mean()
    assert stored["measured"]["validation"]["referred"]["value"] == pytest.approx(crossed, abs=1e-6)
