"""Images drawn by code, and a toy model published through the code that real models go through."""

import asyncio
import gc
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import numpy as np
import pytest
from hypothesis import settings

from dermlens.dataset.ham10000 import METADATA, data_root
from dermlens.image.preprocess import Geometry, fingerprint
from dermlens.image.synthetic import draw_lesion
from dermlens.labels import CLASSES
from dermlens.models import registry
from dermlens.models.model import Model

if TYPE_CHECKING:
    import keras

settings.register_profile("patient", deadline=None)  # a busy machine fails no test
settings.load_profile("patient")


SHARED = Path(__file__).parents[2] / "shared" / "ham10000"
FIRST = ("browser", "faults", "cohort", "ingest", "pages", "training", "models", "ui", "test_load.py", "record", "api")


def real_data() -> Path | None:
    """Return the folder of HAM10000: HAM10000_DIR, else shared/ham10000 beside the checkout; None without metadata."""
    root = data_root() or SHARED
    return root if (root / METADATA).is_file() else None


def pytest_configure(config: pytest.Config) -> None:
    """Keep what a server remembers of these tests out of the user's own folder, and hear every signal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so would what it starts
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as does what nohup runs
    folder = tempfile.TemporaryDirectory(prefix="dermlens-state-")
    os.environ["DERMLENS_STATE"] = folder.name
    config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders whose files take longest, so that no worker is left alone with one of them at the end."""
    here = Path(__file__).parent
    turn = {name: i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: turn.get(item.path.relative_to(here).parts[0], len(FIRST)))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is imported: it stays until the end."""
    gc.freeze()


def pytest_report_header() -> str:
    """Say at the start whether tests on the real images run."""
    root = real_data()
    return f"HAM10000: {root}" if root else f"HAM10000: none, so tests marked realdata are skipped ({no_real_data()})"


def no_real_data() -> str:
    """Return the sentence for a machine without the data set."""
    where = f"HAM10000_DIR, {data_root()}," if data_root() else "HAM10000_DIR is not set and ../shared/ham10000"
    return f"{where} has no {METADATA}"


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of the real HAM10000; a test that asks for it is skipped where there is none."""
    root = real_data()
    if root is None:
        pytest.skip(no_real_data())
    return root


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a thread of its own: this one may have a loop running, Playwright's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def encode(pixels: np.ndarray, suffix: str = ".png", *options: int) -> bytes:
    """Return (h, w, 3) RGB pixels as an encoded file."""
    return cv2.imencode(suffix, pixels[..., ::-1], options)[1].tobytes()


def toy_network(size: int = 32, channels: int = 16, seed: int = 0) -> "keras.Model":
    """Return a tiny flat network with the project's head and random weights."""
    import keras

    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(image)
    for i, width in enumerate((8, channels)):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"conv{i}")(x)
        x = keras.layers.BatchNormalization(name=f"bn{i}")(x)
        x = keras.layers.Activation("relu", name="top_activation" if i else "relu0")(x)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    x = keras.layers.Dropout(0.2, name="dropout")(x)
    return keras.Model(image, keras.layers.Dense(len(CLASSES), name="logits")(x), name="toy")


def spot_network() -> "keras.Model":
    """Return a network of the toy's make whose feature 0 is brightness, which class 0 adds up."""
    network = toy_network(size=64, channels=2)
    for index, name in enumerate(("conv0", "conv1")):
        kernel = np.zeros(network.get_layer(name).kernel.shape, np.float32)
        kernel[:, :, : 1 if index else 3, 0] = 1 / 9
        network.get_layer(name).set_weights([kernel])
    head = np.zeros((2, 7), np.float32)
    head[0, 0] = 1
    network.get_layer("logits").set_weights([head, np.zeros(7, np.float32)])
    return network


def publish_toy(folder: Path, network: "keras.Model", views: int = 1, **card: object) -> registry.Entry:
    """Write a model folder as training.publish does, without the metrics, and build its serving files."""
    from training.artefact import save_model
    from training.export import build

    folder.mkdir(parents=True)
    save_model(network, folder / "model.keras")
    geometry = Geometry(network.input_shape[1])
    values = {
        "id": folder.name,
        "name": f"Toy {folder.name}",
        "architecture": "toy",
        "classes": list(CLASSES),
        "input": geometry.to_dict(),
        "views": views,
        "feature_layer": "top_activation",
        "fingerprint": fingerprint(geometry),
        "files": {"model.keras": registry.sha256(folder / "model.keras")},
        "parameters": network.count_params(),
        **card,
    }
    (folder / "card.json").write_text(json.dumps(values))
    entry = registry.inspect(folder)
    build(entry)
    return entry


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one toy model, "toy". Shared by all tests: copy it before changing anything."""
    models = tmp_path_factory.mktemp("models")
    publish_toy(models / "toy", toy_network(), views=4)
    return models


@pytest.fixture(scope="session")
def toy(published: Path) -> Model:
    """The toy model, loaded."""
    return registry.load(registry.find(published, "toy"))


@pytest.fixture(scope="session")
def spot(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The bright-spot detector, published with four views and loaded."""
    return registry.load(publish_toy(tmp_path_factory.mktemp("spot") / "spot", spot_network(), views=4))


@pytest.fixture
def lesion() -> np.ndarray:
    """One drawn dermoscopic image, (90, 120, 3) uint8 RGB."""
    return draw_lesion(np.random.default_rng(7), 90, 120)


@pytest.fixture(scope="session")
def pair(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the toy model, a second one, and a third of which there are predictions only."""
    from tests.dashboard import fill

    models = tmp_path_factory.mktemp("pair")
    shutil.copytree(published / "toy", models / "toy")
    publish_toy(models / "toy2", toy_network(seed=1))
    (models / "external").mkdir()
    for seed, name in enumerate(("toy", "toy2", "external")):
        fill(models / name, seed=seed, skill=3.0 - seed / 2)
    return models
