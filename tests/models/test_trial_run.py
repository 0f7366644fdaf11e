"""A serving file is tried in a process that may die of it: this one lives on, and is told."""

import fcntl
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import ModelError
from dermlens.models import registry, trial_run
from tests.faults.models import rewrite

LETHAL = b"lethal SIGSEGV"
# Stands in for a defect of the interpreter: what it is asked to load kills the process, in the process of trials alone.
DEFECT = """
import os, signal
from ai_edge_litert import interpreter
class Defective(interpreter.Interpreter):
    def __init__(self, model_content, num_threads):
        if b"lethal" in model_content:
            os.kill(os.getpid(), getattr(signal, model_content.rpartition(b" ")[2].decode()))
        super().__init__(model_content=model_content, num_threads=num_threads)
interpreter.Interpreter = Defective
"""


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing has been tried yet, and no process is there."""
    monkeypatch.setattr(trial_run, "_verdicts", {})
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


def tried(content: bytes, views: int) -> None:
    trial_run.check(content, sha256(content).hexdigest(), views, "x")


def whole(models: Path) -> bytes:
    return (models / "toy" / "build" / registry.SERVING_FILE).read_bytes()


@pytest.mark.usefixtures("defect")
def test_a_file_that_kills_its_process_disables_its_model_and_no_other(models: Path) -> None:
    rewrite(models / "toy" / "build", registry.SERVING_FILE, whole(models) + LETHAL)
    with pytest.raises(ModelError, match=r"^toy/build/serving\.tflite ended the process that tried it"):
        registry.load(registry.find(models, "toy"))
    other = registry.load(registry.find(models, "toy2"))
    assert other.engine.run(np.zeros((1, other.engine.size, other.engine.size, 3), np.float32)).logits.shape == (1, 7)


@pytest.mark.usefixtures("defect")
def test_what_ended_the_process_is_told_and_only_a_verdict_on_the_file_is_remembered() -> None:
    with pytest.raises(ModelError, match=r"x took more than 60 seconds when it was tried\. Build it again"):
        tried(b"lethal SIGALRM", 1)
    with pytest.raises(ModelError, match=r"The trial of x was interrupted \(exit code -9\)"):
        tried(b"lethal SIGKILL", 1)
    trial_run.close()
    (Path(os.environ["PYTHONPATH"]) / "sitecustomize.py").unlink()
    with pytest.raises(ModelError, match="took more than 60 seconds"):
        tried(b"lethal SIGALRM", 1)
    assert not trial_run._processes
    with pytest.raises(ModelError, match="cannot be loaded"):
        tried(b"lethal SIGKILL", 1)


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
