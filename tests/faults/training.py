"""Faults while a network is trained, built or served that take minutes to inject: they need TensorFlow, or a mount."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from dermlens.models import registry
from tests import fake_ham10000
from tests.browser.app import serve
from tests.conftest import encode
from tests.faults.kit import ROOT, Count, child, mounted, no_room
from tests.visitor import Visitor

SIZE = 16
PHASES = [
    {"epochs": 3, "learning_rate": 3e-3, "unfreeze": 2, "size": SIZE},
    {"epochs": 2, "learning_rate": 1e-4, "unfreeze": 1, "size": SIZE, "cached_views": 2},
]
SETTINGS = [f"phases={PHASES}", "weights=none", "ema_momentum=0.8", "batch_size=16"]
MOMENTS = (
    *(
        "in the middle of an epoch",
        "best half written",
        "best written",
        "checkpoint half written",
        "checkpoint written aside",
    ),
    *("checkpoint in place", "best about to take its place", "history about to be written"),
)
# Every life is a process of its own that kills itself at one moment; the last one lives on.
LIVES = """
import os, signal, sys
from training import run, train
from training.loop import phase

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def arm(moment):
    save_best, settle_best, write_whole, prepared = run.save_best, run.settle_best, run.write_whole, phase.prepared
    counted = {}
    def batches(*arguments):
        for step, batch in enumerate(prepared(*arguments)):
            if moment == "in the middle of an epoch" and step == 2:
                die()
            yield batch
    def best(model, checkpoints, epoch):
        if moment == "best half written":
            (checkpoints / f".best-{epoch}.weights.h5").write_bytes(b"half")
            die()
        save_best(model, checkpoints, epoch)
        if moment == "best written":
            die()
    def settle(*arguments):
        if moment == "best about to take its place":
            die()
        settle_best(*arguments)
    def whole(file, data):
        counted[file.name] = counted.get(file.name, 0) + 1
        aside = file.with_name(f".{file.name}.{os.getpid()}.part")
        if file.name == "last.npz" and moment in ("checkpoint half written", "checkpoint written aside"):
            aside.write_bytes(data[:len(data) // 2] if "half" in moment else data)
            die()
        if file.name == "history.csv" and counted[file.name] == 2 and moment == "history about to be written":
            die()
        write_whole(file, data)
        if file.name == "last.npz" and moment == "checkpoint in place":
            die()
    run.save_best, run.settle_best, run.write_whole, phase.prepared = best, settle, whole, batches

for name, moment in [life.split(":") for life in sys.argv[1].split(",")]:
    child = os.fork()  # TensorFlow is imported, but has not begun to work
    if not child:
        arm(moment)
        status = train.main([*sys.argv[2:], "--run", name])
        sys.stdout.flush()
        os._exit(status)
    print("life", name, moment, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sep=":", flush=True)
"""


def killed_in_checkpoint(full: bool, folder: Path, models: Path) -> Count:
    """Training killed in mid-epoch and at every moment of saving one; the run ends bit by bit like one that was not."""
    count = Count("SIGKILL of training in mid-epoch and in mid-checkpoint")
    lives = ["whole:", *(f"broken:{moment}" for moment in MOMENTS), "broken:"]
    command = [sys.executable, "-c", LIVES, ",".join(lives), *training(folder), "--deterministic"]
    environment = {**os.environ, "DERMLENS_RUNS": str(folder / "runs")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    ended = [line.split(":")[2:] for line in done.stdout.splitlines() if line.startswith("life:")]
    for moment in MOMENTS:
        with count.attempt(moment):
            assert [moment, "-9"] in ended, f"it was not killed there: {ended} {done.stderr[-500:]}"
    with count.attempt("the run that was killed is the run that was not"):
        assert ended[0][1] == ended[-1][1] == "0", done.stderr[-500:]
        whole, broken = (contents(folder / "runs" / name) for name in ("whole", "broken"))
        assert whole.keys() == broken.keys(), whole.keys() ^ broken.keys()
        for name, value in whole.items():
            assert np.array_equal(value, broken[name], equal_nan=value.dtype.kind == "f"), name
    return count


def training(folder: Path) -> list[str]:
    """Write a small data set and return the arguments that train on it."""
    data = folder / "data"
    fake_ham10000.write(data)
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["baseline_cnn", "--data", str(data), "--split", str(data / "split.csv"), *sets]


def contents(run: Path) -> dict[str, np.ndarray]:
    """Return all that a finished run holds, by name: what must not depend on how often it was interrupted."""
    from training import run as runs

    arrays, state = runs.load_state(run / "checkpoints" / "last.npz")
    found = {f"last.npz/{name}": value for name, value in arrays.items()}
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in state.history]
    found["state"] = np.array(json.dumps({**state.to_dict(), "history": rows}, sort_keys=True))
    with h5py.File(run / "checkpoints" / "best.weights.h5") as file:
        file.visititems(
            lambda name, item: found.update({f"best/{name}": item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    table = [line.rpartition(",")[0] for line in (run / "history.csv").read_text().splitlines()]
    found["history.csv"] = np.array(table)
    below = sorted(str(f.relative_to(run)) for f in run.rglob("*") if f.is_file() and f.parent.name != "events")
    found["files"] = np.array(below)
    return found


def training_on_full_disk(full: bool, folder: Path, models: Path) -> Count:
    """Training on a disk that fills up: it stops with a sentence, and goes on from its last epoch with more room."""
    count = Count("disk full while a run is written")
    disk = folder / "disk"
    disk.mkdir()
    done = mounted(disk, "34m", "train", disk, *training(folder))
    return count.of_child(done)


def train_on(disk: str, *arguments: str) -> Count:
    """Run in the child: train where an epoch fits once, then with less and less room, then with enough."""
    from training import run as runs
    from training.train import main

    count, run = Count(""), Path(disk, "run")
    os.environ["DERMLENS_RUNS"] = disk
    kept = 0

    def attempt(*words: str) -> None:
        nonlocal kept
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main([*arguments, "--run", "run"])
        assert status == 2, f"it ended with {status}"
        count.told(said.getvalue().replace("\r", "\n").splitlines()[-1], "No space left", *words)
        rows = len((run / "history.csv").read_text().splitlines()) - 1
        assert rows >= kept >= 0, "a finished epoch was lost"
        _, state = runs.load_state(run / "checkpoints" / "last.npz")
        assert len(state.history) == rows
        assert not list(run.rglob(".*.part")), "something half written stays"
        kept = rows

    with count.attempt("the second epoch does not fit"):
        attempt("unchanged")
        assert kept >= 1
    for room in (2_000_000, 300_000, 0):
        with count.attempt(f"{room:,} bytes are left"), no_room(Path(disk), room):
            attempt()
    with count.attempt("there is room again"):
        subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)
        before = (run / "history.csv").read_text().splitlines()[: kept + 1]
        assert main([*arguments, "--run", "run"]) == 0
        assert (run / "history.csv").read_text().splitlines()[: kept + 1] == before
        assert json.loads((run / "run.json").read_text())["finished"]
    return count


def building_on_full_disk(full: bool, folder: Path, models: Path) -> Count:
    """Serving files built on a disk that is full: a sentence, nothing left behind, and the other model is built."""
    count = Count("disk full while serving files are built")
    disk = folder / "disk"
    disk.mkdir()
    return count.of_child(mounted(disk, "8m", "build", disk, models))


def build_on(disk: str, models: str) -> Count:
    """Run in the child: build on a full disk, and again."""
    count, own = Count(""), Path(disk, "models")
    shutil.copytree(models, own, ignore=lambda folder, names: {"build", "predictions.csv"} & set(names))
    for room in (40_000, 15_000, 0):
        with count.attempt(f"{room:,} bytes are left"):
            with no_room(Path(disk), room):
                status, said = export(own, "toy")
                assert status == 2, said
                count.told(said[-1], "toy", "cannot be built")
            assert not list((own / "toy").glob(".*")), "something half built stays"
            assert not (own / "toy" / "build").exists()
    with count.attempt("there is room again"):
        assert export(own, "--all")[0] == 0
        registry.load(registry.find(own, "toy"))
    return count


def export(models: Path, *arguments: str) -> tuple[int, list[str]]:
    """Build serving files; returns the exit status and the lines said on stderr by the command itself."""
    from training.export import main

    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        status = main([*arguments, "--models-dir", str(models)])
    return status, said.getvalue().replace("\r", "\n").splitlines()


def read_only_models(full: bool, folder: Path, models: Path) -> Count:
    """A models folder that cannot be written: the serving files go to the user's cache, and are used from there."""
    count, own = Count("read-only model folder"), folder / "models"
    shutil.copytree(models, own, ignore=lambda folder, names: {"build"} & set(names))
    script = 'mount --bind "$2" "$2" && mount -o remount,ro,bind "$2" || exit 97; shift 2; exec "$@"'
    done = mounted(own, "", "read-only", own, folder / "cache", script=script)
    return count.of_child(done)


def build_read_only(models: str, cache: str) -> Count:
    """Run in the child: build and load where the models folder cannot be written, then where nothing can."""
    count, own = Count(""), Path(models)
    os.environ["XDG_CACHE_HOME"] = cache
    with count.attempt("it is built into the cache"):
        assert not os.access(own / "toy", os.W_OK), "the folder can be written"
        status, said = export(own, "toy")
        assert status == 0, said
        entry = registry.find(own, "toy")
        assert registry.build_dir(entry).is_relative_to(cache)
        registry.load(entry)
        assert not (own / "toy" / "build").exists()
    with count.attempt("the cache was deleted"):
        shutil.rmtree(cache)
        assert export(own, "toy")[0] == 0
        registry.load(registry.find(own, "toy"))
    with count.attempt("the cache cannot be written either"):
        os.environ["XDG_CACHE_HOME"] = str(own)
        status, said = export(own, "toy")
        assert status == 2
        count.told(said[-1], "toy", "cannot be built", "Read-only file system")
    return count


def hostile_networks(full: bool, folder: Path, models: Path) -> Count:
    """A model.keras that is more than a network, with the hash its card lists: not built, and the others are."""
    return Count("model.keras that is code, a bomb or damaged, its hash as well").of_child(
        child("networks", folder, models)
    )


def build_hostile(folder: str, models: str) -> Count:
    """Run in the child: build every model where some are hostile."""
    import keras

    count, own = Count(""), Path(folder, "models")
    shutil.copytree(models, own, ignore=lambda folder, names: {"build"} & set(names))
    whole = (own / "toy" / "model.keras").read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def packed(changes: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
        found = io.BytesIO()
        with zipfile.ZipFile(found, "w", compression) as target:
            for name, data in {**members, **changes}.items():
                target.writestr(name, data)
        return found.getvalue()

    image = keras.Input((32, 32, 3))
    keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image)).save(Path(folder, "code.keras"))
    config = json.loads(members["config.json"])
    config["config"]["layers"][1] |= {"module": "os", "class_name": "system"}
    hostile = {
        "code": Path(folder, "code.keras").read_bytes(),
        "command": packed({"config.json": json.dumps(config).encode()}),
        "bomb": packed({"config.json": b" " * 100_000_000}, zipfile.ZIP_DEFLATED),
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"no network at all",
    }
    for name, data in hostile.items():
        shutil.copytree(own / "toy2", own / name)
        (own / name / "model.keras").write_bytes(data)
        card = json.loads((own / name / "card.json").read_text())
        card |= {"id": name, "files": {"model.keras": registry.sha256(own / name / "model.keras")}}
        (own / name / "card.json").write_text(json.dumps(card))
    status, said = export(own, "--all")
    for name in hostile:
        with count.attempt(name):
            count.told(next(line for line in said if line.startswith(f"{name}:")), "model.keras")
    with count.attempt("the others are built"):
        assert status == 2
        for name in ("toy", "toy2"):
            registry.load(registry.find(own, name))
    return count


def uploads_on_full_disk(full: bool, folder: Path, models: Path) -> Count:
    """Uploads while the folder for temporary files is full: they stay in memory and are answered."""
    count = Count("disk full while files are uploaded")
    temporary = folder / "tmp"
    temporary.mkdir()
    return count.of_child(mounted(temporary, "64k", "upload", temporary, models, folder / "log"))


def upload_on(temporary: str, models: str, log: str) -> Count:
    """Run in the child: serve with a full folder for temporary files, and upload."""
    count = Count("")
    rng = np.random.default_rng(0)
    environment = {"DERMLENS_MODELS": models, "TMPDIR": temporary, "DERMLENS_RUNS": f"{temporary}/runs"}
    with no_room(Path(temporary), 0), serve(Path(log), environment) as address, Visitor(address, "predict") as visitor:
        for number in range(3):
            with count.attempt(f"upload {number}"):
                data = encode(rng.integers(0, 256, (1200, 1200, 3), np.uint8))
                assert len(data) > 2**22
                visitor.upload({f"{number}.png": data})
                assert "image=" in visitor.query, visitor.text()
                visitor.press("New case")
    return count


SLOW: tuple[Callable[[bool, Path, Path], Count], ...] = (
    *(killed_in_checkpoint, training_on_full_disk, building_on_full_disk, read_only_models),
    *(hostile_networks, uploads_on_full_disk),
)
CHILDREN: dict[str, Callable[..., Count]] = {
    "train": train_on,
    "build": build_on,
    "read-only": build_read_only,
    "networks": build_hostile,
    "upload": upload_on,
}
