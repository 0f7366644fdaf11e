"""A network that never saw one diagnosis is fitted to the end: its images are asked about, and fit no threshold."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.dataset.ham10000 import load_split
from dermlens.dataset.isic2019 import HELD_BACK, held_back
from dermlens.evaluation.predictions import (
    EXTERNAL_FILE,
    concatenate,
    make_predictions,
    read_predictions,
    write_predictions,
)
from dermlens.labels import CLASSES, INDEX
from dermlens.trust.ood import LEFT_OUT, known, read_scores, refused
from tests import fake_ham10000, fake_isic2019
from tests.conftest import publish_toy, toy_network
from training import archives, fit
from training.fits import embeddings
from training.fits.ood_pictures import OodPicture
from training.fits.subject import Subject
from training.model_card.write import note_hash

STEPS = ["calibration", "conformal", "thresholds", "embeddings", "map", "familiarity", "referral", "other_archives"]


def few() -> list[OodPicture]:
    rng = np.random.default_rng(0)
    return [OodPicture("noise", f"n{i}", rng.integers(0, 256, (40, 50, 3), np.uint8)) for i in range(8)]


def answers(rows: pd.DataFrame, split: str, rng: np.random.Generator) -> object:
    y = rows["dx"].map({**INDEX, "scc": -1}).to_numpy()
    logits = rng.normal(0, 1, (len(rows), len(CLASSES))) + 2 * np.eye(len(CLASSES))[y] * (y >= 0)[:, None]
    return make_predictions(rows["image_id"], rows["lesion_id"], split, y, logits)


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A toy network that never saw a vascular lesion, with predictions of drawn archives that hold some."""
    fake_ham10000.write(tmp_path / "data", lesions=20)
    others = fake_isic2019.table(lesions=8)
    fake_isic2019.write(tmp_path / "others", others)
    table = load_split(tmp_path / "data" / "split.csv")
    folder = publish_toy(tmp_path / "models" / "toy", toy_network(channels=8), views=1).folder
    (folder / "run.json").write_text(json.dumps({"config": {"leave_out": "vasc", "isic2017_share": 0.2}}))
    rng = np.random.default_rng(0)
    own = [answers(table[table["split"] == split], split, rng) for split in ("validation", "test")]
    write_predictions(folder / "predictions.csv", concatenate(own))  # type: ignore[arg-type]
    away = held_back(others)
    parts = [answers(away[away["split"] == s], s, rng) for s in HELD_BACK if (away["split"] == s).any()]
    write_predictions(folder / EXTERNAL_FILE, concatenate(parts))  # type: ignore[arg-type]
    for name in ("predictions.csv", EXTERNAL_FILE):
        note_hash(folder, name)
    for module in (archives, embeddings):
        monkeypatch.setattr(module, "load_external", lambda: others)
    monkeypatch.setattr(embeddings, "pictures", few)
    monkeypatch.setattr(embeddings, "AXES", 4)
    monkeypatch.setattr(fit, "write", lambda folder: None)  # the toy has no history to make a card of
    return Subject(folder, table, tmp_path / "data", external=tmp_path / "others")


def test_every_step_is_fitted_with_a_diagnosis_left_out(subject: Subject) -> None:
    assert fit.fit(subject, STEPS) == {}
    folder = subject.folder
    scores, threshold = read_scores(folder)
    by_name = scores.set_index("name")
    for file, splits in (("predictions.csv", ("validation", "test")), (EXTERNAL_FILE, HELD_BACK)):
        p = read_predictions(folder / file, splits=splits)
        assert known(folder, p.image_id)
        np.testing.assert_array_equal(refused(folder, p.image_id), by_name.loc[p.image_id, "score"] > threshold)
        vascular = p.y_true == INDEX["vasc"]
        assert vascular.any()
        assert set(by_name.loc[p.image_id[vascular], "kind"]) == {LEFT_OUT}
        assert set(by_name.loc[p.image_id[~vascular], "kind"]) == {"dermoscopic"}
    referral = json.loads((folder / "referral.json").read_text())
    for split in ("validation", "test"):
        n = (read_predictions(folder / "predictions.csv").split == split).sum()
        measured = referral["measured"][split]
        assert measured["referred"]["n_images"] == n, "left-out images are referred or missed like any other"
        assert "unfamiliar" in measured["rules"]
    away = json.loads((folder / "other_archives.json").read_text())["archives"]["bcn20000"]
    p = read_predictions(folder / EXTERNAL_FILE, splits=HELD_BACK).of_split("bcn20000")
    assert away["refused"]["vasc"]["n_images"] == (p.y_true == INDEX["vasc"]).sum()
    stored = json.loads((folder / "familiarity.json").read_text())["measured"]
    assert stored["bcn20000"]["accepted"]["n_images"] == (p.y_true != INDEX["vasc"]).sum()
