from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.case.predict import predict
from dermlens.dataset.ham10000 import image_path, load_split
from dermlens.dataset.isic2019 import IMAGE_FOLDER
from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.image.synthetic import draw_lesion
from dermlens.ingest.read import read_file
from tests import fake_ham10000
from tests.conftest import encode, publish_toy, toy_network
from training import archives, other_lights, source_probe
from training.fits import embed as embedding
from training.fits import embeddings
from training.fits.embed import ask, keep, named
from training.fits.subject import Subject


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    base = tmp_path_factory.mktemp("embed")
    fake_ham10000.write(base / "data", lesions=2)
    entry = publish_toy(base / "models" / "toy", toy_network(), views=4)
    return Subject(entry.folder, load_split(base / "data" / "split.csv"), base / "data")


def draw(file: Path, seed: int) -> None:
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_bytes(encode(draw_lesion(np.random.default_rng(seed), 36, 48), ".jpg"))


def test_a_changed_image_is_asked_about_again_and_one_that_was_not_is_not(
    made: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made.table.head(3)
    assert made.data is not None
    files = [image_path(made.data, name) for name in rows["image_id"]]

    def answers() -> np.ndarray:
        return embedding.embed(made.model, *embeddings._real(made, rows), "test")

    before = answers()
    draw(files[1], seed=77)
    after = answers()
    expected = np.stack([predict(made.model, read_file(file).pixels).embedding for file in files])
    np.testing.assert_allclose(after, expected, rtol=1e-5)
    assert not np.allclose(after[1], before[1], rtol=1e-3)

    def never(*given: object) -> None:
        raise AssertionError("it was answered already")

    monkeypatch.setattr(embedding, "forward", never)
    np.testing.assert_array_equal(answers(), after)


def test_images_of_another_folder_are_asked_about_under_the_same_ids(made: Subject, tmp_path: Path) -> None:
    rows = pd.DataFrame({"image_id": ["ISIC_1", "ISIC_2"], "split": "validation", "stored_aspect": "as-is"})
    for number, external in enumerate((tmp_path / "one", tmp_path / "two")):
        for name in rows["image_id"]:
            draw(external / IMAGE_FOLDER / f"{name}.jpg", seed=10 * number + int(name[-1]))
        logits, found = archives.answers(made.model, rows, external)
        for i, name in enumerate(rows["image_id"]):
            answer = predict(made.model, read_file(external / IMAGE_FOLDER / f"{name}.jpg").pixels)
            np.testing.assert_allclose(logits[i], answer.logits, rtol=1e-4)
            np.testing.assert_allclose(found[i], answer.embedding, rtol=1e-4)


def test_other_lights_and_the_source_probe_go_by_the_images_of_today(
    made: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def noting(model: object, names: list[str], load: object, what: str) -> tuple[np.ndarray, np.ndarray]:
        asked.append(list(names))
        return np.zeros((len(names), 7), np.float32), np.zeros((len(names), 16), np.float32)

    monkeypatch.setattr(other_lights, "ask", noting)
    monkeypatch.setattr(source_probe, "embed", lambda *given: noting(*given)[1])
    monkeypatch.setattr(source_probe, "answers", lambda *given: (None, np.zeros((1, 16))))
    others = pd.DataFrame({"dx": ["nv"], "source": "x", "lesion_id": "x"})
    monkeypatch.setattr(source_probe, "validation_rows", lambda: others)
    monkeypatch.setattr(source_probe, "probe", lambda *given: Estimate(0.5, 0.4, 0.6, 1, 1))
    assert made.data is not None
    nevi = made.table[(made.table["split"] == "validation") & (made.table["dx"] == "nv")]
    subject = replace(made, external=tmp_path)
    p = type("Predicted", (), {"image_id": nevi["image_id"].to_numpy(str)})
    for seed in (1, 2):
        for name in nevi["image_id"]:
            draw(image_path(made.data, name), seed)
        other_lights.logits_under(None, made, p, None)  # type: ignore[arg-type]
        other_lights.logits_under(other_lights.CHANGES[0], made, p, None)  # type: ignore[arg-type]
        source_probe.measure(subject)
    assert len(asked) == 6
    assert all(not set(one) & set(other) for one, other in zip(asked[:3], asked[3:], strict=True))
    assert not set(asked[0]) & set(asked[1]), "a change is part of the name"


def test_kept_answers_are_found_until_the_file_is_changed(made: Subject, tmp_path: Path) -> None:
    file = tmp_path / "ISIC_3.jpg"
    draw(file, seed=5)
    keep(made.model, [named(file, "as-is")], np.full((1, 7), 3.0), np.full((1, 16), 4.0))

    def load(i: int) -> np.ndarray:
        return read_file(file).pixels

    assert (ask(made.model, [named(file, "as-is")], load, "test")[0] == 3).all()
    draw(file, seed=6)
    logits, _ = ask(made.model, [named(file, "as-is")], load, "test")
    np.testing.assert_allclose(logits[0], predict(made.model, read_file(file).pixels).logits, rtol=1e-4)
    file.unlink()
    with pytest.raises(DataError, match=r"ISIC_3\.jpg cannot be read"):
        named(file, "as-is")
