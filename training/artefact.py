"""Write and read model.keras: kernels as float16 in the file, everything else and all computing in float32."""

import io
import json
import os
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from dermlens.errors import ModelError
from dermlens.models import keras_file

_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
_METADATA = "metadata.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def save_model(model: keras.Model, path: Path) -> None:
    """Write a model without its optimizer, whole or not at all; the same weights give the same bytes.

    Kernels (variables called "kernel", 2 or more dimensions, those of depthwise convolutions included) are rounded to
    float16. The model in memory is not changed. `keras.saving.load_model` reads the file as it is. A mixed-precision
    policy is written as float32.

    Args:
        model: a flat functional model.
        path: where to write, ending in .keras.

    Raises:
        ModelError: a kernel does not fit into float16.
    """
    without_optimizer = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        plain, halved = Path(scratch, "plain.keras"), Path(scratch, "halved.keras")
        keras.saving.save_model(without_optimizer, plain)
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(halved, "w", zipfile.ZIP_STORED) as target:
            config = _stable_config(json.loads(source.read(_CONFIG)))
            version = json.loads(source.read(_METADATA))["keras_version"]
            target.writestr(zipfile.ZipInfo(_METADATA, _EPOCH), json.dumps({"keras_version": version}))
            target.writestr(zipfile.ZipInfo(_CONFIG, _EPOCH), json.dumps(config))
            target.writestr(zipfile.ZipInfo(_WEIGHTS, _EPOCH), _halve_kernels(source.read(_WEIGHTS), model))
        os.replace(halved, path)


def load_model(path: Path, expected: str | None = None) -> keras.Model:
    """Read a model.keras, not compiled; its kernels are the stored float16 values in float32 variables.

    Args:
        path: of the file. expected: the SHA-256 it must have.

    Raises:
        ModelError: the file is missing, damaged, changed or would run code of its own.
    """
    return keras_file.load_network(path, expected)


def _halve_kernels(data: bytes, model: keras.Model) -> bytes:
    """Return the weights file `data` with the kernels of `model` as float16."""
    kernels = {
        layer.name: {tuple(v.shape) for v in layer.weights if v.name.endswith("kernel") and len(v.shape) >= 2}
        for layer in model.layers
    }
    found = io.BytesIO()
    # The newer format writes the time of day into every group, so that no two files would be the same.
    with h5py.File(io.BytesIO(data)) as source, h5py.File(found, "w", libver="earliest") as target:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                target.require_group(name).attrs.update(item.attrs)
                return
            value = item[()]
            layer = str(item.parent.attrs.get("name"))
            target[name] = _to_half(value, layer) if value.shape in kernels.get(layer, ()) else value

        source.visititems(copy)
    return found.getvalue()


def _to_half(kernel: np.ndarray, layer: str) -> np.ndarray:
    limit = float(np.finfo(np.float16).max)
    if not np.all(np.abs(kernel) <= limit):
        raise ModelError(
            f"The kernel of {layer} has values that are not finite or over {limit:.0f}: no float16 holds it."
        )
    return kernel.astype(np.float16)


def _stable_config(config: dict) -> dict:
    """Return the config with float32 for mixed precision, and memory addresses replaced by a running number."""
    numbers: dict[object, int] = {}

    def walk(node: object) -> object:
        if isinstance(node, list):
            return [walk(child) for child in node]
        if not isinstance(node, dict):
            return node
        node = {key: walk(child) for key, child in node.items()}
        if "shared_object_id" in node:
            node["shared_object_id"] = numbers.setdefault(node["shared_object_id"], len(numbers) + 1)
        if node.get("class_name") == "DTypePolicy":
            node["config"] = {"name": "float32"}
        return node

    return walk(config)  # type: ignore[return-value]
