"""A network run by plain torch operations is the same network: answers, gradients, statistics of batch norms."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="needs torch: make torch-test")

# Keras takes one backend a process, so what is compared runs in a process of its own.
PROGRAM = """
import sys
import keras, numpy as np, torch
from training.architectures import build
from training.torch_graph import TorchGraph

name, mode = sys.argv[1:]
keras.utils.set_random_seed(0)
network = build(name, 64, dropout=0.0)
rng = np.random.default_rng(0)
for layer in network.layers:
    if isinstance(layer, keras.layers.Dropout):
        layer.rate = 0.0
    if isinstance(layer, keras.layers.BatchNormalization):
        shape = layer.moving_mean.shape
        layer.moving_mean.assign(rng.normal(0, 0.1, shape))
        layer.moving_variance.assign(rng.uniform(0.5, 2, shape))
graph = TorchGraph(network, bfloat16=mode == "bfloat16")
x = torch.tensor(rng.uniform(0, 255, (8, 64, 64, 3)).astype(np.float32))
start = [np.array(keras.ops.convert_to_numpy(w)) for w in network.weights]


def run(model, training):
    for variable, value in zip(network.weights, start):
        variable.assign(value)
    for variable in network.trainable_variables:
        variable.value.grad = None
    out = model(x, training=training)
    if training:
        out.square().mean().backward()
    grads = [v.value.grad.numpy() for v in network.trainable_variables] if training else []
    return [out.detach().numpy(), grads, [np.array(keras.ops.convert_to_numpy(w)) for w in network.weights]]


def apart(a, b):
    size = np.sqrt(sum((np.square(p).sum() for p in a)))
    return np.sqrt(sum((np.square(p - q).sum() for p, q in zip(a, b)))) / size


for training in (False, True):
    theirs, ours = run(network, training), run(graph, training)
    print(apart(theirs[:1], ours[:1]), *(apart(a, b) for a, b in zip(theirs[1:], ours[1:]) if a), sep=" ")
assert graph.weights == network.weights
"""


def compared(name: str, mode: str = "float32") -> list[list[float]]:
    """Return, without and with training, how far outputs, gradients and weights are apart, as a share of their size."""
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, mode], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [[float(x) for x in line.split()] for line in done.stdout.splitlines()[-2:]]


@pytest.mark.parametrize("name", ["baseline_cnn", "resnet18", "resnet50", "efficientnetv2b0"])
def test_it_answers_and_learns_as_keras_does(name: str) -> None:
    (answer, unchanged), (trained, gradient, statistics) = compared(name)
    assert answer < 1e-5
    assert unchanged == 0
    assert trained < 1e-3
    assert gradient < 0.05, "a rounding can switch a ReLU, and a gradient with it"
    assert statistics < 1e-5


def test_bfloat16_is_near() -> None:
    (answer, _), (trained, *_) = compared("efficientnetv2b0", "bfloat16")
    assert 1e-6 < answer < 0.05
    assert trained < 0.2


def test_a_layer_that_it_does_not_know_is_named() -> None:
    program = (
        "import keras; from training.torch_graph import TorchGraph; "
        "i = keras.Input((8, 8, 3)); TorchGraph(keras.Model(i, keras.layers.LayerNormalization(name='odd')(i)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
    )
    assert "layer 'odd' is a LayerNormalization; known are" in done.stderr
