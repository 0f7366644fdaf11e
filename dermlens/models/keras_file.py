"""Load a model.keras, which is a program, after looking at everything in it that could be more than a network."""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermlens.errors import ModelError
from dermlens.files.documents import read_document

if TYPE_CHECKING:
    import keras

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
MAX_BYTES = 2**30
MODULES = ("keras", "keras.layers", "keras.initializers", "keras.regularizers")
"""Where the classes of a network may come from; so do those of ELSEWHERE."""
ELSEWHERE = {
    "keras.src.models.functional": {"Functional"},
    "keras.src.applications.convnext": {"LayerScale"},
}
LAYERS = {
    *("InputLayer", "Rescaling", "Normalization", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense"),
    *(
        "BatchNormalization",
        "LayerNormalization",
        "Activation",
        "ReLU",
        "Dropout",
        "StochasticDepth",
        "Add",
        "Multiply",
    ),
    *("Concatenate", "Reshape", "ZeroPadding2D", "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D"),
}
"""Layers that networks for images are made of; none runs or loads a program, as Keras' Lambda or TFSMLayer do."""
_SETTINGS = {
    *("Zeros", "Ones", "Constant", "RandomNormal", "TruncatedNormal", "VarianceScaling", "GlorotNormal"),
    *("GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "L1", "L2", "L1L2", "DTypePolicy", "__keras_tensor__"),
}
"""Other classes in the configs of LAYERS."""
_MAX_CONFIG = 2**24
_MAX_ARRAYS = 20_000
_MAX_DEPTH = 10


def load_network(path: Path, expected: str | None = None) -> "keras.Model":
    """Load a network, not compiled, with Keras' safe mode on.

    Args:
        path: a model.keras: an archive of MEMBERS, stored as they are, of layers that Keras itself brings.
        expected: the SHA-256 it must have.

    Raises:
        ModelError: the file is missing, damaged, changed, packed, or brings code, links or less data than it says.
            Nothing of a network that is larger than its stored arrays is ever built.
    """
    from keras.src.saving import saving_lib

    where, found = f"{path.parent.name}/{path.name}", read_document(path, MAX_BYTES, ModelError)
    if expected is not None and found.sha256 != expected:
        raise ModelError(f"{where} was changed: it is not what card.json lists. Restore it.")
    config, arrays = check(found.data, where)
    try:
        _check_shapes(config, arrays, where)
        # keras.saving.load_model opens a file by its name alone, and what lies there may not be what was checked.
        return saving_lib.load_model(io.BytesIO(found.data), compile=False, safe_mode=True)
    except ModelError:
        raise
    except Exception as e:  # Keras raises almost anything on a config that it did not write
        raise ModelError(f"{where} cannot be loaded: {e}") from e


def check(data: bytes, where: str) -> tuple[dict, Counter[tuple[int, ...]]]:
    """Raise ModelError unless the bytes are the archive of a plain network; nothing of it is run.

    Args:
        data: content of a model.keras.
        where: what to call it.

    Returns:
        Its config, and how often an array of which shape is stored.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = [m.filename for m in members]
            if sorted(names) != sorted(MEMBERS):
                raise ModelError(f"{where} must hold {', '.join(sorted(MEMBERS))}, it holds {', '.join(names[:9])}.")
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise ModelError(f"{where} is compressed: it could unpack to any size. Publish the model again.")
            if archive.getinfo("config.json").file_size > _MAX_CONFIG:
                raise ModelError(f"{where}: its config.json is larger than {_MAX_CONFIG >> 20} MiB.")
            config = json.loads(archive.read("config.json"))
            arrays = _check_weights(archive.read("model.weights.h5"), where)
        for node in _objects(config):
            _check_class(node, where)
        return config, arrays
    except ModelError:
        raise
    except Exception as e:  # zipfile, JSON and HDF5 raise almost anything on damaged bytes
        raise ModelError(f"{where} cannot be loaded: it is damaged ({type(e).__name__}: {e}).") from e


def _objects(value: Any) -> Iterator[dict]:
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
        waiting += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _check_class(node: dict, where: str) -> None:
    name, module = node.get("class_name"), node.get("module")
    if name is None and module is None:
        return
    usual = LAYERS | _SETTINGS if module is None or module in MODULES else set()
    if not isinstance(name, str) or name not in (ELSEWHERE.get(module, usual) if isinstance(module, str) else usual):
        raise ModelError(
            f"{where} holds {name!r} of {module!r}, which could run code of its own. Only the layers of networks for "
            f"images are loaded (LAYERS in {__name__})."
        )


def _check_shapes(config: dict, arrays: Counter[tuple[int, ...]], where: str) -> None:
    """Hold the shapes that a config asks for against the stored arrays, without memory for any of them."""
    import keras
    from keras.src.backend.common import global_state

    waiting = list(global_state.get_global_attribute("uninitialized_variables") or ())
    try:
        with keras.StatelessScope(initialize_variables=False):
            network = keras.saving.deserialize_keras_object({**config, "compile_config": None}, safe_mode=True)
    finally:  # else Keras would make the arrays of these variables with those of the next network
        global_state.set_global_attribute("uninitialized_variables", waiting)
    left = arrays.copy()
    for variable in network.weights:
        shape = tuple(variable.shape)
        left[shape] -= 1
        if left[shape] < 0:
            raise ModelError(f"{where}: {variable.path} is to have the shape {shape}, but no such array is stored.")


def _check_weights(data: bytes, where: str) -> Counter[tuple[int, ...]]:
    """Every array must lie in this file, whole: a link leads elsewhere, and a hole could be of any size."""
    import h5py

    seen, arrays = 0, Counter[tuple[int, ...]]()

    def look(group: "h5py.Group", depth: int) -> None:
        nonlocal seen
        for name in group:
            seen += 1
            if seen > _MAX_ARRAYS or depth > _MAX_DEPTH:  # hard links can make a small file look endless
                raise ModelError(f"{where}: it has more weights, or deeper nested ones, than any network.")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ModelError(f"{where}: its weights hold a link to elsewhere ({name!r}).")
            item = group[name]
            if isinstance(item, h5py.Group):
                look(item, depth + 1)
            elif item.dtype.kind not in "fiub":
                raise ModelError(f"{where}: the array {item.name!r} holds no numbers.")
            elif item.external or item.is_virtual or item.id.get_storage_size() < item.nbytes:
                raise ModelError(f"{where}: the array {item.name!r} is not whole in the file.")
            else:
                arrays[item.shape] += 1

    with h5py.File(io.BytesIO(data)) as file:
        look(file, 0)
    return arrays
