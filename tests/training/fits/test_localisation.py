"""Measuring where a model looked, on drawn images with masks: what is written is what the images give."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from dermlens.case.predict import predict
from dermlens.dataset.ham10000 import MASK_FOLDER, image_path, mask_path, read_mask
from dermlens.errors import DataError
from dermlens.evaluation.predictions import concatenate, make_predictions, write_predictions
from dermlens.explain import localisation_results
from dermlens.explain.localisation import centred, energy_share, map_seen, mask_seen
from dermlens.image.preprocess import Geometry
from dermlens.ingest.read import read_file
from dermlens.labels import CLASSES, INDEX
from dermlens.models import registry
from dermlens.models.model import Model
from tests import fake_ham10000
from training import ensemble
from training.fit import STEPS
from training.fits import localisation as step
from training.fits.subject import Subject
from training.model_card.render import attention as section


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn data set with a round mask for every image, half as fine as the images."""
    root = tmp_path_factory.mktemp("data") / "ham"
    root.mkdir()
    rows = fake_ham10000.write(root, lesions=8)
    (root / MASK_FOLDER).mkdir()
    rng = np.random.default_rng(0)
    for image_id in rows["image_id"]:
        mask = np.zeros((18, 24), np.uint8)
        cv2.circle(mask, (int(rng.integers(8, 16)), int(rng.integers(6, 12))), int(rng.integers(3, 7)), 255, -1)
        cv2.imwrite(str(root / MASK_FOLDER / f"{image_id}_segmentation.png"), mask)
    return root


def write_answers(folder: Path, table: pd.DataFrame) -> None:
    """Write predictions of every image of a split table that says nothing."""
    parts = [table[table["split"] == split] for split in ("validation", "test")]
    p = [
        make_predictions(
            rows["image_id"], rows["lesion_id"], split, rows["dx"].map(INDEX).to_numpy(), np.zeros((len(rows), 7))
        )
        for split, rows in zip(("validation", "test"), parts, strict=True)
        if len(rows)
    ]
    write_predictions(folder / "predictions.csv", concatenate(p))


@pytest.fixture(scope="module")
def subject(published: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("models") / "toy"
    shutil.copytree(published / "toy", folder)
    table = pd.read_csv(data / "split.csv")
    table = table.drop_duplicates("lesion_id")
    table = pd.concat([table[table["dx"] == code].head(3) for code in CLASSES[:4]])
    compared = table.groupby("dx").head(1).index
    table = table.assign(split=np.where(table.index.isin(compared), "validation", "test"))
    write_answers(folder, table)
    return Subject(folder, table, data)


@pytest.fixture(scope="module")
def made(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the attention.csv of the toy model; deletion on two lesions a class, every method on one."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "REMOVED", 2)
        patch.setattr(step, "COMPARED", 1)
        for name, content in step.make(subject).items():
            (folder / name).write_bytes(content)
    return folder


def test_there_is_a_row_an_image_and_method(made: Path, subject: Subject) -> None:
    table = localisation_results.read_attention(made / localisation_results.FILE)
    own = table[table["method"] == "grad_cam"]
    assert own["image_id"].tolist() == subject.table.sort_values(["split", "image_id"])["image_id"].tolist()
    erased = own[(own["split"] == "test") & own["energy_share"].notna()]
    assert erased["deletion"].notna().all(), "two lesions of each class are all"
    assert set(table["method"]) == set(localisation_results.METHODS)
    compared = table[table["split"] == "validation"]
    assert len(compared) == 4 * len(localisation_results.METHODS)
    assert len(table) == len(own) + 4 * (len(localisation_results.METHODS) - 1)


def test_a_row_is_what_the_image_and_its_mask_give(made: Path, subject: Subject, data: Path, toy: Model) -> None:
    table = localisation_results.read_attention(made / localisation_results.FILE)
    row = table[table["method"] == "grad_cam"].iloc[4]
    pixels = read_file(image_path(data, row["image_id"])).pixels
    answer, mask = predict(toy, pixels), read_mask(data, row["image_id"])
    assert mask is not None
    index = int(answer.probabilities.argmax())
    lesion = mask_seen(mask, *pixels.shape[:2], toy.geometry)
    assert row["called"] == index
    assert row["y_true"] == CLASSES.index(subject.table.set_index("image_id")["dx"][row["image_id"]])
    assert row["lesion_share"] == pytest.approx(lesion.mean(), abs=1e-5)
    seen = map_seen(answer.maps[index], *pixels.shape[:2], toy.geometry)
    assert row["energy_share"] == pytest.approx(energy_share(seen, lesion), abs=1e-5)
    assert row["blob_share"] == pytest.approx(energy_share(centred(seen), lesion), abs=1e-5)


def test_the_usual_map_knows_nothing_of_the_image(made: Path) -> None:
    table = localisation_results.read_attention(made / localisation_results.FILE)
    own = table[table["method"] == "grad_cam"]
    own, compared = own[own["split"] == "test"], table[table["split"] == "validation"]
    assert own["usual_share"].notna().all()
    assert compared["usual_share"].isna().all()
    assert own["usual_share"].corr(own["lesion_share"]) > 0.8, "it follows the lesion's size and place alone"


def test_the_same_is_made_again(made: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "REMOVED", 2)
    monkeypatch.setattr(step, "COMPARED", 0)
    first = localisation_results.read_attention(made / localisation_results.FILE)
    (name, content), *_ = step.make(subject).items()
    (made / "again.csv").write_bytes(content)
    again = localisation_results.read_attention(made / "again.csv")
    own = first[first["split"] == "test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, again.reset_index(drop=True), check_exact=True)
    assert name == localisation_results.FILE


def test_of_a_model_published_without_test_no_test_image_is_asked_about(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(subject.folder, tmp_path / "toy")
    write_answers(tmp_path / "toy", subject.table[subject.table["split"] == "validation"])
    monkeypatch.setattr(step, "COMPARED", 1)
    for name, content in step.make(Subject(tmp_path / "toy", subject.table, subject.data)).items():
        (tmp_path / "toy" / name).write_bytes(content)
    table = localisation_results.read_attention(tmp_path / "toy" / localisation_results.FILE)
    assert set(table["split"]) == {"validation"}
    assert "Not measured on test" in "\n".join(section(tmp_path / "toy"))


def test_the_sample_takes_one_image_a_lesion_of_every_class(data: Path) -> None:
    table = pd.read_csv(data / "split.csv")
    chosen = table[table["image_id"].isin(step.sample(table, 5))]
    assert (chosen.groupby("dx").size() == 5).all()
    assert chosen["lesion_id"].is_unique
    assert len(step.sample(table, 100)) == table["lesion_id"].nunique()
    assert step.sample(table, 0) == set()


def test_a_missing_mask_is_named_before_anything_is_measured(
    subject: Subject, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = sorted(subject.table["image_id"])[-1]
    monkeypatch.setattr(step, "mask_path", lambda root, i: None if i == lost else mask_path(root, i))
    monkeypatch.setattr(step, "measure", lambda *_: pytest.fail("began to measure"))
    with pytest.raises(DataError, match=f"without a lesion mask .*{lost}"):
        step.make(subject)
    with pytest.raises(DataError, match="--data"):
        step.make(Subject(subject.folder, subject.table))


def test_of_an_ensemble_the_added_maps_are_measured(pair: Path, subject: Subject, data: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(pair, models)
    ensemble.make(models, "both", ["toy", "toy2"], "Both toys")
    few = subject.table.groupby("dx").head(1)
    table = step.measure(Subject(models / "both", few, data), few)
    assert set(table["method"]) == {"grad_cam"}
    assert table["deletion"].isna().all()
    both = registry.load_any(registry.find(models, "both"))
    row = table.iloc[0]
    pixels, mask = read_file(image_path(data, row["image_id"])).pixels, read_mask(data, row["image_id"])
    assert mask is not None
    answer = predict(both, pixels)
    seen = map_seen(answer.maps[int(answer.probabilities.argmax())], *pixels.shape[:2], both.geometry)
    assert row["energy_share"] == pytest.approx(energy_share(seen, mask_seen(mask, *pixels.shape[:2], both.geometry)))


def test_it_is_a_step_that_needs_pictures_and_the_card_tells_of_it(made: Path, tmp_path: Path) -> None:
    assert STEPS["attention"].pictures
    text = "\n".join(section(made))
    found = localisation_results.summarise(localisation_results.read_attention(made / localisation_results.FILE))
    energy = found.where["all"].energy
    assert f"| all | {energy.value:.3f} ({energy.low:.3f} to {energy.high:.3f})" in text
    assert "| bcc |" in text
    assert "| mel |" not in text, "no image of it"
    assert section(tmp_path) == []


def test_padding_is_no_part_of_the_lesions_share() -> None:
    assert mask_seen(np.ones((10, 40), bool), 100, 400, Geometry(64)).mean() == 1
