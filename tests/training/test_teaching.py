from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.case.predict import predict
from dermlens.errors import ModelError
from dermlens.ingest.read import read_file
from dermlens.models.model import Model
from tests import fake_ham10000
from tests.training.loop.toys import config
from training import teaching
from training.dataset import class_indices, located, one_hot


@pytest.fixture
def rows(tmp_path: Path) -> pd.DataFrame:
    table = fake_ham10000.write(tmp_path / "data", lesions=1).iloc[:5]
    return located(table, tmp_path / "data", "4:3")


@pytest.fixture
def asked(published: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that the teacher was asked about, one after the other."""
    monkeypatch.setenv("DERMLENS_MODELS", str(published))
    found: list[str] = []

    def noted(file: Path, **options: str):
        found.append(file.stem)
        return read_file(file, **options)

    monkeypatch.setattr(teaching, "read_file", noted)
    return found


def test_the_answers_of_the_serving_path_are_mixed_into_the_labels_by_their_share(
    rows: pd.DataFrame, toy: Model, asked: list[str], tmp_path: Path
) -> None:
    labels = one_hot(class_indices(rows))
    answers = [predict(toy, read_file(file, stored_aspect="4:3").pixels).probabilities for file in rows["file"]]
    assert np.std(answers, 0).max() > 1e-4, "the images are told apart"
    taught = teaching.taught(config(teacher="toy", teacher_share=0.25), rows, labels, tmp_path)
    assert taught.dtype == np.float32
    np.testing.assert_allclose(taught, 0.75 * labels + 0.25 * np.array(answers), atol=1e-6)
    np.testing.assert_allclose(taught.sum(1), 1, atol=1e-6)
    assert (taught.argmax(1) == labels.argmax(1)).all()
    assert asked == rows["image_id"].tolist()


def test_a_teacher_is_asked_once_a_run(rows: pd.DataFrame, asked: list[str], tmp_path: Path) -> None:
    labels = one_hot(class_indices(rows))
    first = teaching.taught(config(teacher="toy"), rows, labels, tmp_path)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [teaching.KEPT]
    again = teaching.taught(config(teacher="toy"), rows, labels, tmp_path)
    np.testing.assert_array_equal(again, first)
    assert len(asked) == len(rows)
    answers = np.load(tmp_path / teaching.KEPT)
    assert (answers.shape, answers.dtype) == ((5, 7), np.float32)
    np.save(tmp_path / teaching.KEPT, one_hot(np.zeros(5, int)))  # what is kept is what teaches
    kept = teaching.taught(config(teacher="toy", teacher_share=0.5), rows, labels, tmp_path)
    np.testing.assert_array_equal(kept, (labels + one_hot(np.zeros(5, int))) / 2)


def test_a_teacher_that_was_broken_off_goes_on_from_the_answers_so_far(
    rows: pd.DataFrame, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = one_hot(class_indices(rows))
    monkeypatch.setattr(teaching, "EVERY", 2)
    noted = teaching.read_file

    def breaks_off(file: Path, **options: str) -> object:
        if len(asked) == 3:
            raise KeyboardInterrupt
        return noted(file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(teaching, "read_file", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            teaching.taught(config(teacher="toy"), rows, labels, tmp_path)
    gone_on = teaching.taught(config(teacher="toy"), rows, labels, tmp_path)
    assert asked == [*rows["image_id"][:3], *rows["image_id"][2:]], "of three answers two had been kept"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [teaching.KEPT]
    (tmp_path / teaching.KEPT).unlink()
    np.testing.assert_array_equal(gone_on, teaching.taught(config(teacher="toy"), rows, labels, tmp_path))


def test_answers_that_were_not_kept_whole_are_asked_for_again(
    rows: pd.DataFrame, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    labels = one_hot(class_indices(rows))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            teaching.taught(config(teacher="toy"), rows, labels, tmp_path)
    assert not (tmp_path / teaching.KEPT).exists()
    teaching.taught(config(teacher="toy"), rows, labels, tmp_path)
    assert len(asked) == 2 * len(rows)


def test_without_a_teacher_labels_stay_and_an_absent_one_is_named(
    rows: pd.DataFrame, asked: list[str], tmp_path: Path
) -> None:
    labels = one_hot(class_indices(rows))
    assert teaching.taught(config(), rows, labels, tmp_path) is labels
    with pytest.raises(ModelError, match="no model 'absent'"):
        teaching.taught(config(teacher="absent"), rows, labels, tmp_path)
    assert not asked
    assert not (tmp_path / teaching.KEPT).exists()
