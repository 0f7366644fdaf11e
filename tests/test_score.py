import csv
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from dermlens import score as scoring
from dermlens.case.predict import predict
from dermlens.estimate import Estimate
from dermlens.files.documents import write_object
from dermlens.image.synthetic import draw_lesion
from dermlens.ingest.read import read_image
from dermlens.labels import CLASSES
from dermlens.models import registry
from dermlens.models.card import read_card
from dermlens.models.model import Model
from dermlens.score import main
from dermlens.trust.referral import Measured, Referral
from tests.conftest import encode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images in two folders, and two files that are none."""
    images = tmp_path / "images"
    (images / "below" / "deeper").mkdir(parents=True)
    for i, (name, suffix) in enumerate([("b.png", ".png"), ("below/a.JPG", ".jpg"), ("below/deeper/c.d.png", ".png")]):
        (images / name).write_bytes(encode(draw_lesion(np.random.default_rng(i), 60, 80), suffix))
    (images / "notes.txt").write_text("text")
    (images / ".hidden.png").write_bytes(b"")
    return images


def run(models: Path, folder: Path, output: Path, *more: str) -> int:
    return main(["--model", "toy", "--input", str(folder), "--output", str(output), "--models-dir", str(models), *more])


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_file_is_a_valid_submission_with_the_models_probabilities(
    published: Path, toy: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.csv"
    assert run(published, folder, output) == 0
    header, *body = rows(output)
    assert header == ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    assert sorted(row[0] for row in body) == ["a", "b", "c.d"]
    for name, *values in body:
        (path,) = folder.rglob(f"{name}.*")
        expected = predict(toy, read_image(path.read_bytes()).pixels).probabilities
        by_class = dict(zip(header[1:], map(float, values), strict=True))
        assert [by_class[c.upper()] for c in CLASSES] == pytest.approx(expected, abs=1e-6)
        assert sum(by_class.values()) == pytest.approx(1, abs=1e-6)
        assert all(re.fullmatch(r"[01]\.\d{6,}", v) for v in values)
    assert "3 images scored" in (told := capsys.readouterr().err)
    assert "2 other files skipped" in told
    assert "Scoring with toy: 100%" in told
    assert not (tmp_path / "out.errors.csv").exists()


def test_an_unreadable_image_is_reported_and_does_not_stop_the_rest(
    published: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "empty.tif").write_bytes(b"")
    output = tmp_path / "out.csv"
    assert run(published, folder, output) == 3
    assert len(rows(output)) == 1 + 3
    header, *errors = rows(tmp_path / "out.errors.csv")
    assert header == ["file", "reason"]
    assert [Path(file).name for file, _ in errors] == ["broken.jpg", "empty.tif"]
    assert "0 bytes" in errors[1][1]
    assert "out.errors.csv" in capsys.readouterr().err
    (folder / "broken.jpg").unlink()
    (folder / "empty.tif").unlink()
    assert run(published, folder, output) == 0
    assert not (tmp_path / "out.errors.csv").exists()


def test_images_that_do_not_look_like_dermoscopic_ones_are_listed(
    published: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.csv"
    asked = iter([{"toy": True}, {"toy": False}, {}])
    monkeypatch.setattr("dermlens.case.ood_gate.accepted", lambda models, answers: next(asked))
    assert run(published, folder, output) == 0
    assert len(rows(output)) == 1 + 3, "the format wants a row of each"
    header, *unlike = rows(tmp_path / "out.unlike.csv")
    assert header == ["file"]
    assert [Path(file).name for (file,) in unlike] == ["a.JPG"], "one that cannot tell refuses nothing"
    assert "numbers mean nothing: 1 image," in capsys.readouterr().err
    monkeypatch.setattr("dermlens.case.ood_gate.accepted", lambda models, answers: {"toy": True})
    assert run(published, folder, output) == 0
    assert not (tmp_path / "out.unlike.csv").exists()


def test_stored_aspect_reaches_the_network(published: Path, toy: Model, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    data = encode(draw_lesion(np.random.default_rng(5), 80, 80))
    (tmp_path / "images" / "a.png").write_bytes(data)
    assert run(published, tmp_path / "images", tmp_path / "out.csv", "--stored-aspect", "4:3") == 0
    found = [float(v) for v in rows(tmp_path / "out.csv")[1][1:]]
    expected = predict(toy, read_image(data, stored_aspect="4:3").pixels).probabilities
    squeezed = predict(toy, read_image(data).pixels).probabilities
    assert sorted(found) == pytest.approx(sorted(expected), abs=1e-6)
    assert sorted(found) != pytest.approx(sorted(squeezed), abs=1e-6)


def test_duplicate_ids_are_refused_before_any_work(
    published: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(folder / "b.png", folder / "below" / "b.jpeg")
    monkeypatch.setattr(scoring.registry, "load", lambda entry: pytest.fail("the model was loaded"))
    assert run(published, folder, tmp_path / "out.csv") == 2
    told = capsys.readouterr().err
    assert "1 image id occurs" in told
    assert "b.png" in told
    assert str(Path("below") / "b.jpeg") in told
    assert not list(tmp_path.glob("out*"))


def test_a_pipe_among_the_images_holds_nothing_up_and_leaves_nothing_behind(
    published: Path, folder: Path, tmp_path: Path
) -> None:
    os.mkfifo(folder / "x.jpg")
    output = tmp_path / "out.csv"
    assert run(published, folder, output) == 3
    assert len(rows(output)) == 1 + 3
    assert rows(tmp_path / "out.errors.csv")[1] == [
        str(folder / "x.jpg"),
        "The file cannot be read: it is no regular file.",
    ]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["images", "out.csv", "out.errors.csv"]


def test_a_folder_of_parts_that_is_somebody_elses_is_left_alone(
    published: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, output = tmp_path / "out.csv.parts", tmp_path / "out.csv"
    parts.mkdir()
    (parts / "mine.txt").write_text("mine")
    assert run(published, folder, output) == 2
    assert "holds mine.txt, which is not of this command" in capsys.readouterr().err
    assert [f.name for f in parts.iterdir()] == ["mine.txt"]
    assert not output.exists()
    (parts / "mine.txt").unlink()
    for left in (".out.csv.x1y2", ".cohort.json.0f.part", ".run.lock"):  # of a command that was killed
        (parts / left).write_text("")
    assert run(published, folder, output) == 0
    assert not parts.exists()


def test_the_same_bytes_under_two_names_are_two_rows(published: Path, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "b.png", folder / "below" / "b2.png")
    assert run(published, folder, tmp_path / "out.csv") == 0
    found = {name: values for name, *values in rows(tmp_path / "out.csv")}
    assert found["b"] == found["b2"]


def test_bad_input_gets_a_sentence_and_status_2(
    published: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.txt").write_text("")
    cases = [
        (published, tmp_path / "nowhere", tmp_path / "out.csv", "is not a folder"),
        (published, tmp_path / "none", tmp_path / "out.csv", "holds no image"),
        (published, folder, tmp_path / "no" / "out.csv", "cannot be written"),
        (published, folder, tmp_path, "cannot be written"),
        (tmp_path, folder, tmp_path / "out.csv", "no model 'toy'"),
    ]
    for models, images, output, told in cases:
        assert run(models, images, output) == 2
        assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
    with pytest.raises(SystemExit, match="2"):
        run(published, folder, tmp_path / "out.csv", "--stored-aspect", "16:9")


def test_a_failed_run_leaves_an_earlier_file_as_it_was_and_the_next_one_asks_no_model_again(
    published: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.csv"
    output.write_text("earlier")

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr("dermlens.cohort.exchange.export.csv.writer", fail)
        assert run(published, folder, output) == 2
    assert output.read_text() == "earlier"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["images", "out.csv", "out.csv.parts"]
    monkeypatch.setattr("dermlens.cohort.answer.predict", lambda *_: pytest.fail("a model was asked again"))
    assert run(published, folder, output) == 0
    assert len(rows(output)) == 1 + 3
    assert sorted(f.name for f in tmp_path.iterdir()) == ["images", "out.csv"]


def test_which_images_to_refer_is_listed_by_the_rules_that_the_page_uses(
    published: Path, folder: Path, tmp_path: Path
) -> None:
    models, output = tmp_path / "models", tmp_path / "out.csv"
    shutil.copytree(published, models)
    assert run(models, folder, output) == 0
    assert not (tmp_path / "out.referral.csv").exists(), "a model without rules decides nothing"
    share = Estimate(0.1, 0.0, 0.2, 10, 10)
    measured = Measured(share, share, dict.fromkeys(("akiec", "bcc", "mel"), share), {})
    low = Referral({"toy": 0.95}, {"toy": {"melanoma": 0.0, "malignant": 1.0}}, 0.4, {"test": measured})
    card = read_card(models / "toy")
    rules = models / "toy" / "referral.json"
    write_object(rules, low.to_dict() | {"fitted_on": {"predictions_sha256": None}})
    write_object(models / "toy" / "card.json", card | {"files": card["files"] | {rules.name: registry.sha256(rules)}})
    assert run(models, folder, output) == 0
    header, *found = rows(tmp_path / "out.referral.csv")
    assert header == ["image", "refer", "rules"]
    assert [row[1:] for row in found] == [["1", "melanoma"]] * 3
    assert [row[0] for row in found] == [row[0] for row in rows(output)[1:]]


def test_a_disk_that_is_full_is_known_before_an_image_is_scored(
    published: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr("dermlens.cohort.answer.predict", lambda *_: pytest.fail("a model was asked"))
    assert run(published, folder, tmp_path / "out.csv") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(f.name for f in tmp_path.iterdir()) == ["images"]
