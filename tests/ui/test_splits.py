"""What pages say of other clinics is what the model's files hold, and nothing where it was not asked about them."""

import shutil
from pathlib import Path

import pytest

from dermlens.evaluation.other_archives import read
from dermlens.evaluation.predictions import read_predictions
from dermlens.labels import INDEX
from dermlens.models.card import read_card
from dermlens.models.registry import models_dir
from dermlens.trust.fitted import read_calibrated
from dermlens.trust.ood import refused
from dermlens.wording import percent
from ui import splits

PUBLISHED = models_dir() / "ensemble"


def test_the_sentences_are_of_the_melanomas_that_the_published_model_does_not_refuse() -> None:
    p = read_calibrated(PUBLISHED, read_card(PUBLISHED))
    for split, title in (("isic2017", "ISIC 2017"), ("bcn20000", "BCN20000")):
        own = p.of_split(split)
        unlike = refused(PUBLISHED, own.image_id)
        melanomas = own.y_true == INDEX["mel"]
        answered = melanomas & ~unlike
        called = percent((own.y_pred[answered] == INDEX["mel"]).mean())
        assert f"{called} of those of {title}" in splits.found_elsewhere("ensemble").partition("refuses ")[0]
        withheld = percent(unlike[melanomas].mean())
        assert f"{withheld} of those of {title}" in splits.found_elsewhere("ensemble").partition("refuses ")[2]
        # The rule "unlike" refers all that are refused: those that no rule refers are all among the others.
        missed = read(PUBLISHED).archives[split].missed
        assert missed is not None
        share = round(missed["mel"].value * melanomas.sum()) / answered.sum()
        assert f"{percent(share)} of those of {title}" in splits.not_referred_elsewhere("ensemble")


@pytest.mark.parametrize("model_id", ["ensemble", "baseline_cnn"])
def test_it_is_said_of_which_archives_a_model_has_learned(model_id: str) -> None:
    known = read(models_dir() / model_id).trained_on
    said = splits.found_elsewhere(model_id).partition("It learned from other lesions of ")[2]
    assert said == (f"{' and '.join(known)}: expect less of a clinic that it does not know." if known else "")


def test_a_model_that_was_not_asked_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    shutil.copy(PUBLISHED / "predictions.csv", folder)
    assert read_predictions(folder / "predictions.csv").splits == ("validation", "test")
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    for model_id in ("plain", "absent"):
        assert splits.found_elsewhere(model_id) == splits.not_referred_elsewhere(model_id) == ""
