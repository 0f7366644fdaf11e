import functools
import io
from pathlib import Path

import keras
import numpy as np
import pytest

from dermlens.errors import ConfigError
from dermlens.models.keras_file import load_network
from training.architectures import ARCHITECTURES, build, feature_layer, load_archive, stage_of_layers
from training.artefact import save_model
from training.loop.phase import freeze

SIZE = 32
array = keras.ops.convert_to_numpy
LAST = {  # layer and channels of the last feature map
    "baseline_cnn": ("block5_relu", 256),
    "resnet18": ("conv5_block2_out", 512),
    "resnet50": ("conv5_block3_out", 2048),
    "efficientnetv2b0": ("top_activation", 1280),
    "convnext_base": ("convnext_base_top_layernorm", 1024),
}
SMALL = ["baseline_cnn", "resnet18"]


@functools.cache
def network(name: str) -> keras.Model:
    """A network that no test may change."""
    keras.utils.set_random_seed(0)
    return build(name, SIZE)


def archive(model: keras.Model, *, drop: str = "-", half: bool = True) -> dict[str, np.ndarray]:
    """A NumPy archive of a backbone as in keras.applications, with kernels in float16."""
    values = {f"{x.name}/{v.name}": array(v) for x in model.layers if x.name != "logits" for v in x.weights}
    return {
        k: v.astype(np.float16) if half and "kernel" in k else v for k, v in values.items() if not k.startswith(drop)
    }


def images(n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (n, SIZE, SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_flat_graph_with_the_designed_head(name: str) -> None:
    model = network(name)
    assert model.input_shape == (None, SIZE, SIZE, 3)
    assert model.input.dtype == "float32"
    assert model.output_shape == (None, 7)
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    assert all(isinstance(operation, keras.Layer) for operation in model.operations)
    pooling, dropout, logits = model.layers[-3:]
    assert (pooling.name, dropout.name, logits.name) == ("embedding", "dropout", "logits")
    assert isinstance(pooling, keras.layers.GlobalAveragePooling2D)
    assert isinstance(dropout, keras.layers.Dropout)
    assert isinstance(logits, keras.layers.Dense)
    assert logits.activation is keras.activations.linear
    assert feature_layer(model) == LAST[name][0]
    assert model.get_layer(feature_layer(model)).output.shape[-1] == LAST[name][1]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stages_cover_all_layers_from_the_input_to_the_head(name: str) -> None:
    model, n = network(name), len(ARCHITECTURES[name].stages)
    stages = stage_of_layers(name, model)
    assert stages == sorted(stages)
    assert set(stages) == set(range(n + 1))
    assert [layer.name for layer, stage in zip(model.layers, stages, strict=True) if stage == n] == [
        "embedding",
        "dropout",
        "logits",
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_last_stages_train_with_the_head_and_no_more(name: str) -> None:
    model, n = network(name), len(ARCHITECTURES[name].stages)
    stages = dict(zip((x.name for x in model.layers), stage_of_layers(name, model), strict=True))
    try:
        for unfreeze in (*range(n + 1), "all"):
            freeze(name, model, unfreeze)
            first = 0 if unfreeze == "all" else n - int(unfreeze)
            trained = {layer.name for layer in model.layers if layer.trainable_weights}
            assert trained == {x.name for x in model.layers if x.weights and stages[x.name] >= first}
        with pytest.raises(ConfigError, match=f"{name} has {n} stages, {n + 1} cannot be unfrozen"):
            freeze(name, model, n + 1)
    finally:
        freeze(name, model, "all")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_can_be_written_and_loaded(name: str, tmp_path: Path) -> None:
    model = network(name)
    save_model(model, tmp_path / "model.keras")
    loaded = load_network(tmp_path / "model.keras")
    assert [tuple(w.shape) for w in loaded.weights] == [tuple(w.shape) for w in model.weights]
    (tmp_path / "model.keras").unlink()  # up to 350 MB


@pytest.mark.parametrize("name", SMALL)
def test_frozen_batch_norms_stay_in_inference_mode(name: str) -> None:
    model = network(name)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    try:
        freeze(name, model, 1)
        before = [array(norm.moving_mean) for norm in norms]
        model(images(), training=True)
        moved = [not np.array_equal(a, array(norm.moving_mean)) for a, norm in zip(before, norms, strict=True)]
        assert moved == [norm.trainable for norm in norms]
        assert any(moved)
        assert not all(moved)
    finally:
        freeze(name, model, "all")
        for norm, value in zip(norms, before, strict=True):
            norm.moving_mean.assign(value)


def test_convnext_is_what_keras_builds() -> None:
    model = network("convnext_base")
    nested = keras.applications.ConvNeXtBase(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    leaves = [part for x in nested.layers for part in (x.layers if isinstance(x, keras.Sequential) else [x])]
    own = [layer.name for layer in model.layers if layer.weights][:-1]
    assert own == [*[x.name for x in leaves if x.weights][:-1], "convnext_base_top_layernorm"]
    nested.set_weights(model.get_weights()[:-2])
    features = keras.Model(model.input, model.get_layer("embedding").input)
    np.testing.assert_allclose(array(features(images())), array(nested(images())), rtol=1e-5, atol=1e-5)


def test_resnet50_takes_rgb_and_gives_what_keras_gives_for_its_own_preprocessing(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    reference = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    file = tmp_path / "resnet50.npz"
    np.savez(file, **archive(reference, half=False))
    model = build("resnet50", SIZE)
    assert load_archive(model, file) == []
    first = keras.Model(model.input, model.get_layer("conv1_conv").output)
    reference_first = keras.Model(reference.input, reference.get_layer("conv1_conv").output)
    prepared = keras.applications.resnet.preprocess_input(images().copy())
    np.testing.assert_allclose(array(first(images())), array(reference_first(prepared)), rtol=1e-4, atol=1e-3)
    features = keras.Model(model.input, model.get_layer("embedding").input)
    expected = array(reference(prepared))
    np.testing.assert_allclose(array(features(images())), expected, rtol=1e-3, atol=1e-3 * expected.max())
    assert expected.std() > 0


def test_imagenet_weights_of_resnet50_get_the_same_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    original, kernels = keras.applications.ResNet50, []

    def fetched(weights: str, **options: object) -> keras.Model:
        assert weights == "imagenet"
        model = original(weights=None, **options)
        kernels.append(array(model.get_layer("conv1_conv").kernel))
        return model

    monkeypatch.setattr(keras.applications, "ResNet50", fetched)
    model = build("resnet50", SIZE, "imagenet")
    np.testing.assert_array_equal(array(model.get_layer("conv1_conv").kernel), kernels[0][:, :, ::-1])


def test_archive_fills_by_name_and_lists_what_it_could_not(tmp_path: Path) -> None:
    file = tmp_path / "partial.npz"
    np.savez(file, **archive(network("baseline_cnn"), drop="block5_bn"), other=np.zeros(3))
    keras.utils.set_random_seed(9)
    model = build("baseline_cnn", SIZE)
    fresh = array(model.get_layer("logits").kernel)
    missing = load_archive(model, file)
    assert missing == [f"block5_bn/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    stored = array(network("baseline_cnn").get_layer("block2_conv").kernel).astype(np.float16)
    found = model.get_layer("block2_conv").kernel
    assert found.dtype == "float32"
    np.testing.assert_array_equal(array(found), stored)
    np.testing.assert_array_equal(array(model.get_layer("logits").kernel), fresh)


def test_archive_of_another_shape_or_network_is_refused(tmp_path: Path) -> None:
    values, model = archive(network("baseline_cnn")), build("baseline_cnn", SIZE)
    values["block1_conv/kernel"] = values["block1_conv/kernel"][:, :, :2]
    values["block3_bn/beta"] = values["block3_bn/beta"][:5]
    np.savez(tmp_path / "shape.npz", **values)
    with pytest.raises(ConfigError, match=r"block1_conv/kernel: archive \(3, 3, 2, 32\), network \(3, 3, 3, 32\)") as e:
        load_archive(model, tmp_path / "shape.npz")
    assert "block3_bn/beta: archive (5,), network (128,) (2 in all)" in str(e.value)
    np.savez(tmp_path / "other.npz", **{"conv1/kernel": np.zeros(3)})
    with pytest.raises(ConfigError, match=r"other\.npz holds no variable of baseline_cnn"):
        load_archive(model, tmp_path / "other.npz")


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    model, buffer = network("baseline_cnn"), io.BytesIO()
    np.savez_compressed(buffer, **archive(model))
    whole = buffer.getvalue()
    damaged = {"none.npz": None, "text.npz": b"weights", "cut.npz": whole[: len(whole) // 2]}
    damaged["flipped.npz"] = whole[:5000] + bytes(50) + whole[5050:]
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name, data in damaged.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
    for name in (*damaged, "array.npy"):
        with pytest.raises(ConfigError, match=f"{name} cannot be read"):
            load_archive(model, tmp_path / name)


def test_unknown_names_and_weights_that_do_not_exist_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Unknown architecture 'vgg16'; known are baseline_cnn, resnet18"):
        build("vgg16", SIZE)
    for name in SMALL:
        with pytest.raises(ConfigError, match=f"{name} has no ImageNet weights"):
            build(name, SIZE, "imagenet")

    def offline(**options: object) -> None:
        raise Exception("URL fetch failure on https://...: None -- unreachable")

    monkeypatch.setattr(keras.applications, "EfficientNetV2B0", offline)
    with pytest.raises(ConfigError, match=r"ImageNet weights of efficientnetv2b0: URL fetch failure.*local archive"):
        build("efficientnetv2b0", SIZE, "imagenet")


def test_layers_that_belong_to_no_stage_are_refused() -> None:
    inputs = keras.Input((8, 8, 3))
    stray = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="stray")(inputs))
    with pytest.raises(ConfigError, match="baseline_cnn: layer 'stray' belongs to no stage"):
        stage_of_layers("baseline_cnn", stray)
