"""A serving file is tried in a process that may die of it: this one lives on, and is told."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dermlens import registry, trial
from dermlens.errors import ModelError
from tests.faults.models import rewrite

LETHAL = b"lethal"
# Stands in for a defect of the interpreter: what it is asked to load kills the process, in the process of trials alone.
DEFECT = f"""
import os, signal
from ai_edge_litert import interpreter
class Defective(interpreter.Interpreter):
    def __init__(self, model_content, num_threads):
        if model_content.endswith({LETHAL!r}):
            os.kill(os.getpid(), signal.SIGSEGV)
        super().__init__(model_content=model_content, num_threads=num_threads)
interpreter.Interpreter = Defective
"""


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing has passed yet, and no process is there."""
    monkeypatch.setattr(trial, "_passed", set())
    trial.close()
    yield
    trial.close()


@pytest.fixture
def models(published: Path, tmp_path: Path) -> Path:
    """A models folder with the toy twice."""
    for name in ("toy", "toy2"):
        shutil.copytree(published / "toy", tmp_path / "models" / name)
    card = tmp_path / "models" / "toy2" / "card.json"
    card.write_text(card.read_text().replace('"toy"', '"toy2"'))
    return tmp_path / "models"


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEFECT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def whole(models: Path) -> bytes:
    return (models / "toy" / "build" / registry.SERVING_FILE).read_bytes()


@pytest.mark.usefixtures("defect")
def test_a_file_that_kills_its_process_disables_its_model_and_no_other(models: Path) -> None:
    rewrite(models / "toy" / "build", registry.SERVING_FILE, whole(models) + LETHAL)
    with pytest.raises(ModelError, match=r"^toy/build/serving\.tflite ended the process that tried it"):
        registry.load(registry.find(models, "toy"))
    other = registry.load(registry.find(models, "toy2"))
    assert other.engine.run(np.zeros((1, other.engine.size, other.engine.size, 3), np.float32)).logits.shape == (1, 7)


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
    trial.check(whole(models), 4, "x")
    trial.close()
    monkeypatch.setattr(sys, "executable", os.devnull)
    trial.check(whole(models), 4, "x")
    with pytest.raises(ModelError, match="x cannot be tried"):
        trial.check(whole(models), 1, "x")


def test_a_process_that_has_ended_is_started_again(models: Path) -> None:
    trial.check(whole(models), 4, "x")
    (running,) = trial._processes
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    trial.check(whole(models), 1, "x")
    assert trial._processes[0].process.pid != running.process.pid


def test_a_process_without_work_ends_and_is_started_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "IDLE_SECONDS", 0.0)
    trial.check(whole(models), 4, "x")
    assert trial._processes[0].process.wait(60.0) == 0
    trial.check(whole(models), 1, "x")
