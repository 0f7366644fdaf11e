"""Build what serves a model from its model.keras: `python -m training.export ID...` or `--all`.

Into models/ID/build/ (or the user's cache, if that cannot be written) go serving.tflite, saved_model/, head.npz and
manifest.json. A build that is already right is left alone; one whose probabilities differ from Keras is refused.
"""

import argparse
import errno
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dermlens.case.predict import softmax
from dermlens.errors import DermlensError, ModelError
from dermlens.files.documents import read_object, shortened, write_object
from dermlens.image.preprocess import Geometry, fit
from dermlens.image.synthetic import draw_lesion
from dermlens.labels import N_CLASSES
from dermlens.models import registry
from dermlens.models.engine import Engine
from training.folders import whole

if TYPE_CHECKING:
    import keras

TOLERANCE = 1e-3
_PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "numpy")


def build(entry: registry.Entry, force: bool = False) -> Path:
    """Build the serving files of one model, whole or not at all.

    Args:
        entry: a model with weights and a card, as found by registry.discover.
        force: build even if the files there are right.

    Returns:
        The build folder.

    Raises:
        ModelError: model.keras is not what the card says, or the built files do not agree with it to TOLERANCE.
    """
    expected = registry.source_hash(entry)
    found = registry.sha256(entry.folder / "model.keras")
    if found != expected:
        raise ModelError(
            f"models/{entry.id}/model.keras has the SHA-256 {found[:12]}..., card.json says {expected[:12]}...: "
            "restore the file, or publish the model again."
        )
    target = registry.build_dir(entry)
    if not force and is_current(target, expected):
        return target
    try:
        with whole(target) as folder:
            _fill(folder, entry, expected)
    except DermlensError:
        raise
    except Exception as e:  # Keras and TensorFlow raise almost anything on a model that they did not write
        raise ModelError(f"The serving files of {entry.id} cannot be built in {target.parent}: {_reason(e)}.") from e
    return target


def _reason(error: Exception) -> str:
    """Return why something failed in a few words; TensorFlow has many ways to say that a disk is full."""
    full = os.strerror(errno.ENOSPC)
    if full in str(error):
        return full
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shortened(f"{type(error).__name__}: {' '.join(str(error).split())}", 200)


def is_current(build: Path, source: str) -> bool:
    """Return whether a build folder was made from `source` by these versions and is whole; more may lie beside it."""
    if registry.built_from(build) != source:
        return False
    manifest = read_object(build / "manifest.json")
    listed, here = manifest.get("files"), _hashes(build)
    whole = isinstance(listed, dict) and isinstance(manifest.get("parity"), dict) and listed.items() <= here.items()
    return whole and manifest.get("versions") == _versions()


def parity_images(size: int, geometry: Geometry) -> np.ndarray:
    """Return the seeded images that files are compared on: drawn lesions, noise, black and white.

    Returns:
        (12, size, size, 3) float32, 0..255.
    """
    rng = np.random.default_rng(20180161)
    drawn = [fit(draw_lesion(rng), geometry) for _ in range(6)]
    noise = list(rng.integers(0, 256, (3, size, size, 3)))
    return np.array([*drawn, *noise, *(np.full((size, size, 3), v) for v in (0, 128, 255))], np.float32)


def _fill(folder: Path, entry: registry.Entry, source: str) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    from training.artefact import load_model

    card = entry.card or {}
    model = load_model(entry.folder / "model.keras", source)
    geometry = Geometry.from_dict(card["input"])
    served = three_outputs(model, card["feature_layer"], geometry.size)
    image = keras.InputSpec(shape=(1, geometry.size, geometry.size, 3), dtype="float32", name="image")
    served.export(
        folder / registry.SERVING_FILE,
        format="litert",
        input_signature=[image],
        verbose=False,
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]},
    )
    served.export(folder / "saved_model", format="tf_saved_model", verbose=False)
    head = model.get_layer("logits")
    kernel, bias = (np.asarray(keras.ops.convert_to_numpy(v), np.float32) for v in (head.kernel, head.bias))
    np.savez(folder / registry.HEAD_FILE, kernel=kernel, bias=bias)

    images = parity_images(geometry.size, geometry)
    reference = served.predict(images, batch_size=4, verbose=0)
    saved = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    parity = {
        "litert": _difference(reference, Engine(folder / registry.SERVING_FILE).run(images)._asdict()),
        "saved_model": _difference(reference, {k: v.numpy() for k, v in saved(tf.constant(images)).items()}),
    }
    worst = max(p["max_abs_probability_difference"] for p in parity.values())
    if not worst <= TOLERANCE:
        raise ModelError(f"The files built from models/{entry.id} differ from Keras by {worst:.2g}: {parity}.")
    manifest = {
        "source_sha256": source,
        "files": _hashes(folder),
        "versions": _versions(),
        "parity": {"images": len(images), "max_abs_probability_difference": worst, **parity},
    }
    write_object(folder / "manifest.json", manifest)


def three_outputs(model: "keras.Model", feature_layer: str, size: int) -> "keras.Model":
    """Return the model with the outputs logits (N, 7), features (N, h, w, C) and embedding (N, C), by name.

    Raises:
        ModelError: the model is not a flat graph with the head of this project.
    """
    import keras

    try:
        pooling, head = model.get_layer("embedding"), model.get_layer("logits")
    except ValueError as e:
        raise ModelError(f"The model must have the layers 'embedding' and 'logits': {e}") from e
    nested = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    source = pooling.input._keras_history.operation.name
    takes, gives = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    wrong = {
        f"it nests the models {nested}": bool(nested),
        f"it takes {takes}, not {(size, size, 3)}": takes != (size, size, 3),
        f"it gives {gives}, not ({N_CLASSES},)": gives != (N_CLASSES,),
        f"the last layer is {model.layers[-1].name!r}": model.layers[-1] is not head,
        "'embedding' is no GlobalAveragePooling2D": not isinstance(pooling, keras.layers.GlobalAveragePooling2D),
        "'logits' has an activation": head.activation is not keras.activations.linear,
        f"'embedding' pools {source!r}, the card says {feature_layer!r}": source != feature_layer,
    }
    if any(wrong.values()):
        raise ModelError("The model cannot be served: " + "; ".join(k for k, v in wrong.items() if v) + ".")
    outputs = {"logits": model.outputs[0], "features": pooling.input, "embedding": pooling.output}
    return keras.Model(model.inputs[0], outputs, name="served")


def _difference(reference: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, float]:
    shift = softmax(reference["logits"].astype(float)) - softmax(found["logits"].astype(float))
    largest = {f"max_abs_{k}_difference": float(np.abs(reference[k] - found[k]).max()) for k in reference}
    return {"max_abs_probability_difference": float(np.abs(shift).max()), **largest}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _hashes(folder: Path) -> dict[str, str]:
    files = (f for f in sorted(folder.rglob("*")) if f.is_file() and f != folder / "manifest.json")
    return {f.relative_to(folder).as_posix(): registry.sha256(f) for f in files}


def main(arguments: list[str] | None = None) -> int:
    """Build one model, several, or all that have weights; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__.partition("\n")[0])
    parser.add_argument("id", nargs="*", help="models to build, by the name of their folder")
    parser.add_argument("--all", action="store_true", help="every model that has weights")
    parser.add_argument("--force", action="store_true", help="build again what is already built")
    parser.add_argument("--models-dir", type=Path, default=registry.models_dir(), help="default: %(default)s")
    given = parser.parse_args(arguments)
    if bool(given.id) == given.all:
        parser.error("name the models to build, or give --all")
    status = 0
    ids = given.id or [e.id for e in registry.discover(given.models_dir) if e.has_weights]
    for model_id in ids:
        try:
            folder = build(registry.find(given.models_dir, model_id), given.force)
            worst = read_object(folder / "manifest.json")["parity"].get("max_abs_probability_difference", float("nan"))
            print(f"{model_id}: {folder}, probabilities within {worst:.1e} of Keras")
        except DermlensError as e:
            print(f"{model_id}: {e}", file=sys.stderr)
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(main())
