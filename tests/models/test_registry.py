import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import ModelError
from dermlens.models import registry


@pytest.fixture
def models(published: Path, tmp_path: Path) -> Path:
    """A models folder of one's own to spoil: the toy model and a folder with predictions only."""
    shutil.copytree(published, tmp_path / "models")
    (tmp_path / "models" / "other").mkdir()
    (tmp_path / "models" / "other" / "predictions.csv").write_text("image_id\n")
    return tmp_path / "models"


def change_card(models: Path, **values: object) -> None:
    path = models / "toy" / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_discover_lists_models_in_order_and_passes_over_what_is_none(models: Path) -> None:
    (models / ".hidden").mkdir()
    (models / "LICENSE.md").write_text("text")
    (models / "empty").mkdir()
    found = registry.discover(models)
    assert [e.id for e in found] == ["empty", "other", "toy"]
    empty, other, toy = found
    assert "neither" in str(empty.problem)
    assert (other.problem, other.has_weights, other.has_predictions, other.name) == (None, False, True, "other")
    assert (toy.problem, toy.has_weights, toy.has_predictions, toy.name) == (None, True, False, "Toy toy")
    assert registry.discover(models / "nowhere") == []


def test_a_name_for_predictions_without_weights_comes_from_their_card(models: Path) -> None:
    (models / "other" / "card.json").write_text('{"name": "Another framework"}')
    entry = registry.find(models, "other")
    assert (entry.name, entry.problem) == ("Another framework", None)
    with pytest.raises(ModelError, match="must be a"):
        registry.load(entry)


def test_models_of_one_name_are_told_apart_by_their_ids(models: Path) -> None:
    (models / "other" / "card.json").write_text('{"name": "Toy toy"}')
    (models / "third").mkdir()
    (models / "third" / "predictions.csv").write_text("image_id\n")
    found = registry.told_apart(registry.discover(models))
    assert {e.id: e.name for e in found} == {"other": "Toy toy (other)", "toy": "Toy toy (toy)", "third": "third"}


def test_find_names_the_models_there_are(models: Path) -> None:
    with pytest.raises(ModelError, match="other, toy"):
        registry.find(models, "resnet")


def test_load_gives_what_the_card_says(models: Path) -> None:
    model = registry.load(registry.find(models, "toy"))
    assert (model.id, model.name, model.views, model.geometry.size) == ("toy", "Toy toy", 4, 32)
    assert model.head_kernel.shape == (16, 7)
    assert model.head_bias.shape == (7,)


def test_the_folder_of_models_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DERMLENS_MODELS", raising=False)
    assert registry.models_dir() == Path(registry.__file__).parents[2] / "models"
    monkeypatch.setenv("DERMLENS_MODELS", str(tmp_path))
    assert registry.models_dir() == tmp_path


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"classes": ["nv", "mel"]}, "classes"),
        ({"classes": ["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"]}, "in this order"),
        ({"views": 3}, "views"),
        ({"id": "tou"}, "folder is called 'toy'"),
        ({"files": {}}, "SHA-256"),
        ({"name": None}, "'name' must be a str"),
    ],
)
def test_a_card_that_does_not_fit_disables_the_model(models: Path, values: dict, told: str) -> None:
    change_card(models, **values)
    entry = registry.find(models, "toy")
    assert told in str(entry.problem)
    with pytest.raises(ModelError, match=told):
        registry.load(entry)


@pytest.mark.parametrize("text", ["{", "[]", "\xff", '{"name": "half"}'])
def test_an_unreadable_card_disables_only_its_model(models: Path, text: str) -> None:
    (models / "toy" / "card.json").write_text(text, encoding="latin-1")
    problems = {e.id: e.problem for e in registry.discover(models)}
    assert "toy/card.json" in str(problems["toy"])
    assert problems["other"] is None


def test_weights_without_a_card_are_no_model(models: Path) -> None:
    (models / "toy" / "card.json").unlink()
    assert "missing" in str(registry.find(models, "toy").problem)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"fingerprint": "00"}, "a different preprocessing"),
        ({"input": {"size": 32, "max_crop": 0.1, "pad": [0, 0, 0]}}, "a different preprocessing"),
        ({"input": {"size": 32}}, "geometry"),
        ({"files": {"model.keras": "0" * 64}}, "model.keras is damaged or was changed"),
    ],
)
def test_a_model_that_does_not_fit_this_version_is_not_loaded(models: Path, values: dict, told: str) -> None:
    change_card(models, **values)
    with pytest.raises(ModelError, match=told):
        registry.load(registry.find(models, "toy"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("spoil", [truncate, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("name", ["model.keras", "build/serving.tflite", "build/head.npz"])
def test_a_spoilt_file_is_named_and_not_loaded(models: Path, name: str, spoil: Callable[[Path], None]) -> None:
    entry = registry.find(models, "toy")
    spoil(models / "toy" / name)
    with pytest.raises(ModelError, match=name.rpartition("/")[2]):
        registry.load(entry)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"source_sha256": "0", "files": {}}'])
def test_a_wrong_manifest_asks_for_a_new_build(models: Path, text: str) -> None:
    (models / "toy" / "build" / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match=r"training\.export toy"):
        registry.load(registry.find(models, "toy"))


def test_a_model_that_is_not_built_asks_for_it(models: Path) -> None:
    shutil.rmtree(models / "toy" / "build")
    with pytest.raises(ModelError, match=r"not built yet. Run python -m training\.export toy"):
        registry.load(registry.find(models, "toy"))


def test_a_head_that_is_not_the_networks_is_refused_even_with_right_hashes(models: Path) -> None:
    build = models / "toy" / "build"
    with np.load(build / "head.npz") as head:
        kernel, bias = head["kernel"], head["bias"]
    manifest = json.loads((build / "manifest.json").read_text())
    for changed, told in (
        (kernel[:, ::-1], "not what its head gives"),
        (kernel[1:], "different shapes"),
        (kernel.T, "expected"),
    ):
        np.savez(build / "head.npz", kernel=changed, bias=bias)
        manifest["files"]["head.npz"] = registry.sha256(build / "head.npz")
        (build / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ModelError, match=told):
            registry.load(registry.find(models, "toy"))


def test_a_pickle_is_never_opened(models: Path) -> None:
    build = models / "toy" / "build"
    np.savez(build / "head.npz", kernel=np.array([print], object), bias=np.zeros(7))
    manifest = json.loads((build / "manifest.json").read_text())
    manifest["files"]["head.npz"] = registry.sha256(build / "head.npz")
    (build / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"head\.npz cannot be read"):
        registry.load(registry.find(models, "toy"))


def test_where_the_folder_cannot_be_written_the_cache_is_used_unless_it_holds_the_right_files(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    entry = registry.find(models, "toy")
    local = models / "toy" / "build"
    assert registry.build_dir(entry) == local
    monkeypatch.setattr(registry.os, "access", lambda path, mode: False)
    assert registry.build_dir(entry) == local
    shutil.rmtree(local)
    cached = registry.build_dir(entry)
    assert cached.parent == tmp_path / "cache" / "dermlens"
    assert cached.name.startswith("toy-")
