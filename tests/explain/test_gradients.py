"""SmoothGrad is drawn in a process of its own, which ends with it and whose end is told."""

import dataclasses
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from dermlens import child_process
from dermlens.errors import ModelError
from dermlens.explain import gradients
from dermlens.explain.methods import explain_with
from dermlens.models.model import Model

ROOT = Path(__file__).parents[2]
# Draws as a server does, and says which process it started as soon as that one draws.
SERVER = """
import sys
from pathlib import Path
import numpy as np
from dermlens.explain import gradients
from dermlens.explain.methods import explain_with
from dermlens.models import registry
started = []
class Noted(gradients.Process):
    def __init__(self, module):
        super().__init__(module)
        started.append(self.process.pid)
gradients.Process = Noted
def tell(share):
    assert not {"tensorflow", "keras", "tf_keras_vis"} & set(sys.modules)
    if started:
        print(started[0], flush=True)
        sys.stdin.read()
model = registry.load(registry.inspect(Path(sys.argv[1])))
explain_with("smooth_grad", model, np.zeros((30, 40, 3), np.uint8), 0, tell)
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[child_process.Process]:
    """The processes that were started to draw."""
    found: list[child_process.Process] = []

    class Noted(child_process.Process):
        def __init__(self, module: str) -> None:
            super().__init__(module)
            found.append(self)

    monkeypatch.setattr(gradients, "Process", Noted)
    return found


def has_ended(one: child_process.Process) -> bool:
    return one.process.returncode is not None and one.control.fileno() == -1


def test_two_at_once_each_get_the_map_of_this_process_without_its_network(
    toy: Model, lesion: np.ndarray, started: list[child_process.Process]
) -> None:
    found: dict[int, np.ndarray] = {}
    told: dict[int, list[float]] = {1: [], 4: []}

    def draw(index: int) -> None:
        found[index] = explain_with("smooth_grad", toy, lesion, index, told[index].append)

    drawing = [threading.Thread(target=draw, args=(index,)) for index in told]
    for one in drawing:
        one.start()
    for one in drawing:
        one.join()
    network = gradients.load_network(toy)
    for index, shares in told.items():
        expected = explain_with("smooth_grad", toy, lesion, index, network=network)
        assert found[index].dtype == np.float32
        assert found[index] == pytest.approx(expected, rel=1e-4, abs=1e-6 * float(expected.max()))
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0, 1)
    assert len(started) == 2
    assert all(map(has_ended, started))


def test_a_process_that_dies_falls_silent_or_is_not_wanted_any_more_is_ended_and_said(
    toy: Model, lesion: np.ndarray, started: list[child_process.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(share: float) -> None:
        if started:
            os.kill(started[0].process.pid, signal.SIGKILL)

    with pytest.raises(ModelError, match="could not be drawn: its process ended before"):
        explain_with("smooth_grad", toy, lesion, 0, kill)

    views = np.zeros((1, toy.geometry.size, toy.geometry.size, 3), np.float32)
    with pytest.raises(ModelError, match=r"silent for 0 seconds and was ended\. Try again"):
        gradients.smooth_grad_apart(toy, views, 0, print, seconds=0.01)  # TensorFlow alone takes longer to load

    def leave(share: float) -> None:
        if len(started) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain_with("smooth_grad", toy, lesion, 0, leave)
    assert len(started) == 3
    assert all(map(has_ended, started))

    def none(module: str) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(gradients, "Process", none)
    with pytest.raises(ModelError, match=r"does not start \(Cannot allocate memory\)"):
        explain_with("smooth_grad", toy, lesion, 0)


def test_a_network_that_was_changed_is_not_loaded_there_either(toy: Model, lesion: np.ndarray) -> None:
    changed = dataclasses.replace(toy, card={**toy.card, "files": {"model.keras": "0" * 64}})
    with pytest.raises(ModelError, match="was changed"):
        explain_with("smooth_grad", changed, lesion, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="watches another process as Linux does")
def test_no_process_outlives_a_killed_server_which_itself_never_loads_tensorflow(toy: Model) -> None:
    command = [sys.executable, "-c", SERVER, str(toy.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        drawing = os.pidfd_open(int(server.stdout.readline()))
        server.kill()
    ended, _, _ = select.select([drawing], [], [], 60)
    os.close(drawing)
    assert ended
