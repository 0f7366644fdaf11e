"""Labelled pictures train as well, but none with which a model is measured, and the card says that there were some."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from dermlens.dataset import isic2019
from dermlens.dataset.ham10000 import image_path
from dermlens.errors import DataError
from dermlens.image.synthetic import draw_lesion
from dermlens.ingest.read import read_file
from tests import fake_ham10000, fake_isic2019
from training.labelled import labelled_hash, labelled_rows
from training.model_card.recipe import training_data
from training.train import main

SIZE = 16


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A drawn HAM10000, two other archives and three labelled pictures that are in neither."""
    fake_ham10000.write(tmp_path / "data")
    table = fake_isic2019.table(lesions=8)
    fake_isic2019.write(tmp_path / "other", table)
    monkeypatch.setattr(isic2019, "load_external", lambda: table)
    monkeypatch.setenv("DERMLENS_RUNS", str(tmp_path / "runs"))
    (tmp_path / "mine" / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(9)
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / "mine" / "pictures" / f"{name}.png"), draw_lesion(rng, 40, 50))
    rows = [("a", "la", "mel"), ("b", "lb", "vasc"), ("c", "lc", "other")]
    pd.DataFrame(rows, columns=["image", "lesion", "dx"]).to_csv(tmp_path / "mine" / "labels.csv", index=False)
    return tmp_path


def train(world: Path, *more: str, run: str = "mine") -> int:
    phases = [{"epochs": 1, "learning_rate": 1e-3, "size": SIZE}]
    data = ["--data", str(world / "data"), "--split", str(world / "data" / "split.csv"), "--run", run]
    return main(["baseline_cnn", *data, "--labelled", str(world / "mine"), "--set", f"phases={phases}", *more])


@pytest.mark.parametrize("split", ["bcn20000", "validation", "scc"])
def test_a_picture_that_another_archive_holds_out_is_refused(
    world: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    table = isic2019.load_external()
    column = "dx" if split == "scc" else "split"
    name = table["image_id"][table[column] == split].iloc[0]
    pixels = cv2.imread(str(isic2019.image_path(world / "other", name)))
    cv2.imwrite(str(world / "mine" / "pictures" / "b.png"), pixels)
    assert train(world, "--external", str(world / "other")) == 2
    assert f"Image b of {world / 'mine'} is {name}, with which models are measured" in capsys.readouterr().err
    assert not (world / "runs").exists()


@pytest.mark.parametrize(("kept", "asked"), [("as-is", "4:3"), ("4:3", "as-is"), ("4:3", "4:3")])
def test_a_picture_that_is_measured_with_is_refused_however_it_was_read_when_it_was_kept(
    world: Path, capsys: pytest.CaptureFixture[str], kept: str, asked: str
) -> None:
    table = pd.read_csv(world / "data" / "split.csv")
    name = table["image_id"][table["split"] == "test"].iloc[0]
    squeezed = draw_lesion(np.random.default_rng(3), 60, 60)
    file = image_path(world / "data", name)
    cv2.imwrite(str(file), squeezed)
    pixels = read_file(file, stored_aspect=kept).pixels
    cv2.imwrite(str(world / "mine" / "pictures" / "b.png"), pixels[..., ::-1])
    assert train(world, "--stored-aspect", asked) == 2
    assert f"is {name}, with which models are measured" in capsys.readouterr().err


def test_labelled_images_are_counted_and_the_card_says_what_they_were_compared_with(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(world) == 0
    assert "were not compared with the images of other archives" in capsys.readouterr().out
    record = json.loads((world / "runs" / "mine" / "run.json").read_text())
    assert record["data"]["images"] == {"train": 77, "validation": 14, "labelled": 2}
    said = training_data(record)[0]
    assert "Trained on 77 images of HAM10000 and on 2 further images, labelled by its makers, tuned on 14;" in said
    assert "**they were not compared with the test images of other archives.**" in said
    assert train(world, "--external", str(world / "other"), run="compared") == 0
    assert "not compared" not in capsys.readouterr().out
    said = training_data(json.loads((world / "runs" / "compared" / "run.json").read_text()))[0]
    assert "is one of those that HAM10000 or another archive holds out" in said
    del record["data"]["images"]["labelled"], record["data"]["labelled_compared_with_archives"]
    assert "HAM10000 and on further images, labelled by its makers, tuned" in training_data(record)[0], "an older run"


def test_a_run_does_not_go_on_with_other_pictures_under_the_same_names(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(world) == 0
    assert train(world) == 0
    pictures = world / "mine" / "pictures"
    (pictures / "a.png").rename(pictures / "x.png")
    (pictures / "b.png").rename(pictures / "a.png")
    (pictures / "x.png").rename(pictures / "b.png")
    assert train(world) == 2
    assert "Run mine exists with another labelled." in capsys.readouterr().err


def test_a_diagnosis_left_out_is_not_learned_from_labelled_pictures(world: Path) -> None:
    nothing = pd.DataFrame(columns=["image_id", "file", "stored_aspect"])
    both = labelled_rows(world / "mine", nothing)
    assert both["dx"].tolist() == ["mel", "vasc"]
    left = labelled_rows(world / "mine", nothing, "vasc")
    assert left["dx"].tolist() == ["mel"]
    assert labelled_hash(left) != labelled_hash(both)
    (world / "mine" / "labels.csv").write_text("image,lesion,dx\nb,lb,vasc\n")
    with pytest.raises(DataError, match="no image with a diagnosis to learn"):
        labelled_rows(world / "mine", nothing, "vasc")
