"""A serving file is tried in a process that may die of it: this one lives on, and is told."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from dermlens import sandbox
from dermlens.errors import ModelError
from dermlens.models import registry, trial_run
from tests.faults.models import rewrite

ROOT = Path(__file__).parents[2]
needs_sandbox = pytest.mark.skipif(bool(sandbox.trouble()), reason="there is no sandbox here")
LETHAL = b"lethal SIGSEGV"
# Stands in for a defect of the interpreter: what it is asked to load kills the process, in the process of trials alone.
DEFECT = """
import os, signal
from ai_edge_litert import interpreter
class Defective(interpreter.Interpreter):
    def __init__(self, model_content, num_threads):
        if b"curious" in model_content:
            open(model_content.rpartition(b" ")[2]).read()
        if b"lethal" in model_content:
            os.kill(os.getpid(), getattr(signal, model_content.rpartition(b" ")[2].decode()))
        super().__init__(model_content=model_content, num_threads=num_threads)
interpreter.Interpreter = Defective
"""


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing has been tried yet, and no process is there."""
    monkeypatch.setattr(trial_run, "_verdicts", {})
    monkeypatch.setattr(trial_run, "_broken_off", {})
    trial_run.close()
    yield
    trial_run.close()


@pytest.fixture
def models(pair: Path, tmp_path: Path) -> Path:
    """A models folder with two toys, to spoil."""
    return shutil.copytree(pair, tmp_path / "models")


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEFECT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.fixture
def unboxed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sandbox a process could not even kill itself."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    (tmp_path / "sitecustomize.py").write_text(
        DEFECT + "from dermlens import sandbox\nsandbox.trouble = lambda: 'a test'\n"
    )


@pytest.fixture(scope="module")
def hungry() -> bytes:
    """A network of 2 kB that lays an image out 500 x 500 times: 3 GB."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3])])
    def network(image: tf.Tensor) -> dict[str, tf.Tensor]:
        large = tf.tile(image, [1, 500, 500, 1])
        embedding = tf.reduce_mean(large, (1, 2))
        logits = tf.matmul(embedding, tf.ones((3, 7)))
        return {"logits": logits, "features": image, "embedding": embedding}

    module = tf.Module()
    module.network = network
    concrete = network.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert()


def tried(content: bytes, views: int) -> None:
    trial_run.check(content, sha256(content).hexdigest(), views, "x")


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, Path(f"/proc/{pid}/stat").read_text()


def whole(models: Path) -> bytes:
    return (models / "toy" / "build" / registry.SERVING_FILE).read_bytes()


@pytest.mark.usefixtures("defect")
def test_a_file_that_kills_its_process_disables_its_model_and_no_other(models: Path) -> None:
    rewrite(models / "toy" / "build", registry.SERVING_FILE, whole(models) + LETHAL)
    with pytest.raises(ModelError, match=r"^toy/build/serving\.tflite ended the process that tried it"):
        registry.load(registry.find(models, "toy"))
    other = registry.load(registry.find(models, "toy2"))
    assert other.engine.run(np.zeros((1, other.engine.size, other.engine.size, 3), np.float32)).logits.shape == (1, 7)


@pytest.mark.usefixtures("defect", "unboxed")
def test_what_ended_the_process_is_told_and_never_held_against_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = {
        b"lethal SIGALRM": "x took more than 60 seconds when it was tried",
        b"lethal SIGXCPU": "x took more than 60 seconds when it was tried",
        b"lethal SIGKILL": r"The trial of x was interrupted \(exit code -9\)",
        b"lethal SIGSEGV": "x ended the process that tried it",
    }
    for content, sentence in told.items():
        with pytest.raises(ModelError, match=sentence):
            tried(content, 1)
    trial_run.close()
    (tmp_path / "sitecustomize.py").unlink()
    for content, sentence in told.items():
        with pytest.raises(ModelError, match=sentence):  # a file that takes a minute is not tried for every visitor
            tried(content, 1)
    assert not trial_run._processes
    later = time.monotonic() + trial_run.AGAIN_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    for content in told:
        with pytest.raises(ModelError, match="cannot be loaded"):
            tried(content, 1)
    assert set(trial_run._verdicts.values()) != {""}


def test_a_good_file_whose_trial_was_broken_off_once_is_good(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_run, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(trial_run._Process, "ask", lambda *_: (-signal.SIGALRM, ""))
    with pytest.raises(ModelError, match="took more than 60 seconds"):
        tried(whole(models), 4)
    monkeypatch.undo()
    tried(whole(models), 4)


@needs_sandbox
@pytest.mark.usefixtures("defect")
@pytest.mark.parametrize("content", [b"lethal SIGSEGV", b"lethal SIGCONT"])
def test_a_network_that_took_over_its_process_can_signal_nobody(content: bytes) -> None:
    with pytest.raises(ModelError, match="x ended the process that tried it"):
        tried(content, 1)


@needs_sandbox
@pytest.mark.usefixtures("defect")
def test_a_network_that_took_over_its_process_can_read_no_file(tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("a canary sings")
    with pytest.raises(ModelError, match=r"cannot be loaded \(.*Permission denied"):
        tried(f"curious {tmp_path / 'canary'}".encode(), 1)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit address space")
def test_a_small_file_that_takes_all_memory_is_refused_and_never_gets_it(hungry: bytes, tmp_path: Path) -> None:
    assert len(hungry) < 5000
    (tmp_path / "hungry.tflite").write_bytes(hungry)
    program = (  # in a small process, as a child of the tests would begin with all that they hold
        "import resource, sys; from pathlib import Path; from dermlens.errors import ModelError\n"
        "from dermlens.models import trial_run\n"
        "try: trial_run.check(Path(sys.argv[1]).read_bytes(), 'x', 1, 'x')\n"
        "except ModelError as e: print(e)\n"
        "running = trial_run._processes[0]; running.control.close(); running.process.wait()\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "hungry.tflite"], cwd=ROOT, capture_output=True, text=True
    )
    said, most = done.stdout.splitlines()
    assert re.fullmatch(r"The network cannot be run \(.+\)\. It was given 1024 MiB of memory\.", said)
    assert int(most) * 1024 < trial_run.MEMORY


@pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")
def test_no_process_that_has_ended_stays_in_the_table(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_run, "IDLE_SECONDS", 0.0)
    tried(whole(models), 4)
    until_gone(trial_run._processes[0].process.pid)


def test_a_process_that_does_not_answer_is_given_up_and_nothing_of_it_stays(
    models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"
    (tmp_path / "sitecustomize.py").write_text(
        "import fcntl, signal\n"
        "from ai_edge_litert import interpreter\n"
        "signal.alarm = lambda seconds: None\n"
        "def wait(**_):\n"
        f"    held = open({str(lock)!r}, 'w')\n"
        "    fcntl.flock(held, fcntl.LOCK_EX)\n"
        "    signal.pause()\n"
        "interpreter.Interpreter = wait\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(trial_run, "PATIENCE", 10.0)
    with pytest.raises(ModelError, match="does not start or answer"):
        tried(whole(models), 4)
    if lock.exists():  # else the machine was too slow to get so far
        with lock.open() as held:
            waiting = threading.Thread(target=fcntl.flock, args=(held, fcntl.LOCK_EX), daemon=True)
            waiting.start()
            waiting.join(60.0)
            assert not waiting.is_alive()


def test_a_file_that_is_no_network_is_refused_in_the_words_of_the_engine(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loading(*_: object) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(registry, "Engine", loading)
    rewrite(models / "toy" / "build", registry.SERVING_FILE, b"no network")
    with pytest.raises(ModelError, match=r"serving\.tflite cannot be loaded \(.+\)\. Build it again"):
        registry.load(registry.find(models, "toy"))


def test_what_has_passed_is_not_tried_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried(whole(models), 4)
    trial_run.close()
    monkeypatch.setattr(sys, "executable", os.devnull)
    tried(whole(models), 4)
    with pytest.raises(ModelError, match="x cannot be tried"):
        tried(whole(models), 1)


def test_a_process_that_has_ended_is_started_again(models: Path) -> None:
    tried(whole(models), 4)
    (running,) = trial_run._processes
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    tried(whole(models), 1)
    assert trial_run._processes[0].process.pid != running.process.pid


def test_a_process_without_work_ends_and_is_started_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_run, "IDLE_SECONDS", 0.0)
    tried(whole(models), 4)
    assert trial_run._processes[0].process.wait(60.0) == 0
    tried(whole(models), 1)
