"""Rules for referral are measured with the calls that users get: those of calibrated probabilities."""

from pathlib import Path

import numpy as np

from dermlens.dataset.ham10000 import load_split
from dermlens.files.documents import write_object
from dermlens.trust import calibration
from tests.dashboard import fill
from training.fits import calibration as fit_calibration
from training.fits import referral
from training.fits.subject import Subject
from training.model_card.write import note_hash


def test_members_call_by_their_own_calibration_and_without_one_by_their_scores(tmp_path: Path) -> None:
    for seed, name in enumerate(("both", "a", "b")):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, seed=seed, skill=1.0)
        card = {"id": name, "files": {}, **({"members": {"a": 0.5, "b": 0.5}} if name == "both" else {})}
        write_object(tmp_path / name / "card.json", card)
        note_hash(tmp_path / name, "predictions.csv")
    both, a, b = (Subject(tmp_path / name, load_split()) for name in ("both", "a", "b"))
    for name, content in fit_calibration.make(a).items():
        (a.folder / name).write_bytes(content)
        note_hash(a.folder, name)
    fitted = calibration.read(a.folder / "calibration.json")
    for split in ("validation", "test"):
        found = referral._calls_of_members(both, both.predictions.of_split(split))
        assert found is not None
        own, other = (s.predictions.of_split(split) for s in (a, b))
        assert (found[:, 0] == calibration.unseen(own, fitted).argmax(1)).all()
        assert (found[:, 0] != own.y_pred).any()
        assert (found[:, 1] == other.logits.argmax(1)).all()
        np.testing.assert_array_equal(own.image_id, both.predictions.of_split(split).image_id)
