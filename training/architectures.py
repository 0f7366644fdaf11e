"""Five networks behind one builder: a flat graph, then pooling, dropout and one Dense(7) on logits.

Every network takes float32 RGB 0..255; scaling is part of the graph.
"""

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import layers

from dermlens.errors import ConfigError
from dermlens.labels import N_CLASSES

IMAGENET_MEAN_RGB = (123.68, 116.779, 103.939)
IMAGENET_STD_RGB = (58.393, 57.12, 57.375)


@dataclass(frozen=True)
class Architecture:
    """How to make a backbone, and the name patterns of its stages from the input to the last feature map."""

    backbone: Callable[[int, str | None], keras.Model]
    stages: tuple[str, ...]


def build(name: str, size: int, weights: Literal["none", "imagenet"] = "none", dropout: float = 0.2) -> keras.Model:
    """Build a network with its head.

    Args:
        name: one of `ARCHITECTURES`.
        size: side of the square input in pixels.
        weights: "none", or "imagenet" (Keras downloads them); `load_archive` fills a network from a local file.
        dropout: share of the embedding dropped in training.

    Returns:
        Model (batch, size, size, 3) float32 RGB 0..255 -> (batch, 7) float32 logits. The layer "embedding" pools
        the last feature map; "logits" is the only Dense layer of the head.

    Raises:
        ConfigError: for an unknown name, or ImageNet weights that do not exist or cannot be fetched.
    """
    if name not in ARCHITECTURES:
        raise ConfigError(f"Unknown architecture {name!r}; known are {', '.join(ARCHITECTURES)}.")
    try:
        backbone = ARCHITECTURES[name].backbone(size, "imagenet" if weights == "imagenet" else None)
    except Exception as e:  # Keras raises a bare Exception where a download fails
        if weights == "none" or isinstance(e, ConfigError):
            raise
        raise ConfigError(f"ImageNet weights of {name}: {e}. Set weights to 'none' or to a local archive.") from e
    x = layers.GlobalAveragePooling2D(name="embedding", dtype="float32")(backbone.output)
    x = layers.Dropout(dropout, name="dropout", dtype="float32")(x)
    logits = layers.Dense(N_CLASSES, name="logits", dtype="float32")(x)
    return keras.Model(backbone.input, logits, name=name)


def feature_layer(model: keras.Model) -> str:
    """Return the name of the layer whose output is the last feature map (what "embedding" pools)."""
    return model.get_layer("embedding").input._keras_history.operation.name


def stage_of_layers(name: str, model: keras.Model) -> list[int]:
    """Return the stage number of every layer in `model.layers`; the head has the number of stages.

    A layer without weights whose name fits no pattern belongs to the stage before it.
    """
    stages = ARCHITECTURES[name].stages
    numbers: list[int] = []
    head = {"embedding", "dropout", "logits"}
    for layer in model.layers:
        found = [i for i, pattern in enumerate(stages) if re.match(pattern, layer.name)]
        if layer.name in head:
            numbers.append(len(stages))
        elif found:
            numbers.append(found[0])
        elif layer.weights:
            raise ConfigError(f"{name}: layer {layer.name!r} belongs to no stage.")
        else:
            numbers.append(numbers[-1] if numbers else 0)
    return numbers


def load_archive(model: keras.Model, file: Path) -> list[str]:
    """Fill a network from a NumPy archive with keys `<layer>/<variable>`, by name.

    Args:
        model: a network of `build`.
        file: archive in the layout of `keras.applications` with `include_top=False`; any float type.

    Returns:
        The backbone variables the archive does not hold; they keep their initial values.

    Raises:
        ConfigError: if the file cannot be read, holds nothing for this network, or a shape does not match.
    """
    missing: list[str] = []
    wrong: list[str] = []
    try:
        with np.load(file, allow_pickle=False) as archive:
            values = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as e:
        raise ConfigError(f"Backbone weights {file} cannot be read ({e}). Use 'imagenet' or 'none'.") from e
    wanted = {f"{x.name}/{v.name}": v for x in model.layers if x.name != "logits" for v in x.weights}
    for key, variable in wanted.items():
        if key not in values:
            missing.append(key)
            continue
        value = values[key].astype(np.float32)
        if tuple(value.shape) != tuple(variable.shape):
            wrong.append(f"{key}: archive {tuple(value.shape)}, network {tuple(variable.shape)}")
            continue
        if key == "conv1_conv/kernel" and model.name == "resnet50":
            value = value[:, :, ::-1]  # these weights expect BGR, the network takes RGB
        variable.assign(value)
    if wrong:
        raise ConfigError(f"{file} does not fit {model.name}: {'; '.join(wrong[:5])} ({len(wrong)} in all).")
    if len(missing) == len(wanted):
        raise ConfigError(f"{file} holds no variable of {model.name}.")
    return missing


def _efficientnetv2b0(size: int, weights: str | None) -> keras.Model:
    return keras.applications.EfficientNetV2B0(include_top=False, weights=weights, input_shape=(size, size, 3))


def _convnext_base(size: int, weights: str | None) -> keras.Model:
    nested = keras.applications.ConvNeXtBase(include_top=False, weights=weights, input_shape=(size, size, 3))

    def copy(operation: Any) -> Any:
        if isinstance(operation, keras.Sequential) or not isinstance(operation, keras.Layer):
            return operation
        config = operation.get_config()
        if "convnext" not in config["name"]:  # the last norm has no name of its own
            config["name"] = "convnext_base_top_layernorm"
        return operation.__class__.from_config(config)

    def call(operation: Any, *inputs: Any, **options: Any) -> Any:
        if isinstance(operation, keras.Sequential):  # the stem and the downsampling blocks: lay out their layers
            for layer in operation.layers:
                inputs = (copy(layer)(*inputs),)
            return inputs[0]
        if not isinstance(operation, keras.Layer):  # a bare "+", which no stage could be cut at
            return layers.Add(name=f"{inputs[1]._keras_history.operation.name}_add")(list(inputs))
        return operation(*inputs, **options)

    flat = keras.models.clone_model(nested, clone_function=copy, call_function=call)
    flat.set_weights(nested.get_weights())
    return flat


def _resnet50(size: int, weights: str | None) -> keras.Model:
    inputs = keras.Input((size, size, 3), name="image")
    x = layers.Rescaling(1.0, offset=[-m for m in IMAGENET_MEAN_RGB], name="rescaling")(inputs)
    model = keras.applications.ResNet50(include_top=False, weights=weights, input_tensor=x)
    if weights:
        kernel, bias = model.get_layer("conv1_conv").get_weights()
        model.get_layer("conv1_conv").set_weights([kernel[:, :, ::-1], bias])
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # Keras' 0.99 lags behind by half an epoch of this data set
    return keras.Model(inputs, model.output)


def _standardised(size: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    inputs = keras.Input((size, size, 3), name="image")
    offset = [-m / s for m, s in zip(IMAGENET_MEAN_RGB, IMAGENET_STD_RGB, strict=True)]
    return inputs, layers.Rescaling([1 / s for s in IMAGENET_STD_RGB], offset=offset, name="rescaling")(inputs)


def _convolution(x: Any, filters: int, kernel: int, stride: int, name: str, relu: bool = True) -> Any:
    x = layers.Conv2D(
        filters, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _baseline_cnn(size: int, weights: str | None) -> keras.Model:
    """Five convolution blocks of 32 to 256 filters."""
    _refuse_imagenet("baseline_cnn", weights)
    inputs, x = _standardised(size)
    for i, filters in enumerate((32, 64, 128, 256, 256), start=1):
        x = _convolution(x, filters, 3, 1, f"block{i}")
        if i < 5:
            x = layers.MaxPooling2D(name=f"block{i}_pool")(x)
    return keras.Model(inputs, x)


def _resnet18(size: int, weights: str | None) -> keras.Model:
    """ResNet-18 of He et al., "Deep residual learning for image recognition", CVPR 2016."""
    _refuse_imagenet("resnet18", weights)
    inputs, x = _standardised(size)
    x = _convolution(x, 64, 7, 2, "conv1")
    x = layers.MaxPooling2D(3, 2, padding="same", name="conv1_pool")(x)
    for stage, filters in enumerate((64, 128, 256, 512), start=2):
        for block in (1, 2):
            name = f"conv{stage}_block{block}"
            stride = 2 if stage > 2 and block == 1 else 1
            shortcut = x
            if stride > 1:
                shortcut = _convolution(x, filters, 1, stride, f"{name}_0", relu=False)
            x = _convolution(x, filters, 3, stride, f"{name}_1")
            x = _convolution(x, filters, 3, 1, f"{name}_2", relu=False)
            x = layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, shortcut]))
    return keras.Model(inputs, x)


def _refuse_imagenet(name: str, weights: str | None) -> None:
    if weights:
        raise ConfigError(f"{name} has no ImageNet weights in keras.applications; set weights to 'none' or an archive.")


ARCHITECTURES: dict[str, Architecture] = {
    "baseline_cnn": Architecture(_baseline_cnn, tuple(f"block{i}_" for i in range(1, 6))),
    "resnet18": Architecture(_resnet18, tuple(f"conv{i}_" for i in range(1, 6))),
    "resnet50": Architecture(_resnet50, ("conv1_|pool1_", "conv2_", "conv3_", "conv4_", "conv5_")),
    "efficientnetv2b0": Architecture(
        _efficientnetv2b0, ("stem_", "block1", "block2", "block3", "block4", "block5", "block6|top_")
    ),
    "convnext_base": Architecture(
        _convnext_base,
        (
            "convnext_base_(prestem|stem)",
            "convnext_base_stage_0",
            r"convnext_base_(downsampling_\w+_0|stage_1)",
            r"convnext_base_(downsampling_\w+_1|stage_2)",
            r"convnext_base_(downsampling_\w+_2|stage_3|top)",
        ),
    ),
}
