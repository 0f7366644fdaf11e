"""A model.keras that holds more than a network, or less than it says, is refused before Keras sees it."""

import contextlib
import io
import json
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dermlens.errors import ModelError
from dermlens.models.keras_file import MEMBERS, check, load_network
from dermlens.models.registry import sha256
from training.architectures import build


@pytest.fixture(scope="module")
def members(published: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(published / "toy" / "model.keras") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return found.getvalue()


def refused(data: bytes) -> str:
    with pytest.raises(ModelError) as caught:
        check(data, "x/model.keras")
    assert "x/model.keras" in str(caught.value)
    return str(caught.value)


def test_a_published_model_passes_and_loads_by_its_hash(published: Path, members: dict[str, bytes]) -> None:
    path = published / "toy" / "model.keras"
    assert set(members) == MEMBERS
    check(packed(members), "toy")
    assert load_network(path, sha256(path)).output_shape == (None, 7)
    with pytest.raises(ModelError, match="was changed"):
        load_network(path, "0" * 64)
    with pytest.raises(ModelError, match="no such file"):
        load_network(path.with_name("other.keras"))


def test_the_bytes_that_were_checked_are_those_that_are_loaded(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.keras"
    shutil.copy(published / "toy" / "model.keras", path)
    expected = sha256(path)

    def look(data: bytes, where: str) -> object:
        found = check(data, where)
        path.write_bytes(b"something else")
        return found

    monkeypatch.setattr("dermlens.models.keras_file.check", look)
    assert load_network(path, expected).output_shape == (None, 7)
    with pytest.raises(ModelError, match="was changed"):
        load_network(path, expected)


def test_every_truncation_and_many_changed_bytes_are_refused_or_loadable(members: dict[str, bytes]) -> None:
    whole = packed(members)
    for length in range(0, len(whole), 997):
        refused(whole[:length])
    rng = np.random.default_rng(5)
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] ^= 1 << rng.integers(8)
        with contextlib.suppress(ModelError):
            check(bytes(data), "x/model.keras")


def test_bombs_are_not_unpacked(members: dict[str, bytes]) -> None:
    assert "compressed" in refused(packed({**members, "config.json": b" " * 50_000_000}, zipfile.ZIP_DEFLATED))
    assert "must hold" in refused(packed({**members, "assets/x": b""}))
    assert "must hold" in refused(packed({"config.json": b"{}"}))
    twice = packed(members).replace(b"metadata.json", b"config.json\0\0")
    refused(twice)
    assert "damaged" in refused(packed({**members, "config.json": b"[" * 100_000}))


def with_class(members: dict[str, bytes], **values: object) -> bytes:
    config = json.loads(members["config.json"])
    config["config"]["layers"][1].update(values)
    return packed({**members, "config.json": json.dumps(config).encode()})


@pytest.mark.parametrize(
    "values",
    [
        {"class_name": "Lambda"},
        {"class_name": "TFSMLayer"},
        {"module": "os", "class_name": "system"},
        {"module": "keras.src.utils.file_utils", "class_name": "get_file"},
        {"module": "builtins", "class_name": "eval"},
        {"module": ["keras.layers"]},
        {"class_name": None},
        {"class_name": ["Conv2D"]},
        {"class_name": "TorchModuleWrapper"},
        {"class_name": "RandomRotation"},
        {"class_name": "Lambda", "module": None},
        {"class_name": "Functional", "module": "keras.src.applications.convnext"},
    ],
)
def test_what_could_run_code_is_refused_wherever_it_stands(members: dict[str, bytes], values: dict) -> None:
    assert "could run code" in refused(with_class(members, **values))
    assert "could run code" in refused(
        with_class(members, config={"deep": [{"module": "keras", "class_name": "x"} | values]})
    )


def changed_weights(members: dict[str, bytes], change: Callable[[h5py.File], None]) -> bytes:
    data = io.BytesIO(members["model.weights.h5"])
    with h5py.File(data, "r+") as file:
        change(file)
    return packed({**members, "model.weights.h5": data.getvalue()})


def soft(file: h5py.File) -> None:
    file["more"] = h5py.SoftLink("/layers")


def external(file: h5py.File) -> None:
    file["more"] = h5py.ExternalLink("/etc/passwd", "/")


def outside(file: h5py.File) -> None:
    file.create_dataset("more", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def hole(file: h5py.File) -> None:
    file.create_dataset("more", (10**12,), "f4", chunks=(10**6,))


def squeezed(file: h5py.File) -> None:
    file.create_dataset("more", data=np.zeros(10**6, "f4"), compression="gzip")


def words(file: h5py.File) -> None:
    file["more"] = "text"


def endless(file: h5py.File) -> None:
    group = file.create_group("more")
    for _ in range(40):  # 2^40 ways through one small file
        inner = group.create_group("a")
        group["b"] = inner
        group = inner


def ring(file: h5py.File) -> None:
    file["more"] = file["/"]


@pytest.mark.parametrize("change", [soft, external, outside, hole, squeezed, words, endless, ring])
def test_weights_that_lead_elsewhere_or_are_not_all_there_are_refused(
    members: dict[str, bytes], change: Callable[[h5py.File], None]
) -> None:
    refused(changed_weights(members, change))


def with_setting(members: dict[str, bytes], kind: str, **values: object) -> bytes:
    """Return a model.keras in which every layer of a class has other settings."""
    config = json.loads(members["config.json"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == kind:
            layer["config"].update(values)
    return packed({**members, "config.json": json.dumps(config).encode()})


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("Conv2D", {"filters": 20_000_000}, "expected axis -1 of input shape"),
        (
            "Conv2D",
            {"kernel_size": [9_000, 9_000]},
            r"is to have the shape \(9000, 9000, \d+, \d+\), but no such array",
        ),
        ("Dense", {"units": 50_000_000}, r"is to have the shape \(\d+, 50000000\), but no such array is stored"),
        ("InputLayer", {"batch_shape": [None, 32, 32, 1_000_000_000]}, "expected axis -1 of input shape"),
    ],
)
def test_a_network_larger_than_its_stored_arrays_is_refused_before_it_takes_memory(
    members: dict[str, bytes], tmp_path: Path, kind: str, values: dict, said: str
) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(with_setting(members, kind, **values))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=said):
        load_network(path)
    build("baseline_cnn", 64)  # nothing of the other network is made with the next one
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "KiB"
