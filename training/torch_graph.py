"""A Keras network run by plain torch operations on its own variables; several times faster to train on a CPU.

Keras' torch backend copies images and kernels into another order before every convolution, and makes batch norm of a
dozen operations. Here images stay channels-last in memory throughout, every layer is one torch operation, and what may
be is computed in bfloat16 where that is asked for. Weights, optimizer and files stay Keras' own.
"""

from typing import Any

import keras
import numpy as np
import torch
from torch.nn import functional

from dermlens.errors import ConfigError

ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": functional.relu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "sigmoid": torch.sigmoid,
}


class TorchGraph(keras.Model):
    """The same network as a flat functional model, with its very variables; to be trained like any Keras model."""

    def __init__(self, network: keras.Model, bfloat16: bool = False) -> None:
        """Take a flat functional model of float32 variables.

        Args:
            network: (b, h, w, 3) float32 -> (b, n) float32.
            bfloat16: compute convolutions and dense layers in bfloat16; variables and sums stay float32.

        Raises:
            ConfigError: it has a layer of a kind that is not known here.
        """
        super().__init__(name=network.name)
        self.network, self.bfloat16 = network, bfloat16
        self._steps = []
        for layer in network.layers:
            node = layer._inbound_nodes[0]
            kind = type(layer).__name__
            if kind not in OPERATIONS:
                known = ", ".join(OPERATIONS)
                raise ConfigError(f"{network.name}: layer {layer.name!r} is a {kind}; known are {known}.")
            places = [id(tensor) for tensor in node.input_tensors]
            self._steps.append((OPERATIONS[kind], layer, places, id(node.output_tensors[0])))

    def call(self, images: Any, training: bool = False) -> torch.Tensor:
        """Return float32 logits (b, n) of images (b, h, w, 3) float32."""
        found: dict[int, torch.Tensor] = {}
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16):
            for operation, layer, places, place in self._steps:
                inputs = [found[i] for i in places] or [images.permute(0, 3, 1, 2)]
                found[place] = operation(layer, inputs, training)
        return found[place]


def _convolution(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    x, groups = inputs[0], 1
    if type(layer).__name__ == "DepthwiseConv2D":
        kernel, groups = layer.kernel.value.permute(2, 3, 0, 1), x.shape[1]
    else:
        kernel = layer.kernel.value.permute(3, 2, 0, 1)
    padding = tuple(width // 2 for width in layer.kernel_size)
    if layer.padding == "valid":
        padding = (0, 0)
    elif layer.strides != (1, 1) or not all(width % 2 for width in layer.kernel_size):
        x, padding = _padded(x, layer.kernel_size, layer.strides), (0, 0)
    bias = layer.bias.value if layer.use_bias else None
    y = functional.conv2d(x, kernel, bias, layer.strides, padding, layer.dilation_rate, groups)
    return ACTIVATIONS[layer.activation.__name__](y)


def _padded(x: torch.Tensor, window: tuple[int, int], strides: tuple[int, int], value: float = 0.0) -> torch.Tensor:
    """Pad as Keras' "same" does: the odd pixel goes to the right and to the bottom."""
    rows, columns = (
        max((-(-size // stride) - 1) * stride + wide - size, 0)
        for size, wide, stride in zip(x.shape[2:], window, strides, strict=True)
    )
    sides = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return functional.pad(x, sides, value=value) if any(sides) else x


def _batch_norm(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    x, gamma, beta = inputs[0], layer.gamma.value, layer.beta.value
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    if not (training and layer.trainable):
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=layer.epsilon)
    own_mean, own_variance = torch.zeros_like(mean), torch.ones_like(variance)
    y = functional.batch_norm(x, own_mean, own_variance, gamma, beta, True, 1.0, layer.epsilon)
    with torch.no_grad():  # torch keeps the unbiased variance, Keras the one of the batch
        n, share = x.numel() // x.shape[1], 1 - layer.momentum
        mean.mul_(layer.momentum).add_(own_mean, alpha=share)
        variance.mul_(layer.momentum).add_(own_variance, alpha=share * (n - 1) / n)
    return y


def _rescaling(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    scale, offset = (_per_channel(value, inputs[0]) for value in (layer.scale, layer.offset))
    return inputs[0] * scale + offset


def _normalization(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    mean, variance = (_per_channel(keras.ops.convert_to_numpy(v), inputs[0]) for v in (layer.mean, layer.variance))
    return (inputs[0] - mean) / variance.sqrt().clamp(min=keras.config.epsilon())


def _per_channel(value: Any, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(np.asarray(value), dtype=like.dtype, device=like.device).reshape(1, -1, 1, 1)


def _zero_padding(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    (top, bottom), (left, right) = layer.padding
    return functional.pad(inputs[0], (left, right, top, bottom))


def _max_pooling(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    x = inputs[0]
    if layer.padding == "same":
        x = _padded(x, layer.pool_size, layer.strides, -torch.inf)
    return functional.max_pool2d(x, layer.pool_size, layer.strides)


def _global_mean(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    return inputs[0].to(getattr(torch, layer.compute_dtype)).mean((2, 3))


def _reshape(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    height, width, channels = layer.target_shape
    return inputs[0].reshape(len(inputs[0]), height, width, channels).permute(0, 3, 1, 2)


def _dropout(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    x = inputs[0]
    if not training or not layer.rate:
        return x
    shape = [len(x), *([1] * (x.ndim - 1))] if layer.noise_shape is not None else x.shape
    kept = torch.rand(shape, device=x.device) >= layer.rate
    return x * kept / (1 - layer.rate)


def _dense(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    kernel = layer.kernel.value
    with torch.autocast(kernel.device.type, enabled=False):
        return functional.linear(inputs[0].to(kernel.dtype), kernel.t(), layer.bias.value)


def _activation(layer: Any, inputs: list[torch.Tensor], training: bool) -> torch.Tensor:
    name = "relu" if type(layer).__name__ == "ReLU" else layer.activation.__name__
    return ACTIVATIONS[name](inputs[0])


OPERATIONS = {
    "InputLayer": lambda layer, inputs, training: inputs[0],
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "ZeroPadding2D": _zero_padding,
    "Conv2D": _convolution,
    "DepthwiseConv2D": _convolution,
    "BatchNormalization": _batch_norm,
    "Activation": _activation,
    "ReLU": _activation,
    "Add": lambda layer, inputs, training: inputs[0] + inputs[1],
    "Multiply": lambda layer, inputs, training: inputs[0] * inputs[1],
    "MaxPooling2D": _max_pooling,
    "GlobalAveragePooling2D": _global_mean,
    "Reshape": _reshape,
    "Dropout": _dropout,
    "Dense": _dense,
}
