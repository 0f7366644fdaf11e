import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from dermlens.case.predict import softmax
from dermlens.errors import ModelError
from dermlens.models import registry
from dermlens.models.engine import Engine, Outputs
from tests.conftest import toy_network
from training import export
from training.artefact import load_model, save_model
from training.export import build, main, three_outputs

if TYPE_CHECKING:
    import keras


def mixed_network() -> "keras.Model":
    """Return a network with every kind of kernel, and a variance that float16 cannot hold."""
    import keras

    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(6, 3, name="conv")(image)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.SeparableConv2D(8, 3, name="separable")(x)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    network = keras.Model(image, keras.layers.Dense(7, name="logits")(x), name="mixed")
    network.get_layer("bn").moving_variance.assign([83615.0] * 8)
    return network


def test_kernels_are_stored_as_float16_and_all_else_as_float32(tmp_path: Path) -> None:
    network = mixed_network()
    save_model(network, tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    stored: dict[str, list] = {}
    weights.visititems(
        lambda name, item: (
            stored.setdefault(str(item.parent.attrs.get("name")), []).append(item.dtype)
            if isinstance(item, h5py.Dataset)
            else None
        )
    )
    half, full = np.dtype("f2"), np.dtype("f4")
    assert stored["conv"] == [half, full]
    assert stored["depthwise"] == [half, full]
    assert stored["separable"] == [half, half, full]
    assert stored["bn"] == [full] * 4
    assert stored["logits"] == [half, full]


def test_loading_gives_exactly_the_rounded_kernels_in_float32(tmp_path: Path) -> None:
    import keras

    network = mixed_network()
    before = [v.numpy() for v in network.variables]
    save_model(network, tmp_path / "model.keras")
    for loaded in (load_model(tmp_path / "model.keras"), keras.saving.load_model(tmp_path / "model.keras")):
        assert [v.path.split("/")[-2:] for v in loaded.variables] == [v.path.split("/")[-2:] for v in network.variables]
        for found, original in zip(loaded.variables, before, strict=True):
            expected = original.astype(np.float16).astype(np.float32) if original.ndim > 1 else original
            assert found.dtype == "float32"
            assert np.array_equal(found.numpy(), expected)
    assert all(np.array_equal(v.numpy(), old) for v, old in zip(network.variables, before, strict=True))


def test_the_same_weights_give_the_same_bytes_compiled_or_not(tmp_path: Path) -> None:
    network = mixed_network()
    save_model(network, tmp_path / "a.keras")
    network.compile("adam", "mse")
    save_model(network, tmp_path / "b.keras")
    assert (tmp_path / "b.keras").read_bytes() == (tmp_path / "a.keras").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_network_trained_in_mixed_precision_is_served_in_float32(tmp_path: Path) -> None:
    import keras

    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        network = toy_network()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    save_model(network, tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    assert loaded(np.zeros((1, 32, 32, 3), np.float32)).dtype == "float32"


@pytest.mark.parametrize("value", [1e5, np.nan])
def test_a_kernel_that_float16_cannot_hold_is_refused(tmp_path: Path, value: float) -> None:
    network = toy_network()
    layer = network.get_layer("conv1")
    layer.set_weights([np.full(layer.kernel.shape, value, np.float32)])
    with pytest.raises(ModelError, match="conv1"):
        save_model(network, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_damaged_and_lambda_models_are_refused(tmp_path: Path) -> None:
    import keras

    (tmp_path / "bad.keras").write_bytes(b"PK nothing")
    with pytest.raises(ModelError, match=r"bad\.keras"):
        load_model(tmp_path / "bad.keras")
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image)).save(tmp_path / "code.keras")
    with pytest.raises(ModelError, match=r"code\.keras"):
        load_model(tmp_path / "code.keras")


def test_every_built_file_agrees_with_keras(published: Path) -> None:
    import tensorflow as tf

    folder = published / "toy"
    images = np.random.default_rng(2).uniform(0, 255, (6, 32, 32, 3)).astype(np.float32)
    network = load_model(folder / "model.keras")
    expected = network.predict(images, verbose=0)
    found = Engine(folder / "build" / "serving.tflite").run(images)
    assert found.logits == pytest.approx(expected, abs=1e-4)
    saved = tf.saved_model.load(str(folder / "build" / "saved_model")).signatures["serving_default"]
    assert saved(tf.constant(images))["logits"].numpy() == pytest.approx(expected, abs=1e-4)
    with np.load(folder / "build" / "head.npz") as head:
        assert found.embedding @ head["kernel"] + head["bias"] == pytest.approx(expected, abs=1e-4)


def test_the_manifest_tells_source_files_versions_and_parity(published: Path) -> None:
    folder = published / "toy"
    manifest = json.loads((folder / "build" / "manifest.json").read_text())
    assert manifest["source_sha256"] == registry.sha256(folder / "model.keras")
    files = {f.relative_to(folder / "build").as_posix() for f in (folder / "build").rglob("*") if f.is_file()}
    assert set(manifest["files"]) == files - {"manifest.json"}
    assert all(registry.sha256(folder / "build" / name) == sha for name, sha in manifest["files"].items())
    assert manifest["versions"]["keras"]
    assert 0 <= manifest["parity"]["max_abs_probability_difference"] <= 1e-3
    assert manifest["parity"]["images"] == 12


@pytest.fixture
def fresh(published: Path, tmp_path: Path) -> registry.Entry:
    """The toy model, to spoil."""
    shutil.copytree(published, tmp_path / "models")
    return registry.find(tmp_path / "models", "toy")


def test_what_is_right_is_left_alone_and_what_is_not_is_built_again(
    fresh: registry.Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fresh.folder / "build"
    monkeypatch.setattr(export, "_fill", lambda *_: pytest.fail("it was built again"))
    assert build(fresh) == folder
    (folder / "serving.tflite").write_bytes(b"")
    assert not export.is_current(folder, registry.source_hash(fresh))
    monkeypatch.setattr(export, "version", lambda name: "0")
    assert not export.is_current(folder, registry.source_hash(fresh))
    monkeypatch.undo()
    build(fresh)
    (folder / "embeddings").mkdir()
    (folder / "embeddings" / "val.npz").write_bytes(b"kept by fits")
    assert export.is_current(folder, registry.source_hash(fresh))
    registry.load(fresh)


def test_a_build_that_does_not_agree_is_refused_and_the_old_one_stays(
    fresh: registry.Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted((f, f.stat().st_mtime_ns) for f in (fresh.folder / "build").rglob("*"))

    class Wrong(Engine):
        def run(self, batch: np.ndarray) -> Outputs:
            outputs = super().run(batch)
            return outputs._replace(logits=outputs.logits[:, ::-1])

    monkeypatch.setattr(export, "Engine", Wrong)
    with pytest.raises(ModelError, match="differ from Keras"):
        build(fresh, force=True)
    assert sorted((f, f.stat().st_mtime_ns) for f in (fresh.folder / "build").rglob("*")) == before
    assert {f.name for f in fresh.folder.iterdir()} == {"build", "card.json", "model.keras"}


def test_the_cache_is_used_where_the_model_folder_cannot_be_written(
    fresh: registry.Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(fresh.folder / "build")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(registry.os, "access", lambda path, mode: False)
    found = build(fresh)
    assert found.is_relative_to(tmp_path / "cache")
    assert registry.load(fresh).id == "toy"
    assert not (fresh.folder / "build").exists()


def test_a_changed_model_is_not_built(fresh: registry.Entry) -> None:
    save_model(toy_network(seed=5), fresh.folder / "model.keras")
    with pytest.raises(ModelError, match=r"card\.json says"):
        build(fresh)


def test_only_networks_with_the_projects_head_are_served() -> None:
    import keras

    network = toy_network()
    with pytest.raises(ModelError, match="'relu0'"):
        three_outputs(network, "relu0", 32)
    with pytest.raises(ModelError, match=r"not \(64, 64, 3\)"):
        three_outputs(network, "top_activation", 64)
    body = keras.Model(network.input, network.get_layer("top_activation").output, name="body")
    image = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D(name="embedding")(body(image))
    nested = keras.Model(image, keras.layers.Dense(7, activation="softmax", name="logits")(pooled))
    with pytest.raises(ModelError, match=r"\['body'\].*activation"):
        three_outputs(nested, "top_activation", 32)
    with pytest.raises(ModelError, match="'embedding'"):
        three_outputs(body, "top_activation", 32)


def test_the_command_builds_and_reports(fresh: registry.Entry, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["--models-dir", str(fresh.folder.parent)]
    assert main(["--all", *models]) == 0
    assert "toy:" in capsys.readouterr().out
    assert main(["none", "toy", *models]) == 2
    told = capsys.readouterr()
    assert "no model 'none'" in told.err
    assert "toy:" in told.out
    for wrong in ([], ["toy", "--all"]):
        with pytest.raises(SystemExit):
            main([*wrong, *models])


def test_parity_images_are_the_same_every_time_and_differ_from_each_other() -> None:
    geometry = registry.Geometry(32)
    first = export.parity_images(32, geometry)
    assert np.array_equal(first, export.parity_images(32, geometry))
    assert len({image.tobytes() for image in first}) == len(first)
    assert softmax(first[:, 0, 0]).shape == (12, 3)
