import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.case.predict import predict
from dermlens.errors import ModelError
from dermlens.ingest.read import read_file
from dermlens.models import registry
from dermlens.models.model import Ensemble
from tests import fake_ham10000
from tests.training.loop.toys import config
from training import ensemble, teaching
from training.dataset import class_indices, located, one_hot
from training.fits import embed


@pytest.fixture
def rows(tmp_path: Path) -> pd.DataFrame:
    table = fake_ham10000.write(tmp_path / "data", lesions=1).iloc[:5]
    return located(table, tmp_path / "data", "4:3")


@pytest.fixture
def asked(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that the teacher was asked about: "toy", or "both" of two toys."""
    models = tmp_path / "models"
    shutil.copytree(pair, models)
    ensemble.make(models, "both", ["toy", "toy2"])
    monkeypatch.setenv("DERMLENS_MODELS", str(models))
    found: list[str] = []

    def noted(file: Path, **options: str):
        found.append(file.stem)
        return read_file(file, **options)

    monkeypatch.setattr(teaching, "read_file", noted)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def served(teacher: str, rows: pd.DataFrame) -> np.ndarray:
    """Return what the serving path answers with one view, (n, 7)."""
    model = registry.load_any(registry.find(registry.models_dir(), teacher))
    if isinstance(model, Ensemble):
        model = replace(model, members=tuple(replace(member, views=1) for member in model.members))
    else:
        model = replace(model, views=1)
    images = [read_file(file, stored_aspect="4:3").pixels for file in rows["file"]]
    return np.array([predict(model, pixels).probabilities for pixels in images])


@pytest.mark.parametrize(("teacher", "members"), [("toy", 1), ("both", 2)])
def test_the_answers_of_the_serving_path_are_mixed_into_the_labels_by_their_share(
    teacher: str, members: int, rows: pd.DataFrame, asked: list[str], run: Path
) -> None:
    labels = one_hot(class_indices(rows))
    answers = served(teacher, rows)
    assert np.std(answers, 0).max() > 1e-4, "the images are told apart"
    taught = teaching.taught(config(teacher=teacher, teacher_share=0.25), rows, labels, run)
    assert taught.dtype == np.float32
    np.testing.assert_allclose(taught, 0.75 * labels + 0.25 * answers, atol=1e-6)
    np.testing.assert_allclose(taught.sum(1), 1, atol=1e-6)
    assert (taught.argmax(1) == labels.argmax(1)).all()
    assert sorted(asked) == sorted(members * rows["image_id"].tolist())


def test_a_teacher_is_asked_once_a_run(rows: pd.DataFrame, asked: list[str], run: Path) -> None:
    labels = one_hot(class_indices(rows))
    first = teaching.taught(config(teacher="toy"), rows, labels, run)
    assert [file.name for file in run.iterdir()] == [teaching.KEPT]
    again = teaching.taught(config(teacher="toy"), rows, labels, run)
    np.testing.assert_array_equal(again, first)
    assert len(asked) == len(rows)
    answers = np.load(run / teaching.KEPT)
    assert (answers.shape, answers.dtype) == ((5, 7), np.float32)
    np.save(run / teaching.KEPT, one_hot(np.zeros(5, int)))  # what is kept is what teaches
    kept = teaching.taught(config(teacher="toy", teacher_share=0.5), rows, labels, run)
    np.testing.assert_array_equal(kept, (labels + one_hot(np.zeros(5, int))) / 2)


def test_a_teacher_that_was_broken_off_goes_on_where_it_stood(
    rows: pd.DataFrame, asked: list[str], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = one_hot(class_indices(rows))
    monkeypatch.setattr(embed, "CHUNK", 2)
    noted = teaching.read_file
    broken = rows["image_id"].iloc[3]

    def breaks_off(file: Path, **options: str) -> object:
        if file.stem == broken:
            raise KeyboardInterrupt
        return noted(file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(teaching, "read_file", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            teaching.taught(config(teacher="toy"), rows, labels, run)
    assert not (run / teaching.KEPT).exists()
    asked.clear()
    gone_on = teaching.taught(config(teacher="toy"), rows, labels, run)
    assert sorted(asked) == sorted(rows["image_id"].iloc[2:]), "the first two had been kept"
    assert [file.name for file in run.iterdir()] == [teaching.KEPT]
    np.testing.assert_allclose(gone_on, (labels + served("toy", rows)) / 2, atol=1e-6)


def test_answers_that_were_not_kept_whole_are_made_again(
    rows: pd.DataFrame, asked: list[str], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    labels = one_hot(class_indices(rows))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            teaching.taught(config(teacher="toy"), rows, labels, run)
    assert not (run / teaching.KEPT).exists()
    taught = teaching.taught(config(teacher="toy"), rows, labels, run)
    assert len(asked) == len(rows), "what the networks said had been kept"
    np.testing.assert_allclose(taught, (labels + served("toy", rows)) / 2, atol=1e-6)


def test_without_a_teacher_labels_stay_and_an_absent_one_is_named(
    rows: pd.DataFrame, asked: list[str], run: Path
) -> None:
    labels = one_hot(class_indices(rows))
    assert teaching.taught(config(), rows, labels, run) is labels
    with pytest.raises(ModelError, match="no model 'absent'"):
        teaching.taught(config(teacher="absent"), rows, labels, run)
    assert not asked
    assert not (run / teaching.KEPT).exists()
